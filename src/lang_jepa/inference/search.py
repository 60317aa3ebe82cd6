"""Find nearest rows: exactly, by scoring all, or approximately with faiss (extra `faiss`) if there are too many.

For approximate search, rows are sorted into cells around k-means centres and stored with 8 bits per number; a search
visits the cells closest to the query and scores what it finds there again with the stored vectors. How many cells it
visits is measured when the index is built: as many as it takes to find `WANTED_RECALL` of what exact search finds.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError, optional
from lang_jepa.evaluation.metrics.similarity import checked
from lang_jepa.files.atomic import atomic_file
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.encoding import Vectors
from lang_jepa.inference.texts import texts_of

Ints = NDArray[np.int64]
Scores = NDArray[np.float64]

BLOCK_ROWS = 8192
"""Rows of the matrix in one product: 13 MB in fp32 with 384 dimensions, so that they stay close to the processor."""
BLOCK_QUERIES = 256
_PAIRS = 16_384
"""Pairs of query and row scored in fp64 at a time."""
_SLACK = 1e-5
"""More than the rounding error of an fp32 product of unit rows: rows this close to the k-th are scored again."""
_HALF_SLACK = 2e-3
"""The same for an fp16 product with fp32 sums: twice the 2^-11 of the query's rounding and the 2^-12 of the sum's."""
_HALF_BLOCKS = 16
"""Blocks in one fp16 product, which makes no copy of the rows."""


def exact_search(
    matrix: NDArray[Any], queries: Vectors, top_k: int, *, block_rows: int = BLOCK_ROWS
) -> tuple[Scores, Ints]:
    """Find the rows with the largest dot products among all rows.

    A product of each block of rows with the queries, in fp32 (in fp16 for one query and fp16 rows), finds the rows that
    may be among the nearest; these are scored in fp64, one pair at a time. So the result, ties included, depends
    neither on the blocks nor on the other queries.

    Args:
        matrix: [N, D] unit rows, float16 or float32, in memory or memory-mapped.
        queries: float32 [Q, D], unit rows.
        top_k: neighbours of each query.
        block_rows: rows read at a time.

    Returns:
        Scores float64 and row numbers int64, both [Q, min(top_k, N)]; best first, and of equal scores the smaller row
        first.

    Raises:
        LangJepaError: top_k below 1, NaN in a query, or a width other than that of the matrix.
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
    """Run `exact_search` for so few queries that their scores with a block fit into memory."""
    scores, rows = np.full((len(queries), top_k), -np.inf), np.zeros((len(queries), top_k), dtype=np.int64)
    for begin, found, slack in _products(matrix, queries, block_rows):
        least = torch.from_numpy(scores[:, -1:]).float()
        if begin == 0 and found.shape[1] > top_k:
            least = found.topk(top_k, dim=1).values[:, -1:]
        who, where = (part.numpy() for part in torch.nonzero(found >= least - slack, as_tuple=True))
        for first in range(0, len(who), _PAIRS):
            part = slice(first, first + _PAIRS)
            near = where[part] + begin
            fresh = pair_scores(matrix, queries, who[part], near)
            scores, rows = _merged(scores, rows, who[part], fresh, near)
    return scores, rows


def _products(matrix: NDArray[Any], queries: Vectors, block_rows: int) -> Iterator[tuple[int, torch.Tensor, float]]:
    """Yield the scores of all rows by blocks: first row of the block, fp32 [Q, n], and the slack that they need.

    With one query it is a product of a matrix and a vector, whose time is that of reading the matrix, so stored fp16
    rows are read as they are.
    """
    left = torch.from_numpy(np.ascontiguousarray(queries))
    half = left[0].half()
    if len(queries) == 1 and len(matrix) and matrix.dtype == np.float16 and _sums_in_fp32(matrix.shape[1]):
        for begin in range(0, len(matrix), block_rows * _HALF_BLOCKS):
            block = _tensor(matrix[begin : begin + block_rows * _HALF_BLOCKS])
            yield begin, torch.mv(block, half).float().unsqueeze(0), _HALF_SLACK
        return
    room = torch.empty((min(block_rows, len(matrix)), matrix.shape[1]))
    for begin in range(0, len(matrix), block_rows):
        block = _tensor(matrix[begin : begin + block_rows])
        yield begin, left @ room[: len(block)].copy_(block).T, _SLACK


@cache
def _sums_in_fp32(width: int) -> bool:
    """Whether this processor sums fp16 products of unit rows in fp32, tested with one large term and many small ones,
    which a sum in fp16 loses.
    """
    rows = torch.linspace(0.5, 1.5, 64).unsqueeze(1).repeat(1, width)
    rows[:, 0] = width**0.5
    rows = torch.nn.functional.normalize(rows, dim=1).half()
    error = (torch.mv(rows, rows[0]).float() - rows.float() @ rows[0].float()).abs().max()
    return bool(error <= _HALF_SLACK / 2)


