"""Documents made for the task `document`: joined ones, ones with intruders, and ones with planted repetitions.

Everything is index arithmetic over distinct sentences, drawn by a seed, and the same for every model and baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.scoreboard import Scoreboard
from lang_jepa.evaluation.tasks.request import Grouped

Flags = NDArray[np.bool_]
From = Literal["same group", "same document"]

SEGMENTS = 6
"""Pieces of a joined document."""
PIECE = (6, 20)
"""Sentences of a piece, least and most."""
ROUNDS = 4
"""Joined documents that are made of the same sources, of other sentences each."""
INTRUDER_EVERY = 12
"""Sentences to one intruder; every intruder has at least `INTRUDER_EVERY` - 4 others between it and the next."""
FAR = 8
"""Sentences between an intruder of the same document and its own position at least."""
APART_SHORT, SHORTEST = 1, 4
"""The same of short documents; and their sentences, which are those of the pieces made of them too, at least."""
LONGEST = 96
"""Sentences of a document that intruders are put into; the rest is left out."""

SAME, RELATED = 4.0, (1.0, 3.0)
"""Grades (0 to 5) above which a pair says the same, and between which it only resembles."""
LONGEST_PLANTED = 30
"""Sentences of a document that pairs are planted into."""
APART = 4
"""Positions between the two sentences of a pair at least."""
SPLIT = "validation"
"""Name of the split in the rows."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long documents must be for others to be made of them.

    Attributes:
        piece: sentences of a piece of a joined document, least and most.
        least: sentences of a document that has an intruder.
        far: sentences between an intruder of the same document and its own position at least.
    """

    piece: tuple[int, int]
    least: int
    far: int


USUAL, SHORT = Lengths(PIECE, INTRUDER_EVERY, FAR), Lengths((SHORTEST, PIECE[1]), SHORTEST, APART_SHORT)


def group_of(identity: str) -> str:
    """The group of a document by its id in the source: the folder part, as the book of `openstax/biology/m44387`."""
    return identity.rpartition("/")[0]


@dataclass(frozen=True)
class Sources:
    """Documents as rows of distinct sentences.

    Attributes:
        sentences: [S] distinct sentences.
        documents: rows of each document.
        groups: int64 [number of documents]: documents of one book (or folder) share a number.
        choosing: bool, documents on which choices are made; the others are reported.
    """

    sentences: list[str]
    documents: list[Rows]
    groups: Rows
    choosing: Flags

    @classmethod
    def of(cls, grouped: Grouped) -> "Sources":
        """Number the sentences.

        Raises:
            LangJepaError: an empty sentence.
        """
        index: dict[str, int] = {}
        rows = []
        for number, document in enumerate(grouped.documents):
            if not all(sentence.strip() for sentence in document):
                raise LangJepaError(f"document {number} of the evaluation holds an empty sentence.")
            rows.append(np.array([index.setdefault(s, len(index)) for s in document], dtype=np.int64))
        numbers = np.unique(np.array(grouped.groups, dtype=str), return_inverse=True)[1]
        return cls(list(index), rows, numbers.astype(np.int64), np.asarray(grouped.choosing, dtype=bool))


@dataclass(frozen=True)
class Made:
    """Documents that were made of others.

    Attributes:
        documents: rows of sentences.
        truth: for each the positions of boundaries, or of intruders, int64.
        clusters: int64, documents made of the same sources share a number.
        choosing: bool.
    """

    documents: list[Rows]
    truth: list[Rows]
    clusters: Rows
    choosing: Flags

    def __len__(self) -> int:
        return len(self.documents)

    @classmethod
    def of(cls, parts: Sequence[tuple[Rows, Rows, int, bool]]) -> Self:
        """From the sentences, the truth, the cluster and the side of each document."""
        documents, truth, clusters, choosing = zip(*parts, strict=True) if parts else ((), (), (), ())
        numbers, marks = np.array(clusters, dtype=np.int64), np.array(choosing, dtype=bool)
        return cls(list(documents), list(truth), numbers, marks)

    def board(self, sentences: list[str], task: str, judge: str, *, seed: int, lower: bool = False) -> Scoreboard:
        """A scoreboard with one question for each document; `sentences` are those that the rows mean."""
        items = [sentences, *([rows.tolist() for rows in some] for some in (self.documents, self.truth))]
        return Scoreboard(task, SPLIT, judge, self.clusters, items, self.choosing, lower=lower, seed=seed)


def lengths_of(grouped: Grouped, sources: Sources, *, unit: str = "sentence", seed: int = 0) -> Lengths:
    """The usual lengths, or those of short documents where only these leave enough to choose on and to report.

    Raises:
        LangJepaError: there are too few documents, or too short ones; says how many of which length it takes.
    """
    for lengths in (USUAL, SHORT):
        made = (
            joined(sources, lengths, same_group=True, seed=seed),
            with_intruders(sources, lengths, where="same document", seed=seed),
        )
        if all(one.choosing.any() and len(np.unique(one.clusters[~one.choosing])) > 1 for one in made):
            return lengths
    said = []
    for chooses, sets in ((True, 1), (False, 2)):
        sizes = [len(one) for one, mark in zip(grouped.documents, grouped.choosing, strict=True) if mark == chooses]
        fit = sum(size >= SHORTEST for size in sizes)
        said.append(
            f"{SEGMENTS * sets} documents of one folder with {SHORTEST} {unit}s or more to "
            f"{'choose on' if chooses else 'report'} (of the {len(sizes)} that there are, {fit} have as many)"
        )
    raise LangJepaError(f"the task document needs {' and '.join(said)}. Hold out more documents, or longer ones")


def joined(sources: Sources, lengths: Lengths = USUAL, *, same_group: bool, seed: int = 0) -> Made:
    """Joined documents: `SEGMENTS` runs of sentences from as many different sources, end to end.

    Every source is used by one cluster of at most `ROUNDS` joined documents, with other sentences in each where it is
    long enough. Choosing and reported sources are never mixed.

    Args:
        sources: documents; those shorter than the shortest piece are left out.
        lengths: of the pieces.
        same_group: all sources of one joined document are of one group (hard), or neighbours of different groups as
            far as there are groups enough (easy).
        seed: of every draw.
    """
    generator = np.random.default_rng(seed)
    parts: list[tuple[Rows, Rows, int, bool]] = []
    cluster = 0
    for chooses in (True, False):
        usable = [
            int(number)
            for number in np.flatnonzero(sources.choosing == chooses)
            if len(sources.documents[number]) >= lengths.piece[0]
        ]
        for members in _teams(usable, sources.groups, same_group, generator):
            for pieces in _rounds([sources.documents[number] for number in members], lengths, generator):
                ends = np.cumsum([len(piece) for piece in pieces])[:-1].astype(np.int64)
                parts.append((np.concatenate(pieces), ends, cluster, chooses))
            cluster += 1
    return Made.of(parts)


def _teams(usable: list[int], groups: Rows, same_group: bool, generator: np.random.Generator) -> list[list[int]]:
    """Disjoint sets of `SEGMENTS` sources."""
    order = [usable[i] for i in generator.permutation(len(usable))]
    if same_group:
        teams = []
        for group in np.unique(groups):
            mine = [number for number in order if groups[number] == group]
            teams += [mine[i : i + SEGMENTS] for i in range(0, len(mine) - SEGMENTS + 1, SEGMENTS)]
        return teams
    # One after the other from each group, the fullest first, so that neighbours in this order differ in group.
    queues = {group: [number for number in order if groups[number] == group] for group in np.unique(groups)}
    mixed: list[int] = []
    while any(queues.values()):
        for group in sorted(queues, key=lambda name: -len(queues[name])):
            if queues[group]:
                mixed.append(queues[group].pop())
    return [mixed[i : i + SEGMENTS] for i in range(0, len(mixed) - SEGMENTS + 1, SEGMENTS)]


def _rounds(members: list[Rows], lengths: Lengths, generator: np.random.Generator) -> list[list[Rows]]:
    """The pieces of each joined document: runs of the sources that do not overlap from round to round."""
    least, most = lengths.piece
    rounds = min(ROUNDS, min(len(rows) for rows in members) // least)
    made = []
    for turn in range(rounds):
        pieces = []
        for rows in members:
            begin, stop = turn * len(rows) // rounds, (turn + 1) * len(rows) // rounds
            length = int(generator.integers(least, min(most, stop - begin) + 1))
            start = int(generator.integers(begin, stop - length + 1))
            pieces.append(rows[start : start + length])
        made.append([pieces[i] for i in generator.permutation(len(pieces))])
    return made


def with_intruders(sources: Sources, lengths: Lengths = USUAL, *, where: From, seed: int = 0) -> Made:
    """Documents of which one sentence in `INTRUDER_EVERY` is replaced by one that does not belong there.

    Args:
        sources: documents; those without room for an intruder are left out.
        lengths: of the documents; a shorter one than `INTRUDER_EVERY` has one intruder.
        where: intruders come from another document of the same group, or from the same document, at least
            `lengths.far` sentences away (the moved sentence also stays where it was).
        seed: of every draw.
    """
    generator = np.random.default_rng(seed)
    parts: list[tuple[Rows, Rows, int, bool]] = []
    for number, whole in enumerate(sources.documents):
        rows = whole[:LONGEST].copy()
        positions = _spread(len(rows), lengths.least, generator)
        pools = [_strangers(sources, number, position, where, lengths.far) for position in positions.tolist()]
        if len(positions) and all(len(pool) for pool in pools):
            for position, pool in zip(positions, pools, strict=True):
                rows[position] = generator.choice(pool)
            parts.append((rows, positions, number, bool(sources.choosing[number])))
    return Made.of(parts)


def _spread(count: int, least: int, generator: np.random.Generator) -> Rows:
    """Positions of intruders: one in every stretch, never the first two or the last sentence of the document."""
    if least <= count < INTRUDER_EVERY:
        return generator.integers(2, count - 1, size=1)
    stretches = count // INTRUDER_EVERY
    begins = np.arange(stretches) * INTRUDER_EVERY
    return (begins + generator.integers(2, INTRUDER_EVERY - 1, size=stretches)).astype(np.int64)


def _strangers(sources: Sources, number: int, position: int, where: From, far: int) -> Rows:
    """Sentences that may stand at a position by mistake, none of which is a neighbour's or the own text."""
    own = sources.documents[number]
    if where == "same document":
        pool = np.concatenate([own[: max(0, position - far)], own[position + far + 1 :]])
        return np.setdiff1d(pool, own[max(0, position - far) : position + far + 1])
    alike = np.flatnonzero((sources.groups == sources.groups[number]) & (sources.choosing == sources.choosing[number]))
    others = [sources.documents[other] for other in alike if other != number]
    pool = np.concatenate(others) if others else np.zeros(0, dtype=np.int64)
    return np.setdiff1d(pool, own)


