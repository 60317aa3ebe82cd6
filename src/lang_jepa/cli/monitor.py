"""The verb `monitor`: alarms about lines or messages as they arrive, events when they end, and a summary."""

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lang_jepa.cli.lines import Batch, Line, check_lines, piped
from lang_jepa.cli.monitored import SavedState, Source
from lang_jepa.cli.options import AnyModel, repeat_alarm, standard_input
from lang_jepa.cli.units import Unit, UnitReader, check_kind
from lang_jepa.errors import LangJepaError, counted, one_line, shorten
from lang_jepa.files.atomic import check_writable
from lang_jepa.training.signals import Interrupted, answered, exit_status, finished_first

if TYPE_CHECKING:
    from lang_jepa.inference.embedding import EmbeddingModel
    from lang_jepa.inference.events import Over, Scored
    from lang_jepa.inference.monitor import Monitor

_LONGEST = 2_000
"""Characters of a text that are shown to people."""


def monitor(
    model: AnyModel,
    source: Annotated[
        str,
        typer.Argument(
            help="A file of lines (or .gz, .zst), or of one JSON message or conversation a line; - reads a pipe."
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep reading as the file grows or is rotated, until stopped.")
    ] = False,
    per_thousand: Annotated[
        float | None,
        typer.Option(help="Rate of false alarms per thousand units (default: 1, or the least that can be set)."),
    ] = None,
    usual: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Usual units that set the threshold instead of the held-out ones."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of its last lines, counts and position: read at the start, saved every second."
        ),
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Corpus of the training, if it has moved.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each alarm as a line of JSON.")] = False,
) -> None:
    """Print the lines of a log, or the messages of a stream, that were not expected."""
    from lang_jepa.inference.monitor_data import read_state
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
    repeat_alarm(loaded)
    come = Source(source, loaded.settings.data, lasting=state is not None)
    monitor = _monitor_for(loaded, corpus, per_thousand, usual)
    found = monitor.restore(state) if state is not None and state.is_file() else {}
    saved = SavedState(state, monitor, come)
    shown = _Shown(monitor, come, saved, as_json=as_json, before=found)
    try:
        _describe(monitor)
        shown.alarms(come.lines(stream, found.get("place"), follow=follow))
    except Interrupted as stop:
        if stop.number == signal.SIGPIPE:  # the reader is gone, so what was shown last is shown again next time
            saved.path = None
            raise
        answered()
        shown.summary()
        raise SystemExit(exit_status(stop.number)) from None
    finally:
        with finished_first():
            saved.write()
    shown.summary()


def _monitor_for(
    model: "EmbeddingModel", corpus: Path | None, per_thousand: float | None, usual: Path | None
) -> "Monitor":
    """Prepare a model's monitor, with the usual units of a file or else the held-out ones."""
    from lang_jepa.cli.console import aside
    from lang_jepa.inference.model import missing, own_corpus
    from lang_jepa.inference.monitor import Monitor

    known = own_corpus(model, corpus)
    if known is None:
        raise LangJepaError(f"a monitor knows what is usual from the corpus of the training; {missing(model)}")
    if usual is None:
        return Monitor(model, known, per_thousand=per_thousand)
    reader = UnitReader(model.settings.data)
    lines = Source(str(usual), model.settings.data, lasting=False).lines(None, None, follow=False)
    units = [unit for some in lines for unit in reader.read(some or ())]
    if left_out := reader.left_out():
        aside(f"{usual}: {left_out}")
    texts, courses = [unit.text for unit in units], reader.courses(units)
    return Monitor(model, known, per_thousand=per_thousand, usual=texts, courses=courses)


class _Alarm(NamedTuple):
    """An alarm that was shown: how often its text had come in a row, the text, and its place."""

    times: int
    text: str
    file: str | None
    line: int


