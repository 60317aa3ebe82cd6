"""Models that do not predict next sentences are scored by what their encoder alone can do."""

from pathlib import Path

from lang_jepa.evaluation.evaluate import Budget
from lang_jepa.report.card import evaluate_run
from lang_jepa.training.train import train
from tiny import VIEWS, tiny_settings

BUDGET = Budget(queries=30, stories=8, train_stories=20, paraphrases=60, ridge_pairs=40)


def test_a_model_of_spans_is_scored_without_predictions(tmp_path: Path) -> None:
    """Paraphrases and, of the next sentence, only what copying gives in its space and in that of its start."""
    result = train(tiny_settings(tmp_path / "run", *VIEWS["spans"], "optimization.max_steps=1"))
    report, path = evaluate_run(
        result.folder, tasks="stories,retrieval", data_dir=None, output=None, budget=BUDGET
    )
    assert path.is_file()
    rows = {(row.task, row.name) for row in report.rows}
    asked = {name for task, name in rows if "next" in task}
    assert {"copy-forward (model)", "copy-forward (untrained)"} <= asked
    assert "model" not in asked
    assert any(name == "model" and "paraphrase" in task for task, name in rows)
