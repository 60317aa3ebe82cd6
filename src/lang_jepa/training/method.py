"""What the engine asks of a system: one class for each. The engine knows nothing of encoders, decoders or GPTs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from lang_jepa.settings.run import FSDP, RunSettings
from lang_jepa.training.checkpoint import load_weights
from lang_jepa.training.metrics import STEP
from lang_jepa.training.optim import load_optimizers, optimizer_states
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.run_folder import Layout
from lang_jepa.training.schedule import epochs_ended
from lang_jepa.training.sharding import check_all_sharded

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricModule

S = TypeVar("S", bound=RunSettings)
Metrics = Mapping[str, float]
FREE = (
    "logging.",
    "meta.load_checkpoint",
    "meta.checkpoint_path",
    "meta.on_collapse",
    "meta.timeout_minutes",
    "meta.strategy",
    "recipe",
)
"""Beginnings of the settings of every system that may differ when a run goes on: they do not touch the numbers."""


class Batch(Protocol):
    """A micro-batch.

    Attributes:
        predictions: what its loss is a sum over, so that ragged micro-batches and ranks weigh by it.
    """

    @property
    def predictions(self) -> int: ...

    def to(self, device: Any) -> Self: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch that is one tensor.

    Attributes:
        rows: [N, ...], an example each.
    """

    rows: Tensor

    @property
    def predictions(self) -> int:
        """Its examples."""
        return len(self.rows)

    def to(self, device: Any) -> "Rows":
        """The same on a device."""
        return Rows(self.rows.to(device))


class Batches(Protocol):
    """Endless micro-batches of one rank, with a position.

    Attributes:
        state: the position after the last one handed out, plain data; set, it is gone back to.
    """

    state: Any

    def __next__(self) -> Any: ...


class DrawnBatches:
    """Batches that are a function of their number.

    Args:
        draw: the batch of a number, counted from 0, for this rank.
        state: where to begin, as `state` gave it.
    """

    def __init__(self, draw: Callable[[int], Batch], state: Any | None = None) -> None:
        self._draw = draw
        self.state: dict[str, int] = dict(state or {"number": 0})

    def __next__(self) -> Batch:
        """The next batch."""
        number = self.state["number"]
        self.state = {"number": number + 1}
        return self._draw(number)


@dataclass(frozen=True, slots=True)
class Part:
    """One micro-batch's place in an optimizer step.

    Attributes:
        step: optimizer steps done before.
        seconds: of training before.
        count: predictions of the whole step, over all micro-batches and ranks.
        number, parts: which micro-batch of how many.
    """

    step: int
    seconds: float
    count: int
    number: int
    parts: int


@dataclass(frozen=True, slots=True)
class Loss:
    """A micro-batch's loss.

    Attributes:
        total: scalar to call backward on. Its sum over the micro-batches of a step, averaged over ranks, is minimised.
        sums: detached, added up over micro-batches and ranks before `Method.metrics` sees them.
    """

    total: Tensor
    sums: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Validation:
    """What was measured on held-out data.

    Attributes:
        metrics: names (val/...) to values, equal on all ranks.
        examples: as text, for examples.txt; rank 0 has them.
        warnings: to be shown.
        stop: why the run must end here, if it must.
    """

    metrics: Mapping[str, float]
    examples: Sequence[str] = ()
    warnings: Sequence[str] = ()
    stop: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """Where a run ended.

    Attributes:
        step, seconds: done and spent in training.
        metrics: of the last validation.
        checkpoint: of the best validation; the last one, where none was best.
        metric, best_step, value: of the best validation (None where none was).
    """

    step: int
    seconds: float
    metrics: Metrics
    checkpoint: Path
    metric: str | None = None
    best_step: int | None = None
    value: float | None = None


