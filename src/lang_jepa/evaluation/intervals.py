"""95 % bootstrap intervals that resample whole clusters, because sentences of one document resemble each other.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13), seeded. Means are resampled through the sums and
counts of clusters, so a thousand resamples are one matrix product; Spearman through weights of rows.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lang_jepa.errors import LangJepaError

LEVEL = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    """Lower and upper end of a 95 % interval, in the metric's own unit."""

    low: float
    high: float


def mean_interval(
    values: ArrayLike, clusters: ArrayLike | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of the mean of `values` when clusters are drawn with replacement.

    Args:
        values: [Q] per-query values, for example hits (0 or 1) or reciprocal ranks. For a paired comparison give
            the differences.
        clusters: [Q] label of each value's cluster, of any type (None: each value is its own cluster).
        resamples: number of bootstrap samples.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        LangJepaError: shapes differ, not finite, or fewer than two clusters (nothing to resample).
    """
    numbers = _numbers(values)
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
    number = int(labels.max()) + 1
    _enough(number)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(number, np.full(number, 1 / number), size=resamples)
    return draws, labels


def spearman_interval(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
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
    places = [np.unique(column, return_inverse=True)[1] for column in columns]
    if min(int(place.max()) for place in places) < 1:
        raise LangJepaError("a constant column has no rank correlation.")
    _, labels = np.unique(_labels(clusters, len(columns[0])), return_inverse=True)
    count = int(labels.max()) + 1
    _enough(count)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    results = np.array([weighted_spearman(draw[labels], *places) for draw in draws])
    # A resample may hold one distinct value only, and then the correlation is undefined.
    return percentiles(results[np.isfinite(results)])


def weighted_spearman(weights: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> float:
    """Spearman of rows that each occur `weights` times; x and y are the values' places in sorted order."""
    deviations = []
    for place in (x, y):
        total = np.bincount(place, weights=weights)
        ranks = (np.cumsum(total) - total + (total + 1) / 2)[place]
        deviations.append(ranks - (weights.sum() + 1) / 2)
    a, b = deviations
    scale = float(np.sqrt((weights * a * a).sum() * (weights * b * b).sum()))
    return float((weights * a * b).sum()) / scale if scale > 0 else float("nan")


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
        raise LangJepaError(
            "an interval over documents needs at least two of them: evaluate on more documents."
        )
