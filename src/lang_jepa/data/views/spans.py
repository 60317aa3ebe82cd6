"""Spans: a chunk of a document's token stream is cut in two, and the second part is predicted from the first.

LeJEPA for text. Each part is a separate sequence with its own special tokens and sees only itself.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Self, Unpack

import numpy as np
import torch

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.base import Frame, View, whole_segments
from lang_jepa.data.views.batch import Batch, Targets
from lang_jepa.data.views.order import Indices
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings

_SHOWN = 160  # characters of a span in an example


class SpansView(View):
    """One example per chunk: the chunks of a document follow each other without gaps and never cross its end.

    The last chunk of a document is shorter; a remainder too short to be cut in two is left out.

    Args:
        split: source of the tokens.
        chunk: tokens in a chunk, not counting special tokens.
        shortest: minimum number of tokens in either part.
        frame: see `View`.

    Raises:
        LangJepaError: the longer part, with its special tokens, could exceed a sequence.
    """

    has_other_names = True
    usual_predictor = "linear"
    reads = ("data.chunk_size", "data.span_min_length")

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

    @classmethod
    def of(cls, settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> Self:
        return cls(split, chunk=settings.data.chunk_size, shortest=settings.data.span_min_length, **frame)

    @classmethod
    def complaints(cls, settings: Settings) -> Iterator[str]:
        data = settings.data
        longest = data.chunk_size - data.span_min_length
        if longest < data.span_min_length:
            yield (
                f"data.chunk_size ({data.chunk_size}) must be at least twice data.span_min_length "
                f"({data.span_min_length}), since it is cut in two."
            )
        if longest > settings.model.max_length:
            yield f"spans have up to {longest} tokens: raise model.max_length or lower data.chunk_size."

    @property
    def count(self) -> int:
        return int(self._chunks[-1])

    @property
    def left_out(self) -> int:
        return self._left_out

    @property
    def cut_sentences(self) -> int:
        """0: chunks continue across sentence ends."""
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
        """The batch with each target replaced by the first span."""
        return replace(batch, targets=Targets.whole(batch.contexts.sequences))

    def distinct(self, indices: Indices) -> Indices:
        return np.asarray(indices, dtype=np.int64)  # chunks are practically never repeated

    def illustrate(self, target: int, found: int) -> str:
        _, first, context, rest = self._cut(np.array([target, found]), 0)
        begin = self._text(first[:1], context[:1])[-_SHOWN:]
        true, other = (self._text(first[i : i + 1] + context[i], rest[i : i + 1])[:_SHOWN] for i in (0, 1))
        return f"begins:    [...] {begin}\ngoes on:   {true} [...]\npredicted: {other} [...]"

    def _text(self, first: Indices, size: Indices) -> str:
        return self.split.decode(self.split.gather(first, size))


class SameSentenceView(View):
    """One example per sentence.

    Args:
        split: source of the tokens.
        crop: share of a sentence's tokens that each side sees, as a run at its own random position (None: all).
        frame: see `View`.
    """

    one_each = True
    same_text = True
    usual_predictor = "identity"
    reads = ("data.crop",)

    def __init__(self, split: CorpusSplit, *, crop: float | None, **frame: Unpack[Frame]) -> None:
        super().__init__(split, **frame)
        self.crop = crop

    @classmethod
    def of(cls, settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> Self:
        return cls(split, crop=settings.data.crop, **frame)

    @property
    def count(self) -> int:
        return self.split.num_sentences

    def sizes(self, examples: Indices) -> Indices:
        lengths = np.minimum(self.split.lengths(examples), self.room)
        if self.crop is None:
            return lengths
        # At least one token, unless the sentence has none.
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
        """The batch with each target replaced by its context, another view of the same sentence."""
        return replace(batch, targets=Targets.whole(batch.contexts.sequences))

    def illustrate(self, target: int, found: int) -> str:
        true, other = self.split.texts([target, found])
        return f"sentence:  {true}\nfound:     {other}"
