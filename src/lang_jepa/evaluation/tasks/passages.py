"""The task `passages`: find the turn that answers a question in long conversations.

A turn often says nothing by itself ("Yes, both of them."). Each encoder is therefore tried with its plain vectors, with
the mean of the neighbours mixed in, and, if it predicts, with its prediction at the turn's position mixed in. The share
mixed in and the similarity are selected on every fourth document; scores are reported on the others. A question's rank
is that of its first answering unit, among the units of its document and among those of all.
Shapes: Q questions, S units, D dimensions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.columns import QUERIES, Questioned
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.context_vectors import mixed, neighbour_means, with_neighbours
from lang_jepa.evaluation.baselines.words import bm25, tfidf
from lang_jepa.evaluation.embedder import Embedder, Encoder, as_read, encode, predict
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, prepare
from lang_jepa.evaluation.questions import CHOOSING_EVERY
from lang_jepa.evaluation.scoreboard import Option, Scoreboard, interleaved
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.request import Passages, Request, Result, Searched, Task
from lang_jepa.evaluation.tasks.search import METRICS, Scorer, chance_of_first, products, ranked

TITLES = {"same": "passage, same document", "all": "passage, all documents"}
WEIGHTS = (0.3, 0.5, 0.7)
"""Shares of the surroundings to try."""
Numbers = NDArray[np.floating[Any]]
Change = Callable[[Similarity, Floats, float], Floats]
"""Maps a similarity, unit rows [S, D] prepared for it, and a share to the vectors [S, D] to compare."""


def ask(
    path: str, texts: list[tuple[str, list[str]]], spoken: list[list[str]] | None, asked: Mapping[str, Questioned]
) -> Passages:
    """Collect the questions about documents, over all their units.

    Args:
        path: path of the documents, for messages.
        texts: id and units of each document.
        spoken: the same units with their speakers (None: they have none).
        asked: the questions by document id. Those that no unit answers are left out and counted.

    Raises:
        LangJepaError: the units are not the messages that spans count, or fewer than four documents have questions.
    """
    queries, owners, expected, left_out, start = [], [], [], 0, 0
    for number, (identity, units) in enumerate(texts):
        one = asked.get(identity, Questioned((), None))
        numbers = range(len(units)) if one.numbers is None else one.numbers
        if one.questions and len(numbers) != len(units):
            raise LangJepaError(
                f"{identity} of {path} has {counted(len(numbers), 'message')} with text and was read as "
                f"{counted(len(units), 'unit')}, so spans of messages mean nothing: {QUERIES} need data.units=turns"
            )
        for question in one.questions:
            rows = question.units(numbers)
            left_out += not rows
            if rows:
                queries.append(question.query)
                owners.append(number)
                expected.append(start + np.array(rows, dtype=np.int64))
        start += len(units)
    about = len({*owners})
    if about < CHOOSING_EVERY:
        raise LangJepaError(
            f"{path} has questions about {counted(about, 'document')}, but at least {CHOOSING_EVERY} are needed: one "
            f"for selection, the others to report. They are read from the column '{QUERIES}'"
        )
    source = f"{counted(len(queries), 'question')} about {about} of {counted(len(texts), 'document')} of {path}"
    source += f" ({start:,} units)" + (f"; {left_out} left out that no unit answers" if left_out else "")
    documents = np.repeat(np.arange(len(texts)), [len(units) for _, units in texts])
    flat = [unit for _, units in texts for unit in units]
    said = None if spoken is None else [unit for units in spoken for unit in units]
    return Passages(flat, said, documents, queries, np.array(owners, dtype=np.int64), expected, Path(path).name, source)


class _Boards:
    """A scoreboard for each of the two sets of candidates."""

    def __init__(self, asked: Passages, seed: int) -> None:
        self.asked = asked
        self._searched = Searched(asked.units, asked.queries, asked.expected, asked.name, asked.source)
        owners = np.unique(asked.owners)
        choosing = np.isin(asked.owners, owners[::CHOOSING_EVERY])
        size = np.bincount(asked.documents)[asked.owners]
        self.sizes = {"same": size, "all": np.full(len(size), len(asked.units))}
        about = counted(len(np.unique(asked.owners[~choosing])), "document")
        self.boards = {
            kind: Scoreboard(
                title,
                asked.name,
                "mrr",
                asked.owners,
                [asked.queries, len(asked.units)],
                choosing=choosing,
                about=f"{self.sizes[kind][~choosing].mean():,.0f} units, {about}",
                seed=seed,
            )
            for kind, title in TITLES.items()
        }

    def add(self, name: str, options: Iterable[tuple[str, dict[str, float], Scorer]]) -> None:
        """Record a scorer, given the similarity, setting and scores of each of its options."""
        found: dict[str, list[Option]] = {kind: [] for kind in TITLES}
        for similarity, setting, scores in options:
            for kind, every in found.items():
                ranks = ranked(self._searched, self._inside(scores) if kind == "same" else scores)
                values = {metric: ranks.values(metric) for metric in METRICS}
                every.append(Option(values, similarity, setting))
        for kind, board in self.boards.items():
            board.add(name, found[kind])

    def add_chance(self) -> None:
        """Record the expected scores of a random order, which are analytic and have no interval."""
        right = [len(rows) for rows in self.asked.expected]
        for kind, board in self.boards.items():
            board.add_analytic("chance", chance_of_first(self.sizes[kind].tolist(), right))

    def _inside(self, scores: Scorer) -> Scorer:
        """Restrict scores to the units of each question's document; the others get -inf."""
        asked = self.asked
        return lambda part: np.where(asked.documents[None] == asked.owners[part, None], scores(part), -np.inf)


