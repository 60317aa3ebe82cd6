"""Spans: a chunk of a document's token stream is cut in two, and the second part is predicted from the first.

LeJEPA for text. Each part is a sequence of its own with its own special tokens, and sees itself only.
"""

from dataclasses import replace
from typing import Unpack

import numpy as np
import torch

from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.data.order import Indices
from lang_jepa.data.sequences import Batch, Targets
from lang_jepa.data.views.base import Frame, View, whole_segments
from lang_jepa.errors import LangJepaError

_SHOWN = 160  # characters of a span in an example


class SpansView(View):
    """One example per chunk: the chunks of a document follow each other without gap, and none crosses its end.

    The last chunk of a document is shorter; a rest that is too short to be cut in two is left out.

    Args:
        split: where the tokens are.
        chunk: tokens of a chunk, special tokens left out.
        shortest: tokens of either part at least.
        frame: see `View`.

    Raises:
        LangJepaError: the longer part, with its special tokens, can be longer than a sequence.
    """

    def __init__(self, split: CorpusSplit, *, chunk: int, shortest: int, **frame: Unpack[Frame]) -> None:
        super().__init__(split, **frame)
        if chunk - shortest > self.room:
            raise LangJepaError(
                f"a span of a chunk has up to {chunk - shortest} tokens and the special ones, but a sequence has room "
                f"for {self.room}: raise model.max_length or lower data.chunk_size"
            )
        self.chunk, self.shortest = chunk, shortest
        self._tokens = split.token_starts(self.starts)
        whole, rest = np.divmod(np.diff(self._tokens), chunk)
        usable = rest >= 2 * shortest
        self._chunks = np.concatenate([[0], np.cumsum(whole + usable)])
        self._left_out = int(rest[~usable].sum())

    @property
    def count(self) -> int:
        return int(self._chunks[-1])

    @property
    def left_out(self) -> int:
        return self._left_out

    @property
    def cut_sentences(self) -> int:
        """None: chunks go on where sentences end."""
        return 0

    def _bounds(self, examples: Indices) -> tuple[Indices, Indices, Indices]:
        """(document, first token, number of tokens) of each chunk."""
        documents = np.searchsorted(self._chunks, examples, side="right") - 1
        first = self._tokens[documents] + (examples - self._chunks[documents]) * self.chunk
        return documents, first, np.minimum(self.chunk, self._tokens[documents + 1] - first)

    def sizes(self, examples: Indices) -> Indices:
        return self._bounds(examples)[2]

    def _cut(self, examples: Indices, epoch: int) -> tuple[Indices, Indices, Indices, Indices]:
        """(document, first token, tokens of the first part, tokens of the second part) of each chunk."""
        documents, first, sizes = self._bounds(examples)
        choices = sizes - 2 * self.shortest + 1
        drawn = self.draw(examples, epoch, 1)[:, 0]
        context = self.shortest + np.floor(drawn * choices).astype(np.int64)
        return documents, first, context, sizes - context

    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        documents, first, context, rest = self._cut(examples, epoch)
        return Batch(
            contexts=whole_segments(self.wrap(first, context)),
            targets=Targets.whole(self.wrap(first + context, rest)),
            sentence_ids=torch.from_numpy(np.asarray(examples, dtype=np.int64)),
            document_ids=torch.from_numpy(documents),
        )

    def copied(self, batch: Batch) -> Batch:
        """In the place of each target the first span."""
        return replace(batch, targets=Targets.whole(batch.contexts.sequences))

    def illustrate(self, target: int, found: int) -> str:
        _, first, context, rest = self._cut(np.array([target, found]), 0)
        begin = self._text(first[:1], context[:1])[-_SHOWN:]
        true, other = (self._text(first[i : i + 1] + context[i], rest[i : i + 1])[:_SHOWN] for i in (0, 1))
        return f"begins:    [...] {begin}\ngoes on:   {true} [...]\npredicted: {other} [...]"

    def _text(self, first: Indices, size: Indices) -> str:
        return self.split.decode(self.split.gather(first, size))