class Method(ABC, Generic[S]):
    """A system: its data, its loss, its validation, what it saves and what it makes.

    `open_data` and then `build` are called once, on every rank, before anything else that needs them.

    Args:
        settings: of the run.

    Attributes:
        settings_class: of its settings.
        layout: names of the files in its run directory.
        columns: of metrics.csv.
        free: beginnings of the settings that may differ when a run goes on, beside `FREE`.
        of_ranks: settings that may differ where `same_steps` lets another number of processes go on.
        contents: parts of its checkpoints (what `state` gives) and their types.
        shards: `build` shares out the weights where `sharded` says so (see `lang_jepa.training.sharding.shard`), and
            every process makes as many passes through the modules, in training and in validation.
        fabric, reporter: of the run, from `open_data` on.
        identity: of the data, compared when a run goes on.
        total: optimizer steps planned; epoch_ends: the steps at which epochs end.
        network: what is trained, as a plain module; optimizers: over all of it.
        model: the module that is called, which `Fabric.setup_module` made of the network.
        micro_batches: of an optimizer step on each rank.
        clocked: the schedule depends on the seconds trained, on which ranks must agree.
    """

    settings_class: ClassVar[type[RunSettings]]
    layout: ClassVar[Layout] = Layout()
    columns: ClassVar[tuple[str, ...]] = (
        STEP,
        "train/epoch",
        "train/loss",
        "train/grad_norm",
        "train/targets_per_second",
        "train/seconds",
        "val/loss",
        "epoch/loss",
        "epoch/time",
    )
    free: ClassVar[tuple[str, ...]] = ()
    of_ranks: ClassVar[tuple[str, ...]] = ()
    contents: ClassVar[Mapping[str, Any]] = {"model": dict, "optimizers": list}
    shards: ClassVar[bool] = False

    fabric: "Fabric"
    reporter: Reporter
    identity: str
    total: int
    epoch_ends: Sequence[int] = ()
    network: nn.Module
    model: "_FabricModule"
    optimizers: Sequence[Optimizer]
    micro_batches: int = 1
    clocked: bool = False

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @property
    def all_free(self) -> tuple[str, ...]:
        """Beginnings of the settings that may differ when a run goes on."""
        return FREE + self.free

    @classmethod
    def can_shard(cls) -> bool:
        """Whether the class itself says `shards`: one that derives from it may use the weights in ways of its own."""
        return bool(vars(cls).get("shards", False))

    @property
    def sharded(self) -> bool:
        """Whether the processes share out the weights."""
        return self.settings.meta.strategy == FSDP

    def same_steps(self, before: S, *, then: int, now: int) -> bool:
        """Whether the steps hold the same examples with another number of processes, so that a position means the same
        and shared-out weights can go on.

        Args:
            before: settings of the checkpoint.
            then, now: processes.
        """
        return False

    def complaints(self) -> Iterator[str]:
        """What cannot work, before anything is prepared, moved or trained."""
        yield from ()

    @abstractmethod
    def open_data(self) -> None:
        """Prepare the data if needed, and open it; sets `identity`, `total` and `epoch_ends`. A network may follow in
        `build`: preparing may take hours, for which other ranks wait.
        """

    @abstractmethod
    def build(self) -> None:
        """Network, model and optimizers, with equal weights on every rank whatever the ranks' generators did before."""

    def info(self) -> list[tuple[str, str]]:
        """What is worth knowing before the first step, for people."""
        return []

    def set_up(self, model: nn.Module, *optimizers: Optimizer) -> None:
        """Hand the module that is called, and the optimizers, to Fabric; for `build`."""
        if self.sharded:
            check_all_sharded(model)
        self.model = self.fabric.setup_module(model)
        self.optimizers = [cast(Optimizer, self.fabric.setup_optimizers(one)) for one in optimizers]

    def warnings(self) -> Iterator[str]:
        """What to act on before the first step."""
        yield from ()

    def before_batches(self) -> None:
        """Called with the weights that training begins or goes on with, before the first batch is read."""

    @abstractmethod
    def batches(self, state: Any | None) -> Batches:
        """Micro-batches of this rank from the beginning, or from a saved position."""

    def set_rates(self, step: int, seconds: float) -> dict[str, float]:
        """Put learning rates and the like of the coming update into the optimizers; returns them as metrics."""
        return {}

    @abstractmethod
    def loss(self, batch: Any, part: Part) -> Loss:
        """Loss of one micro-batch, in training mode."""

    def metrics(self, sums: Mapping[str, Tensor], part: Part) -> dict[str, float]:
        """Metrics of a step from the sums of its losses; `train/loss` is what is minimised. As it stands, `loss` over
        the predictions.
        """
        return {"train/loss": float(sums["loss"]) / part.count}

    def after_update(self, step: int) -> None:
        """What follows the weights (EMA target, average); `step`: steps done before the update."""

    def ended(self, step: int, seconds: float) -> bool:
        """Whether training is over."""
        return step >= self.total

    def epochs_ended(self, step: int) -> Sequence[int]:
        """The epochs, counted from 1, that ended with the step just made."""
        return epochs_ended(self.epoch_ends, step)

    def validate(self, step: int, seconds: float, *, last: bool) -> Validation | None:
        """Measure on held-out data, with every rank; None where nothing is held out. Must not disturb the generator
        that training draws from.

        Args:
            step, seconds: done and spent so far.
            last: it is the run's last validation.
        """
        return None

    def best(self) -> tuple[str | None, str]:
        """The metric by which a validation is the best (None: the last one is), and whether `min` or `max` of it."""
        return "val/loss", "min"

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of this system: tensors, numbers, texts, lists and dictionaries."""
        return {"model": self.network.state_dict(), "optimizers": optimizer_states(self.optimizers)}

    def restore(self, state: Mapping[str, Any], path: Path) -> None:
        """Take back what `state` gave; `path` names the checkpoint in messages.

        Raises:
            LangJepaError: it does not fit these settings.
        """
        load_weights(self.network, state["model"], what=f"the model in {path}")
        load_optimizers(self.optimizers, state["optimizers"], path)

    def is_made(self, summary: Mapping[str, Any]) -> bool:
        """Whether what a finished run with this summary makes is there, and whole."""
        return True

    def export(self, folder: Path, end: End) -> Path | None:
        """Write what the run is for; returns the model directory. Rank 0 alone calls it, unless training was
        interrupted.
        """
        return None

    def summary(self, folder: Path, rows: Sequence[Metrics]) -> dict[str, Any]:
        """What summary.json says beside steps, seconds and the best validation. Pictures may be drawn here.

        Args:
            folder: the run directory.
            rows: of metrics.csv.
        """
        return {}

    def work(self, step: int, seconds: float) -> Hashable:
        """What the cost of a step depends on, where steps cost differently."""
        return ()
