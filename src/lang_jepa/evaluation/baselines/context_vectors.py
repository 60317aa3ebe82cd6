"""Mix the vectors of units with those of their surroundings, so that a short turn is found by what it is about."""

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Floats, checked, unit_rows

REACH = 2
"""Number of neighbours on either side to mix in."""


def with_neighbours(vectors: Floats, document_of: NDArray[np.int64], weight: float, reach: int = REACH) -> Floats:
    """Return unit rows of (1 - weight) x + weight m, where m is the mean of the units around x.

    Args:
        vectors: [n, D] unit rows, documents one after the other, the units of each in order.
        document_of: int64 [n], the document of each unit.
        weight: in [0, 1].
        reach: neighbours on either side, within the same document. A unit without neighbours stays unchanged.

    Returns:
        float32 [n, D].

    Raises:
        LangJepaError: from `mixed`; shapes do not match; or reach is below 1.
    """
    rows = checked(vectors, "vectors of units")
    return mixed(rows, neighbour_means(rows, document_of, reach), weight)


def neighbour_means(vectors: Floats, document_of: NDArray[np.int64], reach: int = REACH) -> Floats:
    """Return the mean of the units around each unit, float32 [n, D]; its own vector if there are none.

    Args and errors as in `with_neighbours`; the vectors need not be unit rows.
    """
    rows = checked(vectors, "vectors of units")
    documents = np.asarray(document_of)
    if documents.shape != (len(rows),):
        raise LangJepaError(f"{len(rows)} units but documents of shape {documents.shape}: give one number per unit.")
    if reach < 1:
        raise LangJepaError(f"reach={reach}: at least 1 neighbour on either side.")
    sums, counts = np.zeros_like(rows), np.zeros((len(rows), 1), dtype=np.float32)
    for distance in range(1, min(reach, len(rows) - 1) + 1):
        same = (documents[distance:] == documents[:-distance])[:, None]
        sums[distance:] += rows[:-distance] * same
        sums[:-distance] += rows[distance:] * same
        counts[distance:] += same
        counts[:-distance] += same
    return np.where(counts > 0, sums / np.maximum(counts, 1), rows)


def mixed(vectors: Floats, others: Floats, weight: float) -> Floats:
    """Return unit rows of (1 - weight) x + weight y, float32 [n, D].

    Args:
        vectors, others: [n, D], such as units and the predictions at their positions.
        weight: in [0, 1].

    Raises:
        LangJepaError: the weight is out of range, shapes differ, or an entry is NaN.
    """
    if not 0 <= weight <= 1:
        raise LangJepaError(f"weight={weight}: the share of the surroundings is between 0 and 1.")
    one, other = checked(vectors, "vectors of units"), checked(others, "vectors of surroundings")
    if one.shape != other.shape:
        raise LangJepaError(f"units {one.shape} and surroundings {other.shape} must have one shape.")
    return unit_rows((np.float32(1 - weight) * one + np.float32(weight) * other).astype(np.float32, copy=False))
