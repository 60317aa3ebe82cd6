"""The shapes in which tokens travel: sequences laid end to end, and a batch of views made of them.

Legend for the comments in this package: T tokens in a row, N sequences, S sentences, P passages, Q predictions,
W sentences in a window, D width of an embedding.

Not frozen, though nothing changes them: Fabric rebuilds the inputs of a wrapped module field by field.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(slots=True)
class Sequences:
    """N token sequences laid end to end, so that no slot is padding.

    Attributes:
        tokens: int64 [T], token ids, special tokens included.
        lengths: int64 [N] on the CPU, tokens of each sequence; they sum to T.
        sentences: int64 [T] or None. None: every token sees its whole sequence. Otherwise the index of each
            token's sentence, starting at 0 in each sequence and never falling: a token then sees the tokens of
            its own and of earlier sentences of its sequence (sentence-causal).
        window: with `sentences`, how many sentences back a token sees, its own included (None: all).
        pooled: float32 [N, D] or None, the mean state of each sequence, where an encoder that never changes has read
            them all before; it is then not run again.
    """

    tokens: Tensor
    lengths: Tensor
    sentences: Tensor | None = None
    window: int | None = None
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return self.lengths.numel()

    def positions(self) -> Tensor:
        """int64 [T]: each token's position in its own sequence, from 0."""
        ends = self.lengths.cumsum(0)
        shift = torch.repeat_interleave(ends - self.lengths, self.lengths)
        return (torch.arange(int(ends[-1]) if len(self) else 0) - shift).to(self.tokens.device)

    def owner(self) -> Tensor:
        """int64 [T]: index of the sequence that each token belongs to."""
        index = torch.repeat_interleave(torch.arange(len(self)), self.lengths)
        return index.to(self.tokens.device)

    def to(self, device: torch.device | str) -> Self:
        """Move the token-sized tensors; the lengths stay on the CPU, where the grouping is planned."""
        return type(self)(
            tokens=self.tokens.to(device, non_blocking=True),
            lengths=self.lengths,
            sentences=None if self.sentences is None else self.sentences.to(device, non_blocking=True),
            window=self.window,
            pooled=None if self.pooled is None else self.pooled.to(device, non_blocking=True),
        )


@dataclass(slots=True)
class Contexts:
    """What the context encoder reads and which parts of it each prediction may read.

    Attributes:
        sequences: one per pair (`window`), one per passage (`causal`), one per sentence (`concepts`), and so on.
        segments: int64 [T], the segment of each token, numbered through the batch and never falling: its sequence,
            or its sentence where a sequence holds several (`causal`).
        windows: int64 [Q, W], the segments that prediction q may read, oldest first, padded with -1 on the left. The
            last one is the position that is asked.
        passages: int64 [P] on the CPU, number of segments of each passage, in order; they sum to the number of
            segments. In `window` mode every segment is a passage of its own.
        shown: int64 [S], the segments that hold text, and no mask or special token alone (None: all).
        horizons: int64 [Q], sentences that each prediction skips before its target (None: none).
        speakers: int64 [S], the number of who says each segment (None: not known of any).
        asked: int64 [Q], the number of whose turn each prediction is of, 0 where that is not known; with `speakers`.
    """

    sequences: Sequences
    segments: Tensor
    windows: Tensor
    passages: Tensor
    shown: Tensor | None = None
    horizons: Tensor | None = None
    speakers: Tensor | None = None
    asked: Tensor | None = None

    def to(self, device: torch.device | str) -> Self:
        """Move what is computed with."""

        def moved(one: Tensor | None) -> Tensor | None:
            return None if one is None else one.to(device, non_blocking=True)

        return replace(
            self,
            sequences=self.sequences.to(device),
            segments=self.segments.to(device, non_blocking=True),
            windows=self.windows.to(device, non_blocking=True),
            shown=moved(self.shown),
            horizons=moved(self.horizons),
            speakers=moved(self.speakers),
            asked=moved(self.asked),
        )


@dataclass(slots=True)
class Targets:
    """What the target encoder reads, and which parts of it the predictions are compared with.

    Attributes:
        sequences: each is read once, however many predictions it is the target of.
        segments: int64 [T], the segment of each token, numbered through the batch and never falling.
        count: number of segments.
        picked: int64 [Q], the segment that is each prediction's target.
        known: int64 [count], the segment of the contexts that is the same whole sequence, -1 where none is (None: not
            looked for). An encoder that reads it twice the same way need not do so.
        missing: the sequences of which `known` is -1, in order; with `known`.
    """

    sequences: Sequences
    segments: Tensor
    count: int
    picked: Tensor
    known: Tensor | None = None
    missing: Sequences | None = None

    @classmethod
    def whole(cls, sequences: Sequences, picked: Tensor | None = None) -> Self:
        """Whole sequences as targets (picked None: each once, in order)."""
        everything = torch.arange(len(sequences))
        return cls(sequences, sequences.owner(), len(sequences), everything if picked is None else picked)

    def __len__(self) -> int:
        return self.picked.numel()

    def texts(self) -> Tensor:
        """int64 [Q]: a hash of each target's tokens and their order, by which targets of the same text are known."""
        counts = torch.bincount(self.segments, minlength=self.count)
        first = (counts.cumsum(0) - counts)[self.segments]
        place = torch.arange(len(self.segments), device=self.segments.device) - first
        mixed = (self.sequences.tokens + 1) * _ODD[0] + place * _ODD[1]
        mixed = (mixed ^ (mixed >> 31)) * _ODD[2]
        hashes = counts.new_zeros(self.count).index_add_(0, self.segments, mixed ^ (mixed >> 29))
        return hashes[self.picked]

    def to(self, device: torch.device | str) -> Self:
        """Move what is computed with."""
        return type(self)(
            sequences=self.sequences.to(device),
            segments=self.segments.to(device, non_blocking=True),
            count=self.count,
            picked=self.picked.to(device, non_blocking=True),
            known=None if self.known is None else self.known.to(device, non_blocking=True),
            missing=None if self.missing is None else self.missing.to(device),
        )


@dataclass(slots=True)
class Batch:
    """One batch of views: the contexts, and for each of Q predictions its target.

    Attributes:
        contexts: Q predictions are made from them.
        targets: what they are compared with, Q in all.
        sentence_ids: int64 [Q] on the CPU, index of the predicted sentence in its split (`spans`: of the chunk in its
            view), for logs and retrieval.
        document_ids: int64 [Q] on the CPU, index of its document.
        position: where reading goes on after this batch (see `lang_jepa.data.loader`).
        idle: there were too few examples for all ranks, so that nothing of this batch counts; it has no ids.
    """

    contexts: Contexts
    targets: Targets
    sentence_ids: Tensor
    document_ids: Tensor
    position: tuple[int, ...] = ()
    idle: bool = False

    @property
    def predictions(self) -> int:
        """Number of predictions that count, which is what losses and speeds are counted in: Q, or 0 if idle."""
        return 0 if self.idle else len(self.targets)

    def idled(self) -> Self:
        """The batch as one that is gone through and counts nothing."""
        return replace(self, idle=True, sentence_ids=self.sentence_ids[:0], document_ids=self.document_ids[:0])

    def to(self, device: torch.device | str) -> Self:
        """Move what is computed with; lengths, passages and the ids for the logs stay on the CPU."""
        return replace(self, contexts=self.contexts.to(device), targets=self.targets.to(device))


_ODD = (0x1E3779B97F4A7C15, 0x42B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Multipliers of a 64-bit hash, which wraps around."""
