"""The task `anomalies`: how well scores find faults planted in held-out units, which are in order of time.

Each document gives one unchanged copy and one copy with faults of each kind (`evaluation/faults.py`). A fault's AUC is
the share of usual units of its source that score lower. A fault is found if one of its units scores above a threshold
that was set for a stated rate of false alarms on other units (for lines: earlier ones).
Shapes: N units of all copies, D documents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import speakers_of
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.copying import Pairs, context_pairs, means_ridge
from lang_jepa.evaluation.baselines.ngrams import ROW, UnitNGram
from lang_jepa.evaluation.baselines.words import tfidf
from lang_jepa.evaluation.embedder import Embedder, Encoder, as_read, encode, predict
from lang_jepa.evaluation.faults import KINDS, WARM, Pools, with_faults
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, prepare
from lang_jepa.evaluation.rarity import KNOWN, Usual, Values, named, rounded, subsets, threshold
from lang_jepa.evaluation.scoreboard import Option, Scoreboard, TooFew
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.request import Conversations, Request, Result, Task, as_said

RATE = 0.01
"""Allowed share of usual units that are false alarms."""
AUC, FOUND, FALSE = "AUC", f"found at {RATE:.0%} false alarms", "false alarms"
MEAN = tuple(kind for kind in KINDS if kind != "unknown")
"""Kinds that enter the mean; an unknown unit is new, whatever came before it."""
SPLIT = "held out"
LEAST_PIECES = 4
"""Fewest pieces of a file that is a source of its own."""
_BLOCK = 512


@dataclass(frozen=True)
class Copies:
    """Copies of documents, with and without faults, one after the other.

    Attributes:
        units: [N], like "user: Good morning" if speakers are known.
        texts: [N], without speakers.
        starts: int64 [copies + 1], first unit of each copy, then N.
        owners: int64 [N], document of each unit.
        usual: bool [N], units of fault-free copies, except the first few of each.
        faults: by kind, the document of each fault and the rows of its units.
        sources: int64 [D], documents of one source share a number.
        choosing: bool [D], documents on which thresholds and settings are selected; the others are reported.
    """

    units: list[str]
    texts: list[str]
    starts: Rows
    owners: Rows
    usual: NDArray[np.bool_]
    faults: dict[str, list[tuple[int, Rows]]]
    sources: Rows
    choosing: NDArray[np.bool_]

    @classmethod
    def of(cls, given: Conversations, seed: int) -> Self:
        """Draw the faults. Foreign units come from other files (lines) or from other conversations (turns)."""
        said = None if given.speakers is None else as_said(given.documents, given.speakers)
        documents = said or [list(one) for one in given.documents]
        files = given.files or range(len(documents))
        generator = np.random.default_rng(seed)
        copies: list[tuple[int, list[str], bool]] = []
        faults: dict[str, list[tuple[int, Rows]]] = {kind: [] for kind in KINDS}
        size = 0
        for number, document in enumerate(documents):
            other = [unit for file, one in zip(files, documents, strict=True) if file != files[number] for unit in one]
            own = [unit for file, one in zip(files, documents, strict=True) if file == files[number] for unit in one]
            for kind in KINDS:
                made = with_faults(document, kind, Pools(other, own, given.speakers is not None), generator)
                faults[kind] += [(number, size + np.array(positions)) for positions in made.faults]
                copies.append((number, made.units, False))
                size += len(made.units)
            copies.append((number, document, True))
            size += len(document)
        lengths = np.array([len(units) for _, units, _ in copies])
        units = [unit for _, some, _ in copies for unit in some]
        return cls(
            units,
            units if given.speakers is None else speakers_of(units)[1],
            np.concatenate([[0], np.cumsum(lengths)]),
            np.repeat([number for number, _, _ in copies], lengths),
            np.concatenate([(np.arange(len(some)) >= WARM) & plain for _, some, plain in copies]),
            faults,
            *parts(given),
        )

    def contexts(self, window_size: int) -> list[tuple[int, int]]:
        """Return, for each unit, the row where its context begins and its own row; equal if it has no context."""
        begins = np.repeat(self.starts[:-1], np.diff(self.starts)).tolist()
        return [(max(begin, row - window_size), row) for row, begin in enumerate(begins)]


def parts(given: Conversations) -> tuple[Rows, NDArray[np.bool_]]:
    """Return the source of each document, and whether it is used for selection. A file of lines is a source; if any of
    it is reported, its first half selects. Turns, and files with few pieces, form one source and keep their marks.
    """
    choosing = np.array(given.choosing, dtype=bool)
    sources = np.full(len(choosing), -1, dtype=np.int64)
    files = sources if given.files is None else np.array(given.files)
    for file in np.unique(files[files >= 0]):
        rows = np.flatnonzero(files == file)
        if len(rows) < LEAST_PIECES:
            continue
        sources[rows] = file
        reported = not choosing[rows].all()
        choosing[rows] = np.arange(len(rows)) < (len(rows) + 1) // 2 if reported else True
    return sources, choosing


class Boards:
    """The rows of all kinds of faults, of their mean, and of false alarms.

    A candidate has one setting for all kinds: the one with the best mean AUC on the selection documents.

    Raises:
        TooFew: too few documents with faults for selection or report.
    """

    def __init__(self, made: Copies, about: str, seed: int) -> None:
        self.made = made
        rows = {kind: made.faults[kind] for kind in KINDS if made.faults[kind]}
        self._kinds: dict[str, Rows] = {kind: np.array([owner for owner, _ in some]) for kind, some in rows.items()}
        mean = [kind for kind in MEAN if kind in rows]
        if not mean:
            raise TooFew("anomalies: too few documents, or too short ones")
        self._mean = mean
        clusters = {**self._kinds, "mean": np.concatenate([self._kinds[kind] for kind in mean])}
        self._weights = np.concatenate([_weights(made.choosing[self._kinds[kind]]) for kind in mean]) / len(mean)
        chooses = made.choosing[clusters["mean"]]
        for part in (chooses, ~chooses):
            self._weights[part] *= part.sum()
        usual = np.flatnonzero(made.usual)
        self.boards = {
            name: Scoreboard(
                f"anomalies, {name}",
                SPLIT,
                AUC,
                owners,
                [made.texts, owners.tolist()],
                choosing=made.choosing[owners],
                leads=[AUC],
                about=about,
                seed=seed,
                sizes=self._weights if name == "mean" else None,
            )
            for name, owners in clusters.items()
        }
        owners = made.owners[usual]
        self.alarms = Scoreboard(
            "anomalies, usual units", SPLIT, FALSE, owners, made.texts, made.choosing[owners], lower=True, seed=seed
        )

    @property
    def rows(self) -> list[Row]:
        """All rows, kind by kind, then those of false alarms."""
        return [row for board in (*self.boards.values(), self.alarms) for row in board.rows]

    def add(self, name: str, options: Iterable[tuple[str, dict[str, Any], Values]], *, note: str = "") -> int:
        """Record a candidate with the best of its options, and return the index of that option.

        Args:
            name: the candidate's name in the rows.
            options: similarity, setting and scores [N] of each option, at least one.
            note: note of the rows.
        """
        found = [(similarity, setting, self._values(rounded(scores))) for similarity, setting, scores in options]
        chooses = self.boards["mean"].choosing
        merits = [values["mean"][AUC][chooses].mean() for _, _, values in found]
        best = int(np.argmax(merits))
        similarity, setting, values = found[best]
        for kind, board in (*self.boards.items(), ("usual", self.alarms)):
            board.add(name, [Option(values[kind], similarity, setting)], note=note)
        return best

    def add_chance(self) -> None:
        """Record the expectation for random scores, which is analytic and has no interval."""
        for board in self.boards.values():
            ones = np.ones(len(board.clusters))
            board.add_analytic("chance", {AUC: ones / 2, FOUND: ones * RATE})

    def _values(self, scores: Values) -> dict[str, dict[str, Values]]:
        """Return, by kind, the AUC of each fault and whether it is found; and which usual units are false alarms."""
        made = self.made
        usual = {
            (source, part): np.sort(scores[made.usual & of_source[made.owners] & (made.choosing[made.owners] == part)])
            for source in np.unique(made.sources).tolist()
            for of_source in [made.sources == source]
            for part in (True, False)
        }
        limits = {source: threshold(some, RATE) for (source, part), some in usual.items() if part}
        result: dict[str, dict[str, Values]] = {}
        for kind in self._kinds:
            aucs, found = [], []
            for owner, rows in made.faults[kind]:
                source = int(made.sources[owner])
                beside, own = usual[source, bool(made.choosing[owner])], scores[rows]
                less, most = np.searchsorted(beside, own, "left"), np.searchsorted(beside, own, "right")
                aucs.append(float((less + most).mean() / 2 / len(beside)))
                found.append(float(own.max() > limits[source]))
            result[kind] = {AUC: np.array(aucs), FOUND: np.array(found)}
        result["mean"] = {
            metric: np.concatenate([result[kind][metric] for kind in self._mean]) * self._weights
            for metric in (AUC, FOUND)
        }
        of_each = np.array([limits[source] for source in made.sources[made.owners[made.usual]].tolist()])
        alarms = (scores[made.usual] > of_each).astype(np.float64)
        return {**result, "usual": {FALSE: alarms}}


def _weights(choosing: NDArray[np.bool_]) -> Values:
    """Return 1 over the number of faults of the same part (selection or report), [n]."""
    weights: Values = np.where(choosing, 1 / max(1, choosing.sum()), 1 / max(1, (~choosing).sum()))
    return weights


@dataclass(frozen=True)
class _Read:
    """The units of all copies as one model reads them.

    Attributes:
        name, model: the model and its name.
        rows: int64 [N], each unit's row among the distinct ones.
        contexts: distinct contexts as rows of distinct units.
        asked: int64 [N], index of each unit's context; -1 if it has none.
        vectors: float32 [U, D], vectors of the distinct units.
        known: float32 [K, D], vectors of training units.
    """

    name: str
    model: Encoder
    rows: Rows
    contexts: list[Rows]
    asked: Rows
    vectors: Floats
    known: Floats
    units: list[str]

    @classmethod
    def of(cls, name: str, model: Encoder, made: Copies, known: Sequence[str], window_size: int) -> Self:
        texts = as_read(model, made.units, made.texts)
        index: dict[str, int] = {}
        rows = np.array([index.setdefault(text, len(index)) for text in texts])
        contexts: dict[tuple[int, ...], int] = {}
        asked = [
            contexts.setdefault(tuple(rows[begin:row].tolist()), len(contexts)) if begin < row else -1
            for begin, row in made.contexts(window_size)
        ]
        vectors, learnt = encode(model, list(index), name), encode(model, known, name)
        return cls(
            name, model, rows, [np.array(one) for one in contexts], np.array(asked), vectors, learnt, list(index)
        )

    def surprise(self, predicted: Floats, space: Floats) -> Values:
        """Return cosine distances [N] of units from predictions [C, D] for their contexts; -1 without a context."""
        found: Values = 1 - np.einsum("nd,nd->n", predicted[self.asked], space[self.rows], dtype=np.float64)
        found[self.asked < 0] = -1.0
        return found

    def by_predictor(self) -> dict[Similarity, Values]:
        """Return the surprise by similarity; empty without a predictor."""
        if not isinstance(self.model, Embedder):
            return {}
        moments = self.model.statistics
        made = predict(self.model, [[self.units[row] for row in one] for one in self.contexts], self.name)
        return {
            kind: self.surprise(prepare(made, moments, kind, side="predictions"), prepare(self.vectors, moments, kind))
            for kind in moments.similarities
        }

    def novelty(self, kind: Similarity) -> Values:
        """Return the cosine distance [N] from the nearest training unit."""
        own, known = (prepare(some, self.model.statistics, kind) for some in (self.vectors, self.known))
        best = [(own[at : at + _BLOCK] @ known.T).max(1) for at in range(0, len(own), _BLOCK)]
        found: Values = 1 - np.concatenate(best).astype(np.float64)[self.rows]
        return found

    def by_ridge(self, kind: Similarity, learnt: Pairs, vectors: Floats) -> dict[str, Values]:
        """Return the surprise under ridge regressions from means of the context, by penalty; see `means_ridge`."""
        own, space = (prepare(some, self.model.statistics, kind) for some in (self.vectors, vectors))
        path = means_ridge(self.contexts, own, learnt, space)
        return {penalty: self.surprise(made, own) for penalty, made in path}


def _add_model(boards: Boards, read: _Read, learnt: Pairs, counted_scores: Values) -> None:
    """Add surprise, novelty and ridge in a model's space, and the sum of rarities that `monitor` uses.

    Args:
        boards: where the rows are recorded.
        read: the copies as the model reads them.
        learnt: training contexts.
        counted_scores: float64 [N, 2], n-gram and repetition scores.
    """
    name, kinds = read.name, read.model.statistics.similarities
    surprises = read.by_predictor()
    kind: Similarity = "centred"  # of a ridge where no predictor chooses
    if surprises:
        kind = list(surprises)[boards.add(name, [(one, {}, scores) for one, scores in surprises.items()])]
    novelties = {one: read.novelty(one) for one in kinds}
    boards.add(f"novelty ({name})", [(one, {}, scores) for one, scores in novelties.items()])
    if surprises:
        columns = np.column_stack([surprises[kind], novelties[kind], counted_scores])
        rare = _rarity(boards.made, columns)
        sums = [(kind, {"scores": named(some)}, rare[:, some].sum(1)) for some in subsets(columns.shape[1])]
        boards.add(f"monitor ({name})", sums)
    vectors = encode(read.model, learnt.sentences, name)
    path = read.by_ridge(kind, learnt, vectors)
    boards.add(f"ridge on means ({name})", [(kind, {"penalty": p}, scores) for p, scores in path.items()])


def _rarity(made: Copies, scores: Values) -> Values:
    """Return `Usual.rarity` of each score [N, K] among the usual units for selection of its source."""
    result = np.empty_like(scores)
    for source in np.unique(made.sources):
        here = (made.sources == source)[made.owners]
        own = here & made.usual & made.choosing[made.owners]
        usual = Usual(scores[own])
        result[here] = usual.rarity(scores[here])
        result[own] = usual.rarity(scores[own], own=True)
    return result


def _word_novelty(made: Copies, known: Sequence[str]) -> Values:
    """Return 1 minus the TF-IDF cosine with the most similar training unit, [N]."""
    index = {text: row for row, text in enumerate(dict.fromkeys(made.texts))}
    theirs, own = tfidf([*known, *index], known, list(index), sublinear_tf=True)
    best = [(own[at : at + _BLOCK] @ theirs.T).max(1).toarray().ravel() for at in range(0, own.shape[0], _BLOCK)]
    found: Values = 1 - np.concatenate(best)[[index[text] for text in made.texts]]
    return found


def _boards(request: Request) -> tuple[Copies, int, Boards]:
    """Return the copies with faults, the number of reported documents, and the scoreboards.

    Raises:
        LangJepaError: the documents are too few or too short.
    """
    assert request.conversations is not None
    made = Copies.of(request.conversations, request.seed)
    reported = len(np.unique(made.owners[~made.choosing[made.owners]]))
    try:
        return made, reported, Boards(made, counted(reported, "document"), request.seed)
    except TooFew as error:
        pieces = " (pieces of 64 of a file)" if request.unit == "line" else ""
        raise LangJepaError(
            f"{error}: the task anomalies needs several held-out documents to choose on and several to report, of "
            f"{WARM + 8} {request.unit}s or more{pieces}; hold out more, or give --documents"
        ) from error


def _score(request: Request) -> Result:
    given = request.conversations
    assert given is not None
    made, reported, boards = _boards(request)
    ngrams, unigrams = UnitNGram(given.train), UnitNGram(given.train, order=1, cached_share=0)
    pieces = [slice(*ends) for ends in zip(made.starts[:-1], made.starts[1:], strict=True)]
    course = np.concatenate([ngrams.surprise(made.texts[piece]) for piece in pieces])
    again = np.concatenate([ngrams.runs(made.texts[piece]) for piece in pieces])
    known = list(dict.fromkeys(unit for document in given.train for unit in document))[:KNOWN]
    learnt = context_pairs(given.train, request.window_size, request.budget.turn_pairs, request.seed)
    for name, model in request.models.items():
        read = _Read.of(name, model, made, known, request.window_size)
        _add_model(boards, read, learnt, np.column_stack([course, again]))
    boards.add(ROW, [("", {}, course)], note=f"{len(ngrams):,} n-grams")
    boards.add("repetition", [("", {}, again)])
    both = _rarity(made, np.column_stack([course, again])).sum(1)
    boards.add("n-gram + repetition", [("", {}, both)], note="as monitor adds them, without a model")
    alone = np.array([unigrams.surprise([text])[0] for text in made.texts])
    boards.add("rarity of the template", [("", {}, alone)])
    boards.add("novelty, TF-IDF", [("", {}, _word_novelty(made, known))], note=f"{len(known):,} training units")
    boards.add_chance()
    every, faults = len(np.unique(made.owners)), sum(map(len, made.faults.values()))
    what = "pieces of files" if request.unit == "line" else "conversations"
    source = f"{reported:,} reported and {every - reported:,} choosing {what}, {faults:,} faults in copies of them"
    return Result(boards.rows, {ANOMALIES.name: source})


ANOMALIES = Task("anomalies", _score, needs=("conversations",), options=("documents",), asks_next=True, enough=_boards)
