"""What the verb `monitor` reads: incoming lines or records, and the state from which the next call resumes."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.cli.lines import (
    Batch,
    Line,
    file_pieces,
    first_lines,
    is_packed,
    whole_lines,
    whole_records,
    whole_turns,
)
from lang_jepa.cli.places import Identity, beside, found_place, identity_of, left_over, moved_file, place_in

if TYPE_CHECKING:
    from lang_jepa.inference.monitor import Monitor
    from lang_jepa.settings.data import DataSettings


SAVED_EVERY = 1.0
"""Seconds from one write of the state to the next, at least."""
_SAVED_SHARE = 10
"""The next write waits at least this many times as long as the last one took."""


class Source:
    """The incoming lines or records, and how far they were read.

    Args:
        source: a path, or - for standard input.
        data: settings of the model's data.
        lasting: the place is saved at the end, so whatever is incomplete there waits for the next call.

    Attributes:
        name: of the file that is being read; None for a pipe.
        offset, line: how far it was read.
    """

    def __init__(self, source: str, data: "DataSettings", *, lasting: bool) -> None:
        self.name = None if source == "-" else source
        self._path, self._data = Path(source), data
        is_file = self.name is not None and self._path.is_file()  # a pipe has no places; a packed file does not grow
        self._goes_on = lasting and is_file and not is_packed(self._path)
        self._first = first_lines(self._path) if is_file and (data.records or data.units == "turns") else []
        self.offset, self.line = 0, 1
        self._opened: deque[Identity] = deque()  # files; what is handed out is from the first one
        self._over = False  # whether all of that one was handed out
        self._gone: Mapping[str, Any] | None = None  # the place in a file that is gone, while its rest is handed out
        self._place: Mapping[str, Any] = place_in(self._path, 0, 1) if self._goes_on else {}

    def lines(self, stream: Iterator[bytes] | None, place: object, *, follow: bool) -> Iterator[Batch]:
        """Return batches of lines, or of records, starting from the place where it was left.

        Args:
            stream: of a pipe (None: the file is opened).
            place: as saved (empty: the beginning of the file that had the name when this object was made).
            follow: keep reading at the end of the file.
        """
        place = place or self._place
        begin = self._go_on(place) if self._goes_on and isinstance(place, Mapping) and place else None
        start, number, unfinished = self.offset, self.line, not self._goes_on
        first = start if begin is None else 0
        pieces = stream or file_pieces(self._path, follow=follow, start=first, opened=self._opened.append)
        found = whole_lines(chain(begin or (), pieces), start, number, unfinished=unfinished)
        if self._data.units == "turns":
            return whole_turns(found, self._first, start, number, unfinished=unfinished)
        return whole_records(found, self._first, start, number, unfinished=unfinished) if self._data.records else found

    def _go_on(self, place: Mapping[str, Any]) -> Iterable[bytes | None] | None:
        """Resume at a place; if the name leads to another file by now, return the rest of the old one, and a None."""
        from lang_jepa.cli.console import aside

        if (found := found_place(self._path, place)) is not None:
            self.offset, self.line = found
            self._place = place
            return None
        moved, rest = moved_file(self._path, place), left_over(self._path, place)
        first = f", after what was left in {moved}" if moved is not None else ""
        aside(f"{self.name} is not the file that was read last, so it is read from its beginning{first}")
        if moved is not None and (found := found_place(moved, place)) is not None:
            self.offset, self.line = found
            self.name, self._place = str(moved), place
            return chain(file_pieces(moved, follow=False, start=self.offset, opened=self._opened.append), [None])
        if rest is None:
            return ()
        self._gone, self.line = place, rest[1]
        return [rest[0], None]

    def passed(self, line: Line) -> None:
        """Note that everything up to a line was handled."""
        self.offset, self.line = line.end, line.following
        if not line.end:  # it is the last line of a file that is over
            self._next_file()

    def another(self) -> None:
        """Note that another file begins."""
        if not self._over:
            self._next_file()
        self.offset, self.line, self._over = 0, 1, False

    def _next_file(self) -> None:
        if self._gone is None:
            self._opened.popleft()
        self._gone, self._over, self.name = None, True, str(self._path)
        self._place = place_in(self._path, 0, 1) if self._goes_on else {}

    def waits(self) -> str:
        """Say what was read but not scored, since more may belong to it; empty if there is nothing."""
        return f"the text from line {self.line} on" if (self.place() or {}).get("rest") else ""

    def place(self) -> Mapping[str, Any] | None:
        """How far it was read, as plain data; None if the next call cannot resume there."""
        if not self._goes_on:
            return None
        if self._gone is not None:
            rest = self._gone["rest"].encode()[self.offset :].decode("utf-8", "replace")
            return {**self._gone, "rest": rest, "line": self.line}
        if not self._opened:
            return self._place
        last = Path(self._place.get("file", self._path))
        names = chain((self._path, last), beside(self._path), beside(last))
        now = next((name for name in names if identity_of(name) == self._opened[0]), None)
        self._place = (now and place_in(now, self.offset, self.line, self._path)) or self._place
        return self._place


class SavedState:
    """The state in its file, from which the next call resumes.

    Args:
        path: of the file (None: nothing is saved).
        monitor, source: the monitor and the source whose state it is.

    Attributes:
        shown: returns the alarms whose events are not over.
    """

    def __init__(self, path: Path | None, monitor: "Monitor", source: Source) -> None:
        self.path, self._monitor, self._source = path, monitor, source
        self.shown: Callable[[], object] = list
        self._due, self._written = time.monotonic() + SAVED_EVERY, self._mark()

    def _mark(self) -> tuple[int, int, int]:
        return self._monitor.seen, self._source.offset, self._source.line

    def write(self) -> None:
        """Write the state, if it has a file."""
        if self.path is not None:
            self._monitor.save(self.path, place=self._source.place(), shown=self.shown())

    def write_if_due(self) -> None:
        """Write the state if the last write was long ago and something has come since."""
        begin = time.monotonic()
        if begin >= self._due and self._mark() != self._written:
            self.write()
            self._written, end = self._mark(), time.monotonic()
            self._due = end + max(SAVED_EVERY, _SAVED_SHARE * (end - begin))
