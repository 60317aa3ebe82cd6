"""Runs of GPTs, as a comparison sees them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lang_jepa.comparison.kind import Exam, Facts, Panel, RunKind, check_task_data
from lang_jepa.comparison.trees import changed, flat
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import GPT_QUICK, GPT_TASKS
from lang_jepa.files.arrays import digest
from lang_jepa.settings.gpt import GPTSettings

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report
    from lang_jepa.training.engine import Engine
    from lang_jepa.training.methods.gpt import GPTMethod

_DATA_FREE = frozenset({"data.corpus_dir", "data.prepare_workers", "data.micro_batch_tokens"})
_CORPUS_FREE = _DATA_FREE | {"data.seq_len", "data.batch_tokens"}
_BATCHES = 16


class GPTRuns(RunKind[GPTSettings]):
    """See `lang_jepa.comparison.kind.RunKind`."""

    on_purpose = (
        *RunKind.on_purpose,
        "evaluation.val_tokens",
        "evaluation.val_batch_tokens",
        "evaluation.span_sequences",
        "evaluation.sentence_layer",
    )
    tasks = GPT_TASKS
    quick = GPT_QUICK
    facts = ("corpus", "order", "weights")

    def panels(self, settings: GPTSettings) -> tuple[Panel, ...]:
        """Bits per byte and the span loss."""
        return (
            Panel("val/bits_per_byte", "held-out bits per byte", from_zero=False),
            Panel("val/span_loss", "held-out span loss"),
        )

    def check(self, name: str, settings: GPTSettings) -> None:
        """Something must be held out, and the clock must not end a run."""
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
        """What needs nothing but the run's own tokens."""
        return ("bits_per_byte", "quantised", "retrieval")

    def expected_equal(self, one: GPTSettings, other: GPTSettings) -> dict[str, bool]:
        """Which facts of two runs of one seed their settings say must be equal."""
        first, second = flat(one), flat(other)

        def same(keys: Iterable[str]) -> bool:
            return all(first[key] == second[key] for key in keys)

        data = [key for key in first if key.startswith("data.")]
        model = [key for key in first if key.startswith("model.")]
        return {
            "corpus": same(key for key in data if key not in _CORPUS_FREE),
            "order": same(key for key in data if key not in _DATA_FREE),
            "weights": same([*model, "data.vocab_size", "data.seq_len"]),
        }

    def columns(self, settings: GPTSettings) -> tuple[str, ...]:
        """Losses, bits per byte, and the span loss."""
        return ("val/bits_per_byte", "val/token_loss", "val/span_loss")

    def headlines(self, settings: GPTSettings) -> tuple[str, ...]:
        """Columns that are read at equal budgets."""
        return ("val/bits_per_byte",)

    def check_tasks(self, settings: Mapping[str, GPTSettings], tasks: Sequence[str], data_dir: Path | None) -> None:
        """The data of STS-B and SST-2 must be there."""
        check_task_data(tasks, data_dir)

    def notes(self, settings: Mapping[str, GPTSettings], first_validations: Mapping[str, float]) -> list[str]:
        """On the end of training, and on what the curves are measured on."""
        return [
            *super().notes(settings, first_validations),
            "Curves are of the validations in training (the first evaluation.val_tokens of the held-out text), "
            "scores of documents spread over all of it, so their bits per byte differ.",
        ]

    def start(self, settings: GPTSettings, scratch: Path, *, steps: int) -> "Engine":
        """A run whose whole schedule passes in so many steps, so that each part of it has its share of them."""
        return super().start(changed(settings, optimization={"max_steps": steps}), scratch, steps=steps)

    def facts_of(self, engine: "Engine") -> Facts:
        """What a GPT's run starts with."""
        method = cast("GPTMethod", engine.method)
        if method.validation is None:
            raise LangJepaError(
                f"{method.tokens.place} holds nothing out, so there is nothing to compare: make shards with "
                "--val-fraction, or set data.val_fraction"
            )
        stream = method.batches(None).anew().stream
        order = {str(number): next(stream) for number in range(_BATCHES)}
        return {**super().facts_of(engine), "order": digest(order)}

    def evaluate(self, folder: Path, exam: Exam) -> "tuple[Report, Path]":
        """Score a finished run."""
        from lang_jepa.report import evaluate_run
        from lang_jepa.report.run import EvaluateOptions

        asked = EvaluateOptions(
            tasks=",".join(exam.tasks), data_dir=exam.data_dir, budget=exam.questions, shared=exam.shared
        )
        return evaluate_run(folder, asked)


GPTS = GPTRuns("gpt", "a GPT")
