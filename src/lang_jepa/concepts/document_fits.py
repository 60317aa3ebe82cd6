"""What is usual at the places of a document: mean and deviation of the fits of sentences that do not belong there.

Both follow from sums over sentences and from sums of products, so that no table of places by sentences is made. Legend:
Q places (one for each sentence), N sentences that are compared, D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.document.contest import Values
from lang_jepa.evaluation.document.rules import REACH
from lang_jepa.evaluation.similarity import Floats

LEAST_REFERENCE = 10
"""Fewer sentences than this say nothing about what is usual."""
_NOTHING = 1e-6
"""Deviations below this are rounding."""


def of_document(expected: Floats, own: Floats) -> tuple[Values, Values]:
    """Mean and deviation of the fits of the document's other sentences at each place, those within `REACH` left out.

    Where too few remain, only the sentence itself is left out.

    Args:
        expected: [Q, D] what is expected at each place.
        own: [Q, D] the sentence that stands there.
    """
    count = len(own)
    places = np.arange(count)
    within = np.minimum(places, REACH) + np.minimum(count - 1 - places, REACH) + 1
    far = count - within >= LEAST_REFERENCE
    middle = own.astype(np.float64).mean(0)
    asked, rows = expected.astype(np.float64), own.astype(np.float64) - middle
    sums, squares = asked @ rows.sum(0), np.einsum("qd,qd->q", asked @ (rows.T @ rows), asked)
    near = min(REACH, count - 1)
    for shift in range(-near, near + 1):
        here = slice(max(0, -shift), count - max(0, shift))
        there = slice(max(0, shift), count - max(0, -shift))
        fits = np.einsum("qd,qd->q", asked[here], rows[there])
        fits *= far[here] | (shift == 0)
        sums[here] -= fits
        squares[here] -= fits**2
    number = np.maximum(np.where(far, count - within, count - 1), 1)
    return _moments(sums / number, squares / number, asked @ middle)


def of_others(expected: Floats, others: Floats) -> tuple[Values, Values]:
    """Mean and deviation of the fits of other sentences [N, D] at each place."""
    middle = others.astype(np.float64).mean(0)
    asked, rows = expected.astype(np.float64), others.astype(np.float64) - middle
    squares = np.einsum("qd,qd->q", asked @ (rows.T @ rows), asked) / len(rows)
    return _moments(np.zeros(len(asked)), squares, asked @ middle)


def _moments(
    means: NDArray[np.float64], squares: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[Values, Values]:
    """Mean and deviation from moments of values that were shifted by their middle."""
    spreads = np.sqrt(np.maximum(squares - means**2, 0.0))
    return means + shift, np.where(spreads > _NOTHING, spreads, 0.0)
