"""Faults that are put into documents in order of time, to see which scores notice them.

Five kinds: a foreign unit, one from elsewhere in the same source, a deleted block, a unit that is repeated, and two
that changed places. A document has one kind at a time; positions are drawn, so that each fault has a usual past.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["foreign", "displaced", "deleted", "burst", "swapped"]
KINDS: tuple[Kind, ...] = get_args(Kind)
APART = 24
"""Units from one fault to the next at least, and one fault at least in a document that has room for it."""
WARM = 4
"""First units of a document, which are context alone."""
AFTER = 8
"""Units after a fault that count neither as faults nor as usual: they have it in their context."""
NEAR = 8
"""A unit from elsewhere has the text of none as near as this."""
BLOCK = (3, 8)
"""Units of a deleted block, at least and at most."""
REPEATS = 10
"""How often the unit of a burst is repeated."""
SWAPPED = (2, 6)
"""How far apart two swapped units are, at least and at most."""
FOREIGN = (
    "Out of memory: kill process 2184 (java) score 871 or sacrifice child",
    "segfault at 0000000000000010 rip 00002b3c error 4",
    "Traceback (most recent call last)",
    "ERROR: relation public.orders does not exist at character 15",
    "certificate verify failed: unable to get local issuer certificate",
    "GET /login.php?id=1%27%20OR%20%271 HTTP/1.1 404 512",
    "I/O error, dev sda, sector 5242880",
    "Disk quota exceeded while writing /var/spool/mail/root",
    "Connection reset by peer",
    "panic: runtime error: index out of range [5] with length 3",
)
"""Units for `foreign` where there is one source only."""


@dataclass(frozen=True)
class Faulty:
    """A document with faults of one kind.

    Attributes:
        units: n texts.
        faults: for each fault its positions, ascending.
        usual: bool [n], units with no fault in them or shortly before them.
    """

    units: list[str]
    faults: list[list[int]]
    usual: NDArray[np.bool_]


@dataclass(frozen=True)
class Pools:
    """Units that may be put into a document: of other sources, and of all of its own."""

    foreign: Sequence[str]
    own: Sequence[str]


def with_faults(document: Sequence[str], kind: Kind, pools: Pools, generator: np.random.Generator) -> Faulty:
    """A copy of a document with as many faults of one kind as it has room for, and at least `APART` from each other.

    Args:
        document: units in order of time.
        kind: of `KINDS`.
        pools: what may be put in.
        generator: of all draws.
    """
    units: list[str] = []
    faults: list[list[int]] = []
    done, size = 0, len(document)
    for slot in _slots(size, generator):
        made = _fault(document, slot, kind, pools, generator)
        if made is None:
            continue
        start, stop, new, marks = made  # units start .. stop - 1 become `new`
        units += document[done:start]
        faults.append([len(units) + mark for mark in marks])
        units += new
        done = stop
    units += document[done:]
    usual = np.ones(len(units), dtype=bool)
    usual[:WARM] = False
    for positions in faults:
        usual[positions[0] : positions[-1] + 1 + AFTER] = False
    return Faulty(units, faults, usual)


def _slots(size: int, generator: np.random.Generator) -> list[int]:
    """Where faults may begin, ascending."""
    count = max(1, (size - WARM) // APART)
    room = (size - WARM - 2) / count
    if room < 1:
        return []
    width = max(1, int(room) - APART // 2)
    return [WARM + int(room * row) + int(generator.integers(width)) for row in range(count)]


def _fault(
    document: Sequence[str], slot: int, kind: Kind, pools: Pools, generator: np.random.Generator
) -> tuple[int, int, list[str], list[int]] | None:
    """First unit that is replaced, the first one after, what stands there, and which of that (and after) is wrong.

    None where this place cannot have such a fault, for example two equal units that would be swapped.
    """
    near = {*document[max(0, slot - NEAR) : slot + NEAR]}
    if kind == "burst":
        return slot, slot, [document[slot - 1]] * REPEATS, list(range(REPEATS))
    if kind in ("foreign", "displaced"):
        pool = [unit for unit in (pools.foreign if kind == "foreign" else pools.own) if unit not in near]
        return (slot, slot, [pool[int(generator.integers(len(pool)))]], [0]) if pool else None
    low, high = BLOCK if kind == "deleted" else SWAPPED
    reach = slot + int(generator.integers(low, high + 1))
    if reach >= len(document) or document[slot] == document[reach]:
        return None
    if kind == "deleted":
        return slot, reach, [], [0]
    return slot, reach + 1, [document[reach], *document[slot + 1 : reach], document[slot]], [0, reach - slot]
