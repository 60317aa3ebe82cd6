"""Runs of GPTs, as a comparison sees them."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.comparison.kind import Exam, Facts, Panel, RunKind, Trained, check_task_data
from lang_jepa.comparison.trees import changed, flat
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks.evaluate import GPT_QUICK, GPT_TASKS
from lang_jepa.files.arrays import digest
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import load_gpt_settings
from lang_jepa.training.reporter import Reporter

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report

_DATA_FREE = frozenset({"data.corpus_dir", "data.prepare_workers", "data.micro_batch_tokens"})
_CORPUS_FREE = _DATA_FREE | {"data.seq_len", "data.batch_tokens"}
_BATCHES = 16


class GPTRuns(RunKind[GPTSettings]):
    """See `lang_jepa.comparison.kind.RunKind`."""

    name, what = "gpt", "a GPT"
    settings_type = GPTSettings
    ours = frozenset(
        {
            "recipe",
            "meta.seed",
            "meta.load_checkpoint",
            "optimization.max_steps",
            "logging.log_dir",
            "evaluation.val_every",
        }
    )
    on_purpose = (
        "meta.device",
        "meta.use_bfloat16",
        "meta.compile",
        "evaluation.val_tokens",
        "evaluation.val_batch_tokens",
        "evaluation.span_sequences",
        "evaluation.sentence_layer",
    )
    tasks = GPT_TASKS
    quick = GPT_QUICK
    facts = ("corpus", "order", "weights")
    panels = (
        Panel("val/bits_per_byte", "held-out bits per byte", from_zero=False),
        Panel("val/span_loss", "held-out span loss"),
    )

    def load(self, recipe: str, overrides: Iterable[str], shared: Iterable[str]) -> GPTSettings:
        """Settings of a recipe."""
        return load_gpt_settings(recipe, overrides, shared)

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

    def for_run(
        self, settings: GPTSettings, *, seed: int, steps: int, look_every: int, folder: Path
    ) -> GPTSettings:
        """Settings of one run."""
        return changed(
            settings,
            meta={"seed": seed, "load_checkpoint": False},
            optimization={"max_steps": steps},
            evaluation={"val_every": look_every},
            logging={"log_dir": str(folder)},
        )

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

    def alarms(self, folder: Path, *, total: int) -> dict[str, str]:
        """None: a loss that is not finite has stopped the run."""
        return {}

    def check_tasks(
        self, settings: Mapping[str, GPTSettings], tasks: Sequence[str], data_dir: Path | None
    ) -> None:
        """The data of STS-B and SST-2 must be there."""
        check_task_data(tasks, data_dir)

    def notes(self, settings: Mapping[str, GPTSettings], first_looks: Mapping[str, float]) -> list[str]:
        """On the end of training, and on what the curves are measured on."""
        return [
            "Scores are those of the end of each run; no look chooses among weights.",
            "Curves are of the looks in training (evaluation.val_tokens from the beginning of the held-out text), "
            "scores of documents spread over all of it, so their bits per byte differ.",
        ]

    def eager(self, settings: GPTSettings) -> GPTSettings:
        """The same without torch.compile."""
        return changed(settings, meta={"compile": "none"})

    def start(self, settings: GPTSettings, scratch: Path, *, steps: int) -> "GPTStepper":
        """A run whose whole schedule passes in so many steps, so that each part of it has its share of them."""
        from lang_jepa.training.gpt.train import start_gpt_run

        run = start_gpt_run(
            changed(settings, optimization={"max_steps": steps}, logging={"log_dir": str(scratch)})
        )
        return GPTStepper(run)

    def train(self, settings: GPTSettings, reporter: Reporter, on_start: Callable[[Any], None]) -> Trained:
        """Train to the end, or go on to it."""
        from lang_jepa.training.gpt.train import train_gpt

        result = train_gpt(settings, reporter, on_start=on_start)
        return Trained(result.step, result.interrupted)

    def resume(self, folder: Path) -> GPTSettings:
        """Settings with which a run goes on from its last checkpoint."""
        from lang_jepa.training.gpt.train import resume_gpt

        return resume_gpt(folder)

    def facts_of(self, run: Any) -> Facts:
        """What a `lang_jepa.training.gpt.run.GPTRun` starts with."""
        if run.held_out is None:
            raise LangJepaError(
                f"{run.material.tokens.place} holds nothing out, so there is nothing to compare: make shards with "
                "--val-fraction, or set data.val_fraction"
            )
        meta, batches = run.settings.meta, run.material.anew()
        order = {str(number): batches.next_batch() for number in range(_BATCHES)}
        return {
            "corpus": run.material.tokens.identity,
            "order": digest(order),
            "weights": digest(run.gpt.state_dict()),
            "parameters": sum(parameter.numel() for parameter in run.gpt.parameters()),
            "precision": "bf16 autocast" if meta.use_bfloat16 else "fp32",
            "compile": "off" if meta.compile == "none" else meta.compile,
        }

    def evaluate(self, folder: Path, exam: Exam) -> "tuple[Report, Path]":
        """Score a finished run."""
        from lang_jepa.report.gpt_card import evaluate_gpt_run

        return evaluate_gpt_run(
            folder,
            tasks=",".join(exam.tasks),
            data_dir=exam.data_dir,
            output=None,
            budget=exam.questions,
            shared=exam.shared,
        )

    def window(self, settings: Sequence[GPTSettings]) -> None:
        """The evaluation has one of its own, the same for all."""


class GPTStepper:
    """Real steps of a GPT's run.

    Args:
        run: stands at its first step.
    """

    def __init__(self, run: Any) -> None:
        self.run = run

    def step(self) -> Hashable:
        """Make one optimizer step; what it depends on: the looped layers, and whether spans are drawn."""
        run = self.run
        work = (run.looped, run.schedule.span_weight(run.step, run.seconds) > 0)
        run.train_step(run.material.next_batch())
        return work

    def finish(self) -> None:
        """Close what was opened."""
        self.run.finish()


GPTS = GPTRuns()
