"""Endless batches of fixed-length token sequences, shared out among ranks, with a position that can be saved."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lang_jepa.data.loader import position
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.data.views.order import permuted
from lang_jepa.errors import LangJepaError


class TokenSource(Protocol):
    """Documents as one long row of tokens, each with a BOS before it: shards, or a side of a prepared corpus."""

    num_tokens: int
    vocab_size: int
    bos_id: int

    def read(self, start: int, stop: int) -> Ints:
        """Tokens start .. stop - 1, int64."""


class TokenStream:
    """Batches of one rank.

    An epoch cuts the row of tokens, from a seeded offset below `length` on, into chunks that share their last token
    with the next one's first, so that every token is a target once. Chunks come in a seeded permutation that takes no
    memory. A step of all ranks is `batch_size * ranks` consecutive chunks of it, of which each rank has its own; the
    chunks after the last whole step are left out of the epoch (other ones in each).

    The position is (epoch, step) and the same on all ranks. It may be taken up with other numbers of ranks as long as
    `batch_size * ranks` is the same.
    """

    def __init__(
        self, source: TokenSource, *, batch_size: int, length: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        """Begin at the beginning.

        Args:
            source: of the tokens.
            batch_size: sequences in a batch of this rank.
            length: tokens that a model reads; a sequence has one more.
            seed: of the order and the offsets.
            rank: of `ranks`.
            ranks: processes that share the tokens.

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
        """The position before the next batch, and what it belongs to."""
        return {"epoch": self.epoch, "step": self.step, "of": self._identity()}

    @property
    def at_end(self) -> bool:
        """Whether the next batch begins an epoch."""
        return self.step >= self._steps(self._offset(self.epoch))

    def restart(self, state: dict[str, Any]) -> None:
        """Take up a saved position.

        Raises:
            LangJepaError: it belongs to other tokens, another seed, length or number of sequences per step.
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
        places = np.arange(first, first + self.batch_size, dtype=np.int64)
        chunks = permuted(places, self._chunks(offset), self.seed, self.epoch)
        starts = (offset + chunks * self.length).tolist()
        rows = np.stack([self.source.read(start, start + self.length + 1) for start in starts])
        self.step += 1
        return torch.from_numpy(rows)

    def _offset(self, epoch: int) -> int:
        """Where an epoch begins to cut."""
        return int(np.random.default_rng([self.seed, epoch]).integers(self.length))

    def _chunks(self, offset: int) -> int:
        return (self.source.num_tokens - 1 - offset) // self.length

    def _steps(self, offset: int) -> int:
        """Steps in an epoch."""
        return self._chunks(offset) // (self.batch_size * self.ranks)

    def _identity(self) -> dict[str, int]:
        return {
            "tokens": self.source.num_tokens,
            "seed": self.seed,
            "length": self.length,
            "sequences per step": self.batch_size * self.ranks,
        }


def document_numbers(tokens: Tensor, bos_id: int) -> Tensor:
    """Which document each token belongs to, int64 [B, T], counted within its row.

    A row that begins inside a document begins with number 0, one that begins with a BOS with 1.

    Args:
        tokens: int64 [B, T].
        bos_id: begins a document.
    """
    return (tokens == bos_id).cumsum(dim=1)