def _tensor(rows: NDArray[Any]) -> torch.Tensor:
    """Return rows as a tensor, in the type they are stored in."""
    # torch wants writable arrays; an index is mapped so that its arrays are, and writes do not reach the file.
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def pair_scores(matrix: NDArray[Any], queries: Vectors, who: Ints, rows: Ints) -> Scores:
    """Return the dot products of given pairs in fp64, [n], each computed by itself, so that equal rows score equally.

    Args:
        matrix, queries: [N, D] and [Q, D].
        who, rows: int64 [n], query and row numbers.
    """
    left, right = matrix[rows].astype(np.float64), queries[who].astype(np.float64)
    scores: Scores = np.einsum("nd,nd->n", left, right)
    return scores


def _merged(scores: Scores, rows: Ints, who: Ints, fresh: Scores, near: Ints) -> tuple[Scores, Ints]:
    """Return the best of what was found before and of fresh candidates, [Q, k] again."""
    count, top_k = scores.shape
    everyone = np.concatenate([np.repeat(np.arange(count), top_k), who])
    values, found = np.concatenate([scores.ravel(), fresh]), np.concatenate([rows.ravel(), near])
    order = np.lexsort((found, -values, everyone))
    starts = np.searchsorted(everyone[order], np.arange(count))
    best = order[starts[:, None] + np.arange(top_k)]
    return values[best], found[best]


def neighbours(
    model: EmbeddingModel,
    vectors: Vectors,
    sentences: Sequence[str],
    *,
    top_k: int,
    side: Literal["concepts", "predictions"] = "concepts",
) -> list[list[tuple[float, str]]]:
    """Find the sentences closest to each vector, best first, by the model's default similarity.

    Args:
        model: encodes the sentences on the spot; `lang_jepa.inference.index` stores their vectors on disk.
        vectors: [n, D].
        sentences: sentences to search among.
        top_k: neighbours of each vector.
        side: whether the vectors are concepts or predictions.

    Returns:
        For each vector, up to top_k pairs (cosine, sentence).

    Raises:
        LangJepaError: nothing to search among, or what `exact_search` raises.
    """
    sentences = texts_of(sentences, "sentence")
    if not sentences:
        raise LangJepaError("there are no sentences to search among")
    found = exact_search(model.comparable(model.encode(sentences)), model.comparable(vectors, side=side), top_k)
    return [
        [(float(score), sentences[row]) for score, row in zip(*one, strict=True)] for one in zip(*found, strict=True)
    ]


def rank_continuations(
    model: EmbeddingModel, context: Sequence[str], candidates: Sequence[str]
) -> list[tuple[float, str]]:
    """Rank candidates by how close they are to the predicted concept of the context's next sentence, best first.

    Raises:
        LangJepaError: no context or no candidates.
    """
    context, candidates = texts_of(context, "sentence"), texts_of(candidates, "candidate")
    if not context or not candidates:
        raise LangJepaError("ranking continuations needs at least one --context and one --candidate")
    predicted = model.predict_next(context)
    return neighbours(model, predicted[None, :], candidates, top_k=len(candidates), side="predictions")[0]


APPROXIMATE = "approximate.faiss"
_KIND, _HEAD = b"IwSq", struct.Struct("<4siq")
"""How the file of an IndexIVFScalarQuantizer begins: with its kind, width D and rows N."""
WANTED_RECALL = 0.95
QUESTIONS = 200
"""Number of stored rows whose ten nearest others are searched for, to measure recall."""
_NEAREST = 10
_PER_CELL = 40
"""Rows per cell in the sample that the centres are learnt on; faiss warns below 39."""
_ADDED_ROWS = 65_536
_CANDIDATES = 4
"""How many times top_k candidates are scored again."""


