"""TensorBoard and Weights & Biases beside the CSV, where they are asked for."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import is_full, writing


class Tracker(Protocol):
    """Takes metrics of a step."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics."""

    def close(self) -> None:
        """Flush and close."""


class TensorBoard:
    """Scalars in `folder`, for `tensorboard --logdir`.

    Args:
        folder: of its files.
        first: the first step that is to be written; what an ended process wrote of it and of later ones is not shown.
    """

    def __init__(self, folder: Path, *, first: int = 0) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise LangJepaError(
                "logging.log_to_tensorboard needs TensorBoard: pip install 'lang-jepa[tensorboard]'"
            ) from error
        self._folder = folder
        threading.excepthook = _quiet_if_full  # its thread hands such an error over at the next write
        with writing(folder):
            self._writer = SummaryWriter(str(folder), purge_step=first)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics.

        Raises:
            LangJepaError: the disk is full.
        """
        with writing(self._folder):
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        with writing(self._folder):
            self._writer.close()


def _quiet_if_full(told: "threading.ExceptHookArgs") -> None:
    if not is_full(told.exc_value):
        threading.__excepthook__(told)


class WeightsAndBiases:
    """A W&B run with the resolved settings."""

    def __init__(self, settings: BaseModel, folder: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise LangJepaError(
                "logging.log_to_wandb needs Weights & Biases: pip install 'lang-jepa[wandb]'"
            ) from error
        self._run = wandb.init(project="lang-jepa", dir=str(folder), config=settings.model_dump())

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Wanted(Protocol):
    """Settings that ask for trackers."""

    @property
    def log_to_tensorboard(self) -> bool:
        """In the run directory."""

    @property
    def log_to_wandb(self) -> bool:
        """As a W&B run."""


def make_trackers(wanted: Wanted, settings: BaseModel, folder: Path, *, first: int) -> list[Tracker]:
    """The trackers that the settings ask for.

    Args:
        wanted: which.
        settings: all of them, which W&B keeps.
        folder: the run directory.
        first: the first step that is to be written.
    """
    trackers: list[Tracker] = []
    if wanted.log_to_tensorboard:
        trackers.append(TensorBoard(folder / "tensorboard", first=first))
    if wanted.log_to_wandb:
        trackers.append(WeightsAndBiases(settings, folder))
    return trackers
