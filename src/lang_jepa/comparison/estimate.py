"""How long a comparison will still take: the time of its finished runs, or the pace of its first steps."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from lang_jepa.errors import counted

_FIRST_SECONDS, _FIRST_STEPS = 10.0, 5
"""Of steps, before their pace is taken for that of the rest."""


class Estimate:
    """Follows the runs that are to be done, and says how long the others will take; not safe for several threads.

    Args:
        todo: number of runs to be done of each variant.
        jobs: runs at a time.
        clock: returns seconds.
    """

    def __init__(self, todo: Mapping[str, int], jobs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._todo, self._jobs, self._clock = dict(todo), jobs, clock
        self._count = sum(todo.values())
        self._began: dict[tuple[str, int], float] = {}
        self._first: dict[tuple[str, int], tuple[float, int, int]] = {}  # time, step and total when training began
        self._seconds: dict[str, list[float]] = {}
        self._paced = False

    def begin(self, variant: str, seed: int) -> None:
        """A run begins, or what remains of it."""
        self._began[variant, seed] = self._clock()

    def event(self, variant: str, seed: int, event: Mapping[str, Any]) -> str | None:
        """An event of a run; once, after its first steps, return what they say about the time."""
        now = self._clock()
        if event["event"] == "begin":
            self._first[variant, seed] = now, event["start"], event["total"]
        if event["event"] != "step" or self._paced or self._seconds or (variant, seed) not in self._first:
            return None
        began, start, total = self._first[variant, seed]
        if now - began < _FIRST_SECONDS or event["step"] - start < _FIRST_STEPS:
            return None
        self._paced = True
        done = event["step"] - start
        pace = (now - began) / done
        return (
            f"{variant}, seed {seed}, trains for about {in_time(pace * total)} in all, at the pace of its first "
            f"{done:,} steps here; evaluation comes on top, and other variants may take another time"
        )

    def done(self, variant: str, seed: int) -> str:
        """A run is done; return what is left to do, and until when, as far as that is known."""
        key = variant, seed
        took = self._clock() - self._began.pop(key)
        self._todo[variant] -= 1
        left = sum(self._todo.values())
        said = f"{self._count - left} of {counted(self._count, 'run')} done: {variant}, seed {seed}, in {in_time(took)}"
        if key in self._first and self._first[key][1] == 0:
            self._seconds.setdefault(variant, []).append(took)
        if not left:
            return said
        known = [one for some in self._seconds.values() for one in some]
        if not known:
            return f"{said}. It had begun earlier, so the time of the other {left:,} is not known yet"
        seconds = sum(count * _mean(self._seconds.get(name, known)) for name, count in self._todo.items())
        seconds /= min(self._jobs, left)
        ends = datetime.now() + timedelta(seconds=seconds)
        when = ends.strftime("%H:%M" if seconds < 12 * 3600 else "%A %H:%M")
        source = "the first run" if len(known) == 1 else f"the {len(known):,} runs so far"
        if any(count and name not in self._seconds for name, count in self._todo.items()):
            source += ", as if every variant took the same time"
        return f"{said}. About {in_time(seconds)} left, until {when}, estimated from {source}"


def in_time(seconds: float) -> str:
    """Format a duration.

    >>> in_time(8.44), in_time(42), in_time(200), in_time(7500)
    ('8.4 s', '42 s', '3 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
