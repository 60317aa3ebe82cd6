"""The lines of a file or a pipe as they come."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lang_jepa.cli.places import Identity
from lang_jepa.data.sources.records import LOOKED_AT, RecordReader, habits_of
from lang_jepa.data.sources.speakers import Speakers, TurnReader
from lang_jepa.data.sources.text_files import NOT_UTF8, PACKED, UTF16, chunks, text_of
from lang_jepa.errors import LangJepaError

_CHUNK = 1 << 16
_POLL = 0.2
"""Seconds between two readings of a file that is followed."""

_PACKED = {b"\x1f\x8b": "zcat", b"\x28\xb5\x2f\xfd": "zstdcat", b"BZh": "bzcat", b"\xfd7zXZ": "xzcat"}
"""What files of gzip, zstd, bzip2 and xz begin with, and what unpacks them."""


class Line(NamedTuple):
    """A line of a file, or a record of several.

    Attributes:
        text: of it.
        number: in its file, from 1; of a record that of its first line.
        end: bytes of the file up to what was not handed out.
        following: number of the line there.
    """

    text: str
    number: int
    end: int
    following: int


class Spoken(Line):
    """A turn that begins with its speaker, "Anna: Good morning", of one line or several."""

    __slots__ = ()


Batch = list[Line] | None
"""Lines that came together; None stands where another file begins."""


def check_lines(path: Path, *, follow: bool = False) -> None:
    """Refuse what holds no lines to read, before a model is loaded.

    Args:
        path: of the file.
        follow: it is to be read as it grows.

    Raises:
        LangJepaError: it is missing, a folder, cannot be read, is UTF-16, or is compressed in a way that is not read
            here; says what to do.
    """
    try:
        if path.is_dir():
            raise LangJepaError(f"cannot read {path}: it is a folder. Name one file of it.")
        if not path.exists():
            raise LangJepaError(f"cannot read {path}: there is no such file")
        if not path.is_file():  # a named pipe: what is read of it is gone
            return
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error
    unpack = next((name for bytes_, name in _PACKED.items() if begin.startswith(bytes_)), None)
    if unpack and not is_packed(path):
        raise LangJepaError(f"{path} is compressed: `{unpack} {path} | lang-jepa monitor RUN -`")
    if follow and is_packed(path):
        raise LangJepaError(f"{path} is compressed, so it does not grow: leave --follow out, or follow the log itself")
    _refuse_utf16(next(iter(chunks(path)), b"") if is_packed(path) else begin, str(path))


def _refuse_utf16(begin: bytes, where: str) -> None:
    """Raise what a text in UTF-16 is refused with, by the bytes that it begins with."""
    if begin.startswith(UTF16):
        text_of([begin[:2]], where)


def is_packed(path: Path) -> bool:
    """Whether a file is unpacked as it is read, by its name."""
    return path.suffix.lower() in PACKED


def piped(stream: BinaryIO) -> Iterator[bytes]:
    """The bytes of a pipe, as soon as there are some."""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    while piece := read(_CHUNK):
        yield piece


def file_pieces(
    path: Path,
    *,
    follow: bool,
    start: int = 0,
    wait: Callable[[], object] = lambda: time.sleep(_POLL),
    opened: Callable[[Identity], object] = lambda identity: None,
) -> Iterator[bytes | None]:
    """The bytes of a file, and with `follow` what comes after; of a rotated or emptied file the new one, after a None.

    Where nothing comes for a while, an empty piece is handed out.

    Args:
        path: of the file.
        follow: go on at its end.
        start: bytes of it that are left out.
        wait: called where there is nothing new; an exception of it ends the reading.
        opened: called with each file that is opened, of another one before the None.

    Raises:
        LangJepaError: it cannot be read, or no longer.
    """
    if is_packed(path) and not follow:
        yield from chunks(path)
        return
    try:
        stream, quiet = _opened(path, start, opened), False
        while True:
            while piece := stream.read(_CHUNK):
                quiet = False
                yield piece
            if not follow or path.is_fifo():  # a named pipe ends with whoever writes into it
                stream.close()
                return
            try:
                there, here = path.stat(), os.fstat(stream.fileno())
                if os.path.samestat(there, here) and there.st_size >= stream.tell():
                    if quiet:
                        yield b""
                    quiet = True
                    wait()
                    continue
                while piece := stream.read(_CHUNK):  # what was written before it was moved
                    yield piece
                other = _opened(path, 0, opened)
            except FileNotFoundError:  # between two files of a rotation
                wait()
                continue
            stream.close()
            stream = other
            yield None
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error


def _opened(path: Path, start: int, opened: Callable[[Identity], object]) -> BinaryIO:
    stream = path.open("rb")
    found = os.fstat(stream.fileno())
    opened((found.st_dev, found.st_ino))
    if start:  # in a pipe nobody can move
        stream.seek(start)
    return stream


def whole_lines(
    pieces: Iterator[bytes | None], start: int = 0, number: int = 1, *, unfinished: bool = True
) -> Iterator[Batch]:
    """The lines that each piece completes, and at the end of a file the last one; what is no UTF-8 is replaced. NUL
    characters in front of a line are left out: they are what a log has that was emptied while its writer went on.

    Of an empty piece an empty list, and None where another file begins.

    Args:
        pieces: of `piped` or `file_pieces`; None begins another file.
        start: bytes of the first file before its first piece.
        number: of its first line.
        unfinished: hand out a line at the end of the pieces that has no end of its own.

    Raises:
        LangJepaError: the first line is of UTF-16.
    """
    rest: list[bytes] = []  # a list, since a line may be very long
    at = start
    for piece in pieces:
        if piece is None:  # a line that the old file left unfinished is over
            if line := b"".join(rest):
                yield [Line(_text(line, number), number, 0, 1)]
            rest, at, number = [], 0, 1
            yield None
            continue
        if not piece:
            yield []
            continue
        *lines, last = piece.split(b"\n")
        found: list[Line] = []
        for line in lines:
            whole = b"".join([*rest, line])
            at, rest, number = at + len(whole) + 1, [], number + 1
            found.append(Line(_text(whole, number - 1), number - 1, at, number))
        if found:
            yield found
        rest.append(last)
    if unfinished and (line := b"".join(rest)):
        yield [Line(_text(line, number), number, at + len(line), number + 1)]


def first_lines(path: Path) -> list[str]:
    """The lines of a file by which it is known how its records begin, as far as they are there."""
    lines = (line.text for some in whole_lines(file_pieces(path, follow=False)) for line in some or ())
    return list(islice(lines, LOOKED_AT))


def whole_records(
    batches: Iterable[Batch], first: Sequence[str] = (), start: int = 0, number: int = 1, *, unfinished: bool = True
) -> Iterator[Batch]:
    """The records (`data.records`) that lines complete.

    A record is complete with the line that begins another one, where nothing comes for a while, and where another file
    begins. How records begin is known by the first `LOOKED_AT` lines, of fewer by those that came so far.

    Args:
        batches: of `whole_lines`.
        first: `first_lines` of the file, of a pipe none.
        start, number: as of `whole_lines`.
        unfinished: hand out what waits at the end, which further lines might continue.
    """
    return _joined(batches, _Habits(first), start, number, unfinished=unfinished)


def whole_turns(
    batches: Iterable[Batch], first: Sequence[str] = (), start: int = 0, number: int = 1, *, unfinished: bool = True
) -> Iterator[Batch]:
    """The turns that lines complete, where the first line names a speaker; else the lines as they are.

    A turn is complete as a record is, see `whole_records`. It is `Spoken` unless it goes on with one that was handed
    out.

    Args:
        batches: of `whole_lines`.
        first: `first_lines` of the file, which also show who speaks (`Speakers`); of a pipe none, so that a speaker
            that takes two lines is known by the second.
        start, number, unfinished: as of `whole_records`.
    """
    lines, begun, known = iter(batches), list[Batch](), [line for line in first if line.strip()]
    for some in lines if not known else ():
        begun += [] if some == [] else [some]
        known = [line.text for line in some or () if line.text.strip()]
        if known:
            break
    speakers = Speakers(known)
    if not known or not speakers.begins(known[0]):
        yield from chain(begun, lines)
        return
    turns = _Turns(TurnReader(speakers))
    for some in _joined(chain(begun, lines), turns, start, number, unfinished=unfinished):
        yield some and [Spoken(*line) if turns.reader.begins(line.text) else line for line in some]


class _Turns:
    """As `_Habits`, of a text in which turns begin with a name."""

    def __init__(self, reader: TurnReader) -> None:
        self.reader = reader

    def learn(self, lines: Sequence[Line]) -> None:
        """Nothing: they are known."""


def _joined(
    batches: Iterable[Batch], habits: "_Habits | _Turns", start: int, number: int, *, unfinished: bool
) -> Iterator[Batch]:
    """What a reader makes of lines, where each stands and what of the file it leaves."""
    waiting: list[tuple[int, int]] = []  # where the lines that wait begin: number and bytes
    place = (number, start)
    for some in batches:
        if not some:  # the log pauses, or another one begins
            place = place if some is not None else (1, 0)
            yield _records(habits.reader.flush(), waiting, place)
            waiting = []
            if some is None:
                yield None
            continue
        habits.learn(some)
        found: list[Line] = []
        for line in some:
            made, before = habits.reader.feed(line.text), waiting
            waiting = [*waiting, (line.number, place[1])] if line.text.strip() else waiting
            waiting = waiting[len(waiting) - habits.reader.waiting :]
            place = (line.following, line.end)
            found += _records(made, before, waiting[0] if waiting else place)
        yield found
    if unfinished:
        yield _records(habits.reader.flush(), waiting, place)


def _records(made: Sequence[str], lines: Sequence[tuple[int, int]], place: tuple[int, int]) -> list[Line]:
    """What a reader of records made of the lines that waited: of two the second is the last line alone."""
    first = (lines[0][0], lines[-1][0]) if lines else ()
    return [Line(text, number, place[1], place[0]) for text, number in zip(made, first, strict=False)]


class _Habits:
    """How records begin, by the first lines of a log; while those are few it is decided anew as more come.

    Args:
        first: lines that are known.
    """

    def __init__(self, first: Sequence[str]) -> None:
        self.reader = RecordReader(habits_of(first))
        self._lines, self._decided = list(first), len(first)

    def learn(self, lines: Sequence[Line]) -> None:
        """Take further lines, of which some may be known: by their numbers."""
        if len(self._lines) >= LOOKED_AT:
            return
        for line in lines:
            if line.number == len(self._lines) + 1:
                self._lines.append(line.text)
        if len(self._lines) >= min(LOOKED_AT, 2 * self._decided + 1):  # all of them are read for each decision
            self._decided = len(self._lines)
            self.reader.habits = habits_of(self._lines[:LOOKED_AT])


def _text(line: bytes, number: int) -> str:
    whole = line.lstrip(b"\0")
    if number == 1:
        _refuse_utf16(line, "what comes")
        if 3 * whole.count(b"\0") > len(whole):
            raise LangJepaError(f"what comes is {NOT_UTF8}: pipe it through `iconv -f UTF-16 -t UTF-8`")
    text = whole.decode("utf-8", "replace").rstrip("\r")
    return text.removeprefix("\ufeff") if number == 1 else text
