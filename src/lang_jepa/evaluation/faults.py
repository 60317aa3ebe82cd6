"""Faults planted in documents whose units are in order of time, to test which scores detect them.

There are six kinds: a unit of another source, one that no source has, one from elsewhere in the same source, a deleted
block, a unit that is repeated (a stuck line), and two swapped units. A document has one kind at a time. Turns with
known speakers keep the order of speakers, so it does not give faults away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lang_jepa.data.sources.conversations import speaker_name, speaker_of

Kind = Literal["foreign", "unknown", "displaced", "deleted", "burst", "swapped"]
KINDS: tuple[Kind, ...] = get_args(Kind)
APART = 24
"""Approximate number of units from one fault to the next; a document has at least one fault, if it has room."""
WARM = 4
"""First units of a document, which only serve as context."""
AFTER = 8
"""Units after a fault that have it in their context."""
NEAR = 8
"""An inserted unit differs in text from all units up to this many positions away."""
BLOCK = 8
"""Most units of a deleted block; their number is even."""
SWAPPED = 6
"""Largest distance of swapped units; the distance is even."""
REPEATS = 10
"""How often the unit of a burst is repeated."""
_TRIES, _DRAWS = 4, 64
"""Positions to try for a fault, and units to try for a position."""
UNKNOWN = (
    "Out of memory: kill process <number> (java) score <number> or sacrifice child",
    "segfault at <hex> rip <hex> error <number>",
    "Traceback (most recent call last):",
    "relation public.orders does not exist at character <number>",
    "certificate verify failed: unable to get local issuer certificate",
    "GET <path> returned <number> after <number> ms",
    "I/O error on device sda, sector <number>",
    "disk quota exceeded while writing <path>",
    "index out of range [<number>] with length <number>",
    "clock skew of <number> seconds, refusing tickets",
)


@dataclass(frozen=True)
class Pools:
    """Units that may be inserted into a document.

    Attributes:
        foreign: units of other sources; may be empty.
        own: units of all documents of its source.
        spoken: units are turns like "user: Good morning"; a unit is then replaced by one of the same speaker.
    """

    foreign: Sequence[str]
    own: Sequence[str]
    spoken: bool = False

    def draw(self, kind: Kind, near: set[str], replaced: str, generator: np.random.Generator) -> str | None:
        """Draw a unit to replace another, or None if none fits."""
        who = speaker_of(replaced)[0] if self.spoken else 0
        if kind == "unknown":
            said = UNKNOWN[int(generator.integers(len(UNKNOWN)))]
            return f"{speaker_name(who)}: {said}" if self.spoken else said
        pool = self.foreign if kind == "foreign" else self.own
        for _ in range(_DRAWS if pool else 0):
            unit = pool[int(generator.integers(len(pool)))]
            if unit not in near and (not self.spoken or speaker_of(unit)[0] == who):
                return unit
        return None


@dataclass(frozen=True)
class Faulty:
    """A document with faults of one kind, or none.

    Attributes:
        units: n texts.
        faults: for each fault its positions, ascending.
    """

    units: list[str]
    faults: list[list[int]]


def with_faults(document: Sequence[str], kind: Kind, pools: Pools, generator: np.random.Generator) -> Faulty:
    """Copy a document with faults of one kind, about one per `APART` units; without faults if no position allows one.

    Args:
        document: units in order of time.
        kind: one of `KINDS`.
        pools: units that may be inserted.
        generator: random generator of all draws.
    """
    units: list[str] = []
    faults: list[list[int]] = []
    done = 0
    count = max(1, (len(document) - WARM) // APART)
    width = (len(document) - WARM) / count
    for slot in range(count):
        first, last = WARM + int(slot * width), WARM + int((slot + 1) * width) - (AFTER if count > 1 else 1)
        made = None
        for _ in range(_TRIES if last > first else 0):
            start = int(generator.integers(first, last))
            made = made or _fault(document, start, kind, pools, generator)
        if made is None:
            continue
        begin, end, new, marks = made
        units += document[done:begin]
        faults.append([len(units) + mark for mark in marks])
        units, done = units + new, end
    return Faulty([*units, *document[done:]], faults)


def _fault(
    document: Sequence[str], start: int, kind: Kind, pools: Pools, generator: np.random.Generator
) -> tuple[int, int, list[str], list[int]] | None:
    """Return `begin` and `end` (exclusive) of the replaced units, the new units, and the faulty positions from `begin`.

    None if the fault would change nothing, for example if the units to swap are equal.
    """
    if kind == "burst":
        return start, start, [document[start - 1]] * REPEATS, list(range(REPEATS))
    if kind in ("deleted", "swapped"):
        other = start + 2 * int(generator.integers(1, (BLOCK if kind == "deleted" else SWAPPED) // 2 + 1))
        if other >= len(document) or document[start] == document[other]:
            return None
        between = document[start + 1 : other]
        return (
            (start, other, [], [0])
            if kind == "deleted"
            else (start, other + 1, [document[other], *between, document[start]], [0, other - start])
        )
    near = {*document[max(0, start - NEAR) : start + NEAR + 1]}
    new = pools.draw(kind, near, document[start], generator)
    return None if new is None else (start, start + 1, [new], [0])
