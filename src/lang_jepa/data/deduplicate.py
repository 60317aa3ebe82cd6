"""Which documents repeat earlier ones, in memory that does not grow with the corpus."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.hashes import Hashes
from lang_jepa.data.tokenizer import Ints

TABLE_ENTRIES = 2**22
"""Hashes that each table remembers: 32 MB."""

SLOTS = 8

MIN_COUNTABLE = 3
"""With fewer countable sentences documents are only compared as wholes: a share of one or two says nothing."""

Verdict = Literal["kept", "exact duplicate", "near duplicate"]


class HashTable:
    """A set of 64-bit hashes of fixed size that forgets the oldest.

    The hashes lie in rows of SLOTS; a hash's low bits choose its row, and each row is a ring. Until rows begin to
    overflow it remembers everything (Poisson: at a quarter of the capacity 99.98 % of the rows have not), beyond the
    capacity roughly the last `entries` hashes. It never claims to have seen a hash that was not added, up to
    collisions of whole 64-bit hashes.
    """

    def __init__(self, entries: int = TABLE_ENTRIES) -> None:
        """`entries`: capacity, a power of two, at least SLOTS."""
        if entries < SLOTS or entries & (entries - 1):
            raise ValueError(f"entries must be a power of two and at least {SLOTS}, not {entries}")
        rows = entries // SLOTS
        self._slots = np.zeros((rows, SLOTS), dtype=np.uint64)
        self._next = np.zeros(rows, dtype=np.uint8)
        self._mask = np.uint64(rows - 1)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """bool [N]: which of the hashes (uint64 [N]) are remembered."""
        values = _no_zero(hashes)
        found: NDArray[np.bool_] = (self._slots[values & self._mask] == values[:, None]).any(axis=1)
        return found

    def add(self, hashes: Hashes) -> None:
        """Remember hashes (uint64 [N]); those already there stay where they are."""
        values = np.unique(_no_zero(hashes))
        values = values[~self.contains(values)]
        rows = (values & self._mask).astype(np.int64)
        order = np.argsort(rows, kind="stable")
        values, rows = values[order], rows[order]
        first = np.concatenate([[True], rows[1:] != rows[:-1]]) if len(rows) else np.zeros(0, dtype=bool)
        heads = np.flatnonzero(first)
        counts = np.diff(np.append(heads, len(rows)))
        rank = np.arange(len(rows)) - np.repeat(heads, counts)
        # Only the last SLOTS newcomers of a row can stay; writing more would leave the order to NumPy.
        stays = rank >= np.repeat(counts, counts) - SLOTS
        slot = (self._next[rows].astype(np.int64) + rank) % SLOTS
        self._slots[rows[stays], slot[stays]] = values[stays]
        self._next[rows[heads]] = (self._next[rows[heads]] + counts) % SLOTS


def _no_zero(hashes: Hashes) -> Hashes:
    """Hashes with 0 made 1, because 0 marks an empty slot."""
    return np.maximum(hashes, np.uint64(1))


class Deduplicator:
    """Judges documents in order; what it keeps is what later ones are compared with.

    A sentence that occurred in two or more kept documents is common property (a template, a licence, a refrain) and
    speaks neither for nor against a copy. Without this rule every document of a large corpus of simple sentences
    becomes a near-duplicate in the end: of 40,000 built-in stories 18 % did, with it 0.1 %, while 96 % of copies with
    a fifth of their sentences changed and their boundaries shifted are still found.
    """

    def __init__(
        self, mode: Literal["none", "exact", "near"], share: float, *, entries: int = TABLE_ENTRIES
    ) -> None:
        """Choose what counts as a repetition.

        Args:
            mode: `none`, `exact` (same text, whitespace at the ends aside) or `near` (also a repeated share).
            share: a document is a near-duplicate from this share of its countable, not common sentences on that
                occurred in a document kept earlier.
            entries: size of each hash table.
        """
        self.mode, self.share = mode, share
        self._texts = HashTable(entries) if mode != "none" else None
        self._once, self._often = HashTable(entries), HashTable(entries)

    def judge(self, text_hash: int, sentence_hashes: Hashes, countable: NDArray[np.bool_]) -> Verdict:
        """Verdict on one document; remembers it if kept.

        Args:
            text_hash: hash of its text.
            sentence_hashes: uint64 [S].
            countable: bool [S], which sentences are long enough to count.
        """
        if self._texts is None:
            return "kept"
        key = np.array([text_hash], dtype=np.uint64)
        if self._texts.contains(key)[0]:
            return "exact duplicate"
        if self.mode == "near" and self._repeats(sentence_hashes[countable]):
            return "near duplicate"
        self._texts.add(key)
        return "kept"

    def _repeats(self, hashes: Hashes) -> bool:
        """Whether a document with these countable sentences is a near-duplicate; remembers them if not."""
        seen = self._once.contains(hashes)
        telling = ~self._often.contains(hashes)
        if telling.sum() >= MIN_COUNTABLE and seen[telling].mean() >= self.share:
            return True
        self._often.add(hashes[seen])
        self._once.add(hashes)
        return False

    def judge_all(
        self, text_hashes: Hashes, documents: Ints, sentence_hashes: Hashes, countable: NDArray[np.bool_]
    ) -> list[Verdict]:
        """Verdicts on documents given as arrays in the layout of a `Block`."""
        starts = documents.tolist()
        spans = zip(text_hashes.tolist(), starts[:-1], starts[1:], strict=True)
        return [self.judge(text, sentence_hashes[a:b], countable[a:b]) for text, a, b in spans]
