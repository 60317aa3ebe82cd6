"""95 % bootstrap intervals that resample whole clusters, because sentences of one document resemble each other.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13), seeded. Means are resampled through the sums and counts
of clusters, so a thousand resamples are one matrix product; Spearman's correlation is resampled through row weights.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lang_jepa.errors import LangJepaError

LEVEL = 0.95
RESAMPLES = 2000
_Z = 1.959964
"""Quantile of the normal distribution for `LEVEL`."""
_BLOCK = 1 << 16
"""Numbers in a block of resamples, which fits into a core's cache."""


class Interval(NamedTuple):
    """Lower and upper end of a 95 % interval, in the metric's own unit."""

    low: float
    high: float


def mean_interval(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    shares: bool = False,
) -> Interval:
    """Return the interval of the mean of `values` when clusters are drawn with replacement.

    With only misses or only hits, all resamples are equal and the interval would be a point. It is then Wilson's
    interval (1927) for as many trials as there are clusters.

    Args:
        values: [Q], per-query values, for example hits (0 or 1) or reciprocal ranks. For a paired comparison, give
            the differences.
        clusters: [Q], label of each value's cluster, of any type (None: each value is its own cluster).
        resamples: number of bootstrap samples.
        seed: seed of the resampling; the same seed gives the same interval.
        shares: the values range from 0 (a miss) to 1 (a hit) and are not differences.

    Raises:
        LangJepaError: shapes differ, a value is not finite, or there are fewer than two clusters.
    """
    numbers = _numbers(values)
    if shares and numbers.min() == numbers.max() and numbers[0] in (0.0, 1.0):
        trials = len(np.unique(_labels(clusters, len(numbers))))
        _enough(trials)
        reach = _Z**2 / (trials + _Z**2)
        return Interval(0.0, reach) if numbers[0] == 0 else Interval(1 - reach, 1.0)
    return ratio_interval(numbers, np.ones(len(numbers)), clusters, resamples=resamples, seed=seed)


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the interval of a ratio of sums, such as right tokens over all, when clusters are drawn with replacement.

    Args:
        numerators, denominators: [Q], one per query; the denominators of a cluster must not sum to 0.
        clusters: as in `mean_interval`.
        resamples, seed: as in `mean_interval`.

    Raises:
        LangJepaError: as in `mean_interval`.
    """
    above, below = _numbers(numerators), _numbers(denominators)
    if len(above) != len(below):
        raise LangJepaError(f"columns differ in length: {len(above)} and {len(below)}.")
    draws, labels = cluster_draws(clusters, len(above), resamples=resamples, seed=seed)
    sums = np.bincount(labels, weights=above), np.bincount(labels, weights=below)
    return percentiles((draws @ sums[0]) / (draws @ sums[1]))


def cluster_draws(
    clusters: ArrayLike | None, count: int, *, resamples: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how often each cluster is drawn, int64 [resamples, C], and each value's cluster, int64 [count].

    Raises:
        LangJepaError: as in `mean_interval`.
    """
    _, labels = np.unique(_labels(clusters, count), return_inverse=True)
    return _draws(int(labels.max()) + 1, resamples, seed), labels