@dataclass(frozen=True)
class Pairs:
    """Graded sentence pairs, [n] each: those that choose and those that are reported are different ones.

    Attributes:
        first, second: the sentences.
        grades: from 0, nothing in common, to 5, the same meaning.
    """

    first: Sequence[str]
    second: Sequence[str]
    grades: Sequence[float]

    def between(self, low: float, high: float) -> list[tuple[str, str]]:
        """Pairs of distinct sentences with low < grade <= high."""
        every = zip(self.first, self.second, self.grades, strict=True)
        return [(a, b) for a, b, grade in every if low < grade <= high and a != b]


def with_repetitions(sources: Sources, choosing: Pairs, reported: Pairs, *, seed: int = 0) -> tuple[list[str], Made]:
    """One pair of the same meaning and one that only resembles it, in every document, while there are any.

    Returns:
        Distinct sentences, those of `sources` first; and the documents with the position of the paraphrase as truth.

    Raises:
        LangJepaError: no pairs of a kind.
    """
    generator = np.random.default_rng(seed)
    row_of = {sentence: row for row, sentence in enumerate(sources.sentences)}
    parts: list[tuple[Rows, Rows, int, bool]] = []
    for pairs, chooses in ((choosing, True), (reported, False)):
        kinds = [pairs.between(SAME, 5.0), pairs.between(*RELATED)]
        if not all(kinds):
            raise LangJepaError("planting repetitions needs pairs of the same meaning and pairs of another one.")
        shuffled = [[kind[i] for i in generator.permutation(len(kind))] for kind in kinds]
        numbers = [n for n in np.flatnonzero(sources.choosing == chooses) if len(sources.documents[n]) >= APART]
        for number, same, related in zip(numbers, *shuffled, strict=False):
            rows = list(sources.documents[number][:LONGEST_PLANTED])
            for first, second in (related, same):
                _plant(rows, [row_of.setdefault(text, len(row_of)) for text in (first, second)], generator)
            position = np.array([rows.index(row_of[same[1]])], dtype=np.int64)
            parts.append((np.array(rows, dtype=np.int64), position, int(number), chooses))
    return list(row_of), Made.of(parts)


def _plant(rows: list[int], pair: list[int], generator: np.random.Generator) -> None:
    """Put the sentences of a pair between others, the first before the second."""
    early = int(generator.integers(0, len(rows) - APART + 1))
    late = int(generator.integers(early + APART, len(rows) + 1))
    rows.insert(late, pair[1])
    rows.insert(early, pair[0])
