"""95 % bootstrap intervals that resample whole clusters, because sentences of one document resemble each other.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13), seeded. Means are resampled through the sums and
counts of clusters, so a thousand resamples are one matrix product; Spearman through weights of rows.
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
"""Quantile of the normal distribution that belongs to `LEVEL`."""
_BLOCK = 1 << 16
"""Numbers of one block of resamples, which stays in a core's cache."""


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
    """Interval of the mean of `values` when clusters are drawn with replacement.

    Of nothing but misses, or nothing but hits, every resample is the same, and the interval would be a point. There it
    is Wilson's (1927) of as many trials as there are clusters.

    Args:
        values: [Q] per-query values, for example hits (0 or 1) or reciprocal ranks. For a paired comparison give
            the differences.
        clusters: [Q] label of each value's cluster, of any type (None: each value is its own cluster).
        resamples: number of bootstrap samples.
        seed: of the resampling; the same seed gives the same interval.
        shares: the values are from 0 (a miss) to 1 (a hit), and no differences.

    Raises:
        LangJepaError: shapes differ, not finite, or fewer than two clusters (nothing to resample).
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
    """Interval of a sum over a sum, such as right tokens over tokens, when clusters are drawn with replacement.

    Args:
        numerators, denominators: [Q], of each query; the denominators of a cluster must not sum to 0.
        clusters: as in `mean_interval`.
        resamples, seed: as in `mean_interval`.

    Raises:
        LangJepaError: as `mean_interval`.
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
    """How often each cluster is drawn, int64 [resamples, C], and the cluster of each of `count` values, int64 [count].

    Raises:
        LangJepaError: as `mean_interval`.
    """
    _, labels = np.unique(_labels(clusters, count), return_inverse=True)
    return _draws(int(labels.max()) + 1, resamples, seed), labels


@lru_cache(maxsize=2)  # rows of one task have the same clusters, or two sets of them
def _draws(clusters: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each cluster is drawn, int64 [resamples, clusters], not to be written to."""
    _enough(clusters)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    draws.flags.writeable = False
    return draws


def spearman_interval(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Interval of Spearman's correlation when clusters of rows are drawn with replacement.

    A resample is a weight per row, and average ranks follow from cumulated weights of the values in their order, so
    that nothing is sorted again.

    Args:
        first, second: [Q].
        clusters: as in `mean_interval`.

    Raises:
        LangJepaError: as `mean_interval`, or a column without two different values.
    """
    columns = [_numbers(first), _numbers(second)]
    if len(columns[0]) != len(columns[1]):
        raise LangJepaError(f"columns differ in length: {len(columns[0])} and {len(columns[1])}.")
    dense = [np.unique(column, return_inverse=True)[1] for column in columns]
    if min(int(one.max()) for one in dense) < 1:
        raise LangJepaError("a constant column has no rank correlation.")
    draws, labels = cluster_draws(clusters, len(columns[0]), resamples=resamples, seed=seed)
    results = weighted_spearman(draws, labels, dense[:1], dense[1])[:, 0]
    # A resample may hold one distinct value only, and then the correlation is undefined.
    return percentiles(results[np.isfinite(results)])


def weighted_spearman(
    draws: NDArray[np.int64], labels: NDArray[np.int64], columns: Sequence[NDArray[np.int64]], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Spearman of several columns with another one, of rows that each occur as often as their cluster was drawn.

    Ranks and their sums are whole or half numbers, so nothing is rounded before the last division.

    Args:
        draws: [R, C], how often each cluster is drawn in each resample.
        labels: [Q], the cluster of each row, 0 to C - 1.
        columns: S of [Q], the values' dense ranks, from 0: which of the distinct values, sorted.
        other: [Q], likewise.

    Returns:
        [R, S]; NaN where a resample holds one distinct value only.
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
    """Rows in the order of their values.

    Attributes:
        dense: [Q], the dense rank of each row's value.
        order: [Q], the rows sorted by it.
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
        """Average ranks of the repeated rows minus the mean rank, [Q, R], for weights [Q, R]."""
        totals = np.add.reduceat(weights[self.order], self.starts, axis=0)
        ends = np.cumsum(totals, axis=0)
        ranks = ends - (totals - 1) / 2 - (ends[-1] + 1) / 2
        centred: NDArray[np.float64] = ranks[self.dense]
        return centred


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation, scipy's, with average ranks for ties; NaN if one column is constant."""
    from scipy.stats import spearmanr

    x, y = np.asarray(first), np.asarray(second)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")  # what scipy gives too, with a warning
    return float(spearmanr(x, y).statistic)


def percentiles(results: NDArray[np.float64]) -> Interval:
    """The middle 95 % of resampled results."""
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