def _add_model(boards: _Boards, name: str, model: Encoder, window_size: int) -> None:
    """Add an encoder: its plain vectors, with their neighbours, and with its predictions at their positions."""
    asked, moments = boards.asked, model.statistics
    embeddings, queries = encode(model, asked.units, name), encode(model, asked.queries, name)

    def options(change: Change, weights: Sequence[float]) -> Iterator[tuple[str, dict[str, float], Scorer]]:
        for kind in moments.similarities:
            units, wanted = (prepare(rows, moments, kind) for rows in (embeddings, queries))
            for weight in weights:
                setting = {"share": weight} if weight else {}
                yield kind, setting, products(wanted, change(kind, units, weight))

    boards.add(name, options(lambda kind, units, weight: units, (0.0,)))
    around = options(lambda kind, units, weight: with_neighbours(units, asked.documents, weight), WEIGHTS)
    boards.add(f"{name} + neighbours", around)
    if isinstance(model, Embedder):
        contexts, rows = _contexts(asked, as_read(model, asked.spoken, asked.units), window_size)
        predictions = predict(model, contexts, name)

        def expected(kind: Similarity, units: Floats, weight: float) -> Floats:
            others = units.copy()  # the first unit of a document has no context
            others[rows] = prepare(predictions, moments, kind, side="predictions")
            return mixed(units, others, weight)

        boards.add(f"{name} + prediction", options(expected, WEIGHTS))


def _contexts(asked: Passages, units: list[str], window_size: int) -> tuple[list[list[str]], Rows]:
    """Return the context of each unit that is not the first of its document, and the rows of these units."""
    begins = np.searchsorted(asked.documents, asked.documents)
    rows = np.flatnonzero(np.arange(len(units)) > begins)
    return [units[max(begins[row], row - window_size) : row] for row in rows], rows


def _add_words(boards: _Boards) -> None:
    """Add BM25 and TF-IDF, plain and with the scores of the neighbours mixed in."""
    asked = boards.asked

    def around(plain: Scorer, weight: float) -> Scorer:
        def scores(part: slice) -> Numbers:
            table = plain(part).astype(np.float32)
            return (1 - weight) * table + weight * neighbour_means(table.T, asked.documents).T

        return scores

    units, queries = tfidf(asked.units, asked.units, asked.queries, sublinear_tf=True)
    for name, plain in {
        "BM25": products(*bm25(asked.units, asked.queries, asked.units)),
        "TF-IDF": products(queries, units),
    }.items():
        boards.add(name, [("", {}, plain)])
        boards.add(f"{name} + neighbours", [("", {"share": one}, around(plain, one)) for one in WEIGHTS])


def passage_rows(models: Mapping[str, Encoder], asked: Passages, *, window_size: int = 8, seed: int = 0) -> list[Row]:
    """Return recall@1, recall@10 and MRR of the first unit that answers, with intervals over documents.

    Args:
        models: encoders by name, the evaluated one first.
        asked: questions and units, from `ask`.
        window_size: most units of context from which a predictor predicts the next.
        seed: seed of the bootstrap.
    """
    boards = _Boards(asked, seed)
    for name, model in models.items():
        _add_model(boards, name, model, window_size)
    _add_words(boards)
    boards.add_chance()
    return list(interleaved(boards.boards.values()))


def _score(request: Request) -> Result:
    asked = request.passages
    assert asked is not None
    rows = passage_rows(request.models, asked, window_size=request.window_size, seed=request.seed)
    return Result(rows, {PASSAGES.name: asked.source})


PASSAGES = Task(
    "passages",
    _score,
    needs=("passages",),
    options=("documents",),
    incomplete=f"the task passages needs --documents FILE: conversations with a column '{QUERIES}', for each a list of "
    '{"query": "...", "spans": [[first, last], ...]}, the numbers of the messages that answer',
)
