"""What a run writes beside its checkpoints, the same for every system; and which look was the best."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import append_text, atomic_file
from lang_jepa.training.metrics import COLUMNS, MetricsFile
from lang_jepa.training.trackers import Tracker

_LOOK = re.compile(r"^step (\d+)\n\n", re.MULTILINE)


class ExamplesFile:
    """One block of examples per look.

    Args:
        path: of the file.
        resume_step: None starts a new file; a step keeps the validations up to it, so that those that a killed run made
            after its last checkpoint are not there twice.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        self.path = path
        kept = ""
        if resume_step is not None and path.is_file():
            text = path.read_text(encoding="utf-8")
            later = (look.start() for look in _LOOK.finditer(text) if int(look.group(1)) > resume_step)
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


Metrics = Mapping[str, float]


class RunFiles:
    """metrics.csv, texts of the validations, and trackers. Rank 0 alone has them.

    Args:
        folder: the run directory.
        texts: name of the file of texts.
        trackers: that take every row too.
        resume_step: None starts new files; a step keeps what was written up to it.
        columns: of metrics.csv.
    """

    def __init__(
        self,
        folder: Path,
        *,
        texts: str,
        trackers: Sequence[Tracker],
        resume_step: int | None,
        columns: Sequence[str] = COLUMNS,
    ) -> None:
        self.metrics = MetricsFile(folder / "metrics.csv", resume_step=resume_step, columns=columns)
        self.texts = ExamplesFile(folder / texts, resume_step=resume_step)
        self.trackers = trackers

    def write(self, step: int, metrics: Metrics) -> None:
        """One row."""
        self.metrics.write(metrics)
        for tracker in self.trackers:
            tracker.write(step, metrics)

    def close(self) -> None:
        """Flush and close the trackers."""
        for tracker in self.trackers:
            tracker.close()


class Best:
    """The best validation by one held-out figure; that before the first step is no result of training.

    Args:
        metric: its name (None: no validation is the best).
        mode: `max` or `min`.

    Attributes:
        step, value: of the best validation (None: there was none).
    """

    def __init__(self, metric: str | None, mode: str) -> None:
        self.metric, self.sign = metric, 1.0 if mode == "max" else -1.0
        self.step: int | None = None
        self.value = 0.0

    def improves(self, step: int, metrics: Metrics) -> bool:
        """Whether a validation is the best so far; it is kept then.

        Raises:
            LangJepaError: the validation did not measure the metric.
        """
        if self.metric is None:
            return False
        if self.metric not in metrics:
            raise LangJepaError(
                f"logging.best_metric '{self.metric}' is not measured; choose one of {', '.join(metrics)}"
            )
        value = metrics[self.metric]
        if not step or (self.step is not None and self.sign * value <= self.sign * self.value):
            return False
        self.step, self.value = step, value
        return True

    def state(self) -> list[Any] | None:
        """What a checkpoint keeps."""
        return None if self.step is None else [self.step, self.value]

    def restore(self, state: Sequence[Any] | None) -> None:
        """Take back what `state` gave."""
        if state:
            self.step, self.value = int(state[0]), float(state[1])
