"""Views of which an example is a passage of a document."""

from typing import Unpack

import numpy as np

from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.data.order import Indices
from lang_jepa.data.views.base import AsksNext, Frame


class PassageView(AsksNext):
    """One example per passage; documents are cut into passages of nearly equal numbers of sentences.

    Args:
        split: where the tokens are.
        passage: sentences in a passage at most.
        frame: see `View`.
    """

    def __init__(self, split: CorpusSplit, *, passage: int, **frame: Unpack[Frame]) -> None:
        super().__init__(split, **frame)
        self.passage = passage
        sentences = np.diff(self.starts)
        self._cuts = np.concatenate([[0], np.cumsum(np.where(sentences > 1, -(-sentences // passage), 0))])

    @property
    def count(self) -> int:
        return int(self._cuts[-1])

    def _bounds(self, examples: Indices) -> tuple[Indices, Indices]:
        """(first sentence, number of sentences) of each passage."""
        documents = np.searchsorted(self._cuts, examples, side="right") - 1
        number, pieces = examples - self._cuts[documents], np.diff(self._cuts)[documents]
        sentences = self.starts[documents + 1] - self.starts[documents]
        begin, stop = number * sentences // pieces, (number + 1) * sentences // pieces
        return self.starts[documents] + begin, stop - begin

    def sizes(self, examples: Indices) -> Indices:
        first, counts = self._bounds(examples)
        return self.split.token_starts(first + counts) - self.split.token_starts(first)
