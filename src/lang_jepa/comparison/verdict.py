"""What may be said of a difference: better, worse, or indistinguishable at this budget.

Three rules, all of which a difference must pass:

1. its 95 % interval (`resampling`) excludes 0;
2. it exceeds the standard deviation of the BASELINE's score over seeds: what another seed alone would do is no merit;
3. Holm's correction of its p-value for all metrics and variants that are judged together (Holm 1979) leaves it below
   .05: among twenty true zeros one interval excludes 0 by chance.

Fewer than three seeds are too few to judge: a spread over two is hardly known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lang_jepa.comparison.resampling import Difference, Side, differences

LEAST_SEEDS = 3
LEVEL = 0.05
Call = Literal["better", "worse", "indistinguishable at this budget", "too few seeds to judge"]


@dataclass(frozen=True)
class Metric:
    """What was measured: a task, a split of it, and a metric's name as in the evaluation's rows."""

    task: str
    split: str
    name: str

    @property
    def lower_is_better(self) -> bool:
        """Distances and their like say so in their name."""
        return "lower is better" in self.name

    def __str__(self) -> str:
        return f"{self.task}, {self.split}: {self.name}"


@dataclass(frozen=True)
class Verdict:
    """One variant against the baseline in one metric.

    Attributes:
        metric, variant: what and who.
        baseline_mean, variant_mean: over seeds.
        baseline_std: of the baseline's score over seeds (NaN-free: 0 for one seed).
        baseline_range: largest minus smallest of them.
        variant_std: of the variant's score over seeds.
        difference: variant minus baseline, with its interval.
        p_holm: p-value after Holm's correction over all `comparisons`.
        comparisons: metrics x variants judged together.
        seeds: runs per side.
        call: the verdict.
        failed: the rules that were not passed, of `interval`, `spread`, `Holm` and `seeds`.
        reason: the same in words, with the numbers.
    """

    metric: Metric
    variant: str
    baseline_mean: float
    variant_mean: float
    baseline_std: float
    baseline_range: float
    variant_std: float
    difference: Difference
    p_holm: float
    comparisons: int
    seeds: int
    call: Call
    failed: tuple[str, ...]
    reason: str


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down p-values: sorted, times m, m - 1, ..., never falling, at most 1; in the given order."""
    order = np.argsort(values, kind="stable")
    steps = np.asarray(values, dtype=np.float64)[order] * (len(values) - np.arange(len(values)))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


def verdicts(
    baseline: Mapping[Metric, Side], variants: Mapping[str, Mapping[Metric, Side]], *, seed: int = 0
) -> list[Verdict]:
    """Judge every variant in every metric that it shares with the baseline.

    Args:
        baseline: metric to scores. variants: the same by name.
        seed: of the resampling.
    """
    pairs = [(name, metric) for name, sides in variants.items() for metric in baseline if metric in sides]
    # The smallest p-value, 2 / (R + 1), must be able to pass Holm's strictest step.
    least = round(4 * len(pairs) / LEVEL)
    found = {}
    for metric, side in baseline.items():
        names = [name for name, sides in variants.items() if metric in sides]
        judged = differences([variants[name][metric] for name in names], side, least=least, seed=seed)
        found.update({(name, metric): one for name, one in zip(names, judged, strict=True)})
    corrected = holm([found[pair].p for pair in pairs])
    return [
        judge(metric, name, baseline[metric], variants[name][metric], found[name, metric], p, len(pairs))
        for (name, metric), p in zip(pairs, corrected, strict=True)
    ]


def judge(
    metric: Metric,
    variant: str,
    baseline: Side,
    other: Side,
    found: Difference,
    p_holm: float,
    comparisons: int,
) -> Verdict:
    """Apply the three rules to one difference."""
    seeds = len(baseline.points)
    spread = _std(baseline)
    call, failed = _call(metric, found, spread, p_holm, comparisons, seeds)
    return Verdict(
        metric=metric,
        variant=variant,
        baseline_mean=float(baseline.points.mean()),
        variant_mean=float(other.points.mean()),
        baseline_std=spread,
        baseline_range=float(np.ptp(baseline.points)),
        variant_std=_std(other),
        difference=found,
        p_holm=p_holm,
        comparisons=comparisons,
        seeds=seeds,
        call=call,
        failed=tuple(failed),
        reason="; ".join(failed.values()) or "interval, spread and Holm's correction agree",
    )


def _call(
    metric: Metric, found: Difference, spread: float, p_holm: float, comparisons: int, seeds: int
) -> tuple[Call, dict[str, str]]:
    """The verdict, and the rules that were not passed with their reasons."""
    if seeds < LEAST_SEEDS:
        return "too few seeds to judge", {"seeds": f"{seeds} of at least {LEAST_SEEDS} seeds"}
    failed = {}
    if found.low <= 0 <= found.high:
        failed["interval"] = "the 95 % interval holds 0"
    if abs(found.value) <= spread:
        failed["spread"] = f"not above the baseline's own spread over seeds, {spread:.4f}"
    if p_holm >= LEVEL:
        failed["Holm"] = f"p = {p_holm:.2g} after Holm's correction for {comparisons} comparisons"
    if failed:
        return "indistinguishable at this budget", failed
    gain = found.value < 0 if metric.lower_is_better else found.value > 0
    return ("better" if gain else "worse"), {}


def _std(side: Side) -> float:
    return float(side.points.std(ddof=1)) if len(side.points) > 1 else 0.0
