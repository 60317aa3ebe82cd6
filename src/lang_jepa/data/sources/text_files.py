"""Read text files: decompress in chunks, split into lines, decode.

All reading of user text goes through here, so every command treats byte order marks, line ends and damage alike. A line
ends at `\\n` or `\\r\\n` and nowhere else: U+2028, U+0085 and form feeds are ordinary characters.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import zstandard

from lang_jepa.data.sources.remote import MOST, REST_OF_REQUEST, AnyPath, RemoteFile
from lang_jepa.errors import LangJepaError, first_line

FORMAT = 1
"""Version of these rules; another version makes different documents from the same bytes."""
PACKED = (".gz", ".zst")
"""Suffixes of compressed files."""
BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 18
"""Bytes read at a time."""
REST = 1 << 10
"""Bytes read at a time for a line that continues beyond the wanted range."""
WINDOW = 1 << 31
"""Largest supported zstd window, which is the largest that `zstd --long=31` writes."""
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""Byte order marks of UTF-16."""


class NotText(ValueError):
    """Bytes that are not UTF-8 text.

    Attributes:
        reason: why not.
        place: position of the offending byte.
    """

    def __init__(self, reason: str, place: int) -> None:
        super().__init__(f"{reason}, at byte {place}")
        self.reason, self.place = reason, place


NOT_UTF8 = "not UTF-8 (another encoding, such as Latin-1 or UTF-16?)"


def chunks(path: AnyPath) -> Iterator[bytes]:
    """Yield a file's decompressed bytes in chunks.

    Raises:
        LangJepaError: the file cannot be read, is truncated, or does not match its suffix.
        Unreachable: its store does not deliver it.
    """
    try:
        match path.suffix.lower():
            case ".gz":
                with path.open("rb") as stream, gzip.open(stream) as packed:
                    while chunk := packed.read(CHUNK):
                        yield chunk
            case ".zst":
                yield from _zstd_chunks(path)
            case _:
                with path.open("rb") as stream:
                    while chunk := stream.read(CHUNK):
                        yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise LangJepaError(
            f"{path} is damaged, cut short, or not compressed as its name says ({first_line(error)}). "
            "Copy or download it again."
        ) from error
    except OSError as error:
        raise LangJepaError(f"{path} cannot be read: {error.strerror or error}.") from error


def _zstd_chunks(path: AnyPath) -> Iterator[bytes]:
    """Decompressed chunks of all frames of a zstd file; the library's own reader ends silently on a truncated file."""
    with path.open("rb") as stream:
        unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
        inside = False
        while data := stream.read(CHUNK):
            while data:
                inside = True
                if chunk := unpacker.decompress(data):
                    yield chunk
                data = b""
                if unpacker.eof:
                    data, inside = unpacker.unused_data, False
                    unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
        if inside:
            raise EOFError("the last frame has no end")


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines without their `\\n` and without an initial byte order mark, in time linear in a line's length."""
    parts: list[bytes] = []
    first = True
    for chunk in pieces:
        head, *rest = chunk.split(b"\n")
        parts.append(head)
        for line in rest:
            whole = b"".join(parts)
            yield whole.removeprefix(BOM) if first else whole
            parts, first = [line], False
    if last := b"".join(parts):
        yield last.removeprefix(BOM) if first else last


def lines_between(path: AnyPath, first: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that begin at bytes `first` to `stop` - 1 as (position, line); little more is read.

    Raises:
        LangJepaError: the file cannot be read.
    """
    begin = max(first - 1, 0)  # a line that begins at `first` is recognised by the line end before it
    place, pieces = begin, _from(path, begin, stop)
    head = next(pieces, b"")
    mark = len(BOM) if not first and head.startswith(BOM) else 0
    found = lines(chain([head[mark:]], pieces))
    if first:
        place += len(next(found, b"")) + 1
    while place < stop and (line := next(found, None)) is not None:
        yield place, line
        place += len(line) + 1 + mark
        mark = 0


def _from(path: AnyPath, begin: int, stop: int) -> Iterator[bytes]:
    """A file's bytes from `begin` on, in large chunks up to `stop` and in small ones after it."""
    most, rest = (MOST, REST_OF_REQUEST) if isinstance(path, RemoteFile) else (CHUNK, REST)
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(begin)
            while chunk := stream.read(min(most, stop - begin) if begin < stop else rest):
                begin += len(chunk)
                yield chunk
    except OSError as error:
        raise LangJepaError(f"{path} cannot be read: {error.strerror or error}.") from error


def decode(content: bytes) -> str:
    """The text of a whole file, without a byte order mark.

    Raises:
        NotText: it is not UTF-8, or binary.
    """
    if content.startswith(UTF16):
        raise NotText("not UTF-8 (UTF-16 with a byte order mark)", 0)
    if b"\0" in content:
        raise NotText("binary data (NUL characters)", content.index(0))
    try:
        return content.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotText(NOT_UTF8, error.start) from error


def text_of(pieces: Iterable[bytes], where: str) -> str:
    """The text of a file or of standard input.

    Raises:
        LangJepaError: it is not UTF-8, or binary.
    """
    try:
        return decode(b"".join(pieces))
    except NotText as error:
        raise LangJepaError(f"{where} is not UTF-8 text: {error}. Save it as UTF-8.") from error


def text_lines(pieces: Iterable[bytes], where: str) -> Iterator[str]:
    """Yield every line of a file or of standard input, including empty ones, stripped.

    Raises:
        LangJepaError: a line is not UTF-8, or binary; the message names the line.
    """
    for number, line in enumerate(lines(pieces), start=1):
        try:
            yield decode(line).strip()
        except NotText as error:
            raise LangJepaError(f"{where} is not UTF-8 text: line {number}: {error}. Save it as UTF-8.") from error


def filled_lines(pieces: Iterable[bytes], where: str) -> list[str]:
    """The lines that contain text.

    Raises:
        LangJepaError: a line is not UTF-8, or no line contains text.
    """
    found = [line for line in text_lines(pieces, where) if line]
    if not found:
        raise LangJepaError(f"{where} holds no text")
    return found