class ApproximateSearch:
    """An approximate index over the rows of a matrix.

    Args:
        cells: the faiss index.
        matrix: the stored rows [N, D], for exact scores of what is found.
        probes: how many cells a search visits.
    """

    def __init__(self, cells: Any, matrix: NDArray[Any], probes: int) -> None:
        self._cells, self._matrix = cells, matrix
        self.set_probes(probes)

    def set_probes(self, probes: int) -> None:
        """Set how many cells a search visits."""
        self._cells.nprobe = probes

    @classmethod
    def open(cls, folder: Path, matrix: NDArray[Any], probes: int) -> "ApproximateSearch":
        """Map the file in an index's folder, whose hash was checked before.

        Its head must say that it is of the kind that is built here, over as many rows; so a crafted file cannot be any
        other of the many kinds that faiss reads.

        Raises:
            LangJepaError: it is damaged or crafted, or faiss is not installed.
        """
        faiss = _faiss("it has an approximate index; without the extra, search with --exact (exact=True)")
        path, (count, dim) = folder / APPROXIMATE, matrix.shape
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD.size)
            if head != _HEAD.pack(_KIND, dim, count):
                raise _damaged(path)
            if hasattr(faiss, "set_deserialization_vector_byte_limit"):  # else a few bytes could claim all memory
                faiss.set_deserialization_vector_byte_limit(path.stat().st_size)
            cells = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except (RuntimeError, MemoryError, OSError) as error:
            raise _damaged(path) from error
        if not (cells.d == dim and cells.ntotal == count and 1 <= probes <= cells.nlist):
            raise _damaged(path)
        return cls(cells, matrix, probes)

    def search(self, queries: Vectors, top_k: int) -> tuple[Scores, Ints]:
        """Return scores float64 and rows int64, [Q, top_k], best first; an entry that is not filled has row -1.

        Raises:
            LangJepaError: the file was crafted and names rows that do not exist.
        """
        wanted = min(max(_CANDIDATES * top_k, 64), len(self._matrix))
        try:
            _, rows = self._cells.search(np.ascontiguousarray(queries), max(wanted, top_k))
        except RuntimeError as error:
            raise _damaged(APPROXIMATE) from error
        rows = rows.astype(np.int64)
        if rows.max(initial=0) >= len(self._matrix):
            raise _damaged(APPROXIMATE)
        who = np.repeat(np.arange(len(rows)), rows.shape[1])
        scores = pair_scores(self._matrix, queries, who, np.maximum(rows, 0).ravel()).reshape(rows.shape)
        scores[rows < 0] = -np.inf
        order = np.lexsort((rows, -scores), axis=1)[:, :top_k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def build_approximate(matrix: NDArray[Any], folder: Path) -> dict[str, Any]:
    """Write the approximate index of a matrix into a folder, with as many probes as reach WANTED_RECALL.

    Recall is measured with QUESTIONS stored rows as queries: the share of their ten nearest other rows that are found
    (an equally close one counts). Queries of another kind, such as predictions, may find less.

    Args:
        matrix: [N, D] unit rows.
        folder: folder of the index.

    Returns:
        For `index.json`: `cells`, `probes`, `recall@10`, `questions`.

    Raises:
        LangJepaError: faiss is not installed.
    """
    faiss = _faiss("--approximate needs it")
    rng = np.random.default_rng(0)
    count, dim = matrix.shape
    cells = max(1, min(int(4 * count**0.5), count // _PER_CELL))
    sample = np.sort(rng.choice(count, min(count, cells * _PER_CELL), replace=False))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.train(matrix[sample].astype(np.float32))
    for begin in range(0, count, _ADDED_ROWS):
        index.add(matrix[begin : begin + _ADDED_ROWS].astype(np.float32))
    with atomic_file(folder / APPROXIMATE) as temporary:
        faiss.write_index(index, str(temporary))
    asked = np.sort(rng.choice(count, min(count, QUESTIONS), replace=False))
    probes, recall = _effort(ApproximateSearch(index, matrix, 1), matrix, asked, cells)
    return {"cells": cells, "probes": probes, "recall@10": round(recall, 4), "questions": len(asked)}


def _effort(search: ApproximateSearch, matrix: NDArray[Any], asked: Ints, cells: int) -> tuple[int, float]:
    """Return the smallest number of cells, a power of two or all, with the wanted recall, and the recall it reaches."""
    queries = matrix[asked].astype(np.float32)
    truth = _others(*exact_search(matrix, queries, _NEAREST + 1), asked)
    probes = 1
    while True:
        probes = min(probes, cells)
        search.set_probes(probes)
        found = _others(*search.search(queries, _NEAREST + 1), asked)
        recall = float((found >= truth[:, -1:] - 1e-9).sum() / max(truth.size, 1))
        if recall >= WANTED_RECALL or probes == cells:
            return probes, recall
        probes *= 2


def _others(scores: Scores, rows: Ints, asked: Ints) -> Scores:
    """Return the scores found without that of the query's own row (or without the last, if it was not found)."""
    own = rows == asked[:, None]
    own[~own.any(1), -1] = True
    rest: Scores = scores[~own].reshape(len(rows), -1)
    return rest


def _damaged(path: Path | str) -> LangJepaError:
    return LangJepaError(f"{path} is missing or damaged: build the index again, or search with --exact (exact=True)")


def _faiss(why: str) -> Any:
    return optional("faiss", "faiss", f"faiss is not installed ({why})")
