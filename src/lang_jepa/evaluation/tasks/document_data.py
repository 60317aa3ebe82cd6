"""Documents constructed for the task `document`: joined, with intruders, and with planted repetitions.

Everything is index arithmetic over distinct sentences, drawn with a seed, and the same for every model and baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.questions import sentence_rows
from lang_jepa.evaluation.scoreboard import Scoreboard
from lang_jepa.evaluation.tasks.public_data import StsPairs
from lang_jepa.evaluation.tasks.request import Grouped

Flags = NDArray[np.bool_]
From = Literal["same group", "same document"]

SEGMENTS = 6
"""Pieces of a joined document."""
PIECE = (6, 20)
"""Fewest and most sentences of a piece."""
ROUNDS = 4
"""Most joined documents made of the same sources, each of different sentences."""
INTRUDER_EVERY = 12
"""Sentences per intruder; at least three others lie between two intruders."""
FAR = 8
"""Fewest sentences between an intruder from the same document and its original position."""
APART_SHORT, SHORTEST = 1, 4
"""`FAR` for short documents, and the fewest sentences of such a document and of a piece made of it."""
LONGEST = 96
"""Most sentences of a document with intruders; the rest is left out."""

SAME, RELATED = 4.0, (1.0, 3.0)
"""Grade (0 to 5) above which a pair has the same meaning, and grades between which it is only related."""
LONGEST_PLANTED = 30
"""Most sentences of a document that pairs are planted into."""
APART = 4
"""Fewest positions between the two sentences of a pair."""
SPLIT = "validation"
"""Name of the split in the rows."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Length requirements of the documents that others are made of.

    Attributes:
        piece: fewest and most sentences of a piece of a joined document.
        least: fewest sentences of a document with an intruder.
        far: fewest sentences between an intruder from the same document and its original position.
    """

    piece: tuple[int, int]
    least: int
    far: int


USUAL, SHORT = Lengths(PIECE, INTRUDER_EVERY, FAR), Lengths((SHORTEST, PIECE[1]), SHORTEST, APART_SHORT)


def group_of(identity: str) -> str:
    """Return the group of a document from its id: the folder part, such as the book in `openstax/biology/m44387`."""
    return identity.rpartition("/")[0]


@dataclass(frozen=True)
class Sources:
    """Documents as rows of distinct sentences.

    Attributes:
        sentences: [S] distinct sentences.
        documents: rows of each document.
        groups: int64 [number of documents]: documents of one book (or folder) share a number.
        choosing: bool, documents used for selection; the others are reported.
    """

    sentences: list[str]
    documents: list[Rows]
    groups: Rows
    choosing: Flags

    @classmethod
    def of(cls, grouped: Grouped) -> "Sources":
        """Number the distinct sentences of the documents; raises as `sentence_rows` does."""
        sentences, rows = sentence_rows(grouped.documents)
        numbers = np.unique(np.array(grouped.groups, dtype=str), return_inverse=True)[1]
        return cls(sentences, rows, numbers.astype(np.int64), np.asarray(grouped.choosing, dtype=bool))


@dataclass(frozen=True)
class Made:
    """Documents that were made of others.

    Attributes:
        documents: rows of sentences.
        truth: for each document the positions of boundaries or intruders, int64.
        clusters: int64, documents made of the same sources share a number.
        choosing: bool, documents used for selection.
    """

    documents: list[Rows]
    truth: list[Rows]
    clusters: Rows
    choosing: Flags

    def __len__(self) -> int:
        return len(self.documents)

    @classmethod
    def of(cls, parts: Sequence[tuple[Rows, Rows, int, bool]]) -> Self:
        """Collect documents from the rows, truth, cluster and selection mark of each."""
        documents, truth, clusters, choosing = zip(*parts, strict=True) if parts else ((), (), (), ())
        numbers, marks = np.array(clusters, dtype=np.int64), np.array(choosing, dtype=bool)
        return cls(list(documents), list(truth), numbers, marks)

    def board(self, sentences: list[str], task: str, judge: str, *, seed: int, lower: bool = False) -> Scoreboard:
        """Return a scoreboard with one question per document; the rows index `sentences`."""
        items = [sentences, *([rows.tolist() for rows in some] for some in (self.documents, self.truth))]
        return Scoreboard(task, SPLIT, judge, self.clusters, items, self.choosing, lower=lower, seed=seed)


def lengths_of(grouped: Grouped, sources: Sources, *, unit: str = "sentence", seed: int = 0) -> Lengths:
    """Return the usual lengths, or those of short documents if only these leave enough for selection and report.

    Raises:
        LangJepaError: the documents are too few or too short; the message says how many of what length are needed.
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
    """Make joined documents: `SEGMENTS` runs of sentences from as many different sources, end to end.

    Every source is used by one cluster of at most `ROUNDS` joined documents, each with different sentences of it, as
    far as its length allows. Sources for selection and reported ones are never mixed.

    Args:
        sources: documents; those shorter than the shortest piece are left out.
        lengths: lengths of the pieces.
        same_group: whether all sources of a joined document are of one group (hard); otherwise neighbours are of
            different groups as far as there are enough groups (easy).
        seed: seed of every draw.
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
    """Return disjoint sets of `SEGMENTS` sources."""
    order = [usable[i] for i in generator.permutation(len(usable))]
    if same_group:
        teams = []
        for group in np.unique(groups):
            mine = [number for number in order if groups[number] == group]
            teams += [mine[i : i + SEGMENTS] for i in range(0, len(mine) - SEGMENTS + 1, SEGMENTS)]
        return teams
    # Take one source from each group in turn, the fullest group first, so that neighbours differ in group.
    queues = {group: [number for number in order if groups[number] == group] for group in np.unique(groups)}
    mixed: list[int] = []
    while any(queues.values()):
        for group in sorted(queues, key=lambda name: -len(queues[name])):
            if queues[group]:
                mixed.append(queues[group].pop())
    return [mixed[i : i + SEGMENTS] for i in range(0, len(mixed) - SEGMENTS + 1, SEGMENTS)]


def _rounds(members: list[Rows], lengths: Lengths, generator: np.random.Generator) -> list[list[Rows]]:
    """Return the pieces of each joined document: runs of the sources that do not overlap between rounds."""
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
    """Replace one sentence in `INTRUDER_EVERY` of each document by one that does not belong there.

    Args:
        sources: documents; those without room for an intruder are left out.
        lengths: lengths of the documents; one shorter than `INTRUDER_EVERY` gets one intruder.
        where: intruders come from another document of the same group, or from the same document, at least
            `lengths.far` sentences away (the moved sentence also stays where it was).
        seed: seed of every draw.
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
    """Draw positions of intruders: one per stretch, never the first two sentences or the last of the document."""
    if least <= count < INTRUDER_EVERY:
        return generator.integers(2, count - 1, size=1)
    stretches = count // INTRUDER_EVERY
    begins = np.arange(stretches) * INTRUDER_EVERY
    return (begins + generator.integers(2, INTRUDER_EVERY - 1, size=stretches)).astype(np.int64)


