"""From a score at every gap between sentences to topic boundaries.

A score is given for gaps 1 .. n - 1 (gap g lies before sentence g) as float64 [n - 1]; higher means rather a boundary.
"""

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError

Gaps = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_SEGMENT = 3
"""Sentences of a found segment at least, if nothing else is asked for."""


def depths(scores: Gaps) -> Gaps:
    """How far each score stands out above the lowest ones that are reached by going down on both sides, [n - 1].

    Hearst 1997, section 5.2, with dissimilarities in place of similarities: the sum of the two drops from a gap to the
    nearest local minimum on its left and on its right. A gap that is no local maximum keeps the drop of one side.
    """
    left, right = _descended(scores), _descended(scores[::-1])[::-1]
    deep: Gaps = (scores - left) + (scores - right)
    return deep


def _descended(scores: Gaps) -> Gaps:
    """For each gap the score at which a walk to the left that only goes down ends."""
    ends = scores.copy()
    for place in range(1, len(scores)):
        if scores[place - 1] <= scores[place]:
            ends[place] = ends[place - 1]
    return ends


def standardised(scores: Gaps) -> Gaps:
    """Scores minus their mean over their standard deviation, both of this document; zeros where all are equal."""
    spread = scores.std()
    scaled: Gaps = (scores - scores.mean()) / spread if spread > 0 else np.zeros_like(scores)
    return scaled


def pick(
    scores: Gaps, *, count: int | None = None, threshold: float | None = None, least: int = LEAST_SEGMENT
) -> Ints:
    """Boundaries: the highest scores first, none that would leave a segment below so many sentences.

    Args:
        scores: [n - 1].
        count: boundaries wanted; fewer where no more fit.
        threshold: without a count, those with at least this score.
        least: sentences of a segment at least.

    Returns:
        int64, ascending, each from 1 to n - 1.

    Raises:
        LangJepaError: both or neither of count and threshold, or a negative count.
    """
    if (count is None) == (threshold is None) or (count is not None and count < 0):
        raise LangJepaError("topic boundaries need either how many there are (0 or more) or a threshold.")
    return cut(ranked(scores, least), scores, count=count, threshold=threshold)


def ranked(scores: Gaps, least: int = LEAST_SEGMENT) -> Ints:
    """Boundaries in the order in which `pick` takes them, int64: the highest scores first, never too near another.

    Those of any count or threshold are a beginning of it (see `cut`).
    """
    sentences = len(scores) + 1
    free = np.zeros(sentences + 1, dtype=bool)
    free[least : max(least, sentences - least + 1)] = True
    found: list[int] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        gap = place + 1
        if free[gap]:
            found.append(gap)
            free[max(0, gap - least + 1) : gap + least] = False
    return np.array(found, dtype=np.int64)


def cut(order: Ints, scores: Gaps, *, count: int | None = None, threshold: float | None = None) -> Ints:
    """The first `count` of ranked boundaries, or those whose score is at least the threshold; ascending."""
    if count is None:
        assert threshold is not None
        count = int((scores[order - 1] >= threshold).sum())
    return np.sort(order[:count])
