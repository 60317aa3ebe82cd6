"""The data module for runs under Lightning's Trainer; see `lang_jepa.training.methods.lit`."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.loader import Loader
from lang_jepa.data.views.batch import Batch
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings
from lang_jepa.training import ranks
from lang_jepa.training.held_out import HeldOut
from lang_jepa.training.methods.encoder_data import CorpusData, EncoderData, StreamData
from lang_jepa.training.preflight import check_trainer_run
from lang_jepa.training.text_size import check_sample


def place_of(trainer: Any | None) -> tuple[int, int]:
    """Return rank and number of processes; without a Trainer there is only one process."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def of_this_rank(saved: list[Any], trainer: Any | None) -> Any:
    """Return what this rank had saved.

    Raises:
        LangJepaError: another number of processes saved it, so no rank could continue exactly.
    """
    rank, world = place_of(trainer)
    if len(saved) != world:
        raise LangJepaError(
            f"cannot resume: number of processes: checkpoint {len(saved)}, now {world}. Each process continues with "
            f"its own data and dropout, so give the Trainer {len(saved)} (devices times num_nodes), or start a new run."
        )
    return saved[rank]


class TextDataModule(LightningDataModule):
    """Endless ragged batches of the settings' view, so the Trainer needs `max_steps`; resumes at the exact batch.

    Args:
        settings: `data`, `model.max_length`, `logging` (the held-out sample) and `meta.seed` are read.

    Raises:
        LangJepaError: the run cannot work, for example because a path in the settings does not exist.

    Attributes:
        data: batches and the held-out sample, once the Trainer has set the module up.
    """

    data: EncoderData

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        check_trainer_run(settings)
        self.settings = settings
        self._position: dict[str, Any] | None = None
        self._saved: list[Any] | None = None  # all ranks' positions, until it is known which rank this is

    def prepare_data(self) -> None:
        """Prepare the corpus if needed; a lock lets one process do it while the others wait."""
        if not self.settings.data.streaming:
            prepare(self.settings.data)

    def setup(self, stage: str) -> None:
        rank, world = place_of(self.trainer)
        if self.settings.data.streaming:
            self.data = StreamData(self.settings, rank=rank, world=world)
        else:
            self.data = CorpusData(self.settings, prepare(self.settings.data), rank=rank, world=world)
        lost = self.data.losses()
        if line := lost.line():
            (rank_zero_warn if lost.loud else rank_zero_info)(line)
        if rough := check_sample(self.settings, self.data.sample_view):
            rank_zero_warn(rough)

    def train_dataloader(self) -> Loader:
        """Return this rank's endless batches.

        Raises:
            LangJepaError: the position to resume from was saved by another number of processes.
        """
        if self._saved is not None:
            self._position, self._saved = of_this_rank(self._saved, self.trainer), None
        return self.data.batches(self._position)

    def val_dataloader(self) -> DataLoader[HeldOut] | list[Any]:
        """Return a loader of one item, this rank's whole share of the held-out sample, or [] if nothing is held out."""
        if self.data.held_out is None:
            return []
        generator = torch.Generator()  # otherwise a seed is drawn from the generator that dropout uses
        return DataLoader([self.data.held_out], batch_size=None, generator=generator)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch; the held-out sample is moved batch by batch, in validation."""
        return batch.to(device) if isinstance(batch, Batch) else batch

    def learnt_from(self, batch: Batch) -> None:
        """Move the saved position past a batch. The Trainer prefetches, so the loader's own position is too far."""
        self._position = self.data.source().advance(self._position or {}, batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the positions of all ranks, for the Trainer's checkpoint; every rank must call this."""
        if self._saved is not None:
            return {"positions": self._saved}
        return {"positions": ranks.gather(self.trainer, self._position) if self.trainer else [self._position]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from this rank's saved position."""
        self._saved = state_dict["positions"]
