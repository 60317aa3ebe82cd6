"""Metrics of segmentation and detection: Pk, WindowDiff, the area under the ROC curve, average precision.

A segmentation of n sentences is given by its boundaries: int64 positions p, 1 <= p < n, at which a segment begins.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lang_jepa.errors import LangJepaError

Ints = NDArray[np.int64]


def half_segment(boundaries: ArrayLike, count: int) -> int:
    """Return k of Pk and WindowDiff: half the mean true segment length, rounded half up, at least 1, below `count`."""
    true = _checked(boundaries, count)
    return int(np.clip(np.floor(count / (len(true) + 1) / 2 + 0.5), 1, max(1, count - 1)))


def pk(true: ArrayLike, found: ArrayLike, count: int) -> float:
    """Return the share of sentence pairs k apart that only one of two segmentations puts into the same segment.

    Beeferman, Berger and Lafferty 1999, Statistical models for text segmentation. k is the `half_segment` of the true
    segmentation. 0 is perfect; no boundaries, or a boundary everywhere, gives about one half.

    Args:
        true, found: boundaries of the two segmentations.
        count: number of sentences n, at least 2.

    Raises:
        LangJepaError: a boundary outside 1 .. n - 1, or fewer than two sentences.
    """
    ours, theirs = _windows(true, found, count)
    return float(((ours > 0) != (theirs > 0)).mean())


def window_diff(true: ArrayLike, found: ArrayLike, count: int) -> float:
    """Return the share of windows of k gaps in which the two segmentations differ in their number of boundaries.

    Pevzner and Hearst 2002, A critique and improvement of an evaluation metric for text segmentation. Unlike Pk, it
    penalises false boundaries near true ones. Args and errors as in `pk`.
    """
    ours, theirs = _windows(true, found, count)
    return float((ours != theirs).mean())


def auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Return the probability that a positive scores higher than a negative; ties count half (Mann and Whitney 1947).

    Args:
        scores: float [n], higher for positives.
        positive: bool [n].

    Raises:
        LangJepaError: shapes differ, a score is NaN, or there is no positive or no negative.
    """
    values, mask = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.shape != mask.shape or values.ndim != 1 or np.isnan(values).any():
        raise LangJepaError(f"AUC needs one score per label and no NaN: got {values.shape}, {mask.shape}.")
    positives, negatives = values[mask], np.sort(values[~mask])
    if not len(positives) or not len(negatives):
        raise LangJepaError("AUC needs at least one positive and one negative score.")
    below = (np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")) / 2
    return float(below.sum() / (len(positives) * len(negatives)))


def average_precision(scores: ArrayLike, positive: ArrayLike) -> float:
    """Return the mean, over the positives, of the precision at their rank; tied scores share their worst rank.

    Args and errors as in `auc`, but all may be positive.
    """
    values, mask = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.shape != mask.shape or values.ndim != 1 or np.isnan(values).any() or not mask.any():
        raise LangJepaError(
            "average precision needs one score per label, no NaN and at least one positive: got "
            f"{values.shape}, {mask.shape}."
        )
    positives = values[mask]
    among_all, among_positive = (len(some) - np.searchsorted(np.sort(some), positives) for some in (values, positives))
    return float((among_positive / among_all).mean())


def _windows(true: ArrayLike, found: ArrayLike, count: int) -> tuple[Ints, Ints]:
    """Count the boundaries of both inside each window (i, i + k]."""
    both, k = (_checked(true, count), _checked(found, count)), half_segment(true, count)
    sums = (np.cumsum(np.bincount(one, minlength=count)) for one in both)  # up to and including each position
    ours, theirs = (total[k:] - total[: count - k] for total in sums)
    return ours, theirs


def _checked(boundaries: ArrayLike, count: int) -> Ints:
    """Return the distinct boundaries in order, checked."""
    if count < 2:
        raise LangJepaError(f"a segmentation needs at least two sentences, not {count}.")
    found: Ints = np.unique(np.asarray(boundaries, dtype=np.int64))
    if len(found) and (found[0] < 1 or found[-1] >= count):
        raise LangJepaError(f"boundaries must lie from 1 to {count - 1}: got {found.tolist()}.")
    return found


Gaps = NDArray[np.float64]

LEAST_SEGMENT = 3
"""Default of the fewest sentences in a found segment."""


def depths(scores: Gaps) -> Gaps:
    """Return the depth score of each gap, [n - 1].

    Hearst 1997, section 5.2, with dissimilarities in place of similarities: the sum of the two drops from a gap to the
    nearest local minimum on its left and on its right. A gap that is not a local maximum keeps the drop on one side.
    """
    left, right = _descended(scores), _descended(scores[::-1])[::-1]
    deep: Gaps = (scores - left) + (scores - right)
    return deep


def _descended(scores: Gaps) -> Gaps:
    """Return, for each gap, the score where a walk to the left that only descends ends."""
    ends = scores.copy()
    for position in range(1, len(scores)):
        if scores[position - 1] <= scores[position]:
            ends[position] = ends[position - 1]
    return ends


def standardised(scores: Gaps) -> Gaps:
    """Standardise scores by the mean and standard deviation of this document; zeros if all are equal."""
    spread = scores.std()
    scaled: Gaps = (scores - scores.mean()) / spread if spread > 0 else np.zeros_like(scores)
    return scaled


def pick(scores: Gaps, *, count: int | None = None, threshold: float | None = None, least: int = LEAST_SEGMENT) -> Ints:
    """Pick boundaries greedily by score, skipping those that would leave a segment shorter than `least`.

    Args:
        scores: [n - 1], scores of the gaps.
        count: number of boundaries; fewer are returned if no more fit.
        threshold: without a count, pick those with at least this score.
        least: fewest sentences of a segment.

    Returns:
        int64, ascending, each from 1 to n - 1.

    Raises:
        LangJepaError: both or neither of count and threshold are given, or the count is negative.
    """
    if (count is None) == (threshold is None) or (count is not None and count < 0):
        raise LangJepaError("topic boundaries need either how many there are (0 or more) or a threshold.")
    return cut(ranked(scores, least), scores, count=count, threshold=threshold)


def ranked(scores: Gaps, least: int = LEAST_SEGMENT) -> Ints:
    """Return boundaries in the order in which `pick` takes them, int64: highest score first, none too near another.

    The boundaries for any count or threshold are a prefix of this order (see `cut`).
    """
    sentences = len(scores) + 1
    free = np.zeros(sentences + 1, dtype=bool)
    free[least : max(least, sentences - least + 1)] = True
    found: list[int] = []
    for position in np.argsort(-scores, kind="stable").tolist():
        gap = position + 1
        if free[gap]:
            found.append(gap)
            free[max(0, gap - least + 1) : gap + least] = False
    return np.array(found, dtype=np.int64)


def cut(order: Ints, scores: Gaps, *, count: int | None = None, threshold: float | None = None) -> Ints:
    """Return the first `count` of ranked boundaries, or those whose score reaches the threshold, ascending."""
    if count is None:
        assert threshold is not None
        count = int((scores[order - 1] >= threshold).sum())
    return np.sort(order[:count])
