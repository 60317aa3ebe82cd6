"""A fixed-size map from hashes to numbers, in which a preparation remembers what it has read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.text.tokenizer import Ints

Hashes = NDArray[np.uint64]

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
        found = np.zeros(len(hashes), dtype=bool)
        found[self._look_up(hashes)[0]] = True
        return found

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
