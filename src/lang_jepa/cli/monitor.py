"""The verb `monitor`: alarms in lines or messages as they come."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from lang_jepa.cli.options import AnyModel, standard_input
from lang_jepa.data.sources.base import VISIBLE
from lang_jepa.errors import LangJepaError, one_line
from lang_jepa.files.atomic import check_writable

if TYPE_CHECKING:
    from lang_jepa.inference.monitor import Monitor, Scored
    from lang_jepa.settings.data import DataSettings

_CHUNK = 1 << 16
_POLL = 0.2
"""Seconds between looks at a file that is followed."""


def monitor(
    model: AnyModel,
    source: Annotated[str, typer.Argument(help="A file of lines, or of JSON messages a line; - reads standard input.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on as the file grows, over rotations, until stopped.")
    ] = False,
    per_thousand: Annotated[float, typer.Option(help="False alarms wanted in a thousand units.")] = 1.0,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its last lines and counts: taken up, and kept at the end."),
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Prepared corpus of the training, if not where it was.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each alarm as a line of JSON.")] = False,
) -> None:
    """Print the lines of a log, or the messages of a stream, that were not to be expected."""
    from lang_jepa.inference.model import missing, own_corpus
    from lang_jepa.inference.monitor import BLOCK, Monitor
    from lang_jepa.training.load import load_any

    if follow and source == "-":
        raise LangJepaError("--follow has no effect on standard input, which is read as it comes anyway")
    loaded = load_any(model)
    known = own_corpus(loaded, corpus)
    if known is None:
        raise LangJepaError(f"a monitor knows what is usual from the corpus of the training; {missing(loaded)}")
    if state is not None:
        check_writable(state)
    watch = Monitor(loaded, known, per_thousand=per_thousand)
    if state is not None and state.is_file():
        watch.restore(state)
    pieces = _piped() if source == "-" else file_pieces(Path(source), follow=follow)
    warned = False
    try:
        for lines in whole_lines(pieces):
            units = [unit for line in lines if (unit := _unit(line, loaded.settings.data))]
            for start in range(0, len(units), BLOCK):
                _show([one for one in watch.score(units[start : start + BLOCK]) if one.alarm], as_json=as_json)
            warned = warned or _warn_of_drift(watch)
    finally:
        if state is not None:
            watch.save(state)
    _sum_up(watch, as_json=as_json)


def _piped() -> Iterator[bytes]:
    stream: BinaryIO = standard_input("nothing to watch")
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    while piece := read(_CHUNK):
        yield piece


def file_pieces(path: Path, *, follow: bool, wait: Callable[[], object] = lambda: time.sleep(_POLL)) -> Iterator[bytes]:
    """The bytes of a file, and with `follow` what comes after; of a rotated or emptied file the new one.

    Args:
        path: of the file.
        follow: go on at its end.
        wait: called where there is nothing new; an exception of it ends the reading.

    Raises:
        LangJepaError: it cannot be read.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error
    while True:
        while piece := stream.read(_CHUNK):
            yield piece
        if not follow:
            stream.close()
            return
        try:
            there, here = path.stat(), os.fstat(stream.fileno())
        except FileNotFoundError:  # between two files of a rotation
            wait()
            continue
        if there.st_ino != here.st_ino or there.st_size < stream.tell():
            while piece := stream.read(_CHUNK):  # what was written before it was moved
                yield piece
            yield b"\n"  # a line that the old file left unfinished is over
            stream.close()
            stream = path.open("rb")
        else:
            wait()


def whole_lines(pieces: Iterator[bytes]) -> Iterator[list[str]]:
    """The lines that each piece completes, and at the end the last one; what is no UTF-8 is replaced."""
    rest: list[bytes] = []  # a list, since a line may be very long
    for piece in pieces:
        *lines, last = piece.split(b"\n")
        if lines:
            lines[0] = b"".join([*rest, lines[0]])
            rest = []
            yield [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
        rest.append(last)
    if line := b"".join(rest):
        yield [line.decode("utf-8", "replace").rstrip("\r")]


def _unit(line: str, settings: "DataSettings") -> str:
    """The unit of a line: of a JSON message its text, with who says it where the model reads that; else the line.

    Nothing where nothing is visible, as of a line of NULs.
    """
    text = line.strip() if VISIBLE.search(line) else ""
    if settings.units != "turns" or not text.startswith("{"):
        return text
    from lang_jepa.data.sources.conversations import NoConversation, as_read, conversation_text

    try:
        return as_read([conversation_text([json.loads(text)])[0]], settings)[0]
    except (ValueError, RecursionError, NoConversation):
        return text


def _show(alarms: "list[Scored]", *, as_json: bool) -> None:
    from lang_jepa.cli.console import console, plain

    for one in alarms:
        if as_json:
            console.out(json.dumps(asdict(one), ensure_ascii=False), highlight=False)
            continue
        plain(f"{one.number:>8}  {one_line(one.text)}")
        plain(f"          surprise above {one.surprise:.1%}, novelty above {one.novelty:.1%}", style="dim")
        if one.expected:
            plain(f"          expected: {one_line(one.expected[0])}", style="dim")
    sys.stdout.flush()


def _warn_of_drift(watch: "Monitor") -> bool:
    from lang_jepa.cli.console import warn

    if watch.drifts:
        warn(
            f"more than three times the alarms that were asked for ({watch.per_thousand:g} in a thousand): what comes "
            "is not like what the model was trained on, or something is wrong; train again on newer text"
        )
    return watch.drifts


def _sum_up(watch: "Monitor", *, as_json: bool) -> None:
    from lang_jepa.cli.console import plain

    if not as_json:
        rate = 1000 * watch.alarms / max(1, watch.seen)
        plain(f"{watch.seen:,} units, {watch.alarms:,} alarms ({rate:.2f} in a thousand)", style="dim")
