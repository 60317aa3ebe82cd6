"""Retrieval of the true next sentence among candidates by a prediction: recall@k and MRR, with exact ranks.

A query's candidates are a row of indices into the targets, the true one first. They come from other documents (easy:
the topic decides) or from a pool given by the caller (hard: the same document, or a story). Scores are dot products
of unit rows (see `similarity.prepare`). Shapes: Q queries, T targets, C candidates, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lang_jepa.errors import LangJepaError

Rows = NDArray[np.int64]
TIE = 1e-6  # Scores closer than this are equal: fp32 dot products of the same unit vectors differ by about 1e-7.
_GATHERING = 16  # A dot product with a gathered row costs about as much as this many in a matrix product.
_BLOCK = 1 << 25  # Keys of a draw held at once: 128 MiB of fp32.
_SCORES = 1 << 22  # Scores held at once: 16 MiB of fp32. The allocator reuses a block of this size, not a larger one.
_FETCHED = 1 << 18  # Entries of gathered rows held at once: 1 MiB of fp32, which fits into a core's cache.


@dataclass(frozen=True)
class Retrieval:
    """Ranks of the true candidates.

    Attributes:
        ranks: float64 [Q], 1 is best; a tie counts as the average rank of the tied candidates.
        candidates: int64 [Q], number of candidates of each query, the true one included.
        documents: [Q], the document of each query, by which intervals are clustered.
        last_ranks: int64 [Q], the worst rank possible under a tie; equal to `ranks` without one.
    """

    ranks: NDArray[np.float64]
    candidates: Rows
    documents: Rows
    last_ranks: Rows

    def hits(self, k: int) -> NDArray[np.float64]:
        """Return 1.0 where the true candidate is among the first k, [Q]. A tie is a hit only if all tied candidates are
        among the first k.
        """
        return (self.last_ranks <= k).astype(np.float64)

    def recall(self, k: int) -> float:
        """Return the share of queries whose true candidate is among the first k."""
        return float(self.hits(k).mean())

    @property
    def mrr(self) -> float:
        return float((1 / self.ranks).mean())

    def metrics(self) -> dict[str, float]:
        """Return `recall@1`, `recall@5`, `mrr`, and what they depend on: `queries`, `candidates`, `documents`."""
        return {
            "recall@1": self.recall(1),
            "recall@5": self.recall(5),
            "mrr": self.mrr,
            "queries": float(len(self.ranks)),
            "candidates": float(self.candidates.mean()),
            "documents": float(len(np.unique(self.documents))),
        }

    def values(self, metric: str) -> NDArray[np.float64]:
        """Return per-query values [Q] whose mean is the metric: `mrr` or `recall@k`."""
        if metric == "mrr":
            return 1 / self.ranks
        name, _, k = metric.partition("@")
        if name != "recall" or not k.isdigit():
            raise LangJepaError(f"unknown retrieval metric '{metric}': use mrr or recall@k.")
        return self.hits(int(k))


def next_sentence_retrieval(
    predictions: Tensor | ArrayLike,
    targets: Tensor | ArrayLike,
    documents: ArrayLike,
    *,
    candidates: int = 256,
    seed: int = 0,
) -> Retrieval:
    """Rank each query's true target, which is the one in its own row, among targets of other documents.

    Args:
        predictions: [Q, D] unit rows, array or tensor; the scores are computed on the targets' device.
        targets: [Q, D] unit rows.
        documents: int [Q], document of each target.
        candidates: most candidates of a query, the true one included.
        seed: seed of the draw. The same seed gives every model the same candidates.

    Raises:
        LangJepaError: shapes do not match, an entry is NaN, or a query has no wrong candidate.
    """
    labels = np.asarray(documents, dtype=np.int64)
    rows = other_candidates(labels, np.arange(len(labels)), candidates=candidates, seed=seed)
    return rank_candidates(predictions, targets, rows, labels)


def other_candidates(documents: ArrayLike, true_rows: ArrayLike, *, candidates: int, seed: int) -> Rows:
    """Return candidate rows [Q, C], the true one first, the rest drawn without replacement from other documents.

    C is `candidates`, or less if other documents have fewer targets; missing ones are -1.

    Raises:
        LangJepaError: a query has no target of another document.
    """
    labels = np.asarray(documents, dtype=np.int64)
    true = np.asarray(true_rows, dtype=np.int64)
    _check_draw(true, len(labels), candidates)
    width = min(candidates - 1, len(labels) - 1)
    generator = np.random.default_rng(seed)
    drawn = np.empty((len(true), width), dtype=np.int64)
    step = max(1, _BLOCK // max(1, len(labels)))
    for start in range(0, len(true), step):
        part = labels[true[start : start + step]]
        # The smallest of independent uniform keys are a draw without replacement; infinite keys are never drawn.
        keys = generator.random((len(part), len(labels)), dtype=np.float32)
        keys[part[:, None] == labels[None, :]] = np.inf
        chosen = np.argpartition(keys, width - 1, axis=1)[:, :width]
        allowed = np.isfinite(np.take_along_axis(keys, chosen, 1))
        drawn[start : start + step] = np.where(allowed, chosen, -1)
    return _with_true(true, drawn, "targets of other documents: retrieval among other documents needs two")


def pooled_candidates(pools: Sequence[ArrayLike], true_rows: ArrayLike, *, candidates: int, seed: int) -> Rows:
    """Return candidate rows [Q, C], the true one first, the rest drawn without replacement from each query's pool.

    Pools shorter than `candidates` - 1 are used whole, and the row is padded with -1.

    Raises:
        LangJepaError: a query's pool holds no row but the true one.
    """
    true = np.asarray(true_rows, dtype=np.int64)
    if len(pools) != len(true):
        raise LangJepaError(f"{len(true)} queries but {len(pools)} pools: give one pool per query.")
    _check_draw(true, None, candidates)
    generator = np.random.default_rng(seed)
    chosen: list[Rows] = []
    for row, pool in zip(true, pools, strict=True):
        wrong = np.unique(np.asarray(pool, dtype=np.int64))
        wrong = wrong[wrong != row]
        if len(wrong) >= candidates:
            wrong = generator.choice(wrong, candidates - 1, replace=False)
        chosen.append(wrong)
    drawn = np.full((len(true), max(map(len, chosen))), -1, dtype=np.int64)
    for index, wrong in enumerate(chosen):
        drawn[index, : len(wrong)] = wrong
    return _with_true(true, drawn, "candidates in its pool: leave such queries out")


def rank_candidates(
    predictions: Tensor | ArrayLike, targets: Tensor | ArrayLike, rows: Rows, documents: ArrayLike
) -> Retrieval:
    """Rank column 0 of `rows` among the candidates of its row, by dot product.

    Args and errors as in `candidate_scores`; documents: int [Q], document of each query.
    """
    return from_scores(candidate_scores(predictions, targets, rows), rows >= 0, documents)


def candidate_scores(predictions: Tensor | ArrayLike, targets: Tensor | ArrayLike, rows: Rows) -> NDArray[np.float32]:
    """Return the dot product of each query with each of its candidates, float32 [Q, C]; -1 entries are meaningless.

    Args:
        predictions: [Q, D] unit rows. targets: [T, D] unit rows.
        rows: int64 [Q, C] into `targets`, the true one first, -1 for no candidate.

    Raises:
        LangJepaError: shapes do not match, or an entry is NaN or infinite.
    """
    target = _embeddings(targets, "targets")
    query = _embeddings(predictions, "predictions").to(target.device)
    if query.shape != (len(rows), target.shape[1]):
        raise LangJepaError(
            f"predictions have shape {tuple(query.shape)}, expected [{len(rows)}, {target.shape[1]}]: one per "
            "query, as wide as the targets."
        )
    used, index_of = np.unique(np.maximum(rows, 0), return_inverse=True)
    index = torch.from_numpy(index_of.reshape(rows.shape)).to(target.device)
    target = target[torch.from_numpy(used).to(target.device)]
    few = _GATHERING * rows.shape[1] < len(used)
    parts = []
    step = max(1, _FETCHED // (rows.shape[1] * target.shape[1]) if few else _SCORES // len(used))
    for start in range(0, len(rows), step):
        some, wanted = query[start : start + step], index[start : start + step]
        if few:
            parts.append((target[wanted] @ some.unsqueeze(-1)).squeeze(-1))
        else:
            parts.append((some @ target.T).gather(1, wanted))
    scores_of: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return scores_of


def from_scores(scores: ArrayLike, valid: ArrayLike, documents: ArrayLike, *, tie: float = TIE) -> Retrieval:
    """Compute ranks from a table of scores, for scorers other than embeddings.

    Args:
        scores: [Q, C], larger is better, the true candidate in column 0.
        valid: bool [Q, C], False where there is no candidate.
        documents: int [Q], document of each query.
        tie: scores no further apart than this are equal.

    Raises:
        LangJepaError: shapes differ, or a valid score is NaN (minus infinity is allowed: never chosen).
    """
    table, mask = np.asarray(scores), np.asarray(valid, dtype=bool)
    labels = np.asarray(documents, dtype=np.int64)
    if table.ndim != 2 or mask.shape != table.shape or labels.shape != table.shape[:1] or not len(labels):
        raise LangJepaError(
            f"scores {table.shape}, valid {mask.shape} and documents {labels.shape} do not fit together."
        )
    if np.isnan(table[mask]).any():
        raise LangJepaError("a retrieval score is NaN: the embeddings or the scorer are damaged.")
    true = table[:, :1]
    above = ((table > true + tie) & mask)[:, 1:].sum(1)
    reach = ((table >= true - tie) & mask)[:, 1:].sum(1)
    return Retrieval(1 + (above + reach) / 2, mask.sum(1), labels, 1 + reach)


def chance(retrieval: Retrieval) -> dict[str, NDArray[np.float64]]:
    """Return expected per-query values [Q] of a random order: min(k / C, 1), and H_C / C for the reciprocal rank."""
    count = retrieval.candidates.astype(np.float64)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(count.max()) + 1))])
    return {
        "recall@1": 1 / count,
        "recall@5": np.minimum(5 / count, 1.0),
        "mrr": harmonic[retrieval.candidates] / count,
    }


def _check_draw(true: Rows, targets: int | None, candidates: int) -> None:
    if candidates < 2:
        raise LangJepaError(f"candidates={candidates}: at least 2 are needed, the true one and a wrong one.")
    if true.ndim != 1 or len(true) == 0:
        raise LangJepaError("retrieval needs at least one query.")
    if targets is not None and (true.min() < 0 or true.max() >= targets):
        raise LangJepaError(f"a true row is outside the {targets} targets.")


def _with_true(true: Rows, drawn: Rows, lacking: str) -> Rows:
    """Put the true rows first, and drop columns in which no query has a candidate."""
    poor = (drawn < 0).all(1)
    if poor.any():
        raise LangJepaError(f"{int(poor.sum())} of {len(true)} queries have no wrong {lacking} of them.")
    return np.concatenate([true[:, None], drawn[:, (drawn >= 0).any(0)]], axis=1)


def _embeddings(values: Tensor | ArrayLike, name: str) -> Tensor:
    """Convert to fp32, and check that it is a finite matrix."""
    matrix = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    matrix = matrix.float()
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise LangJepaError(f"{name} must be a matrix [rows, D], got shape {tuple(matrix.shape)}.")
    if not bool(torch.isfinite(matrix).all()):
        raise LangJepaError(f"{name} hold NaN or infinite values: the model has diverged or is damaged.")
    return matrix
