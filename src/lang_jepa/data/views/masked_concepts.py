"""Every sentence of a passage from its neighbours: those before it, those after it, and both sides together.

Sentences are encoded alone, so a place that is not read is hidden, without any mask token, and all places of a passage
are asked in one pass.
"""

from typing import Unpack

import numpy as np
import torch

from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.data.order import Indices
from lang_jepa.data.sequences import Batch, Contexts, Targets
from lang_jepa.data.views.base import Frame, within
from lang_jepa.data.views.passages import PassageView

SIDES = ((True, False), (False, True), (True, True))
"""What the questions about a place read: before, after."""


class MaskedConceptsView(PassageView):
    """One example per passage; documents are cut into passages of nearly equal numbers of sentences.

    Args:
        split: where the tokens are.
        window: sentences on each side that a prediction reads at most.
        passage: sentences in a passage at most.
        frame: see `View`.
    """

    def __init__(self, split: CorpusSplit, *, window: int, passage: int, **frame: Unpack[Frame]) -> None:
        super().__init__(split, passage=passage, **frame)
        self.window = window

    @property
    def targets(self) -> int:
        """Three questions about each sentence, but one about those at the ends of a passage."""
        counts = self._bounds(np.arange(self.count))[1]
        return int(np.where(counts > 1, 3 * counts - 4, 0).sum())

    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        first, counts = self._bounds(np.asarray(examples))
        place, windows = self._places(counts)
        numbers = np.repeat(first, counts) + within(counts)
        predicted = numbers[place]
        return Batch(
            contexts=self._contexts(numbers, counts, windows),
            targets=Targets.whole(self.sentences(numbers), torch.from_numpy(place)),
            sentence_ids=torch.from_numpy(predicted),
            document_ids=self.documents_of(predicted),
        )

    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """What follows the last `window` sentences of each run."""
        kept = np.minimum(counts, self.window)
        numbers = np.repeat(first + counts - kept, kept) + within(kept)
        ends = np.cumsum(kept)
        slots = ends[:, None] + np.arange(-self.window, 0)[None, :]
        before = np.where(slots < (ends - kept)[:, None], -1, slots)
        return self._contexts(numbers, kept, np.concatenate([before, np.full_like(before, -1)], axis=1))

    def _places(self, counts: Indices) -> tuple[Indices, Indices]:
        """Every question of some passages: the place int64 [Q], and what it reads [Q, 2 window], -1 where nothing.

        The first `window` slots are the sentences before, the nearest last; the others those after, the nearest first.
        A question that would read the same as another one, or nothing, is left out.
        """
        ends = np.cumsum(counts)
        begin, stop = (np.repeat(edge, counts)[:, None] for edge in (ends - counts, ends))
        own = np.arange(int(ends[-1]))
        steps = np.arange(1, self.window + 1)
        before, after = own[:, None] - steps[::-1][None, :], own[:, None] + steps[None, :]
        before, after = np.where(before < begin, -1, before), np.where(after >= stop, -1, after)
        has = (before >= 0).any(1), (after >= 0).any(1)
        places, windows = [], []
        for sides in SIDES:
            asked = np.all([one for one, side in zip(has, sides, strict=True) if side], axis=0)
            kept = [
                rows if side else np.full_like(rows, -1)
                for rows, side in zip((before, after), sides, strict=True)
            ]
            places.append(own[asked])
            windows.append(np.concatenate(kept, axis=1)[asked])
        return np.concatenate(places), np.concatenate(windows)

    def _contexts(self, numbers: Indices, counts: Indices, windows: Indices) -> Contexts:
        sequences = self.sentences(numbers)
        return Contexts(sequences, sequences.owner(), torch.from_numpy(windows), torch.from_numpy(counts))

    def illustrate(self, target: int, found: int) -> str:
        begin, stop = self.starts[np.searchsorted(self.starts, target, side="right") - 1 :][:2]
        around = [number for number in (target - 1, target + 1) if begin <= number < stop]
        hidden, other, *near = self.split.texts([target, found, *around])
        return f"beside:    {' [...] '.join(near)}\nhidden:    {hidden}\npredicted: {other}"
