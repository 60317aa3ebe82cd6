"""The verb `monitor`: alarms about lines or messages as they arrive."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.alarms import Shown, describe
from lang_jepa.cli.lines import check_lines, piped
from lang_jepa.cli.options import AnyModel, repeat_alarm, standard_input
from lang_jepa.cli.units import UnitReader, check_kind
from lang_jepa.cli.watched import Kept, Source
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_writable
from lang_jepa.training.signals import Interrupted, answered, exit_status, finished_first

if TYPE_CHECKING:
    from lang_jepa.inference.embedding import EmbeddingModel
    from lang_jepa.inference.monitor import Monitor


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
            metavar="FILE", help="File for its last lines, counts and position: resumed from, and saved every second."
        ),
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Prepared corpus of the training, if not where it was.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each alarm as a line of JSON.")] = False,
) -> None:
    """Print the lines of a log, or the messages of a stream, that were not expected."""
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
    repeat_alarm(loaded)
    come = Source(source, loaded.settings.data, lasting=state is not None)
    watch = _watch(loaded, corpus, per_thousand, usual)
    found = watch.restore(state) if state is not None and state.is_file() else {}
    kept = Kept(state, watch, come)
    shown = Shown(watch, come, kept, as_json=as_json, before=found)
    try:
        describe(watch)
        shown.alarms(come.lines(stream, found.get("place"), follow=follow))
    except Interrupted as stop:
        if stop.number == signal.SIGPIPE:  # the reader is gone, so what was shown last is shown again next time
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
