"""Reporting of a run: to callbacks, metrics.csv, a file of examples, TensorBoard and Weights & Biases.

The command line displays what its `Reporter` receives; library users may use a silent one.
"""

import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lang_jepa.errors import LangJepaError, optional
from lang_jepa.files.atomic import append_text, atomic_file, is_full, writing
from lang_jepa.settings.run import RunSettings
from lang_jepa.training.metrics import MetricsFile

if TYPE_CHECKING:
    from lang_jepa.data.corpus.prepare import PrepareEvent

Metrics = Mapping[str, float]


class Reporter(Protocol):
    """Callbacks of a run, called on rank 0 only."""

    def begin(self, *, total: int, start: int, every: int, info: list[tuple[str, str]]) -> None:
        """Training starts: total steps, first step, steps between log lines, and information to show."""
        return

    def step(self, step: int, metrics: Metrics) -> None:
        """A training step has been made."""
        return

    def validation(self, step: int, metrics: Metrics) -> None:
        """A validation has been made."""
        return

    def message(self, text: str) -> None:
        """There is something to know."""
        return

    def warning(self, text: str) -> None:
        """There is something to act on."""
        return

    def end(self) -> None:
        """Training is over, successfully or not."""
        return


class Silent(Reporter):
    """A reporter that reports nothing."""


def events_to(reporter: Reporter) -> "Callable[[PrepareEvent], None]":
    """Return a callback that reports preparation events: warnings as warnings, blocks at most every ten seconds."""
    last = time.monotonic()

    def on_event(event: "PrepareEvent") -> None:
        nonlocal last
        if event.stage in {"warning", "stale"}:
            reporter.warning(event.message)
        elif event.stage != "block":
            reporter.message(event.message)
        elif time.monotonic() - last > 10:
            last = time.monotonic()
            reporter.message(f"prepared {event.documents:,} documents so far")

    return on_event


class Tracker(Protocol):
    """A destination for the metrics of steps."""

    def write(self, step: int, metrics: Metrics) -> None:
        """Log metrics.

        Raises:
            LangJepaError: the disk is full.
        """

    def close(self) -> None:
        """Flush and close."""


class TensorBoard:
    """Scalars in `folder`, for `tensorboard --logdir`.

    Args:
        folder: where its files are written.
        first: the first step to be written; what an earlier process wrote for it and later steps is not shown.
    """

    def __init__(self, folder: Path, *, first: int = 0) -> None:
        need = "logging.log_to_tensorboard needs TensorBoard"
        module = optional("torch.utils.tensorboard.writer", "tensorboard", need)
        self._folder = folder
        threading.excepthook = _quiet_if_full  # its thread raises such an error again at the next write
        with writing(folder):
            self._writer = module.SummaryWriter(str(folder), purge_step=first)

    def write(self, step: int, metrics: Metrics) -> None:
        with writing(self._folder):
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        with writing(self._folder):
            self._writer.close()


def _quiet_if_full(args: "threading.ExceptHookArgs") -> None:
    if not is_full(args.exc_value):
        threading.__excepthook__(args)


class WeightsAndBiases:
    """A W&B run, configured with the resolved settings."""

    def __init__(self, settings: RunSettings, folder: Path) -> None:
        wandb = optional("wandb", "wandb", "logging.log_to_wandb needs Weights & Biases")
        self._run = wandb.init(project="lang-jepa", dir=str(folder), config=settings.model_dump())

    def write(self, step: int, metrics: Metrics) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


_VALIDATION = re.compile(r"^step (\d+)\n\n", re.MULTILINE)


class ExamplesFile:
    """A text file with one block of examples per validation.

    Args:
        path: of the file.
        resume_step: None starts a new file; a step keeps the validations up to it, so that those which a killed run
            made after its last checkpoint do not appear twice.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        self.path = path
        kept = ""
        if resume_step is not None and path.is_file():
            text = path.read_text(encoding="utf-8")
            later = (one.start() for one in _VALIDATION.finditer(text) if int(one.group(1)) > resume_step)
            kept = text[: next(later, len(text))]
        with atomic_file(path) as temporary:
            temporary.write_text(kept, encoding="utf-8")

    def write(self, step: int, examples: Sequence[str]) -> None:
        """Append the examples of one validation.

        Raises:
            LangJepaError: the disk is full.
        """
        if examples:
            append_text(self.path, f"step {step}\n\n" + "\n\n".join(examples) + "\n\n")


class RunFiles:
    """metrics.csv, texts of the validations, and trackers; on rank 0 only.

    Args:
        folder: the run directory.
        settings: of the run; they say which trackers there are, and W&B stores them.
        texts: name of the file of texts.
        resume_step: None starts new files; a step keeps what was written up to it.
        columns: columns of metrics.csv.
    """

    def __init__(
        self, folder: Path, settings: RunSettings, *, texts: str, resume_step: int | None, columns: Sequence[str]
    ) -> None:
        self.trackers: list[Tracker] = []
        if settings.logging.log_to_tensorboard:
            first = 0 if resume_step is None else resume_step + 1
            self.trackers.append(TensorBoard(folder / "tensorboard", first=first))
        if settings.logging.log_to_wandb:
            self.trackers.append(WeightsAndBiases(settings, folder))
        self.metrics = MetricsFile(folder / "metrics.csv", resume_step=resume_step, columns=columns)
        self.texts = ExamplesFile(folder / texts, resume_step=resume_step)

    def write(self, step: int, metrics: Metrics) -> None:
        """Write one row; the trackers receive it too."""
        self.metrics.write(metrics)
        for tracker in self.trackers:
            tracker.write(step, metrics)

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()


class Best:
    """The best validation by one held-out metric; the one before the first step does not count, as nothing is trained.

    Args:
        metric: its name (None: no validation is selected).
        mode: `max` or `min`.

    Attributes:
        step, value: of the best validation (step None: there is none yet).
    """

    def __init__(self, metric: str | None, mode: str) -> None:
        self.metric, self.sign = metric, 1.0 if mode == "max" else -1.0
        self.step: int | None = None
        self.value = 0.0

    def improves(self, step: int, metrics: Metrics) -> bool:
        """Whether a validation is the best so far; if so, it becomes the new best.

        Raises:
            LangJepaError: the validation did not measure the metric, or its value is not finite.
        """
        if self.metric is None:
            return False
        if self.metric not in metrics:
            raise LangJepaError(
                f"logging.best_metric '{self.metric}' is not measured; choose one of {', '.join(metrics)}"
            )
        value = metrics[self.metric]
        if step and not math.isfinite(value):
            raise LangJepaError(
                f"the validation of step {step} measured {self.metric} as {value}: it cannot be the best"
            )
        if not step or (self.step is not None and self.sign * value <= self.sign * self.value):
            return False
        self.step, self.value = step, value
        return True

    def state(self) -> list[Any] | None:
        """Return the state to store in a checkpoint."""
        return None if self.step is None else [self.step, self.value]

    def restore(self, state: Sequence[Any] | None) -> None:
        """Restore what `state` returned."""
        if state:
            self.step, self.value = int(state[0]), float(state[1])
