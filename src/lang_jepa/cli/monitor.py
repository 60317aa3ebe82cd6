"""The verb `monitor`: alarms in lines or messages as they come."""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang_jepa.cli.alarms import Shown, describe
from lang_jepa.cli.lines import (
    Batch,
    Line,
    check_lines,
    file_pieces,
    first_lines,
    is_packed,
    piped,
    whole_lines,
    whole_records,
    whole_turns,
)
from lang_jepa.cli.options import AnyModel, standard_input
from lang_jepa.cli.places import Identity, beside, found_place, identity_of, left_over, moved_file, place_in
from lang_jepa.cli.units import UnitReader, check_kind
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_writable
from lang_jepa.training.signals import Interrupted, answered, exit_status, finished_first

if TYPE_CHECKING:
    from lang_jepa.inference.embedding import EmbeddingModel
    from lang_jepa.inference.monitor import Monitor
    from lang_jepa.settings.data import DataSettings


KEPT_EVERY = 1.0
"""Seconds from one writing of the state to the next, at least."""
_KEPT_SHARE = 10
"""Times as long as the last writing took, at least as long until the next one."""


def monitor(
    model: AnyModel,
    source: Annotated[
        str,
        typer.Argument(help="A file of lines (or .gz, .zst), of JSON messages or conversations a line; - is a pipe."),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on as the file grows, over rotations, until stopped.")
    ] = False,
    per_thousand: Annotated[
        float | None,
        typer.Option(help="False alarms wanted in a thousand units (default: 1, or the least that can be set)."),
    ] = None,
    usual: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Usual units that set the threshold in place of the held-out ones."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its last lines, counts, place in the file: taken up, kept each second."),
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Prepared corpus of the training, if not where it was.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each alarm as a line of JSON.")] = False,
) -> None:
    """Print the lines of a log, or the messages of a stream, that were not to be expected."""
    from lang_jepa.inference.monitor_state import read_state
    from lang_jepa.training.load import load_any

    if follow and source == "-":
        raise LangJepaError("--follow has no effect on standard input, which is read as it comes anyway")
    files = [Path(source)] if source != "-" else []
    for path in files:
        check_lines(path, follow=follow)
    if usual is not None:
        check_lines(usual)
    if state is not None:
        check_writable(state)
    stream = piped(standard_input("nothing to watch")) if source == "-" else None
    loaded = load_any(model)
    for path in (*files, *([usual] if usual is not None else ())):
        check_kind(path, loaded.settings.data)
    if state is not None and state.is_file():
        read_state(state, loaded)  # before the monitor is prepared
    come = _Source(source, loaded.settings.data, lasting=state is not None)
    watch = _watch(loaded, corpus, per_thousand, usual)
    found = watch.restore(state) if state is not None and state.is_file() else {}
    kept = _Kept(state, watch, come)
    shown = Shown(watch, come, kept, as_json=as_json, before=found)
    try:
        describe(watch)
        shown.alarms(come.lines(stream, found.get("place"), follow=follow))
    except Interrupted as stop:
        if stop.number == signal.SIGPIPE:  # nobody reads on, so what was shown last is shown again the next time
            kept.path = None
            raise
        answered()
        shown.summary()
        raise SystemExit(exit_status(stop.number)) from None
    finally:
        with finished_first():
            kept.write()
    shown.summary()


def _watch(model: "EmbeddingModel", corpus: Path | None, per_thousand: float | None, usual: Path | None) -> "Monitor":
    """The monitor of a model, with units of a file that are usual, or the held-out ones."""
    from lang_jepa.cli.console import aside
    from lang_jepa.inference.model import missing, own_corpus
    from lang_jepa.inference.monitor import Monitor

    known = own_corpus(model, corpus)
    if known is None:
        raise LangJepaError(f"a monitor knows what is usual from the corpus of the training; {missing(model)}")
    if usual is None:
        return Monitor(model, known, per_thousand=per_thousand)
    reader = UnitReader(model.settings.data)
    lines = _Source(str(usual), model.settings.data, lasting=False).lines(None, None, follow=False)
    units = [unit for some in lines for unit in reader.read(some or ())]
    if left_out := reader.left_out():
        aside(f"{usual}: {left_out}")
    texts, courses = [unit.text for unit in units], reader.courses(units)
    return Monitor(model, known, per_thousand=per_thousand, usual=texts, courses=courses)


class _Source:
    """The lines or records that come, and how far they were read.

    Args:
        source: a path, or - for standard input.
        data: settings of the model.
        lasting: where it was left is kept, so that what is not complete at its end waits for the next time.

    Attributes:
        name: of the file that is read now; None of a pipe.
        offset, line: how far it was read.
    """

    def __init__(self, source: str, data: "DataSettings", *, lasting: bool) -> None:
        self.name = None if source == "-" else source
        self._path, self._data = Path(source), data
        is_file = self.name is not None and self._path.is_file()  # a pipe has no places, what is packed does not grow
        self._goes_on = lasting and is_file and not is_packed(self._path)
        self._first = first_lines(self._path) if is_file and (data.records or data.units == "turns") else []
        self.offset, self.line = 0, 1
        self._opened: deque[Identity] = deque()  # files; what is handed out is of the first one
        self._over = False  # all of it was
        self._gone: Mapping[str, Any] | None = None  # the place in a file that is gone, while its rest is handed out
        self._place: Mapping[str, Any] = place_in(self._path, 0, 1) if self._goes_on else {}

    def lines(self, stream: Iterator[bytes] | None, place: object, *, follow: bool) -> Iterator[Batch]:
        """The batches of lines, or of records, from the place on where it was left.

        Args:
            stream: of a pipe (None: the file is opened).
            place: as kept; nothing: the beginning of the file that had the name when this was made.
            follow: go on at the end of the file.
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
        """Take up a place; of a file that is another one by now, return what was left of the old one, and a None."""
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
        """Note that all up to a line was handled."""
        self.offset, self.line = line.end, line.following
        if not line.end:  # it is the last one of a file that is over
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
        """What was read and not scored, since more may belong to it; nothing where there is none."""
        return f"what stands from line {self.line} on" if (self.place() or {}).get("rest") else ""

    def place(self) -> Mapping[str, Any] | None:
        """How far it was read, as plain data; None where that says nothing."""
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


class _Kept:
    """The state in its file, from which the next call goes on.

    Args:
        path: of the file (None: nothing is kept).
        watch, source: of which it is.

    Attributes:
        shown: gives the alarms whose events go on.
    """

    def __init__(self, path: Path | None, watch: "Monitor", source: _Source) -> None:
        self.path, self._watch, self._source = path, watch, source
        self.shown: Callable[[], object] = list
        self._due, self._written = time.monotonic() + KEPT_EVERY, self._mark()

    def _mark(self) -> tuple[int, int, int]:
        return self._watch.seen, self._source.offset, self._source.line

    def write(self) -> None:
        """Write it."""
        if self.path is not None:
            self._watch.save(self.path, place=self._source.place(), shown=self.shown())

    def write_if_due(self) -> None:
        """Write it where that was long ago, and something came since."""
        begin = time.monotonic()
        if begin >= self._due and self._mark() != self._written:
            self.write()
            self._written, end = self._mark(), time.monotonic()
            self._due = end + max(KEPT_EVERY, _KEPT_SHARE * (end - begin))
