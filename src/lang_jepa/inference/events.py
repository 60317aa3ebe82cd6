"""What a monitor makes of scores: alarms and their events, first units, new kinds, and whether alarms are too many.

A unit that repeats the one before it in its course is one alarm, however often it comes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.rarity import SCORES, Usual, Values, chance_of, least_rate, threshold
from lang_jepa.inference.courses import Course

STUCK = 5
"""Fewest times in a row for which a unit may be called stuck, however improbable fewer are."""
FIRST = [SCORES.index("novelty"), SCORES.index("n-gram")]
"""Columns of `SCORES` that need nothing before a unit: the first unit of a session is judged by their sum."""
RECENT = 1000
"""Last units among which a new kind counts as new only once, and over which alarms are counted."""
TIMES = 3.0
"""Multiple of the stated rate that alarms must exceed to be too many."""
IMPLAUSIBLE = 1e-4
"""Alarms are too many if the chance of as many or more, at `TIMES` the stated rate, is below this."""


class Over(NamedTuple):
    """An event that ended: the index of its alarm, and how often its unit came in a row."""

    alarm: int
    times: int


class Position(NamedTuple):
    """Where a unit stands in a run of equal units.

    Attributes:
        stuck: whether it came too often in a row.
        times: how often it has come in a row in its course, itself included.
        event: index of the alarm of this run (its own, if it is the alarm); None if there was none so far.
        over: the event that ended with this unit, which differs from the one before it in its course.
    """

    stuck: bool
    times: int
    event: int | None
    over: Over | None


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its scores.

    Attributes:
        index: number of the unit, from 0 since the monitor began.
        text: the unit.
        surprise, novelty, ngram, repetition: shares of usual units that have less of each score.
        score: sum of the rarities (-ln of the share of usual units that have as much) of the scores that decide.
        threshold: threshold for that sum.
        first: whether it is the first of its session and judged as such, by `FIRST` instead of the scores that decide.
        expected: the known units that were likeliest in its place, best first; for alarms only.
        severe: whether it is a line at a severe level of a kind that was not known, which alone makes it an alarm.
        alarm: whether the score is above the threshold, or the unit is severe or stuck, and no earlier unit in its run
            of equal units was an alarm.
        stuck: whether it came so often in a row that this alone makes it an alarm.
        times: how often it has come in a row in its course, itself included.
        event: index of the alarm that it is or repeats (None: neither).
        over: the event that it ended, as the next different unit of that course (None: it ended none).
    """

    index: int
    text: str
    surprise: float
    novelty: float
    ngram: float
    repetition: float
    score: float
    threshold: float
    first: bool
    expected: tuple[str, ...]
    severe: bool
    alarm: bool
    stuck: bool
    times: int
    event: int | None
    over: Over | None


def positions(
    course: Course, indices: Sequence[int], again: Sequence[bool], alarms: Sequence[bool], often: Sequence[bool]
) -> Iterator[Position]:
    """Yield where the next units of a course stand, and advance the course.

    Args:
        course: the course before these units.
        indices: the index of each unit.
        again: which units are the same as the one before.
        alarms: which units are to be alarms; only the first one in a run becomes one.
        often: which units came improbably often in a row: stuck from `STUCK` times on, which is an alarm too.
    """
    for index, same, alarm, many in zip(indices, again, alarms, often, strict=True):
        over = None
        if same:
            course.times += 1
        else:
            over = None if course.event is None else Over(course.event, course.times)
            course.times, course.event = 1, None
        stuck = many and course.times >= STUCK
        if (alarm or stuck) and course.event is None:
            course.event = index
        yield Position(stuck, course.times, course.event, over)


def per_run(values: Values, again: NDArray[np.bool_]) -> Values:
    """Return the greatest value of each run of equal units, at the first of the run, and -inf at the others: [n].

    Args:
        values: values of units in order, [n].
        again: which units are the same as the one before, [n]; the first is not.
    """
    starts = np.flatnonzero(~again)
    greatest = np.full(len(values), -np.inf)
    greatest[starts] = np.maximum.reduceat(values, starts)
    return greatest


