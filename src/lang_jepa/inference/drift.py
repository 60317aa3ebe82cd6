"""Detect that alarms have become too many for the rate that was asked for."""

from collections import deque
from collections.abc import Iterable, Sequence

from lang_jepa.evaluation.rarity import chance_of

TIMES = 3.0
"""Multiple of the stated rate that alarms must exceed to be too many."""
IMPLAUSIBLE = 1e-4
"""Alarms are too many if the chance of as many or more, at `TIMES` the stated rate, is below this."""
RECENT = 1000
"""Alarms are counted over this many last units at most."""


class Drift:
    """Counts alarms among the last units.

    Units that repeat an alarm are left out: a stuck line is one event, however long it goes on.

    Args:
        per_thousand: the stated rate, alarms per thousand units.

    Attributes:
        found: how many alarms there were among how many last units when they first were too many (None: never).
    """

    def __init__(self, per_thousand: float) -> None:
        self.found: tuple[int, int] | None = None
        self._rate = min(1.0, TIMES * per_thousand / 1000)
        self._recent: deque[bool] = deque(maxlen=RECENT)

    def count(self, alarms: Sequence[bool], events: Sequence[bool]) -> None:
        """Count the next units.

        Args:
            alarms: which of them are alarms.
            events: which of them belong to an event: alarms, and units that repeat them.
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
        """Return the last units as plain data, for `restore`."""
        return list(self._recent)

    def restore(self, recent: Iterable[bool]) -> None:
        """Restore what `plain` returned."""
        self._recent.extend(recent)
