"""Runs of encoders, as a comparison sees them."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lang_jepa.comparison.kind import Exam, Facts, Panel, RunKind, check_task_data
from lang_jepa.comparison.trees import flat
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import ENCODER_TASKS, QUICK
from lang_jepa.files.arrays import digest
from lang_jepa.files.atomic import read_json
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.watch import EARLY, task_alarms

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report
    from lang_jepa.training.engine import Engine
    from lang_jepa.training.methods.encoder import EncoderMethod

_DATA_FREE = frozenset({"data.corpus_dir", "data.prepare_workers", "data.num_workers"})
_CORPUS_FREE = _DATA_FREE | {
    "data.context",
    "data.window_size",
    "data.passage_size",
    "data.batch_size",
    "data.batch_tokens",
    "data.pool_batches",
    "data.view",
}
_ENCODER = tuple(
    f"model.{name}"
    for name in (
        "pretrained",
        "weights_path",
        "architecture",
        "embed_dim",
        "max_length",
        "num_layers",
        "num_heads",
        "mlp_ratio",
        "embedding_std",
        "residual_scale",
    )
)
_HEAD = ("model.head", "model.head_sample", "model.whitening_power")
_BATCHES = 16
_TASK = ("val/distance_shuffled", "val/distance_mean_target", "val/distance_copy_forward")


class EncoderRuns(RunKind[Settings]):
    """See `lang_jepa.comparison.kind.RunKind`."""

    on_purpose = (*RunKind.on_purpose, "meta.use_gradient_checkpointing", "logging.val_sentences")
    # A run of a comparison has no decoder, and no queries of yours.
    tasks = tuple(task for task in ENCODER_TASKS if task not in {"decode", "search"})
    quick = QUICK
    facts = ("corpus", "order", "backbone", "encoder", "predictor")

    def panels(self, settings: Settings) -> tuple[Panel, ...]:
        """Retrieval and distance."""
        return (
            Panel("val/retrieval/mrr", "held-out targets, MRR"),
            Panel("val/distance", "held-out distance"),
        )

    def check(self, name: str, settings: Settings) -> None:
        """Something must be held out."""
        if not settings.data.val_fraction:
            raise LangJepaError(
                f"{name} holds nothing out, so there are no curves to compare. Set data.val_fraction for all: "
                "-o data.val_fraction=0.05"
            )

    def usual_tasks(self, settings: Settings) -> tuple[str, ...]:
        """The built-in stories where they are trained on, else next sentences."""
        return ("stories",) if settings.data.train_file == "stories" else ("retrieval",)

    def expected_equal(self, one: Settings, other: Settings) -> dict[str, bool]:
        """Which facts of two runs of one seed their settings say must be equal."""
        first, second = flat(one), flat(other)

        def same(keys: Any) -> bool:
            return all(first[key] == second[key] for key in keys)

        data = [key for key in first if key.startswith("data.")]
        corpus = same(key for key in data if key not in _CORPUS_FREE)
        views = corpus and same(key for key in data if key not in _DATA_FREE) and one.own_view == other.own_view
        backbone = corpus and same(_ENCODER)
        return {
            "corpus": corpus,
            "order": views and same(("model.max_length",)),
            "backbone": backbone,
            "encoder": backbone and views and same(_HEAD),
        }

    def columns(self, settings: Settings) -> tuple[str, ...]:
        """Distances and retrieval, and what proves that there is something to learn."""
        return ("val/distance", "val/retrieval/mrr", "val/retrieval/recall@1", *_TASK)

    def headlines(self, settings: Settings) -> tuple[str, ...]:
        """Columns that are read at equal budgets."""
        return ("val/retrieval/recall@1", "val/retrieval/mrr", "val/distance")

    def alarms(self, folder: Path, *, total: int) -> dict[str, str]:
        """What the collapse watch (its first alarm) and the task alarm found."""
        collapses = read_json(folder / "summary.json", what="the summary of a run")["alarms"]
        found = {"collapse": collapses[0]} if collapses else {}
        task = task_alarms(read_metrics(folder / "metrics.csv"), total=total)
        return found | {one.kind: str(one) for one in task}

    def check_tasks(self, settings: Mapping[str, Settings], tasks: Sequence[str], data_dir: Path | None) -> None:
        """Documents must be kept for what reads them, and more than one variant must have something to answer."""
        from lang_jepa.data.views import view_of

        check_task_data(tasks, data_dir)
        streamed = [name for name, one in settings.items() if one.data.streaming]
        reading = [task for task in tasks if task in {"retrieval", "document"}]
        if streamed and reading:
            raise LangJepaError(
                f"{', '.join(streamed)}: a stream keeps no documents that the task {reading[0]} could ask about. Set "
                "data.streaming=false, or choose others: --tasks sts,au"
            )
        silent = [name for name, one in settings.items() if not view_of(one).asks_next]
        if {*tasks} == {"retrieval"} and (next(iter(settings)) in silent or len(silent) >= len(settings) - 1):
            raise LangJepaError(
                f"{', '.join(silent)}: trained to predict no next sentence, which is all that the task retrieval asks, "
                "so there would be nothing to judge. Choose others: --tasks sts,au"
            )

    def notes(self, settings: Mapping[str, Settings], first_validations: Mapping[str, float]) -> list[str]:
        """On the end of training, on curves that are no common measure, on cost, and on alarms that could not ring."""
        from lang_jepa.inference.cache import reads_cached

        notes = ["Scores are those of the end of each run; no validation chooses among weights."]
        if len({one.data.view for one in settings.values()}) > 1:
            notes.append(
                "The variants have different views: in the curves each is asked for its own targets, of which some are "
                "easier than others. The scores ask all the same."
            )
        if len({one.optimization.loss_fn for one in settings.values()}) > 1:
            notes.append("The variants minimise different distances: their losses are not comparable, only shown.")
        notes += [
            f"{name} reads its sentences once, before the first step, and keeps them: that is in no budget and no cost."
            for name, one in settings.items()
            if reads_cached(one)
        ]
        notes += [
            f"{name} was first validated at step {step:.0f}: 'too easy' could not be judged."
            for name, step in first_validations.items()
            if step > EARLY
        ]
        return notes

    def facts_of(self, engine: "Engine") -> Facts:
        """What an encoder's run starts with."""
        encoder, method = _method(engine).jepa.encoder.state_dict(), _method(engine)
        return {
            **super().facts_of(engine),
            "order": _order(method),
            "backbone": digest({key: value for key, value in encoder.items() if not key.startswith("head.")}),
            "encoder": digest(encoder),
            "predictor": digest(method.jepa.predictor.state_dict()),
        }

    def evaluate(self, folder: Path, exam: Exam) -> "tuple[Report, Path]":
        """Score a finished run."""
        from lang_jepa.report import evaluate_run
        from lang_jepa.report.run import EvaluateOptions

        asked = EvaluateOptions(
            tasks=",".join(exam.tasks),
            data_dir=exam.data_dir,
            budget=exam.questions,
            shared=exam.shared,
            window_size=exam.window,
        )
        return evaluate_run(folder, asked)

    def window(self, settings: Sequence[Settings]) -> int:
        """The longest context that any of them reads."""
        return max(one.data.window_size for one in settings)


def _method(engine: "Engine") -> "EncoderMethod":
    return cast("EncoderMethod", engine.method)


def _order(method: "EncoderMethod") -> str | None:
    """Hash of the sentences that the first batches predict; None for a stream, whose reading would start anew."""
    if method.settings.data.streaming:
        return None
    batches = islice(iter(method.data.source()), _BATCHES)
    return digest({str(number): batch.sentence_ids for number, batch in enumerate(batches)})


ENCODERS = EncoderRuns("encoder", "an encoder")