@lru_cache(maxsize=2)  # the rows of a task share one or two sets of clusters
def _draws(clusters: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return how often each cluster is drawn, int64 [resamples, clusters], read-only."""
    _enough(clusters)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    draws.flags.writeable = False
    return draws


def spearman_interval(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return the interval of Spearman's correlation when clusters of rows are drawn with replacement.

    A resample gives each row a weight, and average ranks follow from the cumulative weights in sorted order, so values
    are sorted only once.

    Args:
        first, second: [Q], the two columns.
        clusters: as in `mean_interval`.

    Raises:
        LangJepaError: as in `mean_interval`, or a column has no two different values.
    """
    columns = [_numbers(first), _numbers(second)]
    if len(columns[0]) != len(columns[1]):
        raise LangJepaError(f"columns differ in length: {len(columns[0])} and {len(columns[1])}.")
    dense = [np.unique(column, return_inverse=True)[1] for column in columns]
    if min(int(one.max()) for one in dense) < 1:
        raise LangJepaError("a constant column has no rank correlation.")
    draws, labels = cluster_draws(clusters, len(columns[0]), resamples=resamples, seed=seed)
    results = weighted_spearman(draws, labels, dense[:1], dense[1])[:, 0]
    # A resample may hold a single distinct value, for which the correlation is undefined.
    return percentiles(results[np.isfinite(results)])


def weighted_spearman(
    draws: NDArray[np.int64], labels: NDArray[np.int64], columns: Sequence[NDArray[np.int64]], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return Spearman's correlation of several columns with another, rows repeated as often as their cluster is drawn.

    Ranks and their sums are integers or half-integers, so nothing is rounded before the last division.

    Args:
        draws: [R, C], how often each cluster is drawn in each resample.
        labels: [Q], the cluster of each row, 0 to C - 1.
        columns: S columns [Q] of dense ranks from 0: the index of each value among the sorted distinct values.
        other: [Q], likewise.

    Returns:
        [R, S]; NaN where a resample holds a single distinct value.
    """
    groups = [_Groups.of(dense) for dense in (*columns, other)]
    size = max(1, _BLOCK // len(labels))
    blocks = []
    for begin in range(0, len(draws), size):
        weights = draws[begin : begin + size].T.astype(np.float64)[labels]
        *ours, theirs = (group.centred_ranks(weights) for group in groups)
        weighted = weights * theirs
        square = (weighted * theirs).sum(0)
        pairs = [((weighted * ranks).sum(0), square * (weights * ranks * ranks).sum(0)) for ranks in ours]
        covariances, scales = (np.stack(each, axis=1) for each in zip(*pairs, strict=True))
        undefined = np.full_like(scales, np.nan)
        blocks.append(np.divide(covariances, np.sqrt(scales), out=undefined, where=scales > 0))
    return np.concatenate(blocks)


class _Groups(NamedTuple):
    """Rows grouped by value.

    Attributes:
        dense: [Q], the dense rank of each row's value.
        order: [Q], the rows sorted by dense rank.
        starts: where each distinct value begins in `order`.
    """

    dense: NDArray[np.int64]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, dense: NDArray[np.int64]) -> "_Groups":
        order = np.argsort(dense, kind="stable")
        return cls(dense, order, np.flatnonzero(np.diff(dense[order], prepend=-1)))

    def centred_ranks(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return average ranks of the repeated rows minus the mean rank, [Q, R], for weights [Q, R]."""
        totals = np.add.reduceat(weights[self.order], self.starts, axis=0)
        ends = np.cumsum(totals, axis=0)
        ranks = ends - (totals - 1) / 2 - (ends[-1] + 1) / 2
        centred: NDArray[np.float64] = ranks[self.dense]
        return centred


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's rank correlation by scipy, with average ranks for ties; NaN if a column is constant."""
    from scipy.stats import spearmanr

    x, y = np.asarray(first), np.asarray(second)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")  # what scipy gives too, with a warning
    return float(spearmanr(x, y).statistic)


def rank_correlation(values: ArrayLike, labels: ArrayLike) -> float:
    """Return Spearman's correlation as it is reported: 0.0 for a constant column, which ranks nothing."""
    value = spearman(values, labels)
    return 0.0 if np.isnan(value) else value


def percentiles(results: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of resampled results."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(results, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise LangJepaError(f"an interval needs a row of values, got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise LangJepaError(f"{int((~np.isfinite(array)).sum())} of {len(array)} values are NaN or infinite.")
    return array


def _labels(clusters: ArrayLike | None, count: int) -> NDArray[Any]:
    labels = np.arange(count) if clusters is None else np.asarray(clusters)
    if labels.shape != (count,):
        raise LangJepaError(f"{count} values but cluster labels of shape {labels.shape}: give one per value.")
    return labels


def _enough(clusters: int) -> None:
    if clusters < 2:
        raise LangJepaError("an interval over documents needs at least two of them: evaluate on more documents.")
