"""TensorBoard and Weights & Biases beside the CSV, where they are asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from lang_jepa.errors import LangJepaError


class Tracker(Protocol):
    """Takes figures of a step."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures."""

    def close(self) -> None:
        """Flush and close."""


class TensorBoard:
    """Scalars in `folder`, for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise LangJepaError(
                "logging.log_to_tensorboard needs TensorBoard: pip install 'lang-jepa[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


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

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures."""
        self._run.log(dict(figures), step=step)

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


def make_trackers(wanted: Wanted, settings: BaseModel, folder: Path) -> list[Tracker]:
    """The trackers that the settings ask for; `settings`: all of them, which W&B keeps."""
    trackers: list[Tracker] = []
    if wanted.log_to_tensorboard:
        trackers.append(TensorBoard(folder / "tensorboard"))
    if wanted.log_to_wandb:
        trackers.append(WeightsAndBiases(settings, folder))
    return trackers
