"""What the runs had reached after equal steps, equal time and equal FLOPs, read off their looks at held-out data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.training.metrics import STEP, read_metrics

Axis = Literal["steps", "seconds", "flops"]
AXES: tuple[Axis, ...] = ("steps", "seconds", "flops")


@dataclass(frozen=True)
class Curve:
    """One run's looks.

    Attributes:
        axes: for each axis, float64 [L]: optimizer steps, seconds of training, and FLOPs so far.
        metrics: for each metric of held-out data, float64 [L].
    """

    axes: Mapping[Axis, NDArray[np.float64]]
    metrics: Mapping[str, NDArray[np.float64]]

    def at(self, axis: Axis, budget: float, metric: str) -> float:
        """The metric after so much of the budget, linear between the looks around it."""
        return float(np.interp(budget, self.axes[axis], self.metrics[metric]))

    def to_json(self) -> dict[str, list[float]]:
        """Plain lists."""
        columns = [*self.axes.items(), *self.metrics.items()]
        return {str(name): [float(value) for value in values] for name, values in columns}


def read_curve(path: Path, *, flops_per_step: float, columns: Sequence[str]) -> Curve:
    """The looks in a run's metrics.csv.

    Args:
        path: of the file.
        flops_per_step: counted for the variant.
        columns: metrics to read.

    Raises:
        LangJepaError: no look was made, or one lacks a metric.
    """
    rows = [row for row in read_metrics(path) if "val/loss" in row]
    if not rows:
        raise LangJepaError(f"{path} holds no look at held-out data: raise data.val_fraction or data.limit")
    steps = np.array([row[STEP] for row in rows])
    axes: dict[Axis, NDArray[np.float64]] = {
        "steps": steps,
        "seconds": np.array([row["train/seconds"] for row in rows]),
        "flops": steps * flops_per_step,
    }
    lacking = [name for name in columns if any(name not in row for row in rows)]
    if lacking:
        raise LangJepaError(f"{path} holds looks without {', '.join(lacking)}: is more text held out?")
    return Curve(axes, {name: np.array([row[name] for row in rows]) for name in columns})


def equal_budgets(curves: Mapping[str, Sequence[Curve]], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Every metric at the largest budget that all runs reached, per axis.

    Args:
        curves: by variant, one per seed.
        metrics: names of figures.

    Returns:
        One entry per axis and metric: the budget, and mean and standard deviation over seeds of each variant.
    """
    found = []
    for axis in AXES:
        budget = min(float(curve.axes[axis][-1]) for runs in curves.values() for curve in runs)
        for metric in metrics:
            values = {
                name: [curve.at(axis, budget, metric) for curve in runs] for name, runs in curves.items()
            }
            found.append(
                {
                    "axis": axis,
                    "budget": budget,
                    "metric": metric,
                    "variants": {name: mean_and_std(row) for name, row in values.items()},
                }
            )
    return found


def mean_and_std(values: Sequence[float]) -> dict[str, float]:
    """Mean, and standard deviation over runs (0 for one)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": spread}
