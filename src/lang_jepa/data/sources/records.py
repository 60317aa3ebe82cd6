"""Multi-line log records: a stack trace or other continuation is joined with its line into one."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

FORMAT = 1
"""Raise it whenever the lines of a file would make different records."""
LONGEST = 1000
"""Maximum number of lines in a record; the next line begins another."""
LOOKED_AT = 2000
"""Number of lines from which a log's habits are determined."""
USUAL = 0.8
"""If at least this share of the records begin with a time, all are assumed to."""
_LEAST_HEADS = 0.05
"""Minimum share of lines without leading white space for white space to mark continuations."""

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s+"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,:]\d+)?)?(?:\s?[AP]M\b)?"
_ZONE = r"(?:\s?(?:Z\b|[+-]\d{2}:?\d{2}\b|UTC\b|GMT\b))?"
_AFTER_MONTH = rf"{_MONTH}\s+\d{{1,2}}\s+{_CLOCK}(?:\s\d{{4}}\b)?"  # syslog; Apache, with the day of the week
_AFTER_DAY = rf"\d{{1,2}}[-\s]{_MONTH}[-\s]\d{{4}}(?:[:\s]{_CLOCK}{_ZONE})?"  # mail and HTTP, Tomcat
_IN_DIGITS = (
    rf"\d{{4}}[-/.]\d{{2}}[-/.]\d{{2}}(?:[T\s_-]{_CLOCK}{_ZONE}|-\d{{2}}(?:\.\d+){{3}})?(?![\w])",  # ISO 8601
    _AFTER_DAY,
    rf"\d{{2}}/(?:\d{{2}}|{_MONTH})/\d{{2,4}}(?:[:\s]{_CLOCK}{_ZONE})?",  # web servers, Spark
    rf"\d{{1,2}}/\d{{1,2}}/\d{{4}}(?:,?\s{_CLOCK})?",
    rf"(?:\d{{8}}[-T]|\d{{6}}\s{{1,2}}|\d{{2}}-\d{{2}}\s){_CLOCK}",  # a date in digits; MySQL; Android
    r"\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\s(?:[01]\d|2[0-3])[0-5]\d[0-5]\d\b",  # HDFS: 081109 203615
    r"\d{8}T\d{6}Z?\b",
    rf"(?<!:){_CLOCK}{_ZONE}(?![\w:])",
)
TIME = rf"\b(?:(?=\d)(?:{'|'.join(_IN_DIGITS)})|(?=[A-Z])(?:(?:{_DAY})?{_AFTER_MONTH}|{_DAY}{_AFTER_DAY}))"
"""Times and dates in the forms used in logs."""

_STAMP = re.compile(
    rf"\s*(?:<\d{{1,3}}>)?[^\w\s]*(?:\S{{1,40}}\s+[^\w\s]*){{0,2}}?"
    rf"(?:{TIME}|\d{{10}}(?:\.\d+)?\b|\d{{13}}\b|\d+\.\d{{6}}\])"
)
_TRACEBACK = re.compile(r"\s*(?:[+|]\s+)*(?:Exception Group )?Traceback \(most recent call last\)")
_FRAME = re.compile(
    r'\s+at\s\S|\s+File "|\s*\.\.\. \d+ (?:more|common frames)|\s*(?:Caused by|Suppressed): \S'
    r"|During handling of the above exception|The above exception was the direct cause"
)
_RAISED = re.compile(r"(?:Exception in thread .{0,200}?)?(?:[a-z_]\w*\.)+[A-Z][\w$]*(?:Exception|Error|Throwable)\b")


@dataclass(frozen=True, slots=True)
class Habits:
    """How the records of a log begin.

    Attributes:
        stamped: with a time, so a line without one continues the record before it.
        indented: never with white space, so a line with leading white space continues the record before it.
    """

    stamped: bool = False
    indented: bool = True


def habits_of(lines: Iterable[str]) -> Habits:
    """Determine the habits of a log from some of its lines (`LOOKED_AT` are enough); see `USUAL` for `stamped`."""
    filled = [line for line in lines if line.strip()]
    heads = sum(not line[0].isspace() or _STAMP.match(line) is not None for line in filled)
    indented = heads > _LEAST_HEADS * len(filled)
    begun = [_STAMP.match(record) is not None for record in records(filled, Habits(indented=indented))]
    return Habits(len(begun) > 0 and sum(begun) >= USUAL * len(begun), indented)


class RecordReader:
    """Combine incoming lines into records.

    A line continues the record before it if it is part of a Python, Java or Node stack trace, if it begins with white
    space, or if records begin with a time and the line does not. A line with a time begins a record, whatever white
    space precedes it. Blank lines are skipped.

    Args:
        habits: of the log, from `habits_of` on its first lines.
    """

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        self._record: list[str] = []
        self._raised: str | None = None  # an exception, which belongs to the record if a stack follows
        self._in_traceback = False

    @property
    def waiting(self) -> int:
        """Number of lines in records that are not complete."""
        return len(self._record) + (self._raised is not None)

    def feed(self, line: str) -> list[str]:
        """Take the next line and return the records that it completes, one line each (two at most)."""
        if not line.strip():
            return []
        begins, stack = _TRACEBACK.match(line) is not None, _FRAME.match(line) is not None
        if self._raised is not None:
            if not (begins or stack):
                found, self._record, self._raised = [self._joined()], [self._raised], None
                return found + self.feed(line)
            self._record.append(self._raised)
            self._raised = None
        if self._record and len(self._record) < LONGEST and (begins or stack or self._continues(line)):
            self._in_traceback = begins or (self._in_traceback and line[0].isspace())
            self._record.append(line)
            return []
        if self._record and _RAISED.match(line):
            self._raised = line
            return []
        found = self.flush()
        self._record, self._in_traceback = [line], begins
        return found

    def flush(self) -> list[str]:
        """Return the records still waiting for a continuation, for use at the end or when a log pauses."""
        found = [self._joined()] if self._record else []
        found += [self._raised.strip()] if self._raised is not None else []
        self._record, self._raised, self._in_traceback = [], None, False
        return found

    def _continues(self, line: str) -> bool:
        if _STAMP.match(line):
            return False
        return self._in_traceback or self.habits.stamped or (self.habits.indented and line[0].isspace())

    def _joined(self) -> str:
        return " ".join(line.strip() for line in self._record)


def records(lines: Iterable[str], habits: Habits) -> Iterator[str]:
    """The records of some lines, one line each: their lines, stripped and joined by a space."""
    reader = RecordReader(habits)
    yield from chain.from_iterable(reader.feed(line) for line in lines)
    yield from reader.flush()


def records_text(text: str) -> str:
    """A log as a text with one record per line."""
    lines = text.split("\n")
    return "\n".join(records(lines, habits_of(lines[:LOOKED_AT])))
