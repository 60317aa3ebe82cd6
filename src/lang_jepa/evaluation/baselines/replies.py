"""Choosing a reply from a bank: the contexts that are most like this one, and a vote among what answered them.

Legend: Q questions, B replies of the bank, k voters.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.metrics.retrieval import Rows

VOTERS = 10
"""Contexts of the bank whose replies vote."""
_BLOCK = 512
"""Questions whose scores with the whole bank are held at once."""
Numbers = NDArray[np.floating[Any]]


def nearest(asked: Any, known: Any, count: int) -> tuple[Rows, Numbers]:
    """The rows of `known` with the largest products, the largest first, int64 [Q, k], and these products [Q, k].

    Args:
        asked, known: [Q, D] and [B, D], dense or sparse.
        count: how many; fewer where the bank has fewer.
    """
    rows, products = [], []
    for start in range(0, asked.shape[0], _BLOCK):
        table = asked[start : start + _BLOCK] @ known.T
        table = table.toarray() if hasattr(table, "toarray") else table
        some = np.argpartition(-table, min(count, table.shape[1]) - 1, axis=1)[:, :count]
        order = np.lexsort((some, -np.take_along_axis(table, some, 1)), axis=1)
        best = np.take_along_axis(some, order, 1)
        rows.append(best)
        products.append(np.take_along_axis(table, best, 1))
    return np.concatenate(rows), np.concatenate(products)


def votes(similarity: Numbers, likeness: Numbers) -> Numbers:
    """What each reply gets: its mean similarity with all of them, weighted by how like their contexts are, [..., k].

    Args:
        similarity: [..., k, k], of the replies with each other.
        likeness: [..., k], of their contexts with the one in question; what is not positive has next to no weight.
    """
    weights = np.clip(likeness, 1e-6, None)
    total: Numbers = (similarity @ weights[..., None])[..., 0] / weights.sum(-1, keepdims=True)
    return total


def voted(rows: Rows, likeness: Numbers, replies: Any) -> Rows:
    """The row with the most votes of each question, int64 [Q]; of equal ones the nearest.

    Args:
        rows, likeness: [Q, k], as of `nearest`.
        replies: [B, D] unit rows, dense or sparse: what answered the contexts of the bank.
    """
    won = np.empty(len(rows), dtype=np.int64)
    for number, (some, near) in enumerate(zip(rows, likeness, strict=True)):
        said = replies[some]
        mutual = said @ said.T
        mutual = mutual.toarray() if hasattr(mutual, "toarray") else mutual
        won[number] = some[np.argmax(votes(mutual, near))]
    return won
