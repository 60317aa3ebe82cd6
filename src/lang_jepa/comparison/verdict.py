"""Judge a difference: better, worse, or indistinguishable at this budget.

It must pass three rules:

1. its 95 % interval (`differences`) excludes 0;
2. it exceeds the standard deviation of the BASELINE's score over seeds: what another seed alone does is not a gain;
3. its p-value stays below .05 after Holm's correction for all metrics and variants that are judged together (Holm
   1979): among twenty true zeros one interval excludes 0 by chance.

Fewer than three seeds are too few to judge: two hardly show the spread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.intervals import rank_correlation, weighted_spearman

Array = NDArray[np.float64]
MEANS, CORRELATIONS = 10_000, 2_000
"""Numbers of resamples for means, and for correlations, which take longer."""
_BLOCK = 1_000


@dataclass(frozen=True)
class Side:
    """The scores of one recipe in one metric.

    Attributes:
        points: float64 [S], the metric of each run.
        values: float64 [S, Q], per question, or None.
        clusters: int64 [Q], 0 to C - 1; None without values.
        labels: float64 [Q] if the metric is Spearman's correlation with them, None if it is a mean.
        items: fingerprint of the questions.
        sizes: float64 [Q] if the metric is the sum of values over the sum of these (bits over bytes): a resample adds
            up both, so each question counts by its size.
    """

    points: Array
    values: Array | None = None
    clusters: NDArray[np.int64] | None = None
    labels: Array | None = None
    items: str = ""
    sizes: Array | None = None

    @classmethod
    def of(
        cls,
        values: Sequence[Array],
        clusters: NDArray[np.int64] | None = None,
        labels: Array | None = None,
        items: str = "",
        sizes: Array | None = None,
    ) -> "Side":
        """Build it from each run's values per question [Q], from which the metric is computed."""
        table = np.stack([np.asarray(row, dtype=np.float64) for row in values])
        own = np.arange(table.shape[1]) if clusters is None else np.unique(clusters, return_inverse=True)[1]
        if labels is not None:
            points = np.array([rank_correlation(row, labels) for row in table])
        else:
            points = table.mean(1) if sizes is None else table.sum(1) / sizes.sum()
        return cls(points, table, own, labels, items, sizes)


@dataclass(frozen=True)
class Difference:
    """Variant minus baseline in one metric.

    Attributes:
        value: of the means over seeds.
        low, high: 95 % interval.
        p: two-sided bootstrap p-value, at least 2 / (R + 1).
        paired: by question and seed; False if the questions differ. Scores over seeds alone have no questions.
        questions, clusters: their numbers in the variant (0 without values).
    """

    value: float
    low: float
    high: float
    p: float
    paired: bool
    questions: int
    clusters: int


def differences(
    variants: Sequence[Side], baseline: Side, *, resamples: int | None = None, least: int = 0, seed: int = 0
) -> list[Difference]:
    """Each variant minus the baseline in one metric, with its interval.

    Variants that were asked the baseline's questions are resampled together with it, from the same draws.

    Args:
        variants, baseline: runs of the same seeds, in the same order.
        resamples: R (None: 10,000 for means, 2,000 for correlations).
        least: lower bound of R, for when the smallest p-value matters.
        seed: of the resampling.

    Raises:
        LangJepaError: unequal numbers of seeds, or a metric that is not finite.
    """
    for one in variants:
        _check(one, baseline)
    slow = any(side.labels is not None for side in (baseline, *variants))
    count = max(least, resamples or (CORRELATIONS if slow else MEANS))
    paired = [one for one in variants if one.items == baseline.items]
    theirs, *ours = _resampled([baseline, *paired], count, np.random.default_rng([seed, 0]))
    drawn = iter(ours)
    found = []
    for one in variants:
        if one.items == baseline.items:
            found.append(_difference(one, baseline, next(drawn) - theirs, paired=True))
        else:
            (alone,) = _resampled([one], count, np.random.default_rng([seed, 0]))
            (apart,) = _resampled([baseline], count, np.random.default_rng([seed, 1]))
            found.append(_difference(one, baseline, alone - apart, paired=False))
    return found


def _check(variant: Side, baseline: Side) -> None:
    if len(variant.points) != len(baseline.points):
        raise LangJepaError(f"{len(variant.points)} runs against {len(baseline.points)}: seeds must be paired.")
    if not (np.isfinite(variant.points).all() and np.isfinite(baseline.points).all()):
        raise LangJepaError("a score is NaN or infinite: the run has diverged or is damaged.")


