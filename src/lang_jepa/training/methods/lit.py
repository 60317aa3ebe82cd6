"""A thin adapter that trains the engine's `EncoderMethod` with `lightning.Trainer`.

    settings = load_settings("lejepa_spans", ["optimization.max_steps=500"])
    module, data = LitJEPA(settings), TextDataModule(settings)
    Trainer(max_steps=500, val_check_interval=50, check_val_every_n_epoch=None).fit(module, data)
    module.concept_model().save("runs/mine/model")

One optimizer step on one process computes the same as the loop of the engine, with one difference: with
`accumulate_grad_batches` the Trainer weights micro-batches equally, the loop by their number of predictions.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision, Precision
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.loader import Loader
from lang_jepa.data.views.batch import Batch
from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import check_finite as check_finite_tree
from lang_jepa.files.arrays import tree_digest
from lang_jepa.inference.model import ConceptModel
from lang_jepa.models.jepa import Jepa, Output
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.settings.encoder import Settings
from lang_jepa.training import ranks
from lang_jepa.training.held_out import HeldOut
from lang_jepa.training.method import MicroStep
from lang_jepa.training.methods.encoder import EncoderMethod
from lang_jepa.training.methods.encoder_data import EncoderData, open_data
from lang_jepa.training.optim import check_gradients, clip_gradients, non_finite
from lang_jepa.training.preflight import check_trainer_run
from lang_jepa.training.text_size import check_sample

_OURS = "lang_jepa"
_HASH = "sha256"
_LEARNT = ("state_dict", "optimizer_states")
_HASHED = (*_LEARNT, "loops", "epoch", "global_step", "TextDataModule", _OURS)
"""Parts of the Trainer's checkpoint that are ours, or that determine how training continues."""
_FULL: Final = "32-true"
_MIXED: Final = "bf16-mixed"
PROGRESS = ("train/loss", "train/repr_std", "val/loss")
"""Metrics shown in the Trainer's progress bar."""


def rank_and_world(trainer: Any | None) -> tuple[int, int]:
    """Return rank and number of processes; without a Trainer there is only one process."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def of_this_rank(saved: list[Any], trainer: Any | None) -> Any:
    """Return what this rank had saved.

    Raises:
        LangJepaError: another number of processes saved it, so no rank could continue exactly.
    """
    rank, world = rank_and_world(trainer)
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
        rank, world = rank_and_world(self.trainer)
        self.data = open_data(self.settings, rank=rank, world=world)
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
        return {"positions": ranks.gather(self._position)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from this rank's saved position."""
        self._saved = state_dict["positions"]


def _hash_of(checkpoint: Mapping[str, Any]) -> str:
    """Hash the parts that determine how training continues."""
    return tree_digest({name: checkpoint.get(name) for name in _HASHED})


def _precision(trainer: Any) -> Precision:
    """Return what Fabric applies around the model in the loop, for the Trainer's precision.

    Raises:
        LangJepaError: training in this precision would not do what it says. Fused AdamW unscales float16 gradients
            itself, after they were clipped; and a float32 target cannot follow an encoder in another dtype.
    """
    if trainer.precision == _FULL:
        return Precision()
    if trainer.precision == _MIXED:
        return MixedPrecision(_MIXED, trainer.strategy.root_device.type)
    raise LangJepaError(
        f"LitJEPA does not train in precision {trainer.precision}: give the Trainer precision='{_MIXED}' or '{_FULL}'"
    )


class _TrainersFabric:
    """The part of Fabric's interface that a method uses, provided by the Trainer.

    Args:
        module: the module that the Trainer trains.
        precision: what Fabric applies around the model.
    """

    def __init__(self, module: "LitJEPA", precision: Precision) -> None:
        self._module, self._precision = module, precision

    @property
    def device(self) -> torch.device:
        return self._module.device

    @property
    def global_rank(self) -> int:
        return self._module.global_rank

    @property
    def world_size(self) -> int:
        return self._module.trainer.world_size

    @property
    def is_global_zero(self) -> bool:
        return self._module.trainer.is_global_zero

    def autocast(self) -> Any:
        """Return the autocast context, for the model only."""
        return self._precision.forward_context()


