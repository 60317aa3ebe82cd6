"""Read the lines of a file or a pipe as they arrive."""

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
"""Seconds between two reads of a file that is followed."""

_PACKED = {b"\x1f\x8b": "zcat", b"\x28\xb5\x2f\xfd": "zstdcat", b"BZh": "bzcat", b"\xfd7zXZ": "xzcat"}
"""The first bytes of gzip, zstd, bzip2 and xz files, and what unpacks them."""


class Line(NamedTuple):
    """A line of a file, or a record of several lines.

    Attributes:
        text: of the line or record.
        number: in its file, from 1; for a record, that of its first line.
        end: offset in bytes of what has not been handed out yet.
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
"""Lines that arrived together; None marks where another file begins."""


def check_lines(path: Path, *, follow: bool = False) -> None:
    """Refuse a file whose lines cannot be read, before a model is loaded.

    Args:
        path: of the file.
        follow: whether it is to be read as it grows.

    Raises:
        LangJepaError: it is missing, is a folder, cannot be read, is UTF-16, or is compressed in a way that is not
            supported here; says what to do.
    """
    try:
        if path.is_dir():
            raise LangJepaError(f"cannot read {path}: it is a folder. Name one file of it.")
        if not path.exists():
            raise LangJepaError(f"cannot read {path}: there is no such file")
        if not path.is_file():  # a named pipe: what is read from it is gone
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
    """Raise the error for text in UTF-16 if the first bytes say that it is."""
    if begin.startswith(UTF16):
        text_of([begin[:2]], where)


def is_packed(path: Path) -> bool:
    """Whether a file is unpacked as it is read, judging by its name."""
    return path.suffix.lower() in PACKED


def piped(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a pipe as they arrive."""
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
    """Yield the bytes of a file and, with `follow`, what is appended to it.

    None precedes the new file after a rotation or truncation; an empty piece means that nothing came for a while.

    Args:
        path: of the file.
        follow: keep reading at its end.
        start: bytes of it to skip.
        wait: called when there is nothing new; an exception from it ends the reading.
        opened: called with the identity of each file that is opened, before the None that announces another file.

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
            if not follow or path.is_fifo():  # a named pipe ends with its writer
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
    if start:  # a pipe cannot seek
        stream.seek(start)
    return stream


def whole_lines(
    pieces: Iterator[bytes | None], start: int = 0, number: int = 1, *, unfinished: bool = True
) -> Iterator[Batch]:
    """Yield the lines that each piece completes, and at the end of a file the last one; invalid UTF-8 is replaced. NUL
    characters in front of a line are dropped: a log has them if it was emptied while its writer went on.

    An empty piece yields an empty list, and None is yielded where another file begins.

    Args:
        pieces: from `piped` or `file_pieces`; None begins another file.
        start: bytes of the first file before its first piece.
        number: of its first line.
        unfinished: also yield a last line that is not terminated.

    Raises:
        LangJepaError: the first line is UTF-16.
    """
    rest: list[bytes] = []  # a list, since a line may be very long
    at = start
    for piece in pieces:
        if piece is None:  # a line that the old file left unfinished is complete
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
    """Return the first lines of a file, from which it is known how its records begin, as far as they are there."""
    lines = (line.text for some in whole_lines(file_pieces(path, follow=False)) for line in some or ())
    return list(islice(lines, LOOKED_AT))


def whole_records(
    batches: Iterable[Batch], first: Sequence[str] = (), start: int = 0, number: int = 1, *, unfinished: bool = True
) -> Iterator[Batch]:
    """Yield the records (`data.records`) that lines complete.

    A record is complete when a line begins another one, when nothing arrives for a while, or when another file begins.
    How records begin is known from the first `LOOKED_AT` lines, or from those that have arrived if there are fewer.

    Args:
        batches: from `whole_lines`.
        first: `first_lines` of the file; for a pipe none.
        start, number: as in `whole_lines`.
        unfinished: also yield what waits at the end, although further lines might continue it.
    """
    habits = _Habits(first)
    return _joined(batches, habits.reader, start, number, unfinished=unfinished, learn=habits.learn)


def whole_turns(
    batches: Iterable[Batch], first: Sequence[str] = (), start: int = 0, number: int = 1, *, unfinished: bool = True
) -> Iterator[Batch]:
    """Yield the turns that lines complete, if the first line names a speaker, or else the lines as they are.

    A turn is complete under the conditions of `whole_records`. It is `Spoken` unless it continues one that was already
    yielded.

    Args:
        batches: from `whole_lines`.
        first: `first_lines` of the file, which also show who speaks (`Speakers`); for a pipe none, so a speaker who is
            recognised only after two lines is known from the second one on.
        start, number, unfinished: as in `whole_records`.
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
    reader = TurnReader(speakers)
    for some in _joined(chain(begun, lines), reader, start, number, unfinished=unfinished):
        yield some and [Spoken(*line) if reader.begins(line.text) else line for line in some]


def _joined(
    batches: Iterable[Batch],
    reader: RecordReader | TurnReader,
    start: int,
    number: int,
    *,
    unfinished: bool,
    learn: Callable[[Sequence[Line]], object] = lambda lines: None,
) -> Iterator[Batch]:
    """Yield what a reader makes of lines, which `learn` sees first, each with its place and that of what follows."""
    waiting: list[tuple[int, int]] = []  # where the waiting lines begin: number and offset in bytes
    place = (number, start)
    for some in batches:
        if not some:  # the log pauses, or another one begins
            place = place if some is not None else (1, 0)
            yield _records(reader.flush(), waiting, place)
            waiting = []
            if some is None:
                yield None
            continue
        learn(some)
        found: list[Line] = []
        for line in some:
            made, before = reader.feed(line.text), waiting
            waiting = [*waiting, (line.number, place[1])] if line.text.strip() else waiting
            waiting = waiting[len(waiting) - reader.waiting :]
            place = (line.following, line.end)
            found += _records(made, before, waiting[0] if waiting else place)
        yield found
    if unfinished:
        yield _records(reader.flush(), waiting, place)


def _records(made: Sequence[str], lines: Sequence[tuple[int, int]], place: tuple[int, int]) -> list[Line]:
    """The records that a reader made of the waiting lines; if there are two, the second is the last line alone."""
    first = (lines[0][0], lines[-1][0]) if lines else ()
    return [Line(text, number, place[1], place[0]) for text, number in zip(made, first, strict=False)]


class _Habits:
    """How records begin, judging by the first lines of a log; while there are few, it is decided again as more arrive.

    Args:
        first: lines that are known.
    """

    def __init__(self, first: Sequence[str]) -> None:
        self.reader = RecordReader(habits_of(first))
        self._lines, self._decided = list(first), len(first)

    def learn(self, lines: Sequence[Line]) -> None:
        """Learn from further lines; their numbers show which are already known."""
        if len(self._lines) >= LOOKED_AT:
            return
        for line in lines:
            if line.number == len(self._lines) + 1:
                self._lines.append(line.text)
        if len(self._lines) >= min(LOOKED_AT, 2 * self._decided + 1):  # each decision reads all of them
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
