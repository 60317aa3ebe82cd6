"""Approximate search with faiss (extra `faiss`), for so many rows that looking at all of them takes too long.

The rows are sorted into cells around k-means centres and kept in 8 bits a number; a search looks into the cells nearest
to the query and scores what it finds there again with the stored vectors. How many cells is not a matter of taste:
as many as are needed to find what exact search finds, measured when the index is built.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import atomic_file
from lang_jepa.inference.embedding import Vectors
from lang_jepa.inference.search import Ints, Scores, exact_search, pair_scores

FILE = "approximate.faiss"
_KIND, _HEAD = b"IwSq", struct.Struct("<4siq")
"""What the file of an IndexIVFScalarQuantizer begins with: its kind, width D and rows N."""
WANTED_RECALL = 0.95
QUESTIONS = 200
"""Stored rows whose ten nearest others are searched for, to measure recall."""
_NEAREST = 10
_PER_CELL = 40
"""Rows per cell in the sample that the centres are learnt on; faiss warns below 39."""
_READ = 65_536
_CANDIDATES = 4
"""Times top_k that are scored again."""


class ApproximateSearch:
    """An approximate index over the rows of a matrix.

    Args:
        cells: the faiss index.
        matrix: the stored rows [N, D], for exact scores of what is found.
        probes: cells looked into.
    """

    def __init__(self, cells: Any, matrix: NDArray[Any], probes: int) -> None:
        self._cells, self._matrix = cells, matrix
        self.look_into(probes)

    def look_into(self, probes: int) -> None:
        """Set how many cells a search looks into."""
        self._cells.nprobe = probes

    @classmethod
    def open(cls, folder: Path, matrix: NDArray[Any], probes: int) -> "ApproximateSearch":
        """Map the file in an index's folder, whose hash was compared before.

        Its head has to say that it is of the kind that is built here, over as many rows: of the many kinds that faiss
        reads, a file that someone crafted can be no other.

        Raises:
            LangJepaError: it is damaged or crafted, or faiss is not installed.
        """
        faiss = _faiss("it has an approximate index; without the extra, search with --exact (exact=True)")
        path, (count, dim) = folder / FILE, matrix.shape
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD.size)
            if head != _HEAD.pack(_KIND, dim, count):
                raise _damaged(path)
            if hasattr(faiss, "set_deserialization_vector_byte_limit"):  # else a few bytes ask for all memory
                faiss.set_deserialization_vector_byte_limit(path.stat().st_size)
            cells = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except (RuntimeError, MemoryError, OSError) as error:
            raise _damaged(path) from error
        if not (cells.d == dim and cells.ntotal == count and 1 <= probes <= cells.nlist):
            raise _damaged(path)
        return cls(cells, matrix, probes)

    def search(self, queries: Vectors, top_k: int) -> tuple[Scores, Ints]:
        """Scores float64 and rows int64, [Q, top_k], best first; a place that stays empty has row -1.

        Raises:
            LangJepaError: the file was crafted, and names rows that are not there.
        """
        wanted = min(max(_CANDIDATES * top_k, 64), len(self._matrix))
        try:
            _, rows = self._cells.search(np.ascontiguousarray(queries), max(wanted, top_k))
        except RuntimeError as error:
            raise _damaged(FILE) from error
        rows = rows.astype(np.int64)
        if rows.max(initial=0) >= len(self._matrix):
            raise _damaged(FILE)
        who = np.repeat(np.arange(len(rows)), rows.shape[1])
        scores = pair_scores(self._matrix, queries, who, np.maximum(rows, 0).ravel()).reshape(rows.shape)
        scores[rows < 0] = -np.inf
        order = np.lexsort((rows, -scores), axis=1)[:, :top_k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def build_approximate(matrix: NDArray[Any], folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Write the approximate index of a matrix into a folder, with the effort that reaches WANTED_RECALL.

    Recall is measured with QUESTIONS stored rows as queries: the share of their ten nearest other rows that are found
    (an equally near one counts). Queries of another kind, such as predictions, may find less.

    Args:
        matrix: [N, D] unit rows.
        folder: of the index.
        seed: of the samples.

    Returns:
        For `index.json`: `cells`, `probes`, `recall@10`, `questions`.

    Raises:
        LangJepaError: faiss is not installed.
    """
    faiss = _faiss("--approximate needs it")
    rng = np.random.default_rng(seed)
    count, dim = matrix.shape
    cells = max(1, min(int(4 * count**0.5), count // _PER_CELL))
    sample = np.sort(rng.choice(count, min(count, cells * _PER_CELL), replace=False))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.train(matrix[sample].astype(np.float32))
    for begin in range(0, count, _READ):
        index.add(matrix[begin : begin + _READ].astype(np.float32))
    with atomic_file(folder / FILE) as temporary:
        faiss.write_index(index, str(temporary))
    asked = np.sort(rng.choice(count, min(count, QUESTIONS), replace=False))
    probes, recall = _effort(ApproximateSearch(index, matrix, 1), matrix, asked, cells)
    return {"cells": cells, "probes": probes, "recall@10": round(recall, 4), "questions": len(asked)}


def _effort(search: ApproximateSearch, matrix: NDArray[Any], asked: Ints, cells: int) -> tuple[int, float]:
    """The smallest power of two of cells (or all) with the wanted recall, and that recall."""
    queries = matrix[asked].astype(np.float32)
    truth = _others(*exact_search(matrix, queries, _NEAREST + 1), asked)
    probes = 1
    while True:
        probes = min(probes, cells)
        search.look_into(probes)
        found = _others(*search.search(queries, _NEAREST + 1), asked)
        recall = float((found >= truth[:, -1:] - 1e-9).sum() / max(truth.size, 1))
        if recall >= WANTED_RECALL or probes == cells:
            return probes, recall
        probes *= 2


def _others(scores: Scores, rows: Ints, asked: Ints) -> Scores:
    """Scores of what was found apart from the query's own row (or the last, where that is not among them)."""
    own = rows == asked[:, None]
    own[~own.any(1), -1] = True
    rest: Scores = scores[~own].reshape(len(rows), -1)
    return rest


def _damaged(path: Path | str) -> LangJepaError:
    return LangJepaError(
        f"{path} is missing or damaged: build the index again, or search with --exact (exact=True)"
    )


def _faiss(why: str) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise LangJepaError(f"faiss is not installed ({why}): pip install 'lang-jepa[faiss]'") from error
    return faiss