class LitJEPA(LightningModule):
    """Any recipe as a LightningModule. Needs a `TextDataModule`, since tokenizer and whitened start depend on the data.

    Gradients are clipped to `optimization.clip_grad` unless the Trainer was given another limit. The precision is the
    Trainer's: 32-true, or bf16-mixed, which rounds the same values as `meta.precision=bf16` in the loop.

    Args:
        settings: of the recipe. The schedules end at the Trainer's max_steps.

    Attributes:
        method: the method that the loop would train, available once the Trainer has set up the module.

    Raises:
        LangJepaError: in `fit`, without a TextDataModule or max_steps, in another precision, on a non-finite loss or
            gradient (the update is not made), or when the collapse monitor warns and meta.on_collapse is `stop`; and
            in `load_from_checkpoint`, which is not supported.
    """

    method: EncoderMethod
    jepa: Jepa

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self._generators: list[Any] | None = None  # those of all ranks, from a checkpoint
        self._read: list[Batch] = []  # batches since the last update
        self._losses: list[Tensor] = []  # the losses of these batches

    def setup(self, stage: str) -> None:
        self._precision = _precision(self.trainer)
        module = getattr(self.trainer, "datamodule", None)
        if not isinstance(module, TextDataModule):
            raise LangJepaError("LitJEPA needs its data: Trainer.fit(LitJEPA(settings), TextDataModule(settings))")
        if hasattr(self, "jepa"):
            return
        if self.trainer.max_steps < 1:
            raise LangJepaError("batches are endless and schedules must end: give the Trainer max_steps")
        method = EncoderMethod(self.settings)
        method.fabric = cast(Fabric, _TrainersFabric(self, self._precision))
        method.data, method.total = module.data, self.trainer.max_steps
        _, method.epoch_ends = module.data.total_steps()
        method.build_model()
        method.model = self._online  # type: ignore[assignment]  # called like a module
        self.method, self.jepa = method, method.jepa

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW with the settings' parameter groups; rates are set at every step, so there is no scheduler."""
        optimizer = self.method.optimizer()
        self.method.optimizers = [optimizer]
        return optimizer

    def on_fit_start(self) -> None:
        """Move the target and cache vectors: resumed weights are loaded by now, and no batch has been read yet."""
        self._move_target()
        self.method.data.read_cached(self.jepa.encoder, rank_zero_info)

    def on_validation_start(self) -> None:
        """Needed for `Trainer.validate`, which does not call `on_fit_start`."""
        self._move_target()

    def _move_target(self) -> None:
        """Move the target to the model's device: it is not a submodule, since nothing may train or wrap it."""
        self.method.target.encoder.to(self.device)

    def on_train_start(self) -> None:
        """Seed the generators, from here on only used for dropout, differently on each rank, or restore their state."""
        torch.manual_seed(self.settings.meta.seed * 1000 + 1 + self.global_rank)
        if self._generators is not None:
            own, self._generators = of_this_rank(self._generators, self.trainer), None
            ranks.set_generators(own)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        rates = self.method.set_rates(self.global_step, 0.0)
        count = round(float(sum_over_ranks(torch.tensor(float(batch.predictions), device=self.device))))
        micro = MicroStep(step=self.global_step, seconds=0.0, count=count, number=0, micro_batches=1)
        with self._full_precision():
            loss = self.method.loss(batch, micro)
        self._read.append(batch)
        self._losses.append(loss.total.detach())
        sums = {name: sum_over_ranks(one) for name, one in loss.sums.items()}
        self._log({**self.method.metrics(sums, micro), **rates}, max(1, batch.predictions))
        return loss.total

    def _log(self, metrics: Mapping[str, float], batch_size: int) -> None:
        """Log metrics that are equal on all ranks; those in `PROGRESS` also appear in the progress bar."""
        for name, value in metrics.items():
            self.log(name, value, batch_size=batch_size, prog_bar=name in PROGRESS)

    def _online(self, *views: Any) -> Output:
        """Call the model in training, with inputs and outputs cast as Fabric casts them: with an fp32 output, the
        gradients of several terms are summed in fp32.
        """
        output: Output = self._precision.convert_output(self.jepa(*self._precision.convert_input(views)))
        return output

    def _full_precision(self) -> torch.autocast:
        """Disable autocast, under which the Trainer runs a whole step, so that objective and metrics are computed in
        fp32. Casts of a weight are cached within the step, as in the loop; the Trainer would cast a weight anew for
        each use, which rounds the sum of its gradients differently.
        """
        return torch.autocast(self.device.type, enabled=False, cache_enabled=True)

    def on_after_backward(self) -> None:
        """Check that every trainable parameter gets a gradient in the first step."""
        if self.global_step == 0:
            check_gradients(self.jepa)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to the limit in the settings, unless the Trainer was given one (0: leave the gradient). Lightning's own
        function is not used: in mixed precision it refuses a fused optimizer, although bfloat16 needs no scaling.

        A non-finite loss stops the run here, as in the loop: after the last micro-batch of a step, before the update.
        """
        given = gradient_clip_val is not None
        limit = (gradient_clip_val or None) if given else self.settings.optimization.clip_grad
        by_value = given and gradient_clip_algorithm == "value"
        norm = clip_gradients(self.jepa, None if by_value else limit)
        if problem := non_finite(self.global_step + 1, float(torch.stack(self._losses).mean()), norm):
            raise LangJepaError(f"{problem} Lower optimization.lr, or train in higher precision.")
        if by_value and limit is not None:
            nn.utils.clip_grad_value_(self.jepa.parameters(), limit)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make the update, let the target follow, and record the batches as used. That happens here rather than at the
        end of the batch, where a ModelCheckpoint saves before this module's hook is called.
        """
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        self.method.after_update(step)
        for batch in self._read:
            self.trainer.datamodule.learnt_from(batch)  # type: ignore[attr-defined]
        self._read, self._losses = [], []

    def validation_step(self, held_out: HeldOut, batch_idx: int) -> None:
        """Validate on the held-out sample, with the metrics and the collapse monitor of the loop."""
        with self._full_precision():
            found = self.method.validate(self.global_step, 0.0, last=False)
        assert found is not None  # otherwise the loader has no item
        self._log(found.metrics, 1)
        if found.stop:
            raise LangJepaError(found.stop)
        for text in found.warnings:
            rank_zero_warn(text)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add target, centre, collapse monitor and all ranks' generators to the Trainer's checkpoint, which every rank
        assembles and rank 0 writes.
        """
        # Not this module's device, which is the CPU again once `fit` has returned.
        fabric = SimpleNamespace(device=self.trainer.strategy.root_device)
        ours: dict[str, Any] = {
            **self.method.own_state(),
            "generators": ranks.gather(ranks.generators(fabric)),
        }
        checkpoint[_OURS] = {**ours, _HASH: _hash_of({**checkpoint, _OURS: ours})}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore what `on_save_checkpoint` saved.

        Raises:
            LangJepaError: `load_from_checkpoint` was called, the checkpoint is not from this version of the class, or
                it is damaged: the parts needed to resume do not match their hash, or are not finite.
        """
        if not hasattr(self, "jepa"):
            raise LangJepaError(
                "LitJEPA.load_from_checkpoint cannot build the model, because tokenizer and sizes come from the data. "
                "Call trainer.fit(LitJEPA(settings), TextDataModule(settings), ckpt_path=...) to resume from the "
                "checkpoint (it ends at once if training had ended), then module.concept_model() for the model; "
                "one that was saved is read by ConceptModel.load(folder)."
            )
        ours = checkpoint.get(_OURS, {})
        if _HASH not in ours:
            raise LangJepaError(
                "cannot resume: this is not a checkpoint of LitJEPA, or it is one of an earlier version, which did not "
                "save what each process needs to resume. Start a new run."
            )
        ours = {name: part for name, part in ours.items() if name != _HASH}
        if _hash_of({**checkpoint, _OURS: ours}) != checkpoint[_OURS][_HASH]:
            raise LangJepaError("the checkpoint is damaged: its contents do not match its checksum. Take another one.")
        check_finite_tree({name: checkpoint.get(name) for name in _LEARNT}, where="the checkpoint")
        self.method.restore_own(ours, "the checkpoint")
        self._generators = ours["generators"]

    def concept_model(self) -> ConceptModel:
        """Return the current model, to use it or to save it as a model directory."""
        return self.method.concept_model()
