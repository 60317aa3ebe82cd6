"""Choose a reply from a bank: find the contexts most similar to this one, and take a vote among their replies.

Shapes: Q questions, B replies of the bank, k voters.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.similarity import dense

VOTERS = 10
"""Contexts of the bank whose replies vote."""
_BLOCK = 512
"""Questions whose scores with the whole bank are held in memory at once."""
Numbers = NDArray[np.floating[Any]]


def nearest(asked: Any, known: Any, count: int) -> tuple[Rows, Numbers]:
    """Return the rows of `known` with the largest dot products, largest first, int64 [Q, k], and the products [Q, k].

    Args:
        asked, known: [Q, D] and [B, D], dense or sparse.
        count: number of rows; fewer if the bank has fewer.
    """
    rows, products = [], []
    for start in range(0, asked.shape[0], _BLOCK):
        table = dense(asked[start : start + _BLOCK] @ known.T)
        some = np.argpartition(-table, min(count, table.shape[1]) - 1, axis=1)[:, :count]
        order = np.lexsort((some, -np.take_along_axis(table, some, 1)), axis=1)
        best = np.take_along_axis(some, order, 1)
        rows.append(best)
        products.append(np.take_along_axis(table, best, 1))
    return np.concatenate(rows), np.concatenate(products)


def votes(similarity: Numbers, likeness: Numbers) -> Numbers:
    """Return each reply's votes, [..., k]: its mean similarity with all, weighted by their contexts' similarity.

    Args:
        similarity: [..., k, k], similarity of the replies with each other.
        likeness: [..., k], similarity of their contexts with the given one; non-positive values get almost no weight.
    """
    weights = np.clip(likeness, 1e-6, None)
    total: Numbers = (similarity @ weights[..., None])[..., 0] / weights.sum(-1, keepdims=True)
    return total


def voted(rows: Rows, likeness: Numbers, replies: Any) -> Rows:
    """Return the row with the most votes for each question, int64 [Q]; the nearest if they tie.

    Args:
        rows, likeness: [Q, k], from `nearest`.
        replies: [B, D] unit rows, dense or sparse, of the replies to the contexts of the bank.
    """
    won = np.empty(len(rows), dtype=np.int64)
    for number, (some, near) in enumerate(zip(rows, likeness, strict=True)):
        said = replies[some]
        won[number] = some[np.argmax(votes(dense(said @ said.T), near))]
    return won
