"""Hashes of documents, held for many at once, and a fixed-size map from hashes to numbers.

A preparation judges documents by the hashes of their texts and sentences, and remembers in the map what it has read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.text.tokenizer import Ints

Hashes = NDArray[np.uint64]

BATCH = 64
"""Number of documents that are looked up at once; it affects only speed."""
JUDGED_BY = ("text_hashes", "documents", "sentence_hashes", "countable")


@dataclass(frozen=True, slots=True)
class DocumentHashes:
    """The hashes by which some documents are judged.

    Attributes:
        texts: uint64 [D], `hash_text` of each document.
        starts: int64 [D + 1], first sentence of each document, then S.
        sentences: uint64 [S], `hash_sentence` of their countable sentences.
    """

    texts: Hashes
    starts: Ints
    sentences: Hashes

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Build from the arrays of a `Block` that are named in JUDGED_BY."""
        texts, documents, sentences, countable = (arrays[name] for name in JUDGED_BY)
        before = np.concatenate([[0], np.cumsum(countable)])
        return cls(no_zero(texts), before[documents], no_zero(sentences[countable]))

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, first: int, stop: int) -> Self:
        """Documents first .. stop - 1."""
        begin, end = self.starts[[first, stop]]
        return type(self)(self.texts[first:stop], self.starts[first : stop + 1] - begin, self.sentences[begin:end])

    def only(self, these: NDArray[np.bool_]) -> Self:
        """The documents marked in `these` (bool [D])."""
        if these.all():
            return self
        lengths = np.diff(self.starts)
        starts = np.concatenate([[0], np.cumsum(lengths[these])])
        return type(self)(self.texts[these], starts, self.sentences[np.repeat(these, lengths)])

    def batches(self) -> Iterator[Self]:
        """Yield parts of BATCH documents."""
        for first in range(0, len(self), BATCH):
            yield self.part(first, min(first + BATCH, len(self)))

    def first_texts(self) -> NDArray[np.bool_]:
        """Bool [D]: whether each document is the first of these with its text."""
        first = np.zeros(len(self), dtype=bool)
        first[np.unique(self.texts, return_index=True)[1]] = True
        return first

    def totals(self, of: NDArray[np.bool_]) -> Ints:
        """int64 [D]: how many of each document's sentences are marked (bool [S])."""
        return np.diff(np.concatenate([[0], np.cumsum(of)])[self.starts])

    def owners(self) -> Ints:
        """int64 [S]: the document (0 .. D - 1) of each sentence."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


class Groups:
    """The distinct sentences of some documents, each with the documents that contain it, in order.

    Attributes:
        values: uint64 [V], ascending.
        heads, sizes: int64 [V], index of each sentence's first entry in `documents`, and how many it has there.
        documents: int64 [P], grouped by sentence, each document once per sentence.
        repeated: bool [S], whether each sentence also occurs in an earlier one of the documents.
    """

    def __init__(self, hashes: DocumentHashes) -> None:
        order = np.argsort(hashes.sentences, kind="stable")
        sentences, documents = hashes.sentences[order], hashes.owners()[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = sentences[1:] != sentences[:-1]
        begins = new.copy()
        begins[1:] |= documents[1:] != documents[:-1]
        self.documents, self.values = documents[begins], sentences[new]
        self.heads = np.flatnonzero(new[begins])
        self.sizes = np.diff(self.heads, append=len(self.documents))
        self.first = self.documents[self.heads]
        self.repeated = np.empty(len(order), dtype=bool)
        self.repeated[order] = documents > self.first[np.cumsum(new) - 1]


def in_order(values: Hashes, documents: Ints, numbers: Ints) -> tuple[Hashes, Ints]:
    """Reorder ascending values and their numbers as if these documents had added them one by one."""
    order = np.argsort(documents.astype(np.uint16), kind="stable")
    return values[order], numbers[order]


TABLE_ENTRIES = 2**22
"""Number of hashes that each table remembers: 48 MB."""

SLOTS = 8


class HashTable:
    """A fixed-size map from 64-bit hashes to numbers, which forgets the oldest.

    Hashes are stored in rows of SLOTS; a hash's low bits select its row, and each row is a ring. Until rows begin to
    overflow the table remembers everything (Poisson: at a quarter of the capacity 99.98 % of the rows have not
    overflowed), and beyond its capacity roughly the last `entries` hashes. It never claims to have seen a hash that was
    not added, except for collisions of whole 64-bit hashes.
    """

    def __init__(self, entries: int = TABLE_ENTRIES) -> None:
        """`entries`: capacity, a power of two, at least SLOTS."""
        if entries < SLOTS or entries & (entries - 1):
            raise ValueError(f"entries must be a power of two and at least {SLOTS}, not {entries}")
        rows = entries // SLOTS
        self._slots = np.zeros((rows, SLOTS), dtype=np.uint64)
        self._numbers = np.zeros((rows, SLOTS), dtype=np.int32)
        self._next = np.zeros(rows, dtype=np.uint8)
        self._mask = np.uint64(rows - 1)

    def find(self, hashes: Hashes) -> Ints:
        """int64 [N]: the number stored with each of the hashes (uint64 [N]), or -1 if it is not remembered."""
        where, rows, slots = self._look_up(hashes)
        found = np.full(len(hashes), -1)
        found[where] = self._numbers[rows, slots]
        return found

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Bool [N]: which of the hashes (uint64 [N]) are remembered."""
        return self.find(hashes) >= 0

    def count(self, hashes: Hashes) -> Ints:
        """Count these distinct hashes (uint64 [N]); returns int64 [N], the count of each since it is remembered."""
        self.increase(hashes, 1)
        self.add(hashes, 1)
        return np.maximum(self.find(hashes), 1)

    def increase(self, hashes: Hashes, by: Ints | int) -> None:
        """Increase the numbers of those distinct hashes (uint64 [N]) that are remembered (`by`: [N] or a scalar)."""
        where, rows, slots = self._look_up(hashes)
        self._numbers[rows, slots] += by[where] if isinstance(by, np.ndarray) else by

    def add(self, hashes: Hashes, number: int = 0) -> None:
        """Remember hashes (uint64 [N]) with a number (>= 0); those already present stay unchanged."""
        values = np.unique(no_zero(hashes))
        self.append(self.room(values[~self.contains(values)]), number)

    def room(self, values: Hashes) -> "Room":
        """Where to put new hashes (uint64 [N], distinct, none present yet, no 0), remembered one after the other."""
        rows = (values & self._mask).astype(np.int64)
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        heads = np.flatnonzero(np.diff(rows, prepend=-1))
        counts = np.diff(heads, append=len(rows))
        return Room(values, order, rows, np.arange(len(rows)) - np.repeat(heads, counts), heads, counts)

    def append(self, room: "Room", numbers: Ints | int) -> None:
        """Remember the hashes of `room`, with a number for each (int64 [N]) or one for all."""
        rows, counts = room.rows, room.counts
        # Only the last SLOTS new hashes of a row can stay; if more were written, NumPy would decide the order.
        stays = slice(None) if room.all_stay else room.ranks >= np.repeat(counts, counts) - SLOTS
        rows, order = rows[stays], room.order[stays]
        slots = (self._next[rows] + room.ranks[stays]) % SLOTS
        self._slots[rows, slots] = room.values[order]
        self._numbers[rows, slots] = numbers[order] if isinstance(numbers, np.ndarray) else numbers
        heads = room.rows[room.heads]
        self._next[heads] = (self._next[heads] + counts) % SLOTS

    def keeps(self, hashes: Hashes, room: "Room") -> bool:
        """Whether `append` would overwrite none of these hashes (uint64 [N]) that are present, and none of its own."""
        _, rows, slots = self._look_up(hashes)
        coming = np.searchsorted(room.rows, rows, side="right") - np.searchsorted(room.rows, rows)
        return room.all_stay and bool(((slots - self._next[rows]) % SLOTS >= coming).all())

    def _look_up(self, hashes: Hashes) -> tuple[Ints, Ints, Ints]:
        """int64 [K]: indices of the hashes that are present, and the row and slot of each."""
        values = no_zero(hashes)
        rows = (values & self._mask).astype(np.int64)
        same = self._slots.take(rows, axis=0) == values[:, None]
        where = np.flatnonzero(same.view(np.uint64))  # eight slots at a time
        return where, rows[where], same[where].argmax(axis=1)


@dataclass(frozen=True, slots=True)
class Room:
    """Places of hashes in a table.

    Attributes:
        values: uint64 [N].
        order, rows, ranks: int64 [N], the values' order by row, their rows in this order, and the rank of each among
            the values of the same row.
        heads, counts: int64 [R], index of each row's first value in this order, and its number of values.
    """

    values: Hashes
    order: Ints
    rows: Ints
    ranks: Ints
    heads: Ints
    counts: Ints

    @property
    def all_stay(self) -> bool:
        """Whether no value overwrites another."""
        return bool(self.counts.max(initial=0) <= SLOTS)


def no_zero(hashes: Hashes) -> Hashes:
    """The hashes with 0 replaced by 1, because 0 marks an empty slot."""
    return np.maximum(hashes, np.uint64(1))
