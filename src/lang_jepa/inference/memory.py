"""What a model has read, so that an evaluation that shows it a sentence in many contexts reads it once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.evaluation.embedder import ArrayCache

Vectors = NDArray[np.float32]
Tokens = NDArray[Any]


class SentenceMemory:
    """The mean state, before the head, of sentences by their tokens; so it serves every head on one backbone.

    Args:
        room: tokens of a sentence that the encoder reads at most, special ones not counted.
        shelf: where what was read is kept for other processes that ask for the same (None: nowhere).
        identity: hash of the backbone's weights; tells it from others on the shelf.
    """

    def __init__(self, room: int, *, shelf: ArrayCache | None = None, identity: str = "") -> None:
        self.room = room
        self._shelf, self._identity = shelf or ArrayCache(None), identity
        self._rows: dict[bytes, Vectors] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def fill(self, split: CorpusSplit, vectors: Vectors) -> None:
        """Take over what is known of a side of a corpus: vectors [S, D], as `ConceptCache` keeps them."""
        for sentence, vector in enumerate(vectors):
            self._rows[self._key(split.tokens(sentence, sentence + 1))] = vector

    def means(self, tokens: Sequence[Tokens], read: Callable[[list[Tokens]], Vectors]) -> Vectors:
        """Mean states of tokenized sentences, float32 [n, D]; those that are not known are read, and kept.

        Args:
            tokens: ids without special tokens, n not empty arrays.
            read: such arrays to mean states [m, D].
        """
        keys = [self._key(ids) for ids in tokens]
        new = {key: ids for key, ids in zip(keys, tokens, strict=True) if key not in self._rows}
        if new:
            key = ["means", self._identity, self.room, [one.hex() for one in new]]
            read_now = self._shelf.take(key, lambda: {"means": read(list(new.values()))})["means"]
            self._rows.update(zip(new, read_now, strict=True))
        return np.stack([self._rows[key] for key in keys])

    def _key(self, ids: Tokens) -> bytes:
        return np.asarray(ids[: self.room], dtype=np.int64).tobytes()
