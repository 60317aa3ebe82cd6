"""Group alarms into events: a unit that repeats the one before it in its course is one alarm however often it comes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.rarity import Values
from lang_jepa.inference.courses import Course

STUCK = 5
"""Fewest times in a row for which a unit may be called stuck, however improbable fewer are."""


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
