"""How a comparison treats runs of the built-in systems, encoders and GPTs; and which kind of run a recipe makes."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lang_jepa.comparison.kind import Chosen, Evaluation, Panel, RunKind, StartInfo, changed, flat
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import GPT_QUICK, GPT_TASKS, OF_ENCODERS, tasks_named
from lang_jepa.files.arrays import digest
from lang_jepa.files.atomic import read_json
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import settings_class
from lang_jepa.settings.recipes import system_of
from lang_jepa.training.collapse import EARLY, task_alarms
from lang_jepa.training.metrics import read_metrics

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report
    from lang_jepa.training.engine import Engine
    from lang_jepa.training.methods.encoder import EncoderMethod
    from lang_jepa.training.methods.gpt import GPTMethod

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


class ScoredRuns(RunKind[Chosen]):
    """Runs that are evaluated on tasks after training."""

    def check_tasks(self, settings: Mapping[str, Chosen], tasks: Sequence[str], data_dir: Path | None) -> None:
        """Check that the public data read by the tasks is there."""
        for task in tasks_named(tasks):
            if task.find_data is not None:
                task.find_data(data_dir)

    def evaluate(self, folder: Path, evaluation: Evaluation) -> "tuple[Report, Path]":
        from lang_jepa.report import evaluate_run
        from lang_jepa.report.run import EvaluateOptions

        options = EvaluateOptions(
            tasks=",".join(evaluation.tasks),
            data_dir=evaluation.data_dir,
            budget=evaluation.questions,
            shared=evaluation.shared,
            window_size=evaluation.window,
        )
        return evaluate_run(folder, options)


def _same(one: Mapping[str, Any], other: Mapping[str, Any], keys: Iterable[str]) -> bool:
    return all(one[key] == other[key] for key in keys)


class EncoderRuns(ScoredRuns[Settings]):
    """Runs of encoders."""

    on_purpose = (*RunKind.on_purpose, "meta.use_gradient_checkpointing", "logging.val_sentences")
    # A run of a comparison has no decoder, and no queries from the user.
    tasks = tuple(task.name for task in OF_ENCODERS if not {"decoding", "searched", "passages"} & {*task.needs})
    info = ("corpus", "order", "backbone", "encoder", "predictor")

    def panels(self, settings: Settings) -> tuple[Panel, ...]:
        return (Panel("val/retrieval/mrr", "held-out targets, MRR"), Panel("val/distance", "held-out distance"))

    def check(self, name: str, settings: Settings) -> None:
        if not settings.data.val_fraction:
            raise LangJepaError(
                f"{name} holds nothing out, so there are no curves to compare. Set data.val_fraction for all: "
                "-o data.val_fraction=0.05"
            )

    def usual_tasks(self, settings: Settings) -> tuple[str, ...]:
        """`stories` if trained on the built-in stories, else `retrieval` for sentences and `turns` for other units."""
        own = "retrieval" if settings.data.units == "sentences" else "turns"
        return ("stories",) if settings.data.train_file == "stories" else (own,)

    def expected_equal(self, one: Settings, other: Settings) -> dict[str, bool]:
        first, second = flat(one), flat(other)
        data = {key for key in first if key.startswith("data.")}
        corpus = _same(first, second, data - _CORPUS_FREE)
        views = corpus and _same(first, second, data - _DATA_FREE) and one.own_view == other.own_view
        backbone = corpus and _same(first, second, _ENCODER)
        return {
            "corpus": corpus,
            "order": views and _same(first, second, ("model.max_length",)),
            "backbone": backbone,
            "encoder": backbone and views and _same(first, second, _HEAD),
        }

    def columns(self, settings: Settings) -> tuple[str, ...]:
        """Distances and retrieval, and the distances that show whether there is something to learn."""
        return ("val/distance", "val/retrieval/mrr", "val/retrieval/recall@1", *_TASK)

    def headlines(self, settings: Settings) -> tuple[str, ...]:
        return ("val/retrieval/recall@1", "val/retrieval/mrr", "val/distance")

    def alarms(self, folder: Path, *, total: int) -> dict[str, str]:
        """The first warning of the collapse monitor, and what the check of the task found."""
        collapses = read_json(folder / "summary.json", what="the summary of a run")["alarms"]
        found = {"collapse": collapses[0]} if collapses else {}
        task = task_alarms(read_metrics(folder / "metrics.csv"), total=total)
        return found | {one.kind: str(one) for one in task}

    def check_tasks(self, settings: Mapping[str, Settings], tasks: Sequence[str], data_dir: Path | None) -> None:
        """Documents that tasks read must be on disk; the baseline and another variant must predict what is asked."""
        from lang_jepa.data.views import view_of

        super().check_tasks(settings, tasks, data_dir)
        streamed = [name for name, one in settings.items() if one.data.streaming]
        chosen = tasks_named(tasks)
        reading = [task.name for task in chosen if task.reads_held_out]
        if streamed and reading:
            raise LangJepaError(
                f"{', '.join(streamed)}: a stream keeps no documents that the task {reading[0]} could ask about. Set "
                "data.streaming=false, or choose others: --tasks sts,au"
            )
        silent = [name for name, one in settings.items() if not view_of(one).asks_next]
        nothing_to_judge = next(iter(settings)) in silent or len(silent) >= len(settings) - 1
        if nothing_to_judge and all(task.asks_next for task in chosen):
            raise LangJepaError(
                f"{', '.join(silent)}: trained to predict no next sentence, which is all that the task "
                f"{chosen[0].name} asks, so there would be nothing to judge. Choose others: --tasks sts,au"
            )

    def notes(self, settings: Mapping[str, Settings], first_validations: Mapping[str, float]) -> list[str]:
        """Notes on the scored weights, curves that are not comparable, cost, and warnings that could not be given."""
        from lang_jepa.inference.cache import reads_cached

        notes = super().notes(settings, first_validations)
        if len({one.data.view for one in settings.values()}) > 1:
            notes.append(
                "The variants have different views: in the curves each is asked for its own targets, of which some are "
                "easier than others. The scores ask all the same."
            )
        if len({one.optimization.loss_fn for one in settings.values()}) > 1:
            notes.append("The variants minimise different distances: their losses are not comparable, only shown.")
        notes += [
            f"{name} reads its sentences once, before the first step, and caches them: that is in no budget "
            "and no cost."
            for name, one in settings.items()
            if reads_cached(one)
        ]
        notes += [
            f"{name} was first validated at step {step:.0f}: 'too easy' could not be judged."
            for name, step in first_validations.items()
            if step > EARLY
        ]
        return notes

    def start_info(self, engine: "Engine") -> StartInfo:
        method = cast("EncoderMethod", engine.method)
        encoder = method.jepa.encoder.state_dict()
        return {
            **super().start_info(engine),
            "order": _order(method),
            "backbone": digest({key: value for key, value in encoder.items() if not key.startswith("head.")}),
            "encoder": digest(encoder),
            "predictor": digest(method.jepa.predictor.state_dict()),
        }

    def window(self, settings: Sequence[Settings]) -> int:
        """The longest context that any variant reads."""
        return max(one.data.window_size for one in settings)


def _order(method: "EncoderMethod") -> str | None:
    """Hash of the sentences that the first batches predict; None for a stream, which would have to be read anew."""
    if method.settings.data.streaming:
        return None
    batches = islice(iter(method.data.source()), _BATCHES)
    return digest({str(number): batch.sentence_ids for number, batch in enumerate(batches)})


ENCODERS = EncoderRuns("encoder", "an encoder")

_GPT_DATA_FREE = frozenset({"data.corpus_dir", "data.prepare_workers", "data.micro_batch_tokens"})
_GPT_CORPUS_FREE = _GPT_DATA_FREE | {"data.seq_len", "data.batch_tokens"}


class GPTRuns(ScoredRuns[GPTSettings]):
    """Runs of GPTs."""

    on_purpose = (
        *RunKind.on_purpose,
        "evaluation.val_tokens",
        "evaluation.val_batch_tokens",
        "evaluation.span_sequences",
        "evaluation.sentence_layer",
    )
    tasks = GPT_TASKS
    quick = GPT_QUICK
    info = ("corpus", "order", "weights")

    def panels(self, settings: GPTSettings) -> tuple[Panel, ...]:
        return (
            Panel("val/bits_per_byte", "held-out bits per byte", from_zero=False),
            Panel("val/span_loss", "held-out span loss"),
        )

    def check(self, name: str, settings: GPTSettings) -> None:
        """Check that something is held out, and that the clock does not end the run."""
        if settings.data.data_path is None and not settings.data.val_fraction:
            raise LangJepaError(
                f"{name} holds nothing out, so there are no curves to compare. Set data.val_fraction for all: "
                "-o data.val_fraction=0.02"
            )
        if settings.optimization.max_seconds is not None:
            raise LangJepaError(
                f"{name} ends by the clock, so it cannot be repeated. Set -o optimization.max_seconds=null, and give "
                "all runs their time with --budget minutes=..."
            )

    def usual_tasks(self, settings: GPTSettings) -> tuple[str, ...]:
        """Tasks that need only the run's own tokens."""
        return ("bits_per_byte", "quantised", "retrieval")

    def expected_equal(self, one: GPTSettings, other: GPTSettings) -> dict[str, bool]:
        first, second = flat(one), flat(other)
        data = {key for key in first if key.startswith("data.")}
        model = [key for key in first if key.startswith("model.")]
        return {
            "corpus": _same(first, second, data - _GPT_CORPUS_FREE),
            "order": _same(first, second, data - _GPT_DATA_FREE),
            "weights": _same(first, second, [*model, "data.vocab_size", "data.seq_len"]),
        }

    def columns(self, settings: GPTSettings) -> tuple[str, ...]:
        return ("val/bits_per_byte", "val/token_loss", "val/span_loss")

    def headlines(self, settings: GPTSettings) -> tuple[str, ...]:
        return ("val/bits_per_byte",)

    def notes(self, settings: Mapping[str, GPTSettings], first_validations: Mapping[str, float]) -> list[str]:
        """Notes on which weights are scored, and on the text that the curves are measured on."""
        return [
            *super().notes(settings, first_validations),
            "Curves are of the validations in training (the first evaluation.val_tokens of the held-out text), "
            "scores of documents spread over all of it, so their bits per byte differ.",
        ]

    def start(self, settings: GPTSettings, scratch: Path, *, steps: int) -> "Engine":
        """Open a run whose whole schedule takes `steps` steps, so that each part of it gets its share."""
        return super().start(changed(settings, optimization={"max_steps": steps}), scratch, steps=steps)

    def start_info(self, engine: "Engine") -> StartInfo:
        method = cast("GPTMethod", engine.method)
        if method.validation is None:
            raise LangJepaError(
                f"{method.tokens.place} holds nothing out, so there is nothing to compare: make shards with "
                "--val-fraction, or set data.val_fraction"
            )
        stream = method.batches(None).anew().stream
        order = {str(number): next(stream) for number in range(_BATCHES)}
        return {**super().start_info(engine), "order": digest(order)}


GPTS = GPTRuns("gpt", "a GPT")

KINDS: dict[str, RunKind[Any]] = {"encoder": ENCODERS, "decoder": RunKind("decoder", "a decoder"), "gpt": GPTS}
"""The kinds of the built-in systems; a custom system is compared by its last validation."""


def kind_named(name: str) -> RunKind[Any]:
    """Return the kind that a plan names.

    Raises:
        LangJepaError: there is no such system.
    """
    if name in KINDS:
        return KINDS[name]
    settings_class(name)  # raises if there is no such system
    return RunKind(name, f"a {name}")


def kind_of(recipes: Iterable[str]) -> RunKind[Any]:
    """Return the kind of run that all the recipes make.

    Raises:
        LangJepaError: they make different kinds.
    """
    found: dict[str, list[str]] = {}
    for recipe in recipes:
        found.setdefault(system_of(recipe), []).append(recipe)
    if len(found) > 1:
        lists = "; ".join(f"{name}: {', '.join(some)}" for name, some in found.items())
        raise LangJepaError(
            f"recipes of different systems are not measured by the same metrics and cannot be compared ({lists})"
        )
    return kind_named(next(iter(found)))
