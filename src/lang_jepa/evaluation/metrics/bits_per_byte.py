"""Cross-entropy of a language model on held-out tokens, per token and per byte of text.

    val_loss = sum of nats / tokens,   val_bpb = sum of nats / ln 2 / bytes

Sums are float64, taken over all ranks, and divided once. Tokens that begin documents are predicted too but have no
bytes, as in the public comparisons of small models.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.nn import functional

from lang_jepa.data.tokens.byte_table import ByteTable, check_bytes
from lang_jepa.data.tokens.token_stream import TokenSource
from lang_jepa.errors import LangJepaError
from lang_jepa.objectives.reduction import world_size

LogitsFn = Callable[[Tensor], Tensor]
"""int64 [B, T] to float [B, T, V]: logits of the next token at each position, from this and earlier positions only."""


@dataclass(frozen=True, slots=True)
class BitsPerByte:
    """A model's code length for a text.

    Attributes:
        nats: sum of -ln p over the predicted tokens.
        tokens: number of predicted tokens.
        bytes: bytes of their text.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def val_loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def val_bpb(self) -> float:
        """Bits per byte."""
        return self.nats / math.log(2) / self.bytes


@dataclass(frozen=True, slots=True)
class DocumentBits:
    """A model's code length for each document. Bits per byte over all documents are a ratio of sums.

    Attributes:
        bits: float64 [Q], bits of each document.
        bytes: float64 [Q], bytes of its text.
    """

    bits: NDArray[np.float64]
    bytes: NDArray[np.float64]

    @property
    def bits_per_byte(self) -> float:
        return float(self.bits.sum() / self.bytes.sum())


@dataclass(frozen=True, slots=True)
class _Scored:
    """Predicted tokens: positions in the source, int64 [N]; nats, float64 [N]; bytes, int64 [N]."""

    positions: NDArray[np.int64]
    nats: Tensor
    bytes: Tensor


@dataclass(frozen=True, slots=True)
class _Window:
    """Tokens that are read at once, and which of them are predicted in this window only."""

    start: int
    first: int
    stop: int


class Validation:
    """Scores models on held-out tokens.

    Every token but the first is predicted exactly once. Windows of `length` tokens advance by `stride`. The first
    window predicts all its tokens, the others their last `stride`, each from at least `length - stride` tokens. With
    `stride == length` (the default) windows do not overlap. Windows are padded at the end, which a causal model does
    not see, so that all batches have the same shape.
    """

    def __init__(
        self,
        source: TokenSource,
        table: ByteTable,
        *,
        length: int,
        batch_size: int,
        device: torch.device | str = "cpu",
        max_tokens: int | None = None,
    ) -> None:
        """Check that the table counts the bytes of the tokens correctly.

        Args:
            source: held-out tokens.
            table: bytes of each token.
            length: tokens that the model reads at once.
            batch_size: windows per call of the model.
            device: the model's device.
            max_tokens: predict at most this many tokens, from the beginning (None: all).

        Raises:
            LangJepaError: there is nothing to predict, or the counts differ from the decoded text.
        """
        if source.num_tokens < 2:
            raise LangJepaError(f"{source.num_tokens} held-out tokens leave nothing to predict: hold out more")
        check_bytes(table, source)
        self.source, self.table = source, table.to(device)
        self.length, self.batch_size, self.device = length, batch_size, device
        self.targets = min(source.num_tokens - 1, max_tokens or source.num_tokens)

    @torch.no_grad()
    def score(self, logits_fn: LogitsFn, *, stride: int | None = None) -> BitsPerByte:
        """Score a model. In distributed training all ranks must call this; they share the work.

        Args:
            logits_fn: the model, causal and in evaluation mode.
            stride: tokens by which windows advance (None: `length`).

        Raises:
            LangJepaError: the stride is outside 1 .. length, or the model's scores are not finite.
        """
        if not 1 <= (stride or self.length) <= self.length:
            raise LangJepaError(
                f"a stride of {stride} tokens does not fit windows of {self.length}: take 1 to {self.length}"
            )
        rank = distributed.get_rank() if world_size() > 1 else 0
        windows = list(self._windows(stride or self.length))
        passes = -(-len(windows) // (self.batch_size * world_size()))  # the same number on each rank
        own = iter(windows[rank :: world_size()])
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for _ in range(passes):
            batch = list(islice(own, self.batch_size))
            scored = self._batch(logits_fn, batch)
            count = torch.tensor(len(scored.nats), dtype=torch.float64, device=self.device)
            sums += torch.stack([scored.nats.sum(), count, scored.bytes.sum().double()])
        if world_size() > 1:
            distributed.all_reduce(sums)
        nats, tokens, size = sums.tolist()
        _check_finite(nats)
        return BitsPerByte(nats, round(tokens), round(size))

    @torch.no_grad()
    def by_document(self, logits_fn: LogitsFn) -> DocumentBits:
        """Score a model on each document separately, in one process. A document's BOS belongs to it.

        Args:
            logits_fn: the model, causal and in evaluation mode.

        Raises:
            LangJepaError: the model's scores are not finite.
        """
        tokens = self.source.read(0, self.targets + 1)
        owners = np.cumsum(tokens == self.source.bos_id)
        owners = owners - owners[0]  # tokens before the first BOS are a document too
        count = int(owners[-1]) + 1
        nats, size = np.zeros(count), np.zeros(count)
        windows = self._windows(self.length)
        while batch := list(islice(windows, self.batch_size)):
            scored = self._batch(logits_fn, batch)
            rows = owners[scored.positions]
            nats += np.bincount(rows, weights=scored.nats.cpu().numpy(), minlength=count)
            size += np.bincount(rows, weights=scored.bytes.cpu().numpy(), minlength=count)
        _check_finite(float(nats.sum()))
        return DocumentBits(nats / math.log(2), size)

    def _windows(self, stride: int) -> Iterator[_Window]:
        done = start = 0
        while done < self.targets:
            stop = min(start + self.length, self.targets)
            yield _Window(start, done, stop)
            done, start = stop, start + stride

    def _batch(self, logits_fn: LogitsFn, windows: list[_Window]) -> _Scored:
        """Score the tokens that some windows predict."""
        shape = (self.batch_size, self.length + 1)
        rows = np.zeros(shape, dtype=np.int64)
        counts = np.zeros((self.batch_size, self.length), dtype=bool)
        for row, mask, window in zip(rows, counts, windows, strict=False):
            read = self.source.read(window.start, window.stop + 1)
            row[: len(read)] = read
            mask[window.first - window.start : window.stop - window.start] = True
        tokens = torch.from_numpy(rows).to(self.device)
        chosen = torch.from_numpy(counts).to(self.device)
        previous, target = tokens[:, :-1], tokens[:, 1:]
        logits = logits_fn(previous.contiguous())
        nats = functional.cross_entropy(logits[chosen].float(), target[chosen], reduction="none")
        size = self.table.count(target, previous)[chosen]
        positions = [np.arange(window.first + 1, window.stop + 1) for window in windows]
        return _Scored(np.concatenate([np.zeros(0, np.int64), *positions]), nats.double(), size)


def _check_finite(nats: float) -> None:
    if not math.isfinite(nats):
        raise LangJepaError("the model's scores of held-out tokens are not finite: its weights are broken")
