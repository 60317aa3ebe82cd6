"""The verb `monitor`: alarms in lines or messages as they come."""

import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.lines import (
    Line,
    check_lines,
    file_pieces,
    found_place,
    habits_in,
    piped,
    place_in,
    whole_lines,
    whole_records,
)
from lang_jepa.cli.options import AnyModel, standard_input
from lang_jepa.data.sources.base import VISIBLE
from lang_jepa.errors import LangJepaError, counted, one_line
from lang_jepa.files.atomic import check_writable
from lang_jepa.training.signals import Interrupted, exit_status

if TYPE_CHECKING:
    from lang_jepa.inference.embedding import EmbeddingModel
    from lang_jepa.inference.monitor import Monitor, Scored
    from lang_jepa.settings.data import DataSettings


def monitor(
    model: AnyModel,
    source: Annotated[str, typer.Argument(help="A file of lines, or of JSON messages a line; - reads standard input.")],
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
        typer.Option(metavar="FILE", help="Its last lines, counts and place in the file: taken up, kept at the end."),
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Prepared corpus of the training, if not where it was.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each alarm as a line of JSON.")] = False,
) -> None:
    """Print the lines of a log, or the messages of a stream, that were not to be expected."""
    from lang_jepa.inference.monitor import read_state
    from lang_jepa.training.load import load_any

    if follow and source == "-":
        raise LangJepaError("--follow has no effect on standard input, which is read as it comes anyway")
    for path in (None if source == "-" else Path(source), usual):
        if path is not None:
            check_lines(path)
    goes_on = state is not None and source != "-" and Path(source).is_file()  # no pipe, which has no places
    if state is not None:
        check_writable(state)
    stream = piped(standard_input("nothing to watch")) if source == "-" else None
    loaded = load_any(model)
    if state is not None and state.is_file():
        read_state(state, loaded)  # before the monitor is prepared
    watch = _watch(loaded, corpus, per_thousand, usual)
    start = 0
    if state is not None and state.is_file():
        found = watch.restore(state)
        start = _start(Path(source), found.get("place")) if goes_on else 0
    pieces = stream or file_pieces(Path(source), follow=follow, start=start)
    offset = start
    try:
        _describe(watch)
        lines = whole_lines(pieces, start, unfinished=not goes_on)
        if loaded.settings.data.records:
            lines = whole_records(lines, habits_in(Path(source)) if Path(source).is_file() else None, start)
        for done in _scored(watch, lines, as_json):
            offset = done
    except Interrupted as stop:
        if stop.number == signal.SIGPIPE:  # nobody reads on
            raise
        _sum_up(watch, as_json=as_json)
        raise SystemExit(exit_status(stop.number)) from None
    finally:
        if state is not None:
            watch.save(state, place=place_in(Path(source), offset) if goes_on else None)
    _sum_up(watch, as_json=as_json)


def _watch(model: "EmbeddingModel", corpus: Path | None, per_thousand: float | None, usual: Path | None) -> "Monitor":
    """The monitor of a model, with units of a file that are usual, or the held-out ones."""
    from lang_jepa.inference.model import missing, own_corpus
    from lang_jepa.inference.monitor import Monitor

    known = own_corpus(model, corpus)
    if known is None:
        raise LangJepaError(f"a monitor knows what is usual from the corpus of the training; {missing(model)}")
    units = None
    if usual is not None:
        lines = whole_lines(file_pieces(usual, follow=False))
        if model.settings.data.records:
            lines = whole_records(lines, habits_in(usual))
        units = [unit for some in lines for line, _ in some if (unit := _unit(line, model.settings.data))]
    return Monitor(model, known, per_thousand=per_thousand, usual=units)


def _start(source: Path, place: object) -> int:
    """Bytes of the source that were read before; of another file than the one that was left none, which is said."""
    from lang_jepa.cli.console import aside

    offset = found_place(source, place) if place else 0
    if offset is None:
        aside(f"{source} is not the file that was read last, so it is read from its beginning")
    return offset or 0


def _scored(watch: "Monitor", lines: Iterator[list[Line]], as_json: bool) -> Iterator[int]:
    """Show the alarms in lines, and say how far they were scored."""
    from lang_jepa.inference.monitor import BLOCK

    warned, data = False, watch.model.settings.data
    for some in lines:
        for at in range(0, len(some), BLOCK):
            block = some[at : at + BLOCK]
            found = watch.score([unit for line, _ in block if (unit := _unit(line, data))])
            yield block[-1][1]
            _show([one for one in found if one.alarm], as_json=as_json)
        warned = warned or _warn_of_drift(watch, as_json=as_json)


def _describe(watch: "Monitor") -> None:
    """On standard error, what decides and at which rate."""
    from lang_jepa.cli.console import aside
    from lang_jepa.evaluation.rarity import SCORES, named

    decides = named(watch.decides)
    if watch.merits:
        aside(f"decides: {decides}, AUC {watch.merits[decides]:.2f} of faults put into usual units")
        alone = ", ".join(f"{name} {watch.merits[name]:.2f}" for name in SCORES)
    else:
        aside(f"decides: {decides}, since usual units are too short to put faults into")
        alone = "not measured"
    aside(f"alone: {alone}; {watch.per_thousand:.2g} in a thousand may be false alarms")


def _unit(line: str, settings: "DataSettings") -> str:
    """The unit of a line: of a JSON message its text, with who says it where the model reads that; else the line.

    Nothing where nothing is visible, as of a line of NULs, or of a message without text.
    """
    text = line.strip() if VISIBLE.search(line) else ""
    if settings.units != "turns" or not text.startswith("{"):
        return text
    from lang_jepa.data.sources.conversations import NoConversation, NoText, as_read, conversation_text

    try:
        return as_read([conversation_text([json.loads(text)])[0]], settings)[0]
    except NoText:
        return ""
    except (ValueError, RecursionError, NoConversation):
        return text


def _show(alarms: "list[Scored]", *, as_json: bool) -> None:
    from lang_jepa.cli.console import console, plain

    for one in alarms:
        if as_json:
            console.out(json.dumps(asdict(one), ensure_ascii=False), highlight=False)
            continue
        plain(f"{one.number:>8}  {one_line(one.text)}")
        shares = {"surprise": one.surprise, "novelty": one.novelty, "n-gram": one.ngram, "repetition": one.repetition}
        said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        plain(f"          more than usual units: {said}", style="dim")
        if one.expected:
            plain(f"          expected: {one_line(one.expected[0])}", style="dim")
    sys.stdout.flush()


def _warn_of_drift(watch: "Monitor", *, as_json: bool) -> bool:
    from lang_jepa.cli.console import aside, warn

    if watch.drifts:
        text = (
            f"more than three times the alarms that were asked for ({watch.per_thousand:.2g} in a thousand): what "
            "comes is not like the training text, or something is wrong; give newer usual units with --usual, "
            "or train again on newer text"
        )
        if as_json:
            aside(f"warning: {text}")
        else:
            warn(text)
    return watch.drifts


def _sum_up(watch: "Monitor", *, as_json: bool) -> None:
    from lang_jepa.cli.console import aside, plain

    rate = 1000 * watch.alarms / max(1, watch.seen)
    text = f"{watch.seen:,} units, {watch.alarms:,} alarms ({rate:.2f} in a thousand)"
    if watch.apart:
        text += f"; {counted(watch.apart, 'unit')} of no session, in one course"
    if as_json:
        aside(text)
    else:
        plain(text, style="dim")