class _Shown:
    """Prints what is found in a source that the monitor reads.

    Args:
        monitor, source, saved: the monitor, what it reads, and the state in its file.
        as_json: print lines of JSON.
        before: the state of the earlier call that this one resumes (empty: there is none).
    """

    def __init__(
        self, monitor: "Monitor", source: Source, saved: SavedState, *, as_json: bool, before: Mapping[str, Any]
    ) -> None:
        self.monitor, self.source, self.saved = monitor, source, saved
        self.as_json, self.goes_on = as_json, bool(before)
        self.reader = UnitReader(monitor.model.settings.data)
        self._warned = False
        self._shown = _alarms(before.get("shown"))  # by their indices, until they are over
        saved.shown = self.plain

    def alarms(self, batches: Iterator[Batch]) -> None:
        """Show the alarms in lines as they arrive."""
        from lang_jepa.inference.monitor import BLOCK

        for some in batches:
            if some is None:  # another file
                self.source.another()
                continue
            for at in range(0, len(some), BLOCK):
                with finished_first():  # so that the state is always that of a whole block
                    self._block(some[at : at + BLOCK])
                self.saved.write_if_due()  # it has what was shown, never what was not
            self.saved.write_if_due()

    def _block(self, lines: list[Line]) -> None:
        units = self.reader.read(lines)
        found = self.monitor.score([unit.text for unit in units], self.reader.courses(units))
        for one, unit in zip(found, units, strict=True):
            if one.over is not None:
                self._show_end(one.over)
                self._shown.pop(one.over.alarm, None)
            if one.alarm:
                self._show(one, unit)
                self._shown[one.index] = _Alarm(one.times, one.text, self.source.name, unit.line.number)
        sys.stdout.flush()
        self.source.passed(lines[-1])
        self._warn()

    def _show(self, one: "Scored", unit: Unit) -> None:
        from lang_jepa.cli.console import console, plain
        from lang_jepa.evaluation.rarity import named
        from lang_jepa.inference.events import FIRST

        line, file = unit.line.number, self.source.name
        if self.as_json:
            fields = {name: value for name, value in asdict(one).items() if name not in ("event", "over")}
            fields["threshold"] = one.threshold if isfinite(one.threshold) else None  # JSON has no infinity
            console.out(json.dumps(fields | {"line": line, "file": file}, ensure_ascii=False), highlight=False)
            return
        plain(f"{_where(file, line)}  {shorten(one_line(one.text), _LONGEST)}")
        decides = f"{named(FIRST)}, first of its session" if one.first else named(self.monitor.decides)
        plain(f"    score {one.score:.3f} by {decides}; an alarm above {one.threshold:.3f}", style="dim")
        if one.severe:
            plain("    an alarm by its level, an error or worse: no usual unit is of its kind", style="dim")
        if one.stuck:
            plain(f"    an alarm by its repetition: it came {one.times} times in a row", style="dim")
        shares = {"surprise": one.surprise, "novelty": one.novelty, "n-gram": one.ngram, "repetition": one.repetition}
        said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        plain(f"    more than usual units: {said}", style="dim")
        for what, text in zip(("expected", "      or"), one.expected, strict=False):
            plain(f"    {what}: {shorten(one_line(text), _LONGEST)}", style="dim")

    def _show_end(self, over: "Over", goes_on: str = "") -> None:
        """Say how often the unit of an alarm came in a row, if it came again after the alarm."""
        from lang_jepa.cli.console import console, plain

        alarm = self._shown.get(over.alarm)  # None: the state lacks it
        if over.times == (1 if alarm is None else alarm.times):
            return
        where = {"text": None, "line": None, "file": None} if alarm is None else alarm._asdict()
        if self.as_json:
            end = {"ends": over.alarm, **where, "times": over.times}
            console.out(json.dumps(end, ensure_ascii=False), highlight=False)
            return
        which = "an alarm of an earlier call" if alarm is None else f"the alarm of {_where(alarm.file, alarm.line)}"
        plain(f"{which} is one event: its text came {over.times} times in a row{goes_on}", style="dim")

    def plain(self) -> list[list[Any]]:
        """The alarms whose events are not over, as plain data: index, times, text, file and line of each."""
        indices = [over.alarm for over in self.monitor.open_events()]
        return [[index, *self._shown[index]] for index in indices if index in self._shown]

    def _warn(self) -> None:
        """Say once that there are too many alarms."""
        from lang_jepa.cli.console import aside, warn

        if self.monitor.drift is None or self._warned:
            return
        self._warned = True
        count, of = self.monitor.drift
        text = (
            f"{count} alarms in the last {counted(of, 'unit')} are too many even for three times the requested rate "
            f"({self.monitor.per_thousand:.4g} in a thousand): what comes is not like the training text, or something "
            "is wrong; give newer usual units with --usual, or train again on newer text"
        )
        if self.as_json:
            aside(f"warning: {text}")
        else:
            warn(text)

    def summary(self) -> None:
        """Print which events are not over, and how many units and alarms there were."""
        from lang_jepa.cli.console import aside, plain

        monitor, reader = self.monitor, self.reader
        for over in monitor.open_events():
            self._show_end(over, ", up to the end")
        rate = 1000 * monitor.alarms / max(1, monitor.seen)
        text = f"{counted(monitor.seen, 'unit')}, {counted(monitor.alarms, 'alarm')} ({rate:.2f} in a thousand)"
        text += ", with those of earlier calls" if self.goes_on else ""
        if monitor.apart:
            text += f"; {counted(monitor.apart, 'unit')} without a session, scored as one sequence"
        if monitor.unjudged:
            text += (
                f"; {counted(monitor.unjudged, 'unit')} with nothing before them, so not judged by the deciding scores"
            )
        if left_out := reader.left_out():
            text += f"; {left_out}"
        if waits := self.source.waits():
            text += f"; {waits} waits for the next call"
        if self.as_json:
            aside(text)
        else:
            plain(text, style="dim")


def _alarms(saved: object) -> dict[int, _Alarm]:
    """Read alarms, by their indices, from what `_Shown.plain` returned; anything else is ignored."""
    if not isinstance(saved, list):
        return {}
    types = ((int,), (int,), (str,), (str, type(None)), (int,))
    rows = [one for one in saved if isinstance(one, list) and len(one) == len(types)]
    return {row[0]: _Alarm(*row[1:]) for row in rows if all(map(isinstance, row, types))}


def _where(file: str | None, line: int) -> str:
    """Name a line as people and editors do."""
    return f"line {line}" if file is None else f"{file}:{line}"


def _describe(monitor: "Monitor") -> None:
    """Print on standard error which score decides, above which threshold, and at which rate of false alarms."""
    from lang_jepa.cli.console import aside
    from lang_jepa.evaluation.rarity import SCORES, named
    from lang_jepa.inference.events import FIRST

    decides = named(monitor.decides)
    if monitor.merits:
        aside(f"decides: {decides}, AUC {monitor.merits[decides]:.2f} of faults put into usual units")
        alone = ", ".join(f"{name} {monitor.merits[name]:.2f}" for name in SCORES)
    else:
        aside(f"decides: {decides}, since the usual units are too short to insert faults into")
        alone = "not measured"
    aside(f"alone: {alone}")
    new = ", and new kinds of errors" if monitor.model.settings.data.units == "lines" else ""
    aside(f"alarms: scores above {monitor.threshold:.3f}{new}; {monitor.per_thousand:.4g} in a thousand may be false")
    if monitor.first is not None:
        aside(f"the first unit of a session: {named(FIRST)} above {monitor.first.threshold:.3f}, as none is before it")