def _strangers(sources: Sources, number: int, position: int, where: From, far: int) -> Rows:
    """Return possible intruders for a position, none with the text of a neighbour or of the sentence replaced."""
    own = sources.documents[number]
    if where == "same document":
        pool = np.concatenate([own[: max(0, position - far)], own[position + far + 1 :]])
        return np.setdiff1d(pool, own[max(0, position - far) : position + far + 1])
    alike = np.flatnonzero((sources.groups == sources.groups[number]) & (sources.choosing == sources.choosing[number]))
    others = [sources.documents[other] for other in alike if other != number]
    pool = np.concatenate(others) if others else np.zeros(0, dtype=np.int64)
    return np.setdiff1d(pool, own)


def _graded(pairs: StsPairs, low: float, high: float) -> list[tuple[str, str]]:
    """Return the pairs of distinct sentences with low < grade <= high."""
    every = zip(pairs.first, pairs.second, pairs.scores, strict=True)
    return [(a, b) for a, b, grade in every if low < grade <= high and a != b]


def with_repetitions(
    sources: Sources, choosing: StsPairs, reported: StsPairs, *, seed: int = 0
) -> tuple[list[str], Made]:
    """Plant in each document one pair with the same meaning and one pair that is only related, while pairs last.

    Args:
        sources: documents; very short ones are left out.
        choosing, reported: graded pairs, which are disjoint.
        seed: seed of every draw.

    Returns:
        Distinct sentences, those of `sources` first; and the documents with the position of the paraphrase as truth.

    Raises:
        LangJepaError: there are no pairs of one kind.
    """
    generator = np.random.default_rng(seed)
    row_of = {sentence: row for row, sentence in enumerate(sources.sentences)}
    parts: list[tuple[Rows, Rows, int, bool]] = []
    for pairs, chooses in ((choosing, True), (reported, False)):
        kinds = [_graded(pairs, SAME, 5.0), _graded(pairs, *RELATED)]
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
    """Insert the sentences of a pair into a document, the first before the second."""
    early = int(generator.integers(0, len(rows) - APART + 1))
    late = int(generator.integers(early + APART, len(rows) + 1))
    rows.insert(late, pair[1])
    rows.insert(early, pair[0])
