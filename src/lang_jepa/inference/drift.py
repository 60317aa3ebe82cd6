"""Whether alarms have become too many for the rate that was asked for."""

from collections import deque
from collections.abc import Iterable, Sequence

from lang_jepa.evaluation.rarity import chance_of

TIMES = 3.0
"""The stated rate, so many times, from which alarms are too many."""
IMPLAUSIBLE = 1e-4
"""Chance of so many alarms or more, at `TIMES` the stated rate, below which they are."""
RECENT = 1000
"""Last units over which alarms are counted, at most."""


class Drift:
    """Counts alarms among the last units.

    What repeats an alarm is left out: a stuck line is one event, however long it goes on.

    Args:
        per_thousand: alarms among a thousand units that were asked for.

    Attributes:
        found: alarms among how many last units, when they first were too many (None: they were not).
    """

    def __init__(self, per_thousand: float) -> None:
        self.found: tuple[int, int] | None = None
        self._rate = min(1.0, TIMES * per_thousand / 1000)
        self._recent: deque[bool] = deque(maxlen=RECENT)

    def count(self, alarms: Sequence[bool], events: Sequence[bool]) -> None:
        """Take the next units.

        Args:
            alarms: which of them are alarms.
            events: which of them belong to one: alarms, and what repeats them.
        """
        for alarm, event in zip(alarms, events, strict=True):
            if event and not alarm:
                continue
            self._recent.append(alarm)
            if alarm and self.found is None:
                count, of = sum(self._recent), len(self._recent)
                if chance_of(count, of, self._rate) < IMPLAUSIBLE:
                    self.found = count, of

    def plain(self) -> list[bool]:
        """The last units as plain data, to be taken up by `restore`."""
        return list(self._recent)

    def restore(self, recent: Iterable[bool]) -> None:
        """Take up what `plain` returned."""
        self._recent.extend(recent)
