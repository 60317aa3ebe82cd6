"""Read rows of JSON files: one value per line, one array, or multi-line values, recognised by the file's beginning.

Lines are independent, so a damaged line is a rejected row. In the other forms values are decoded one by one from a
buffer: memory grows with the longest value, not the file; damage is an error, since nothing after it can be trusted.
"""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Literal

from lang_jepa.data.sources.base import SHOWN_KEYS, Row, identity_of
from lang_jepa.data.sources.conversations import is_message
from lang_jepa.data.sources.remote import AnyPath, size_of
from lang_jepa.data.sources.stores import Unreachable
from lang_jepa.data.sources.text_files import BOM, CHUNK, NOT_UTF8, PACKED, chunks, lines, lines_between
from lang_jepa.errors import LangJepaError

FORMAT = 1
MAX_INT_DIGITS = 4000
"""Longer integers are read as floats, because Python refuses to convert them."""
PROBED = 64
"""Number of values from which the keys of a file are collected."""
MAX_VALUE = 1 << 28
"""Maximum number of characters in one value of an array."""

Shape = Literal["lines", "array", "values"]
_SPACE = re.compile(r"[ \t\r\n]*")
_UNDECODED = re.compile("[\udc80-\udcff]")


class SeveralLists(LangJepaError):
    """A file with several consecutive lists, each of which may be one conversation, or all parts of one list."""


def rows(path: AnyPath, column: str, skip: int, beside: Sequence[str] = ()) -> Iterator[Row]:
    """Rows from `skip` on, with the values of the keys `beside`; skipped lines are not parsed.

    Raises:
        LangJepaError: an array or a multi-line value is damaged.
    """
    shape = shape_of(path)
    if shape == "lines":
        for number, (line_number, line) in enumerate(_filled_lines(path)):
            if number >= skip:
                yield _line_row(number, f"line {line_number}", line, column, beside)
        return
    for number, (value, damaged) in enumerate(_values(path, shape)):
        if number >= skip:
            place = f"value {number + 1}"
            yield Row(number, place, fault=NOT_UTF8) if damaged else _row(number, place, value, column, beside)


