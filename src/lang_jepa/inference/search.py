"""Nearest sentences and fitting continuations, by exact search."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import checked, prepare
from lang_jepa.inference.embedding import EmbeddingModel, Vectors
from lang_jepa.inference.texts import texts_of

Ints = NDArray[np.int64]
Scores = NDArray[np.float64]

BLOCK_ROWS = 8192
"""Rows of the matrix in one product: with 384 dimensions 13 MB in fp32, so that they stay near the processor."""
BLOCK_QUERIES = 256
_PAIRS = 16_384
"""Pairs of query and row that are scored in fp64 at a time."""
_SLACK = 1e-5
"""More than the rounding of an fp32 product of unit rows: who is nearer than this to the k-th is scored again."""


def exact_search(
    matrix: NDArray[Any], queries: Vectors, top_k: int, *, block_rows: int = BLOCK_ROWS
) -> tuple[Scores, Ints]:
    """The rows with the largest dot products, by looking at all of them.

    An fp32 product of each block of rows with the queries finds who may be among the nearest; these are scored in fp64,
    one pair at a time. So the result, ties included, depends neither on the blocks nor on the other queries.

    Args:
        matrix: [N, D] unit rows, float16 or float32, in memory or memory-mapped.
        queries: float32 [Q, D], unit rows.
        top_k: neighbours of each.
        block_rows: rows read at a time.

    Returns:
        Scores float64 and row numbers int64, both [Q, min(top_k, N)]; best first, of equal scores the smaller row
        first.

    Raises:
        LangJepaError: top_k below 1, NaN in a query, or another width than the matrix has.
    """
    queries = checked(queries, "queries")
    if top_k < 1:
        raise LangJepaError(f"top_k must be at least 1: got {top_k}")
    if queries.shape[1] != matrix.shape[1]:
        raise LangJepaError(f"queries are {queries.shape[1]} wide, the searched rows {matrix.shape[1]}")
    parts = [
        _search(matrix, queries[begin : begin + BLOCK_QUERIES], min(top_k, len(matrix)), block_rows)
        for begin in range(0, len(queries), BLOCK_QUERIES)
    ]
    none = np.zeros((0, min(top_k, len(matrix))))
    scores, rows = zip(*parts, strict=True) if parts else ((none,), (none.astype(np.int64),))
    return np.concatenate(scores), np.concatenate(rows)


def _search(matrix: NDArray[Any], queries: Vectors, top_k: int, block_rows: int) -> tuple[Scores, Ints]:
    """`exact_search` of so few queries that their scores with a block fit into memory."""
    scores, rows = np.full((len(queries), top_k), -np.inf), np.zeros((len(queries), top_k), dtype=np.int64)
    left = torch.from_numpy(np.ascontiguousarray(queries))
    room = torch.empty((min(block_rows, len(matrix)), matrix.shape[1]))
    for begin in range(0, len(matrix), block_rows):
        block = _read(matrix, begin, room)
        found = left @ block.T
        least = torch.from_numpy(scores[:, -1:]).float()
        if begin == 0 and len(block) > top_k:
            least = found.topk(top_k, dim=1).values[:, -1:]
        who, where = (part.numpy() for part in torch.nonzero(found >= least - _SLACK, as_tuple=True))
        for part in _in_parts(who):
            near = where[part] + begin
            fresh = pair_scores(matrix, queries, who[part], near)
            scores, rows = _merged(scores, rows, who[part], fresh, near)
    return scores, rows


def _read(matrix: NDArray[Any], begin: int, room: torch.Tensor) -> torch.Tensor:
    """As many rows as there is room for, in fp32."""
    rows = matrix[begin : begin + len(room)]
    # torch wants arrays that may be written to; an index is mapped so that they are, without reaching the file.
    rows = rows if rows.flags.writeable else rows.copy()
    return room[: len(rows)].copy_(torch.from_numpy(rows))


def _in_parts(who: Ints) -> Iterator[slice]:
    """Stretches of at most `_PAIRS` candidates."""
    for begin in range(0, len(who), _PAIRS):
        yield slice(begin, begin + _PAIRS)


def pair_scores(matrix: NDArray[Any], queries: Vectors, who: Ints, rows: Ints) -> Scores:
    """Dot products of given pairs in fp64, [n]: each by itself, so that equal rows have equal scores.

    Args:
        matrix, queries: [N, D] and [Q, D].
        who, rows: int64 [n], numbers of queries and of rows.
    """
    left, right = matrix[rows].astype(np.float64), queries[who].astype(np.float64)
    scores: Scores = np.einsum("nd,nd->n", left, right)
    return scores


def _merged(scores: Scores, rows: Ints, who: Ints, fresh: Scores, near: Ints) -> tuple[Scores, Ints]:
    """The best of what was found before and of fresh candidates, [Q, k] again."""
    count, top_k = scores.shape
    everyone = np.concatenate([np.repeat(np.arange(count), top_k), who])
    values, places = np.concatenate([scores.ravel(), fresh]), np.concatenate([rows.ravel(), near])
    order = np.lexsort((places, -values, everyone))
    starts = np.searchsorted(everyone[order], np.arange(count))
    best = order[starts[:, None] + np.arange(top_k)]
    return values[best], places[best]


def neighbours(
    model: EmbeddingModel,
    vectors: Vectors,
    sentences: Sequence[str],
    *,
    top_k: int,
    side: Literal["concepts", "predictions"] = "concepts",
) -> list[list[tuple[float, str]]]:
    """The sentences nearest to each vector, best first, by the model's default similarity.

    Args:
        model: encodes the sentences, here and now; `lang_jepa.inference.index.index` keeps them on disk.
        vectors: [n, D].
        sentences: to search among.
        top_k: neighbours of each.
        side: whether the vectors are concepts or predictions.

    Returns:
        For each vector, up to top_k pairs (cosine, sentence).

    Raises:
        LangJepaError: nothing to search among, or what `exact_search` raises.
    """
    sentences = texts_of(sentences, "sentence")
    if not sentences:
        raise LangJepaError("there are no sentences to search among")
    kind = model.similarity
    corpus = prepare(model.encode(sentences), model.statistics, kind)
    found = exact_search(corpus, prepare(vectors, model.statistics, kind, side=side), top_k)
    return [
        [(float(score), sentences[row]) for score, row in zip(*one, strict=True)]
        for one in zip(*found, strict=True)
    ]


def rank_continuations(
    model: EmbeddingModel, context: Sequence[str], candidates: Sequence[str]
) -> list[tuple[float, str]]:
    """Candidates by how near they are to the predicted concept of the context's next sentence, best first.

    Raises:
        LangJepaError: no context or no candidates.
    """
    context, candidates = texts_of(context, "sentence"), texts_of(candidates, "candidate")
    if not context or not candidates:
        raise LangJepaError("ranking continuations needs at least one --context and one --candidate")
    predicted = model.predict_next(context)
    return neighbours(model, predicted[None, :], candidates, top_k=len(candidates), side="predictions")[0]
