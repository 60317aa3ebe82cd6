"""How sure a difference between two recipes is: both sides resampled together, over seeds and over questions.

Seeds and questions are crossed: every run answers the same questions. A resample draws seeds and, independently, whole
clusters of questions (documents), the same for all runs of both sides, so that what is hard for everybody cancels
(pigeonhole bootstrap: Owen, Annals of Applied Statistics 2007, arXiv 0712.1111). Scores without values per question
are resampled over seeds alone.

A handful of seeds cannot be drawn with replacement: the variance comes out too small by (S - 1) / S, the tails are
those of a few values, and with 5 seeds a quarter of the families of eight equal metrics held a "significant" one
(measured). The seeds' weights are drawn from a normal instead and divided by a chi, which gives the seeds' part exactly
Student's distribution with S - 1 degrees of freedom: with scores of seeds alone the interval is that of the paired t
test. Questions, of which there are hundreds, are drawn with replacement.

Legend: S seeds, Q questions, C clusters, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.intervals import spearman, weighted_spearman

Array = NDArray[np.float64]
MEANS, CORRELATIONS = 10_000, 2_000
"""Resamples of a mean, and of a correlation, which takes longer."""
_BLOCK = 1_000


@dataclass(frozen=True)
class Side:
    """What one recipe scored in one metric.

    Attributes:
        points: float64 [S], the metric of each run.
        values: float64 [S, Q], per question, or None.
        clusters: int64 [Q], 0 to C - 1; None without values.
        labels: float64 [Q] where the metric is Spearman's correlation with them, None where it is a mean.
        items: fingerprint of the questions.
        sizes: float64 [Q] where the metric is the sum of values over the sum of these (bits over bytes): a resample
            adds up both, so that each question counts by its size.
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
        """From each run's values per question [Q]; the metric follows from them."""
        table = np.stack([np.asarray(row, dtype=np.float64) for row in values])
        own = np.arange(table.shape[1]) if clusters is None else np.unique(clusters, return_inverse=True)[1]
        if labels is not None:
            points = np.array([_correlation(row, labels) for row in table])
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
        paired: by question and seed; False where the questions differ, `seeds only` scores have no questions.
        questions, clusters: of the variant (0 without values).
    """

    value: float
    low: float
    high: float
    p: float
    paired: bool
    questions: int
    clusters: int


def difference(
    variant: Side, baseline: Side, *, resamples: int | None = None, least: int = 0, seed: int = 0
) -> Difference:
    """Variant minus baseline with its interval; see `differences`."""
    return differences([variant], baseline, resamples=resamples, least=least, seed=seed)[0]


def differences(
    variants: Sequence[Side], baseline: Side, *, resamples: int | None = None, least: int = 0, seed: int = 0
) -> list[Difference]:
    """Each variant minus the baseline in one metric, with its interval.

    Those that answer the baseline's questions are resampled with it, so that what is drawn is drawn once for all.

    Args:
        variants, baseline: runs of the same seeds, in the same order.
        resamples: R (None: 10,000 for means, 2,000 for correlations).
        least: R at least, where the smallest p-value matters.
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
        raise LangJepaError(
            f"{len(variant.points)} runs against {len(baseline.points)}: seeds must be paired."
        )
    if not (np.isfinite(variant.points).all() and np.isfinite(baseline.points).all()):
        raise LangJepaError("a score is NaN or infinite: the run has diverged or is damaged.")


def _difference(variant: Side, baseline: Side, draws: Array, *, paired: bool) -> Difference:
    """From the resampled differences, [R]."""
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
    """The metric's mean over seeds in each resample, [R] for each side; all of the same seeds and questions."""
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
    """The metric of each run in each resample of clusters [R, C], [R, S]."""
    assert side.values is not None
    assert side.clusters is not None
    if side.labels is None:
        counts = np.bincount(side.clusters, weights=side.sizes)
        sums = np.stack([np.bincount(side.clusters, weights=row) for row in side.values])
        return np.asarray((draws @ sums.T) / (draws @ counts)[:, None])
    gold = np.unique(side.labels, return_inverse=True)[1]
    places = [np.unique(row, return_inverse=True)[1] for row in side.values]
    # A constant column orders nothing: 0, as its score in the tables.
    correlations: Array = np.nan_to_num(weighted_spearman(draws, side.clusters, places, gold), nan=0.0)
    return correlations


def _correlation(values: Array, labels: Array) -> float:
    value = spearman(values, labels)
    return 0.0 if np.isnan(value) else value