def pieces(path: AnyPath, size: int) -> list[tuple[int, int, int]]:
    """Equal ranges of at least `size` bytes for uncompressed JSON lines; otherwise the whole file."""
    length = size_of(path)
    if path.suffix.lower() in PACKED or shape_of(path) != "lines":
        return [(0, 0, length)]
    count = max(1, length // size)
    bounds = [length * number // count for number in range(count + 1)]
    return [(first, stop, stop - first) for first, stop in pairwise(bounds)]


def rows_between(path: AnyPath, column: str, first: int, stop: int, beside: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of the lines that begin at bytes `first` to `stop` - 1, counted from 0; all rows if `stop` is 0."""
    if not stop:
        yield from rows(path, column, 0, beside)
        return
    number = 0
    for place, line in lines_between(path, first, stop):
        if line and not line.isspace():
            yield _line_row(number, f"byte {place}", line, column, beside)
            number += 1


def count(path: AnyPath) -> int:
    """Number of rows."""
    shape = shape_of(path)
    return sum(1 for _ in (_filled_lines(path) if shape == "lines" else _values(path, shape)))


def names(path: AnyPath) -> list[str]:
    """Distinct keys of the objects among the first values."""
    values = islice(_some_values(path), PROBED)
    return list(dict.fromkeys(key for value in values if isinstance(value, dict) for key in value))


def one_value(path: AnyPath) -> Any:
    """The value of a file that holds one object or one array; None for anything else and for damaged files.

    Raises:
        SeveralLists: it holds several arrays.
    """
    shape = shape_of(path)
    try:
        if shape == "array":
            return [value for value, _ in _values(path, shape)]
        found = list(islice(_some_values(path), 2))
    except (SeveralLists, Unreachable):
        raise
    except LangJepaError:
        return None
    return found[0] if len(found) == 1 else None


def first_values(path: AnyPath) -> tuple[Shape, list[Any]]:
    """The shape of a file, and its first two values (fewer if there are fewer or they are damaged)."""
    shape = shape_of(path)
    try:
        return shape, list(islice(_some_values(path), 2))
    except Unreachable:
        raise
    except LangJepaError:
        return shape, []


def _some_values(path: AnyPath) -> Iterator[Any]:
    shape = shape_of(path)
    if shape == "lines":
        yield from (_parsed(line) for _, line in _filled_lines(path))
    else:
        yield from (value for value, _ in _values(path, shape))


def no_documents(path: AnyPath, column: str) -> str | None:
    """Why a JSON file is not a list of documents but, for example, a configuration; None if it may be a list."""
    filled, whole = _head(path)
    shape = _shape(filled, whole)
    if shape == "lines" and not (whole and len(filled) == 1):
        return None
    try:
        first = iter([json.loads(filled[0])]) if shape == "lines" else (one for one, _ in _values(path, shape))
        value = next(first, None)
    except Unreachable:
        raise
    except (LangJepaError, ValueError, RecursionError):
        # A configuration may have comments, which are not JSON; a damaged list of documents is reported when read.
        return "damaged JSON" if shape == "values" else None
    if shape == "array":
        fits = value is None or isinstance(value, dict | str) or _is_conversation(value)
        return None if fits else "an array of no documents"
    if not isinstance(value, dict) or column in value:
        return None
    return f"one JSON object without '{column}' ({_keys(value)})"


def looks_like_lines(path: AnyPath) -> bool:
    """Whether a file, whatever its name, begins with a line that is a JSON object."""
    filled, whole = _head(path)
    if not filled or not filled[0].lstrip().startswith(b"{"):
        return False
    if len(filled) == 1 and not whole:
        return re.match(rb'\s*\{\s*"(?:[^"\\]|\\.){0,200}"\s*:', filled[0]) is not None
    return isinstance(_parsed(filled[0]), dict)


def shape_of(path: AnyPath) -> Shape:
    """How the values of a file are laid out."""
    return _shape(*_head(path))


def _head(path: AnyPath) -> tuple[list[bytes], bool]:
    """The non-blank lines among the first bytes of a file, and whether these are the whole file."""
    head, more = b"", chunks(path)
    while len(head) <= CHUNK and (chunk := next(more, b"")):
        head += chunk
    return [line for line in head.removeprefix(BOM).split(b"\n") if line.strip()], len(head) <= CHUNK


def _shape(filled: list[bytes], whole: bool) -> Shape:
    first = filled[0].strip() if filled else b""
    goes_on = len(filled) > 1 or not whole
    if first.startswith(b"["):
        ended = len(filled) > 1 or whole
        return "lines" if ended and goes_on and _parsed(first) is not None else "array"
    if not first.startswith(b"{") or len(filled) < 2 or _parsed(first) is not None:
        return "lines"
    # Either a multi-line value, or JSON lines whose first line is damaged: then other lines are whole objects.
    if first != b"{" and any(line.startswith(b"{") and _parsed(line) is not None for line in filled[1:]):
        return "lines"
    return "values" if first == b"{" or filled[1][:1] in b' \t"}' else "lines"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None


def _filled_lines(path: AnyPath) -> Iterator[tuple[int, bytes]]:
    """Non-blank lines, each with its number from 1."""
    for number, line in enumerate(lines(chunks(path)), start=1):
        if line and not line.isspace():
            yield number, line


def _line_row(number: int, place: str, line: bytes, column: str, beside: Sequence[str]) -> Row:
    try:
        value = json.loads(line.decode("utf-8"), parse_int=_integer)
    except UnicodeDecodeError:
        return Row(number, place, fault=NOT_UTF8)
    except (json.JSONDecodeError, RecursionError):
        return Row(number, place, fault="damaged JSON")
    return _row(number, place, value, column, beside)


def _row(number: int, place: str, value: Any, column: str, beside: Sequence[str]) -> Row:
    """Convert a value to a row: an object with the column, a string (a text by itself), or a list of messages."""
    if isinstance(value, str) or _is_conversation(value):
        return Row(number, place, text=value)
    if not isinstance(value, dict):
        return Row(number, place, fault=f"not a JSON object ({type(value).__name__})")
    others = {name: value[name] for name in beside if name in value}
    if column not in value:
        return Row(number, f"{place} ({_keys(value)})", fault=f"no '{column}' key", beside=others)
    identity = identity_of(value.get("id")) if column != "id" else None
    return Row(number, place, identity, value[column], beside=others)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and is_message(value[0])


def _keys(value: dict[str, Any]) -> str:
    return f"keys: {', '.join(list(value)[:SHOWN_KEYS])}"


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_INT_DIGITS else float(digits)


def _values(path: AnyPath, shape: Shape) -> Iterator[tuple[Any, bool]]:
    """Yield the values of an array or of a file of values, each with whether its bytes are invalid UTF-8."""
    decoder = json.JSONDecoder(parse_int=_integer)
    text = _Buffer(path)
    if shape == "array":
        text.take("[")
    number = 0
    while (sign := text.peek()) and not (shape == "array" and sign == "]"):
        if shape == "array" and number:
            text.take(",")
            text.peek()
        value, source = text.value(decoder)
        number += 1
        yield value, _UNDECODED.search(source) is not None
    if shape == "array":
        text.take("]")
        if text.peek() == "[":
            raise SeveralLists(
                f"{path} holds several JSON lists, one after the other, and one is read. Where each is a conversation, "
                "write one a line (`jq -c . in.json > out.jsonl`); where they hold documents, a document a line "
                "(`jq -c '.[]' in.json > out.jsonl`)."
            )
        if text.peek():
            raise text.damaged("there is more after the end of the array")


class _Buffer:
    """Decoded text of a file, of which only the unconsumed part is held."""

    def __init__(self, path: AnyPath) -> None:
        self.path, self.text, self.at, self.ended, self.values = path, "", 0, False, 0
        self._pieces = chunks(path)
        self._decoder = getincrementaldecoder("utf-8-sig")("surrogateescape")

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._more(1)

    def take(self, sign: str) -> None:
        """Consume one character, which must be `sign`."""
        if self.peek() != sign:
            raise self.damaged(f"'{sign}' is missing")
        self.at += 1

    def value(self, decoder: json.JSONDecoder) -> tuple[Any, str]:
        """The next value and its text. If a value does not fit, decoding is retried with twice as much text."""
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self.ended:
                    raise self.damaged(error.msg) from error
            except RecursionError as error:
                raise self.damaged("it is nested too deeply") from error
            else:
                if end < len(self.text) or self.ended:  # otherwise a number might continue
                    source, self.at = self.text[self.at : end], end
                    self.values += 1
                    return value, source
            if len(self.text) - self.at > MAX_VALUE:
                raise self.damaged(f"a value has more than {MAX_VALUE:,} characters, or no end")
            self._more(len(self.text) - self.at)

    def damaged(self, reason: str) -> LangJepaError:
        """The error to raise for text that is not valid JSON."""
        return LangJepaError(
            f"{self.path}: damaged JSON after value {self.values}: {reason}. Fix it, or write one object a line, for "
            "example with `jq -c '.[]' in.json > out.jsonl`."
        )

    def _more(self, least: int) -> None:
        """Read at least `least` more characters, unless the file ends."""
        parts, size = [self.text[self.at :]], 0
        while size < max(least, 1) and not self.ended:
            piece = next(self._pieces, None)
            self.ended = piece is None
            parts.append(self._decoder.decode(piece or b"", final=piece is None))
            size += len(parts[-1])
        self.text, self.at = "".join(parts), 0
