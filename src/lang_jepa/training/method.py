"""The interface between the engine and a system. The engine knows nothing of encoders, decoders or GPTs."""

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
"""Prefixes of the settings that may differ in a resumed run of any system, because they do not affect the results."""


class Batch(Protocol):
    """A micro-batch.

    Attributes:
        predictions: number of terms its loss sums over; ragged micro-batches and ranks are weighted by it.
    """

    @property
    def predictions(self) -> int: ...

    def to(self, device: Any) -> Self: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch that is a single tensor.

    Attributes:
        rows: [N, ...], one example per row.
    """

    rows: Tensor

    @property
    def predictions(self) -> int:
        return len(self.rows)

    def to(self, device: Any) -> "Rows":
        return Rows(self.rows.to(device))


class Batches(Protocol):
    """An endless stream of one rank's micro-batches, with a position that can be restored.

    Attributes:
        state: the position after the last batch read, as plain data; assigning it moves back to that position.
    """

    state: Any

    def __next__(self) -> Any: ...


class DrawnBatches:
    """Batches that are a function of their index.

    Args:
        draw: returns this rank's batch at an index, counted from 0.
        state: where to begin, as saved from `state`.
    """

    def __init__(self, draw: Callable[[int], Batch], state: Any | None = None) -> None:
        self._draw = draw
        self.state: dict[str, int] = dict(state or {"number": 0})

    def __next__(self) -> Batch:
        number = self.state["number"]
        self.state = {"number": number + 1}
        return self._draw(number)


@dataclass(frozen=True, slots=True)
class MicroStep:
    """The position of a micro-batch within an optimizer step.

    Attributes:
        step: optimizer steps done before this one.
        seconds: training time before this step.
        count: predictions in the whole step, over all micro-batches and ranks.
        number, micro_batches: index of the micro-batch, and how many the step has on this rank.
    """

    step: int
    seconds: float
    count: int
    number: int
    micro_batches: int


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a micro-batch.

    Attributes:
        total: scalar to call backward on. Its sum over the micro-batches of a step, averaged over ranks, is minimised.
        sums: detached tensors, added up over micro-batches and ranks before they are passed to `Method.metrics`.
    """

    total: Tensor
    sums: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of a validation on held-out data.

    Attributes:
        metrics: values by name (val/...), equal on all ranks.
        examples: text for examples.txt; only rank 0 has them.
        warnings: messages to show.
        stop: the reason why the run must end here; empty if it need not.
    """

    metrics: Mapping[str, float]
    examples: Sequence[str] = ()
    warnings: Sequence[str] = ()
    stop: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The state in which a run ended.

    Attributes:
        step, seconds: optimizer steps done and training time spent.
        metrics: metrics of the last validation.
        checkpoint: the checkpoint of the best validation, or the last checkpoint if there is no best.
        metric, best_step, value: of the best validation (None if there is none).
    """

    step: int
    seconds: float
    metrics: Metrics
    checkpoint: Path
    metric: str | None = None
    best_step: int | None = None
    value: float | None = None


