"""The same sentence twice: what differs between the two sides is a random crop, or dropout alone."""

from dataclasses import replace
from typing import Unpack

import numpy as np
import torch

from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.data.order import Indices
from lang_jepa.data.sequences import Batch, Targets
from lang_jepa.data.views.base import Frame, View, whole_segments


class SameSentenceView(View):
    """One example per sentence.

    Args:
        split: where the tokens are.
        crop: share of a sentence's tokens that each side sees, a run at a random place of its own (None: all).
        frame: see `View`.
    """

    def __init__(self, split: CorpusSplit, *, crop: float | None, **frame: Unpack[Frame]) -> None:
        super().__init__(split, **frame)
        self.crop = crop

    @property
    def count(self) -> int:
        return self.split.num_sentences

    def sizes(self, examples: Indices) -> Indices:
        lengths = np.minimum(self.split.lengths(examples), self.room)
        if self.crop is None:
            return lengths
        # At least one token, where there is one.
        return np.minimum(lengths, np.maximum(1, np.rint(self.crop * lengths).astype(np.int64)))

    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        examples = np.asarray(examples, dtype=np.int64)
        start, sizes = self.split.token_starts(examples), self.sizes(examples)
        choices = np.minimum(self.split.lengths(examples), self.room) - sizes + 1
        shifts = np.floor(self.draw(examples, epoch, 2) * choices[:, None]).astype(np.int64)
        one, other = (self.wrap(start + shift, sizes) for shift in shifts.T)
        return Batch(
            contexts=whole_segments(one),
            targets=Targets.whole(other),
            sentence_ids=torch.from_numpy(examples),
            document_ids=self.documents_of(examples),
        )

    def copied(self, batch: Batch) -> Batch:
        """In the place of each target the context, another view of the same sentence."""
        return replace(batch, targets=Targets.whole(batch.contexts.sequences))

    def illustrate(self, target: int, found: int) -> str:
        true, other = self.split.texts([target, found])
        return f"sentence:  {true}\nfound:     {other}"
