"""The lines of a file or a pipe as they come, and how far a file was read."""

import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from lang_jepa.data.sources.records import LOOKED_AT, Habits, RecordReader, habits_of
from lang_jepa.errors import LangJepaError

_CHUNK = 1 << 16
_POLL = 0.2
"""Seconds between two readings of a file that is followed."""
_HEAD = 1024
"""Bytes from its beginning by which a file is known again."""

_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
"""What files of gzip, zstd, bzip2 and xz begin with."""

Line = tuple[str, int]
"""A line, and the bytes of its file up to its end."""


def check_lines(path: Path) -> None:
    """Refuse what holds no lines to read.

    Raises:
        LangJepaError: it is missing, a folder, cannot be read, or is compressed; says what to do.
    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                begin = file.read(8)
            if begin.startswith(_PACKED):
                raise LangJepaError(f"{path} is compressed: unpack it first, or pipe its lines in")
        elif path.is_dir() or not path.exists():
            raise LangJepaError(f"cannot read {path}: {'it is a folder' if path.is_dir() else 'there is no such file'}")
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error


def piped(stream: BinaryIO) -> Iterator[bytes]:
    """The bytes of a pipe, as soon as there are some."""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    while piece := read(_CHUNK):
        yield piece


def file_pieces(
    path: Path, *, follow: bool, start: int = 0, wait: Callable[[], object] = lambda: time.sleep(_POLL)
) -> Iterator[bytes | None]:
    """The bytes of a file, and with `follow` what comes after; of a rotated or emptied file the new one, after a None.

    Where nothing comes for a while, an empty piece is handed out.

    Args:
        path: of the file.
        follow: go on at its end.
        start: bytes of it that are left out.
        wait: called where there is nothing new; an exception of it ends the reading.

    Raises:
        LangJepaError: it cannot be read, or no longer.
    """
    try:
        stream, quiet = _opened(path, start), False
        while True:
            while piece := stream.read(_CHUNK):
                quiet = False
                yield piece
            if not follow:
                stream.close()
                return
            try:
                there, here = path.stat(), os.fstat(stream.fileno())
                if there.st_ino == here.st_ino and there.st_size >= stream.tell():
                    if quiet:
                        yield b""
                    quiet = True
                    wait()
                    continue
                while piece := stream.read(_CHUNK):  # what was written before it was moved
                    yield piece
                other = _opened(path)
            except FileNotFoundError:  # between two files of a rotation
                wait()
                continue
            stream.close()
            stream = other
            yield None
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error


def _opened(path: Path, start: int = 0) -> BinaryIO:
    stream = path.open("rb")
    stream.seek(start)
    return stream


def whole_lines(pieces: Iterator[bytes | None], start: int = 0, *, unfinished: bool = True) -> Iterator[list[Line]]:
    """The lines that each piece completes, and at the end of a file the last one; what is no UTF-8 is replaced.

    Of an empty piece an empty list.

    Args:
        pieces: of `piped` or `file_pieces`; None begins another file.
        start: bytes of the first file before its first piece.
        unfinished: hand out a line at the end of the pieces that has no end of its own.
    """
    rest: list[bytes] = []  # a list, since a line may be very long
    at = start
    for piece in pieces:
        if piece is None:  # a line that the old file left unfinished is over
            if line := b"".join(rest):
                yield [(_text(line), 0)]
            rest, at = [], 0
            continue
        if not piece:
            yield []
            continue
        *lines, last = piece.split(b"\n")
        found: list[Line] = []
        for line in lines:
            whole = b"".join([*rest, line])
            at, rest = at + len(whole) + 1, []
            found.append((_text(whole), at))
        if found:
            yield found
        rest.append(last)
    if unfinished and (line := b"".join(rest)):
        yield [(_text(line), at + len(line))]


def habits_in(path: Path) -> Habits | None:
    """How the records of a file of lines begin; None where it has no line yet."""
    lines = (line for some in whole_lines(file_pieces(path, follow=False)) for line, _ in some)
    first = list(islice(lines, LOOKED_AT))
    return habits_of(first) if first else None


def whole_records(batches: Iterable[list[Line]], habits: Habits | None, start: int = 0) -> Iterator[list[Line]]:
    """The records (`data.records`) that lines complete, each with the bytes up to what waits for further lines.

    A record is complete with the line that begins another one, at the end, where nothing comes for a while, and where
    another file begins.

    Args:
        batches: of `whole_lines`.
        habits: of the log (None: those of the first batch).
        start: bytes of the file before the first line.
    """
    reader: RecordReader | None = None
    starts: list[int] = []  # of the lines that wait
    at = start
    for some in batches:
        if reader is None and some:
            reader = RecordReader(habits or habits_of(line for line, _ in some[:LOOKED_AT]))
        if reader is None:
            continue
        found: list[Line] = []
        if not some or some[0][1] < at:
            found, starts = [(record, at) for record in reader.flush()], []
        for line, end in some:
            made = reader.feed(line)
            starts += [min(at, end)] if line.strip() else []
            starts = starts[len(starts) - reader.waiting :]
            at = end
            found += [(record, starts[0] if starts else end) for record in made]
        yield found
    if reader is not None:
        yield [(record, at) for record in reader.flush()]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def place_in(path: Path, offset: int) -> dict[str, Any]:
    """How far a file was read, as plain data; nothing where it is gone.

    Args:
        path: of the file.
        offset: bytes that were read.
    """
    head = _head(path, min(offset, _HEAD))
    return {} if head is None else {"file": str(path.resolve()), "offset": offset, "head": zlib.crc32(head)}


def found_place(path: Path, place: Any) -> int | None:
    """The offset where `place_in` left a file; None where it is another file by now, or was.

    Args:
        path: of the file.
        place: what `place_in` returned; anything else is no place.
    """
    if not isinstance(place, dict) or place.get("file") != str(path.resolve()):
        return None
    offset = place.get("offset")
    if type(offset) is not int or not 0 <= offset <= path.stat().st_size:
        return None
    head = _head(path, min(offset, _HEAD))
    return offset if head is not None and zlib.crc32(head) == place.get("head") else None


def _head(path: Path, size: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            head = file.read(size)
    except OSError:
        return None
    return head if len(head) == size else None
