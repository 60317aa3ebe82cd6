"""Courses of units that come interleaved, such as the sessions of a log: the last units of each recent course."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

COURSES = 10_000
"""Most courses that are remembered; beyond that, those that got no unit for longest are forgotten and begin anew."""

Name = str | int | None
"""Name of a course; None is for units without a session. A number names a course that comes whole, in one piece, such
as a conversation: it is not remembered.
"""


@dataclass(slots=True)
class Course:
    """What must be known of a course to score its next unit.

    Attributes:
        before: its last units, as the model reads them, oldest first.
        run: the score of repetition of the last unit.
        times: how often it came in a row.
        event: index of the alarm in that run (None: there was none).
    """

    before: deque[str]
    run: float = 0.0
    times: int = 0
    event: int | None = None


class Courses:
    """The courses that got a unit most recently.

    Args:
        reach: units of each course that are remembered.
        most: most courses that are remembered.
    """

    def __init__(self, reach: int, most: int = COURSES) -> None:
        self._reach, self._most = reach, most
        self._courses: dict[Name, Course] = {}  # ordered by when they last got a unit

    def __len__(self) -> int:
        return len(self._courses)

    def __iter__(self) -> Iterator[Course]:
        return iter(self._courses.values())

    def at(self, name: Name) -> Course:
        """Return the course of a name, a new one if it is not remembered; it now counts as the last that got a unit."""
        course = self._courses.pop(name, None) or Course(deque(maxlen=self._reach))
        self._courses[name] = course
        if len(self._courses) > self._most:
            del self._courses[next(iter(self._courses))]
        return course

    def parts(self, names: Iterable[Name]) -> list[tuple[Course, list[int]]]:
        """Return the courses of some units, and the positions of the units of each.

        A course is forgotten exactly when it would be if the units came one by one; its later units begin a new one.

        Args:
            names: name of the course of each unit.
        """
        whole: dict[Name, Course] = {}
        found: dict[int, tuple[Course, list[int]]] = {}
        for row, name in enumerate(names):
            new = isinstance(name, int)
            course = whole.setdefault(name, Course(deque(maxlen=self._reach))) if new else self.at(name)
            found.setdefault(id(course), (course, []))[1].append(row)
        return list(found.values())

    def plain(self) -> list[list[Any]]:
        """Return all courses as plain data, for `restore`."""
        return [[name, list(one.before), one.run, one.times, one.event] for name, one in self._courses.items()]

    def restore(self, courses: list[list[Any]]) -> None:
        """Restore what `plain` returned."""
        for name, before, run, times, event in courses:
            self._courses[name] = Course(deque(before, maxlen=self._reach), float(run), times, event)


def in_courses(names: Iterable[Name]) -> dict[Name, list[int]]:
    """Return the positions of the units of each course, in the order of their first units.

    Args:
        names: name of the course of each unit.
    """
    found: dict[Name, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return found
