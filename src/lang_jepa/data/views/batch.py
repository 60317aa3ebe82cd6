"""Containers for token data: sequences laid end to end, and batches made of them.

Shape letters in this package: T tokens in total, N sequences, S sentences, P passages, Q predictions, W sentences in a
window, D embedding width.

The dataclasses are not frozen, though nothing changes them: Fabric rebuilds a wrapped module's inputs field by field.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


@dataclass(slots=True)
class _Movable:
    """Tensors, and containers of them, that move to a device together."""

    on_cpu: ClassVar[tuple[str, ...]] = ()

    def to(self, device: torch.device | str) -> Self:
        """Move all tensors to a device but those of the fields `on_cpu`."""
        parts = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in self.on_cpu}
        moved: dict[str, Any] = {}
        for name, part in parts.items():
            if isinstance(part, Tensor):
                moved[name] = part.to(device, non_blocking=True)
            elif isinstance(part, _Movable):
                moved[name] = part.to(device)
        return replace(self, **moved)


@dataclass(slots=True)
class Sequences(_Movable):
    """N token sequences laid end to end, without padding.

    Attributes:
        tokens: int64 [T], token ids, special tokens included.
        lengths: int64 [N] on the CPU, tokens of each sequence; they sum to T.
        sentences: int64 [T] or None. None: every token sees its whole sequence. Otherwise the index of each
            token's sentence, starting at 0 in each sequence and non-decreasing: a token then sees the tokens of
            its own and of earlier sentences of its sequence (sentence-causal).
        window: with `sentences`, how many sentences a token sees, counting back from its own (None: all).
        pooled: float32 [N, D] or None, the mean state of each sequence if a frozen encoder has already read them all;
            it is then not run again.
    """

    on_cpu = ("lengths",)  # where sequences are grouped

    tokens: Tensor
    lengths: Tensor
    sentences: Tensor | None = None
    window: int | None = None
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return self.lengths.numel()

    def positions(self) -> Tensor:
        """int64 [T]: position of each token in its own sequence, from 0."""
        ends = self.lengths.cumsum(0)
        shift = torch.repeat_interleave(ends - self.lengths, self.lengths)
        return (torch.arange(int(ends[-1]) if len(self) else 0) - shift).to(self.tokens.device)

    def owner(self) -> Tensor:
        """int64 [T]: index of the sequence each token belongs to."""
        index = torch.repeat_interleave(torch.arange(len(self)), self.lengths)
        return index.to(self.tokens.device)


@dataclass(slots=True)
class Contexts(_Movable):
    """Input of the context encoder, and the parts of it that each prediction may read.

    Attributes:
        sequences: one per pair (`window`), one per passage (`causal`), one per sentence (`concepts`), and so on.
        segments: int64 [T], the segment of each token, numbered across the batch and non-decreasing: its sequence,
            or its sentence if a sequence holds several (`causal`).
        windows: int64 [Q, W], the segments that prediction q may read, oldest first, padded with -1 on the left. The
            last one is the position the prediction is made at.
        passages: int64 [P] on the CPU, number of segments in each passage, in order; they sum to the number of
            segments. In `window` mode every segment is a passage of its own.
        shown: int64 [S], the segments that hold text rather than only a mask or special tokens (None: all).
        horizons: int64 [Q], sentences that each prediction skips before its target (None: none).
        speakers: int64 [S], speaker number of each segment (None: no speakers are known).
        asked: int64 [Q], speaker number of each predicted turn, 0 if unknown; with `speakers`.
    """

    on_cpu = ("passages",)

    sequences: Sequences
    segments: Tensor
    windows: Tensor
    passages: Tensor
    shown: Tensor | None = None
    horizons: Tensor | None = None
    speakers: Tensor | None = None
    asked: Tensor | None = None


@dataclass(slots=True)
class Targets(_Movable):
    """Input of the target encoder, and the parts of it that predictions are compared with.

    Attributes:
        sequences: each is read once, however many predictions have it as their target.
        segments: int64 [T], the segment of each token, numbered across the batch and non-decreasing.
        count: number of segments.
        picked: int64 [Q], the segment that is each prediction's target.
        known: int64 [count], the context segment that is the same whole sequence, -1 if there is none (None: not
            searched for). If both sides would be encoded the same way, it need not be encoded twice.
        missing: the sequences for which `known` is -1, in order; with `known`.
    """

    sequences: Sequences
    segments: Tensor
    count: int
    picked: Tensor
    known: Tensor | None = None
    missing: Sequences | None = None

    @classmethod
    def whole(cls, sequences: Sequences, picked: Tensor | None = None) -> Self:
        """Targets that are whole sequences (picked None: each once, in order)."""
        everything = torch.arange(len(sequences))
        return cls(sequences, sequences.owner(), len(sequences), everything if picked is None else picked)

    def __len__(self) -> int:
        return self.picked.numel()

    def texts(self) -> Tensor:
        """int64 [Q]: a hash of each target's tokens and their order, to recognise targets with the same text."""
        counts = torch.bincount(self.segments, minlength=self.count)
        first = (counts.cumsum(0) - counts)[self.segments]
        place = torch.arange(len(self.segments), device=self.segments.device) - first
        mixed = (self.sequences.tokens + 1) * _ODD[0] + place * _ODD[1]
        mixed = (mixed ^ (mixed >> 31)) * _ODD[2]
        hashes = counts.new_zeros(self.count).index_add_(0, self.segments, mixed ^ (mixed >> 29))
        return hashes[self.picked]


@dataclass(slots=True)
class Batch(_Movable):
    """One batch: contexts, and the target of each of Q predictions.

    Attributes:
        contexts: Q predictions are made from them.
        targets: what the Q predictions are compared with.
        sentence_ids: int64 [Q] on the CPU, index of the predicted sentence in its split (`spans`: of the chunk in its
            view), for logs and retrieval.
        document_ids: int64 [Q] on the CPU, index of its document.
        position: where reading continues after this batch (see `lang_jepa.data.loader`).
        idle: there were too few examples for all ranks, so nothing in this batch counts; it has no ids.
    """

    on_cpu = ("sentence_ids", "document_ids")

    contexts: Contexts
    targets: Targets
    sentence_ids: Tensor
    document_ids: Tensor
    position: tuple[int, ...] = ()
    idle: bool = False

    @property
    def predictions(self) -> int:
        """Number of predictions that count towards losses and throughput: Q, or 0 if idle."""
        return 0 if self.idle else len(self.targets)

    def idled(self) -> Self:
        """The batch marked as idle: it is computed but does not count."""
        return replace(self, idle=True, sentence_ids=self.sentence_ids[:0], document_ids=self.document_ids[:0])


_ODD = (0x1E3779B97F4A7C15, 0x42B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Multipliers of a 64-bit hash, which wraps around."""