def _difference(variant: Side, baseline: Side, draws: Array, *, paired: bool) -> Difference:
    """Summarise the resampled differences, [R]."""
    low, high = np.percentile(draws, [2.5, 97.5])
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return Difference(
        value=float(variant.points.mean() - baseline.points.mean()),
        low=float(low),
        high=float(high),
        p=min(1.0, 2 * (1 + tail) / (len(draws) + 1)),
        paired=paired,
        questions=0 if variant.values is None else variant.values.shape[1],
        clusters=0 if variant.clusters is None else int(variant.clusters.max()) + 1,
    )


def seed_weights(seeds: int, count: int, generator: np.random.Generator) -> Array:
    """Weights of the runs in each resample, [R, S], rows summing to 1.

    With scores d, `weights @ d` is distributed as mean(d) + std(d) / sqrt(S) t, t Student's with S - 1 degrees of
    freedom: the deviations of a normal draw from its mean, over sqrt(S chi2). One run has weight 1.
    """
    if seeds < 2:
        return np.ones((count, seeds))
    normal = generator.standard_normal((count, seeds))
    deviations = normal - normal.mean(1, keepdims=True)
    scale = np.sqrt(seeds * generator.chisquare(seeds - 1, (count, 1)))
    weights: Array = 1 / seeds + deviations / scale
    return weights


def _resampled(sides: Sequence[Side], count: int, generator: np.random.Generator) -> list[Array]:
    """The metric's mean over seeds in each resample, [R] for each side; all sides share seeds and questions."""
    weights = seed_weights(len(sides[0].points), count, generator)
    means = [np.asarray(weights @ side.points) for side in sides]
    asked = [(mean, side) for mean, side in zip(means, sides, strict=True) if side.values is not None]
    if not asked:
        return means
    assert asked[0][1].clusters is not None
    clusters = int(asked[0][1].clusters.max()) + 1
    for begin in range(0, count, _BLOCK):
        part = slice(begin, begin + _BLOCK)
        draws = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=len(weights[part]))
        for mean, side in asked:
            mean[part] = (weights[part] * _runs(side, draws)).sum(1)
    return means


def _runs(side: Side, draws: NDArray[np.int64]) -> Array:
    """The metric of each run, [R, S], in each resample of clusters, [R, C]."""
    assert side.values is not None
    assert side.clusters is not None
    if side.labels is None:
        counts = np.bincount(side.clusters, weights=side.sizes)
        sums = np.stack([np.bincount(side.clusters, weights=row) for row in side.values])
        return np.asarray((draws @ sums.T) / (draws @ counts)[:, None])
    gold = np.unique(side.labels, return_inverse=True)[1]
    ranks = [np.unique(row, return_inverse=True)[1] for row in side.values]
    # A constant column ranks nothing and counts as 0, as in the tables.
    correlations: Array = np.nan_to_num(weighted_spearman(draws, side.clusters, ranks, gold), nan=0.0)
    return correlations


LEAST_SEEDS = 3
LEVEL = 0.05
Call = Literal["better", "worse", "indistinguishable at this budget", "too few seeds to judge"]


@dataclass(frozen=True)
class Metric:
    """A metric that was measured: its task, its split, and its name as in the evaluation's rows."""

    task: str
    split: str
    name: str

    @property
    def lower_is_better(self) -> bool:
        """Whether the name says so, as those of distances do."""
        return "lower is better" in self.name

    def __str__(self) -> str:
        return f"{self.task}, {self.split}: {self.name}"


@dataclass(frozen=True)
class Verdict:
    """One variant against the baseline in one metric.

    Attributes:
        metric, variant: what is judged.
        baseline_mean, variant_mean: over seeds.
        baseline_std: of the baseline's score over seeds (0 for one seed, not NaN).
        baseline_range: its largest score minus its smallest.
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
    """Holm's step-down p-values: sorted, times m, m - 1, ..., non-decreasing, at most 1; in the given order."""
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
        baseline: its scores by metric. variants: the same, by variant.
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
    metric: Metric, variant: str, baseline: Side, other: Side, found: Difference, p_holm: float, comparisons: int
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
    """Return the verdict, and the rules that were not passed, with reasons."""
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
