"""Next-sentence questions from documents: contexts, the true next sentences, and fixed sets of candidates.

They are built once, so that every model and baseline gets the same questions. Shapes: Q questions, S distinct
sentences, C candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.retrieval import Rows, other_candidates, pooled_candidates

Exclude = Literal["window", "last"]
CHOOSING_EVERY = 4  # Every fourth document is for selection (similarity, ridge penalty); the others are reported.


@dataclass(frozen=True)
class Questions:
    """Questions about documents.

    Attributes:
        contexts: for each question the sentences before the true one, oldest first, at most window_size.
        context_rows: the same as rows of `sentences`.
        sentences: [S], distinct sentences of all contexts and candidates.
        true: int64 [Q], row of the true next sentence.
        documents: int64 [Q], index of the document.
        positions: int64 [Q], index of the true sentence in its document.
        candidates: for each candidate set, rows [Q, C], the true one first, -1 for no candidate.
        choosing: bool [Q], True for questions used for selection; the others are reported.
    """

    contexts: list[list[str]]
    context_rows: list[Rows]
    sentences: list[str]
    true: Rows
    documents: Rows
    positions: Rows
    candidates: Mapping[str, Rows]
    choosing: NDArray[np.bool_]


def build_questions(
    documents: Sequence[Sequence[str]],
    *,
    window_size: int,
    queries: int,
    other: int = 256,
    same: int = 64,
    exclude: Exclude = "window",
    choosing: Sequence[bool] | None = None,
    seed: int = 0,
) -> Questions:
    """Draw questions evenly over documents, and draw their candidates.

    Candidates with the text of the true sentence are left out, since nothing could distinguish the two.

    Args:
        documents: each a list of sentences; documents of one sentence yield no questions.
        window_size: most sentences of context.
        queries: most questions.
        other: most candidates from other documents (true sentences of other questions), the true one included (0: no
            such set).
        same: most candidates from the same document, the true one included (0: no such set).
        exclude: sentences that are not candidates from the same document: the whole context window, or only the last
            context sentence. A question without any remaining candidate is left out.
        choosing: for each document, whether it is used for selection (None: every fourth is).
        seed: seed of all draws.

    Raises:
        LangJepaError: there are too few documents, a sentence is empty, or there is no question at all.
    """
    table, texts = sentence_rows(documents)
    marks = [index % CHOOSING_EVERY == 0 for index in range(len(texts))] if choosing is None else choosing
    if len(marks) != len(texts):
        raise LangJepaError(f"{len(texts)} documents but {len(marks)} selection marks.")
    generator = np.random.default_rng(seed)
    picked = _positions(texts, window_size, queries, exclude if same else None, generator)
    owners, positions = np.array(picked, dtype=np.int64).reshape(-1, 2).T
    mask = np.asarray(marks, dtype=bool)[owners]
    if len(np.unique(owners[~mask])) < 2 or not mask.any():
        raise LangJepaError(
            f"questions about what comes next need at least four documents of {3 if same else 2} units or more "
            f"({len(documents)} given, {len(texts) - sum(marks)} of them to report on): evaluate on more or longer "
            "documents, or train with a larger data.val_fraction."
        )
    true = np.array([texts[d][p] for d, p in picked])
    windows = [texts[d][max(0, p - window_size) : p] for d, p in picked]
    candidates = {"other": _from_others(true, owners, other, seed)} if other else {}
    if same:
        pools = [_pool(texts[d], p, window_size, exclude) for d, p in picked]
        candidates["same"] = pooled_candidates(pools, true, candidates=same, seed=seed)
    return _compact(table, windows, true, owners, positions, candidates, mask)


def _from_others(true: Rows, owners: Rows, count: int, seed: int) -> Rows:
    """Draw candidates [Q, C] from the true sentences of other documents, none with the text of the true one."""
    lots = other_candidates(owners, np.arange(len(true)), candidates=count, seed=seed)
    drawn = np.where(lots < 0, -1, true[lots])
    drawn[:, 1:][drawn[:, 1:] == true[:, None]] = -1
    if not (drawn[:, 1:] >= 0).any(1).all():
        raise LangJepaError("some question has no candidate that differs from its true sentence: give more documents.")
    return drawn


def sentence_rows(documents: Sequence[Sequence[str]]) -> tuple[list[str], list[Rows]]:
    """Return the distinct sentences of all documents, and each document as rows of them.

    Raises:
        LangJepaError: a sentence is empty.
    """
    index: dict[str, int] = {}
    texts = []
    for number, document in enumerate(documents):
        if not all(sentence.strip() for sentence in document):
            raise LangJepaError(f"document {number} of the evaluation holds an empty sentence.")
        texts.append(np.array([index.setdefault(s, len(index)) for s in document], dtype=np.int64))
    return list(index), texts


def _positions(
    texts: list[Rows], window_size: int, queries: int, exclude: Exclude | None, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw (document, position) pairs in rounds: one position of every document, then a second one, and so on.

    `exclude` is None if wrong candidates come from elsewhere; every document of two units then has a question.
    """
    shuffled = []
    for number, rows in enumerate(texts):
        usable = [p for p in range(1, len(rows)) if exclude is None or len(_pool(rows, p, window_size, exclude))]
        shuffled.append([(number, int(p)) for p in generator.permutation(usable)])
    picked: list[tuple[int, int]] = []
    for turn in range(max(map(len, shuffled), default=0)):
        round_ = [positions[turn] for positions in shuffled if turn < len(positions)]
        if len(picked) + len(round_) > queries:
            keep = generator.permutation(len(round_))[: queries - len(picked)]
            return sorted(picked + [round_[i] for i in keep])
        picked += round_
    return sorted(picked)


def _pool(rows: Rows, position: int, window_size: int, exclude: Exclude) -> Rows:
    """Return the wrong candidates of the same document: its other sentences outside the excluded context."""
    start = position - 1 if exclude == "last" else max(0, position - window_size)
    banned = np.append(rows[start:position], rows[position])
    return np.setdiff1d(rows, banned)


def _compact(
    table: list[str],
    windows: list[Rows],
    true: Rows,
    owners: Rows,
    positions: Rows,
    candidates: dict[str, Rows],
    choosing: NDArray[np.bool_],
) -> Questions:
    """Keep only the sentences that some context or candidate set uses: only those need encoding."""
    used = np.unique(np.concatenate([*windows, *(rows[rows >= 0] for rows in candidates.values())]))
    renumber = np.full(len(table), -1, dtype=np.int64)
    renumber[used] = np.arange(len(used))
    sentences = [table[row] for row in used]
    context_rows = [renumber[window] for window in windows]
    return Questions(
        contexts=[[sentences[row] for row in rows] for rows in context_rows],
        context_rows=context_rows,
        sentences=sentences,
        true=renumber[true],
        documents=owners,
        positions=positions,
        candidates={name: np.where(rows < 0, -1, renumber[rows]) for name, rows in candidates.items()},
        choosing=choosing,
    )
