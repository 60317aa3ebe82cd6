"""Copies of held-out documents with planted faults, for the task `anomalies`.

Shapes: N units of all copies, D documents.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import speaker_name, speakers_of
from lang_jepa.evaluation.faults import KINDS, WARM, Pools, with_faults
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.tasks.request import Conversations


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
        documents = [list(one) for one in given.documents]
        if given.speakers is not None:
            pairs = zip(given.documents, given.speakers, strict=True)
            documents = [[f"{speaker_name(n)}: {t}" for t, n in zip(*one, strict=True)] for one in pairs]
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


LEAST_PIECES = 4
"""Fewest pieces of a file that is a source of its own."""


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