def stuck_runs(values: Values, again: NDArray[np.bool_]) -> Values:
    """Return the values of units that came `STUCK` times in a row or more, 0 for others: [n]; see `per_run`."""
    rows = np.arange(len(values))
    begun = np.maximum.accumulate(np.where(again, 0, rows))
    return np.where(rows - begun + 1 >= STUCK, values, 0.0)


class FirstUnits:
    """Judges the first units of sessions, which surprise cannot judge.

    They are compared with the usual units that are first in their sessions. If these are too few to set a threshold at
    the rate, they are compared with all usual units, as if each of them were a first one, and the threshold lies above
    those few too.

    Args:
        scores: novelty and n-gram of usual units, as if each of them were a first one, float64 [n, 2].
        first: which of them are first units, [n]; at least one is.
        rate: share of first units that may be false alarms; 0: none of the usual ones.

    Attributes:
        threshold: threshold for the sum of both scores.
    """

    def __init__(self, scores: Values, first: NDArray[np.bool_], rate: float) -> None:
        own = scores[first]
        compared = own if least_rate(len(own)) <= rate else scores
        self._usual = Usual(compared)
        self.threshold = max(threshold(self.sums(some, own=True), rate) for some in (compared, own))

    def sums(self, scores: Values, *, own: bool = False) -> Values:
        """Return the summed rarities of novelty and n-gram, [n], from scores [n, 2]; `own`: of the usual units."""
        sums: Values = self._usual.rarity(scores, own=own).sum(1)
        return sums


class NewKinds:
    """Tells which units are of a new kind.

    Args:
        usual: texts of the usual units in order, None for those that cannot be of a new kind.

    Attributes:
        among_usual: which of them were of a new kind themselves when they came; later units of their kinds are not.
        last: the new kinds of the last units, with the number of the last unit of each.
    """

    def __init__(self, usual: Sequence[str | None]) -> None:
        self._known: frozenset[str] = frozenset()
        self.last: dict[str, int] = {}
        self.among_usual = self.new(usual, 0)
        self._known, self.last = frozenset(filter(None, usual)), {}

    def new(self, texts: Sequence[str | None], number: int) -> list[bool]:
        """Return which units are of a kind that neither the usual units nor the `RECENT` units before them have.

        Args:
            texts: masked units in order; None for one that cannot be of a new kind.
            number: number of the first one, counted from where the monitor began.
        """
        found = []
        for at, text in enumerate(texts, start=number):
            if text is None or text in self._known:
                found.append(False)
                continue
            found.append(at - self.last.get(text, at - RECENT) >= RECENT)
            self.last[text] = at
        end = number + len(texts)
        self.last = {text: at for text, at in self.last.items() if end - at <= RECENT}
        return found


class Drift:
    """Counts alarms among the last units.

    Units that repeat an alarm are left out: a stuck line is one event, however long it goes on.

    Args:
        per_thousand: the stated rate, alarms per thousand units.

    Attributes:
        found: how many alarms there were among how many last units when they first were too many (None: never).
        recent: which of the last units were alarms.
    """

    def __init__(self, per_thousand: float) -> None:
        self.found: tuple[int, int] | None = None
        self._rate = min(1.0, TIMES * per_thousand / 1000)
        self.recent: deque[bool] = deque(maxlen=RECENT)

    def count(self, alarms: Sequence[bool], events: Sequence[bool]) -> None:
        """Count the next units.

        Args:
            alarms: which of them are alarms.
            events: which of them belong to an event: alarms, and units that repeat them.
        """
        for alarm, event in zip(alarms, events, strict=True):
            if event and not alarm:
                continue
            self.recent.append(alarm)
            if alarm and self.found is None:
                count, of = sum(self.recent), len(self.recent)
                if count > of * self._rate and chance_of(count, of, self._rate) < IMPLAUSIBLE:
                    self.found = count, of
