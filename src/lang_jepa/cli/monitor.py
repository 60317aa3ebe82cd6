"""The verb `monitor`: alarms in lines or messages as they come."""

import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang_jepa.cli.lines import (
    Batch,
    Line,
    check_lines,
    file_pieces,
    first_lines,
    found_place,
    is_packed,
    left_over,
    piped,
    place_in,
    whole_lines,
    whole_records,
)
from lang_jepa.cli.options import AnyModel, standard_input
from lang_jepa.cli.units import Unit, UnitReader, check_kind
from lang_jepa.errors import LangJepaError, counted, one_line
from lang_jepa.files.atomic import check_writable
from lang_jepa.training.signals import Interrupted, exit_status, finished_first

if TYPE_CHECKING:
    from lang_jepa.inference.embedding import EmbeddingModel
    from lang_jepa.inference.monitor import Monitor, Scored
    from lang_jepa.settings.data import DataSettings


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
        typer.Option(metavar="FILE", help="Its last lines, counts, place in the file: taken up, kept at the end."),
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
    watch = _watch(loaded, corpus, per_thousand, usual)
    found = watch.restore(state) if state is not None and state.is_file() else {}
    come = _Source(source, loaded.settings.data, lasting=state is not None)
    shown = _Shown(watch, come, as_json=as_json, goes_on=bool(found))
    try:
        _describe(watch)
        shown.alarms(come.lines(stream, found.get("place"), follow=follow))
    except Interrupted as stop:
        if stop.number == signal.SIGPIPE:  # nobody reads on, so what was shown last is shown again the next time
            state = None
            raise
        shown.summary()
        raise SystemExit(exit_status(stop.number)) from None
    finally:
        if state is not None:
            with finished_first():
                watch.save(state, place=come.place())
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
    """

    def __init__(self, source: str, data: "DataSettings", *, lasting: bool) -> None:
        self.name = None if source == "-" else source
        self._path, self._records = Path(source), data.records
        is_file = self.name is not None and self._path.is_file()  # a pipe has no places, what is packed does not grow
        self._goes_on = lasting and is_file and not is_packed(self._path)
        self._first = first_lines(self._path) if is_file and data.records else []
        self.offset, self.line = 0, 1

    def lines(self, stream: Iterator[bytes] | None, place: object, *, follow: bool) -> Iterator[Batch]:
        """The batches of lines, or of records, from the place on where it was left.

        Args:
            stream: of a pipe (None: the file is opened).
            place: as kept.
            follow: go on at the end of the file.
        """
        begin: list[bytes | None] = []
        if self._goes_on and place:
            begin = self._go_on(place)
        start, number = self.offset, self.line
        pieces = stream or file_pieces(self._path, follow=follow, start=0 if begin else start)
        found = whole_lines(chain(begin, pieces), start, number, unfinished=not self._goes_on)
        if not self._records:
            return found
        return whole_records(found, self._first, start, number, unfinished=not self._goes_on)

    def _go_on(self, place: object) -> list[bytes | None]:
        """Take up a place; of a file that is another one by now, return what was left of the old one."""
        from lang_jepa.cli.console import aside

        if (found := found_place(self._path, place)) is not None:
            self.offset, self.line = found
            return []
        aside(f"{self.name} is not the file that was read last, so it is read from its beginning")
        rest = left_over(self._path, place)
        if rest is None:
            return []
        self.line = rest[1]
        return [rest[0], None]

    def waits(self) -> str:
        """What was read and not scored, since more may belong to it; nothing where there is none."""
        return f"what stands from line {self.line} on" if (self.place() or {}).get("rest") else ""

    def place(self) -> dict[str, Any] | None:
        """How far it was read, as plain data; None where that says nothing."""
        return place_in(self._path, self.offset, self.line) if self._goes_on else None


class _Shown:
    """What is printed of a source that is watched."""

    def __init__(self, watch: "Monitor", source: _Source, *, as_json: bool, goes_on: bool) -> None:
        self.watch, self.source, self.as_json, self.goes_on = watch, source, as_json, goes_on
        self.reader = UnitReader(watch.model.settings.data)
        self._warned = False

    def alarms(self, batches: Iterator[Batch]) -> None:
        """Show the alarms in lines as they come."""
        from lang_jepa.inference.monitor import BLOCK

        for some in batches:
            if some is None:  # another file
                self.source.offset, self.source.line = 0, 1
                continue
            for at in range(0, len(some), BLOCK):
                with finished_first():  # so that a state is that of a whole block
                    self._block(some[at : at + BLOCK])

    def _block(self, lines: list[Line]) -> None:
        units = self.reader.read(lines)
        found = self.watch.score([unit.text for unit in units], self.reader.courses(units))
        self.source.offset, self.source.line = lines[-1].end, lines[-1].following
        for one, unit in zip(found, units, strict=True):
            if one.alarm:
                self._show(one, unit)
        sys.stdout.flush()
        self._warn()

    def _show(self, one: "Scored", unit: Unit) -> None:
        from lang_jepa.cli.console import console, plain
        from lang_jepa.evaluation.rarity import named

        line, file = unit.line.number, self.source.name
        if self.as_json:
            where = {"line": line, "file": file, "threshold": self.watch.threshold}
            console.out(json.dumps(asdict(one) | where, ensure_ascii=False), highlight=False)
            return
        plain(f"{f'line {line}' if file is None else f'{file}:{line}'}  {one_line(one.text)}")
        decides, threshold = named(self.watch.decides), self.watch.threshold
        plain(f"    score {one.score:.3f} by {decides}; an alarm above {threshold:.3f}", style="dim")
        if one.severe:
            plain("    an alarm by its level, an error or worse: no usual unit is of its kind", style="dim")
        shares = {"surprise": one.surprise, "novelty": one.novelty, "n-gram": one.ngram, "repetition": one.repetition}
        said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        plain(f"    more than usual units: {said}", style="dim")
        if one.expected:
            plain(f"    expected: {one_line(one.expected[0])}", style="dim")

    def _warn(self) -> None:
        """Say once that there are too many alarms, and that lines were left out."""
        from lang_jepa.cli.console import aside, warn

        if self.watch.drift is None or self._warned:
            return
        self._warned = True
        count, of = self.watch.drift
        text = (
            f"{count} alarms in the last {counted(of, 'unit')} are too many for three times the rate that was asked "
            f"for ({self.watch.per_thousand:.4g} in a thousand): what comes is not like the training text, or "
            "something is wrong; give newer usual units with --usual, or train again on newer text"
        )
        if self.as_json:
            aside(f"warning: {text}")
        else:
            warn(text)

    def summary(self) -> None:
        """How many units and alarms there were."""
        from lang_jepa.cli.console import aside, plain

        watch, reader = self.watch, self.reader
        rate = 1000 * watch.alarms / max(1, watch.seen)
        text = f"{counted(watch.seen, 'unit')}, {counted(watch.alarms, 'alarm')} ({rate:.2f} in a thousand)"
        text += ", with those of earlier calls" if self.goes_on else ""
        if watch.apart:
            text += f"; {counted(watch.apart, 'unit')} of no session, in one course"
        if left_out := reader.left_out():
            text += f"; {left_out}"
        if waits := self.source.waits():
            text += f"; {waits} waits for the next call"
        if self.as_json:
            aside(text)
        else:
            plain(text, style="dim")


def _describe(watch: "Monitor") -> None:
    """On standard error, what decides, from which score on, and at which rate."""
    from lang_jepa.cli.console import aside
    from lang_jepa.evaluation.rarity import SCORES, named

    decides = named(watch.decides)
    if watch.merits:
        aside(f"decides: {decides}, AUC {watch.merits[decides]:.2f} of faults put into usual units")
        alone = ", ".join(f"{name} {watch.merits[name]:.2f}" for name in SCORES)
    else:
        aside(f"decides: {decides}, since usual units are too short to put faults into")
        alone = "not measured"
    aside(f"alone: {alone}")
    new = ", and new kinds of errors" if watch.model.settings.data.units == "lines" else ""
    aside(f"alarms: scores above {watch.threshold:.3f}{new}; {watch.per_thousand:.4g} in a thousand may be false")
