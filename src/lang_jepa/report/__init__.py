"""Score a finished run of an encoder or a GPT beside the same model untrained and other baselines."""

from pathlib import Path
from typing import TYPE_CHECKING

from lang_jepa.errors import check_extra

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report
    from lang_jepa.report.run import EvaluateOptions


def evaluate_run(path: Path, options: "EvaluateOptions") -> "tuple[Report, Path]":
    """Score a run's model and save the report as JSON after each task.

    Rows of other tasks in that file are kept if they belong to the same weights.

    Args:
        path: a run directory or a model directory, of an encoder or a GPT; a checkpoint; or a pretrained encoder.
        options: tasks and options.

    Returns:
        The report and where it was written.

    Raises:
        NotSaved: the report could not be written; the error contains it.
        LangJepaError: the extra `evaluate` is not installed; or the model, a task, its data or an option cannot be
            used; raised before the work.
    """
    from lang_jepa.inference.model_folder import find_gpt

    check_extra("evaluate", "evaluate")
    if find_gpt(path) is not None:
        from lang_jepa.report.gpt_run import ScoredGPT

        return ScoredGPT(path, options).evaluate()
    from lang_jepa.report.encoder_run import ScoredEncoder

    return ScoredEncoder(path, options).evaluate()
