"""Training budgets: steps, minutes or floating-point operations, always converted to steps.

Schedules end at the last step, so a budget must be in steps before training begins. To convert minutes and FLOPs, each
variant is measured in a process of its own (`measure`), and the plan records the result.
"""

import statistics
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lang_jepa.errors import LangJepaError

if TYPE_CHECKING:
    from lang_jepa.comparison.kind import RunKind
    from lang_jepa.training.engine import Engine

Kind = Literal["steps", "minutes", "flops"]
TIMED_STEPS, COUNTED_STEPS = 30, 8
COUNTER = "torch.utils.flop_counter: matrix products and attention of the forward, backward and target pass, and Muon"


@dataclass(frozen=True)
class Budget:
    """What a run may cost.

    Attributes:
        kind: `steps`, `minutes` (of training steps, on this machine) or `flops`.
        amount: above 0; whole for steps.
    """

    kind: Kind
    amount: float

    def __str__(self) -> str:
        return f"{self.kind}={self.amount:g}" if self.kind != "steps" else f"steps={self.amount:.0f}"


@dataclass(frozen=True)
class Measured:
    """What one optimizer step of a variant costs on this machine.

    Attributes:
        seconds: from 30 steps, see `per_step`, waiting for data included; None if not needed.
        flops: mean over 8 steps, floating-point operations (a multiply-add counts as two).
        counter: how they were counted.
    """

    seconds: float | None
    flops: float
    counter: str = COUNTER


def parse_budget(text: str) -> Budget:
    """Parse `steps=2000`, `minutes=10` or `flops=1e15`.

    Raises:
        LangJepaError: the text has another form, or nothing can be trained with that amount.
    """
    name, separator, value = text.partition("=")
    kind: Kind | None = next((kind for kind in get_args(Kind) if kind == name.strip()), None)
    try:
        amount = float(value.replace("_", ""))
    except ValueError:
        amount = 0.0
    if not separator or kind is None or not 0 < amount < float("inf"):
        raise LangJepaError(f"budget '{text}' is not understood: give steps=2000, minutes=10 or flops=1e15, above 0")
    if kind == "steps" and amount != int(amount):
        raise LangJepaError(f"budget '{text}': steps are whole numbers")
    return Budget(kind, amount)


def steps_for(budget: Budget, measured: Measured | None) -> int:
    """Return how many optimizer steps a variant may make.

    Raises:
        LangJepaError: not even one, or a step costs nothing in the budget's unit.
    """
    if budget.kind == "steps":
        return int(budget.amount)
    assert measured is not None, "minutes and FLOPs are turned into steps after measuring"
    per_step = measured.flops if budget.kind == "flops" else (measured.seconds or 0.0) / 60
    if not per_step:
        raise LangJepaError(f"nothing of a step counts as {budget.kind}: give the budget in steps or minutes")
    steps = int(budget.amount / per_step + 1e-9)
    if steps < 1:
        raise LangJepaError(f"the budget {budget} is less than one step ({per_step:.3g} {budget.kind})")
    return steps


def measure(kind: "RunKind[Any]", settings: Any, scratch: Path, *, timed: bool) -> Measured:
    """Measure the cost of a step, with real steps on real batches in a throw-away run.

    FLOPs are counted without meta.compile, since a counter cannot see into a compiled graph.

    Args:
        kind: of the run.
        settings: of the variant.
        scratch: a folder for what the throw-away run writes.
        timed: also measure seconds.
    """
    seconds = None
    if timed:
        engine = kind.start(settings, scratch, steps=TIMED_STEPS)
        seconds = seconds_per_step(engine, TIMED_STEPS)
        engine.close()
    engine = kind.start(kind.eager(settings), scratch, steps=COUNTED_STEPS)
    flops = count_flops(engine, COUNTED_STEPS)
    engine.close()
    return Measured(seconds, flops)


def count_flops(engine: "Engine", steps: int) -> float:
    """Floating-point operations of one optimizer step, mean over `steps` real ones, which change the run.

    Counted: matrix products and attention (in full, even if causal), forward and backward, of model and target, and
    Muon's iterations. Not counted: elementwise work, norms, AdamW.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from lang_jepa.models.gpt_kernels import formulas

    total = 0
    for _ in range(steps):
        with formulas(), FlopCounterMode(display=False, custom_mapping=_cpu_attention()) as counter:
            engine.next_step()
        total += counter.get_total_flops()
    return total / steps


def seconds_per_step(engine: "Engine", steps: int) -> float:
    """Seconds per optimizer step, see `per_step`, from `steps` real ones, which change the run."""
    found: dict[Hashable, list[float]] = {}
    for _ in range(steps):
        began = time.perf_counter()
        work = engine.method.work(engine.step, engine.seconds)
        engine.next_step()
        found.setdefault(work, []).append(time.perf_counter() - began)
    return per_step(found)


def per_step(seconds: Mapping[Hashable, Sequence[float]]) -> float:
    """Seconds per step: the medians of steps that do the same work, weighted by how many do."""
    steps = sum(map(len, seconds.values()))
    return sum(len(some) * statistics.median(some) for some in seconds.values()) / steps


def _cpu_attention() -> dict[Any, Any]:
    """Formulas for the fused attention of CPUs, which torch's registry lacks (2.13)."""
    import torch
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    def backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(grad, query, key, value))  # type: ignore[no-untyped-call]

    ops = torch.ops.aten
    return {
        ops._scaled_dot_product_flash_attention_for_cpu: forward,
        ops._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