class Method(ABC, Generic[S]):
    """A system: its data, loss and validation, the contents of its checkpoints, and the model it exports.

    `open_data` and then `build` are called once, on every rank, before anything else that needs them.

    Args:
        settings: the run's settings.

    Attributes:
        settings_class: class of the system's settings.
        layout: names of the files in the run directory.
        columns: columns of metrics.csv.
        free: prefixes of the settings that may differ when a run is resumed, in addition to `FREE`.
        of_ranks: settings that may also differ if `same_steps` allows resuming with another number of processes.
        contents: parts of its checkpoints (what `state` returns) and their types.
        shards: whether `build` shards the weights when `sharded` is true (see `lang_jepa.training.sharding.shard`), and
            every process makes the same number of passes through the modules, in training and in validation.
        fabric, reporter: of the run, available from `open_data` on.
        identity: identifies the data; compared when a run is resumed.
        total: optimizer steps planned; epoch_ends: the steps at which epochs end.
        network: the trained network, as a plain module; optimizers: together they cover all of it.
        model: the callable module that `Fabric.setup_module` made from the network.
        micro_batches: micro-batches in an optimizer step, on each rank.
        clocked: the schedule depends on the seconds trained, so the ranks must agree on them.
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
        """Prefixes of all settings that may differ when a run is resumed."""
        return FREE + self.free

    @classmethod
    def can_shard(cls) -> bool:
        """Whether the class itself declares `shards`; not inherited, as a subclass may use the weights differently."""
        return bool(vars(cls).get("shards", False))

    @property
    def sharded(self) -> bool:
        """Whether the weights are sharded over the processes."""
        return self.settings.meta.strategy == FSDP

    def same_steps(self, before: S, *, then: int, now: int) -> bool:
        """Whether steps contain the same examples with another number of processes, so that a data position keeps its
        meaning and training of sharded weights can be resumed.

        Args:
            before: settings of the checkpoint.
            then, now: number of processes in the checkpoint, and now.
        """
        return False

    def complaints(self) -> Iterator[str]:
        """Yield reasons why the run cannot work, before anything is prepared, moved or trained."""
        yield from ()

    @abstractmethod
    def open_data(self) -> None:
        """Prepare the data if needed, and open it; set `identity`, `total` and `epoch_ends`. Leave the network to
        `build`: preparing may take hours, during which other ranks wait.
        """

    @abstractmethod
    def build(self) -> None:
        """Build network, model and optimizers, with equal weights on every rank whatever its generators did before."""

    def info(self) -> list[tuple[str, str]]:
        """Return (label, text) pairs to show before the first step."""
        return []

    def set_up(self, model: nn.Module, *optimizers: Optimizer) -> None:
        """Hand the callable module and the optimizers to Fabric; to be called in `build`."""
        if self.sharded:
            check_all_sharded(model)
        self.model = self.fabric.setup_module(model)
        self.optimizers = [cast(Optimizer, self.fabric.setup_optimizers(one)) for one in optimizers]

    def warnings(self) -> Iterator[str]:
        """Yield warnings to act on before the first step."""
        yield from ()

    def before_batches(self) -> None:
        """Called once the initial or resumed weights are in place, before the first batch is read."""

    @abstractmethod
    def batches(self, state: Any | None) -> Batches:
        """Return this rank's micro-batches, from the beginning or from a saved position."""

    def set_rates(self, step: int, seconds: float) -> dict[str, float]:
        """Set learning rates and the like for the coming update in the optimizers; return them as metrics."""
        return {}

    @abstractmethod
    def loss(self, batch: Any, micro: MicroStep) -> Loss:
        """Return the loss of one micro-batch, in training mode."""

    def metrics(self, sums: Mapping[str, Tensor], micro: MicroStep) -> dict[str, float]:
        """Return a step's metrics from the sums of its losses; `train/loss` is what is minimised. By default that is
        the sum `loss` divided by the number of predictions.
        """
        return {"train/loss": float(sums["loss"]) / micro.count}

    def after_update(self, step: int) -> None:
        """Update what follows the weights (EMA target, average); `step`: steps done before the update."""

    def ended(self, step: int, seconds: float) -> bool:
        """Whether training is over."""
        return step >= self.total

    def epochs_ended(self, step: int) -> Sequence[int]:
        """Return the epochs, counted from 1, that ended with the step just made."""
        return epochs_ended(self.epoch_ends, step)

    def validate(self, step: int, seconds: float, *, last: bool) -> Validation | None:
        """Validate on held-out data, on every rank; return None if nothing is held out. Must not change the state of
        the generator that training draws from.

        Args:
            step, seconds: optimizer steps done and training time spent so far.
            last: whether this is the run's last validation.
        """
        return None

    def best(self) -> tuple[str | None, str]:
        """Return the metric that selects the best validation (None: use the last one), and `min` or `max`."""
        return "val/loss", "min"

    def state(self) -> dict[str, Any]:
        """Return the system's part of a checkpoint: tensors, numbers, strings, lists and dictionaries."""
        return {"model": self.network.state_dict(), "optimizers": optimizer_states(self.optimizers)}

    def restore(self, state: Mapping[str, Any], path: Path) -> None:
        """Restore what `state` returned; `path` names the checkpoint in messages.

        Raises:
            LangJepaError: the state does not fit these settings.
        """
        load_weights(self.network, state["model"], what=f"the model in {path}")
        load_optimizers(self.optimizers, state["optimizers"], path)

    def is_made(self, summary: Mapping[str, Any]) -> bool:
        """Whether everything that a finished run with this summary produces is there and complete."""
        return True

    def export(self, folder: Path, end: End) -> Path | None:
        """Write the run's final product and return the model directory. Only rank 0 calls this, and only if training
        was not interrupted.
        """
        return None

    def summary(self, folder: Path, rows: Sequence[Metrics]) -> dict[str, Any]:
        """Return further entries for summary.json, beside steps, seconds and the best validation; may also draw plots.

        Args:
            folder: the run directory.
            rows: rows of metrics.csv.
        """
        return {}

    def catch_up(self, folder: Path) -> str:
        """Make what a finished run lacks only because a library was not installed, and say so; empty: it lacks nothing.

        Only rank 0 calls this, in a run that is resumed although it is finished, before data and model are opened.

        Args:
            folder: the run directory.
        """
        return ""

    def work(self, step: int, seconds: float) -> Hashable:
        """Return what the cost of a step depends on, if steps differ in cost."""
        return ()
