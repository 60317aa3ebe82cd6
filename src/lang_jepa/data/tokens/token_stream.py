"""Endless batches of fixed-length token sequences, divided among ranks, with a position that can be saved.

Spans are drawn in them, outside the model's graph, between which the span loss compares hidden states. The draws are a
hash of the seed and the sequence's number in the training order, so a resumed run draws the same, and they do not
depend on the number of processes.
"""

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.data.loader import position
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.data.views.order import Indices, permuted, uniform
from lang_jepa.errors import LangJepaError


class TokenSource(Protocol):
    """Documents as one long token sequence, each preceded by BOS: shards, or a side of a prepared corpus."""

    num_tokens: int
    vocab_size: int
    bos_id: int

    def read(self, start: int, stop: int) -> Ints:
        """Tokens start .. stop - 1, int64."""


class TokenStream:
    """Batches of one rank.

    From a seeded offset below `length` on, an epoch cuts the tokens into chunks whose last token is the first of the
    next chunk, so every token is a target once. Chunks are visited in a seeded permutation that takes no memory. A step
    of all ranks is `batch_size * ranks` consecutive chunks of it, divided among the ranks; the chunks after the last
    whole step are left out of the epoch (different ones each time).

    The position is (epoch, step), the same on all ranks. It can be resumed with a different number of ranks if
    `batch_size * ranks` is the same.
    """

    def __init__(
        self, source: TokenSource, *, batch_size: int, length: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        """Start at the beginning.

        Args:
            source: of the tokens.
            batch_size: sequences in a batch of this rank.
            length: tokens that the model reads; a sequence has one more.
            seed: of the order and the offsets.
            rank: of this process, below `ranks`.
            ranks: number of processes that share the tokens.

        Raises:
            LangJepaError: there are fewer tokens than one step takes.
        """
        self.source, self.batch_size, self.length, self.seed = source, batch_size, length, seed
        self.rank, self.ranks = rank, ranks
        self.epoch = self.step = 0
        wanted = batch_size * ranks
        if self._steps(length - 1) < 1:
            raise LangJepaError(
                f"{source.num_tokens:,} tokens are too few for one step of {wanted} sequences of {length} tokens: "
                "take smaller batches, shorter sequences, or more text"
            )

    @property
    def state(self) -> dict[str, Any]:
        """The position before the next batch, and the stream it belongs to."""
        return {"epoch": self.epoch, "step": self.step, "of": self._identity()}

    @property
    def at_end(self) -> bool:
        """Whether the next batch begins an epoch."""
        return self.step >= self._steps(self._offset(self.epoch))

    def restart(self, state: dict[str, Any]) -> None:
        """Resume from a saved position.

        Raises:
            LangJepaError: it is damaged, or belongs to other tokens, seed, length or number of sequences per step.
        """
        ours, theirs = self._identity(), state.get("of")
        if not isinstance(theirs, dict):
            raise LangJepaError(f"the position in the tokens is damaged: {str(state)[:200]}")
        changed = [f"{name} {theirs.get(name)} -> {value}" for name, value in ours.items()
                   if theirs.get(name) != value]  # fmt: skip
        if changed:
            raise LangJepaError(f"this position belongs to another stream of tokens ({', '.join(changed)})")
        epoch = position(state, "epoch")
        self.epoch, self.step = epoch, position(state, "step", self._steps(self._offset(epoch)))

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        """The next sequences of this rank, int64 [batch_size, length + 1]."""
        if self.at_end:
            self.epoch, self.step = self.epoch + 1, 0
        offset = self._offset(self.epoch)
        first = (self.step * self.ranks + self.rank) * self.batch_size
        positions = np.arange(first, first + self.batch_size, dtype=np.int64)
        chunks = permuted(positions, self._chunks(offset), self.seed, self.epoch)
        starts = (offset + chunks * self.length).tolist()
        rows = np.stack([self.source.read(start, start + self.length + 1) for start in starts])
        self.step += 1
        return torch.from_numpy(rows)

    def _offset(self, epoch: int) -> int:
        """The token at which an epoch's first chunk begins."""
        return int(np.random.default_rng([self.seed, epoch]).integers(self.length))

    def _chunks(self, offset: int) -> int:
        return (self.source.num_tokens - 1 - offset) // self.length

    def _steps(self, offset: int) -> int:
        return self._chunks(offset) // (self.batch_size * self.ranks)

    def _identity(self) -> dict[str, int]:
        return {
            "tokens": self.source.num_tokens,
            "seed": self.seed,
            "length": self.length,
            "sequences per step": self.batch_size * self.ranks,
        }


def document_numbers(tokens: Tensor, bos_id: int) -> Tensor:
    """Number of the document that each token belongs to, int64 [B, T], counted within its row.

    Numbering begins with 0 in a row that begins inside a document, and with 1 in a row that begins with BOS.

    Args:
        tokens: int64 [B, T].
        bos_id: begins a document.
    """
    return (tokens == bos_id).cumsum(dim=1)


Form = Literal["partition", "triple"]
POSITIONS = {"partition": 4, "triple": 3}
"""Number of positions that describe a span in each form."""
LEAST = 3
"""Minimum number of tokens of a document in a sequence, so that there is something besides the span."""

_DRAWS = 4


def draw_spans(
    tokens: NDArray[np.integer],
    indices: Indices,
    *,
    form: Form,
    spans: int,
    max_frac: float,
    bos_id: int | None,
    seed: int,
) -> Indices:
    """Draw positions of spans, each inside one document of its sequence.

    A document is drawn with probability proportional to its number of tokens (documents shorter than `LEAST` never),
    then the span's length uniformly between the shortest and the longest, then its start uniformly, and for a triple
    its middle.

    Args:
        tokens: [B, T]; a document begins at bos_id, and at the beginning of the sequence.
        indices: int64 [B], the sequences' indices in the training order.
        form: `partition`, positions of a document's first token, the one before the span, the span's last, and the
            document's last; or `triple`, three positions in order.
        spans: S, number of spans per sequence.
        max_frac: longest span, or longest distance between first and last position, as a share of the document here.
        bos_id: begins a document (None: a sequence is one).
        seed: of the draws.

    Returns:
        int64 [B, S, 4] (partition) or [B, S, 3] (triple); all -1 if a sequence has no document that is long enough.
    """
    drawn = uniform(indices, spans * _DRAWS, seed, 0).reshape(len(indices), spans, _DRAWS)
    first, count = _drawn_documents(np.asarray(tokens), bos_id, drawn[..., 0])
    steps = np.maximum(count - 1, 2)  # from token to token; documents that are too short are removed at the end
    if form == "partition":
        longest = np.clip(np.floor(max_frac * count), 1, steps - 1)
        length = 1 + np.floor(drawn[..., 1] * longest)
        before = np.floor(drawn[..., 2] * (steps - length + 1))
        positions = [np.zeros_like(before), before, before + length, count - 1.0]
    else:
        longest = np.clip(np.floor(max_frac * count), 2, steps)
        way = 2 + np.floor(drawn[..., 1] * (longest - 1))
        start = np.floor(drawn[..., 2] * (steps - way + 1))
        middle = start + 1 + np.floor(drawn[..., 3] * (way - 1))
        positions = [start, middle, start + way]
    found = (np.stack(positions, -1) + first[..., None]).astype(np.int64)
    found[count < LEAST] = -1
    return found


def _drawn_documents(
    tokens: NDArray[np.integer], bos_id: int | None, drawn: NDArray[np.float64]
) -> tuple[Indices, Indices]:
    """First position and size, each int64 [B, S], of documents drawn in proportion to their size; 0 and 0 for none.

    Every token of a sufficiently long document is equally likely to be hit by `drawn` [B, S].
    """
    rows, length = tokens.shape
    begins = np.zeros(tokens.shape, dtype=bool) if bos_id is None else tokens == bos_id
    begins[:, 0] = True
    document = np.cumsum(begins.ravel()) - 1  # across all sequences: each begins with a document
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, rows * length))
    fits = (sizes[document] >= LEAST).reshape(rows, length)
    total = fits.sum(1)
    wanted = np.floor(drawn * total[:, None])
    index = (np.cumsum(fits, 1)[:, None, :] <= wanted[..., None]).sum(-1)
    hit = document.reshape(rows, length)[np.arange(rows)[:, None], np.minimum(index, length - 1)]
    none = (total == 0)[:, None]
    first = starts[hit] - np.arange(rows)[:, None] * length
    return np.where(none, 0, first), np.where(none, 0, sizes[hit])
