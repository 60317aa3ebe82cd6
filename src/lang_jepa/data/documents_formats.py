"""Rows of single files: parquet, JSON lines and plain text, the last two also compressed.

Every reader passes over the first `skip` rows as cheaply as its format allows: parquet by whole row groups,
JSON lines without parsing, a plain-text file is one row.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from lang_jepa.errors import LangJepaError

FORMAT = 1
"""Of the documents that files give: raise it when a reader gives other texts, ids or rejections."""

KNOWN = ".parquet, .jsonl, .ndjson, .json, .txt, .md (all but .parquet also with .gz or .zst behind)"
"""The suffixes that can be read, for messages."""

NOT_UTF8 = "not UTF-8 (another encoding, such as Latin-1 or UTF-16?)"
CHUNK = 1 << 18
"""Bytes read at a time."""
BATCH_ROWS = 64
"""Rows of a parquet file held at a time."""
MAX_INT_DIGITS = 4000
"""Longer integers are read as floats: Python refuses to convert them."""

_KINDS = {
    ".parquet": "parquet",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON lines",
    ".txt": "text",
    ".md": "text",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One raw row: its number in the file, a place for people, its id column, and its text or a fault."""

    number: int
    place: str
    id: str | None = None
    text: object = None
    fault: str | None = None


def kind_of(path: Path) -> str | None:
    """`parquet`, `JSON lines` or `text` by the suffix, or None."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in {".gz", ".zst"}:
        kind = _KINDS.get(suffixes[-2]) if len(suffixes) > 1 else None
        return None if kind == "parquet" else kind
    return _KINDS.get(suffixes[-1]) if suffixes else None


def read_rows(path: Path, column: str, skip: int = 0) -> Iterator[Row]:
    """Rows of one file from `skip` on.

    Raises:
        LangJepaError: the file is damaged, cut short, or may not be read.
    """
    readers = {"parquet": _parquet_rows, "JSON lines": _json_rows, "text": _text_rows}
    return readers[str(kind_of(path))](path, column, skip)


def count_rows(path: Path) -> int:
    """Number of rows of one file."""
    match kind_of(path):
        case "parquet":
            with _parquet(path) as file:
                return int(file.metadata.num_rows)
        case "text":
            return 1
        case _:
            return sum(1 for _ in _filled_lines(path))


def id_hash(identity: str) -> int:
    """64-bit hash of a document's id."""
    return int.from_bytes(
        blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def id_hashes(path: Path, column: str) -> Iterator[int]:
    """Hashes of the ids that a file gives its rows, in order; nothing where it gives none."""
    match kind_of(path):
        case "parquet":
            with _parquet(path) as file:
                if "id" not in file.schema_arrow.names or column == "id":
                    return
                for batch in file.iter_batches(columns=["id"], batch_size=4096):
                    yield from (id_hash(i) for value in _values(batch.column(0)) if (i := _identity(value)))
        case "JSON lines":
            for row in _json_rows(path, column, 0):
                if row.id:
                    yield id_hash(row.id)


def _identity(value: object) -> str | None:
    """The id column's value as an identity, or None when it is no use as one."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value).encode("utf-8", "backslashreplace").decode()


# Parquet


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """An open parquet file; whatever is wrong with it becomes one clear error."""
    try:
        # Without these two a whole column of a row group is read at once, which may be gigabytes.
        flat = {"buffer_size": CHUNK, "pre_buffer": False}
        with pq.ParquetFile(path, page_checksum_verification=True, **flat) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise LangJepaError(
            f"{path} is damaged, cut short, or not a parquet file ({_first_line(error)}). Copy or download it again."
        ) from error


def check_parquet(path: Path, column: str) -> None:
    """Raise unless a parquet file has the column, with text in it."""
    with _parquet(path) as file:
        schema = file.schema_arrow
        if column not in schema.names:
            raise LangJepaError(
                f"{path} has no column '{column}'; its columns are {', '.join(schema.names) or '(none)'}. "
                "Set data.text_column."
            )
        if schema.names.count(column) > 1:
            raise LangJepaError(f"{path} has more than one column '{column}'. Rename or drop one.")
        kind = schema.field(column).type
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        tests = (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_null,
        )
        if not any(test(inner) for test in tests):
            text = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
            raise LangJepaError(
                f"{path}: the column '{column}' holds {kind}, not text; columns of text are "
                f"{', '.join(text) or '(none)'}. Set data.text_column."
            )


def _parquet_rows(path: Path, column: str, skip: int) -> Iterator[Row]:
    with _parquet(path) as file:
        with_ids = "id" in file.schema_arrow.names and column != "id"
        columns = [column, "id"] if with_ids else [column]
        number, groups = 0, list(range(file.num_row_groups))
        while groups and number + file.metadata.row_group(groups[0]).num_rows <= skip:
            number += file.metadata.row_group(groups.pop(0)).num_rows
        if not groups:
            return
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=groups, columns=columns):
            start = min(max(skip - number, 0), batch.num_rows)
            number, batch = number + start, batch.slice(start)
            texts = _values(batch.column(batch.schema.get_field_index(column)))
            ids = _values(batch.column(batch.schema.get_field_index("id"))) if with_ids else []
            for offset, text in enumerate(texts):
                identity = _identity(ids[offset]) if ids else None
                fault = NOT_UTF8 if isinstance(text, bytes) else None
                yield Row(number, f"row {number}", identity, text, fault)
                number += 1


def _values(column: pa.Array) -> list[Any]:
    """A column as Python values; bytes become text where they are UTF-8 and stay bytes where they are not."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pa.large_binary()).to_pylist()
    return [_decoded(value) if isinstance(value, bytes) else value for value in values]


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


# JSON lines and plain text


def _json_rows(path: Path, column: str, skip: int) -> Iterator[Row]:
    for number, (line_number, line) in enumerate(_filled_lines(path)):
        if number >= skip:
            yield _json_row(number, f"line {line_number}", line, column)


def _json_row(number: int, place: str, line: bytes, column: str) -> Row:
    """One line of JSON as a row."""
    try:
        value = json.loads(line.decode("utf-8"), parse_int=_integer)
    except UnicodeDecodeError:
        return Row(number, place, fault=NOT_UTF8)
    except (json.JSONDecodeError, RecursionError):
        return Row(number, place, fault="damaged JSON")
    if not isinstance(value, dict):
        return Row(number, place, fault=f"not a JSON object ({type(value).__name__})")
    if column not in value:
        keys = ", ".join(list(value)[:8])
        return Row(number, f"{place} (keys: {keys})", fault=f"no '{column}' key")
    identity = _identity(value.get("id")) if column != "id" else None
    return Row(number, place, identity, value[column])


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_INT_DIGITS else float(digits)


def _filled_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, each with its number from 1.

    Raises:
        LangJepaError: the file is one pretty-printed document or array, not JSON lines.
    """
    first = True
    for number, line in enumerate(_lines(path), start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        stripped = line.strip()
        if not stripped:
            continue
        if first and (stripped in {b"[", b"{"} or (stripped.startswith(b"[{") and path.suffix == ".json")):
            raise LangJepaError(
                f"{path} holds one JSON document over several lines or one array, not JSON lines. Write one object "
                "per line, for example with `jq -c '.[]' in.json > out.jsonl`."
            )
        first = False
        yield number, line


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file without their newline; the time is linear in the length of a line however long it is."""
    parts: list[bytes] = []
    for chunk in _chunks(path):
        head, *rest = chunk.split(b"\n")
        parts.append(head)
        for line in rest:
            yield b"".join(parts)
            parts = [line]
    last = b"".join(parts)
    if last:
        yield last


def _text_rows(path: Path, column: str, skip: int) -> Iterator[Row]:
    if skip:
        return
    content = b"".join(_chunks(path))
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield Row(0, "start", fault="not UTF-8 (UTF-16 with a byte order mark)")
        return
    if b"\0" in content:
        yield Row(0, f"byte {content.index(0)}", fault="binary data (NUL characters)")
        return
    try:
        yield Row(0, "start", text=content.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except UnicodeDecodeError as error:
        yield Row(0, f"byte {error.start}", fault=NOT_UTF8)


def _chunks(path: Path) -> Iterator[bytes]:
    """A file's bytes, decompressed, piece by piece.

    Raises:
        LangJepaError: it may not be read, is cut short, or is not what its suffix says.
    """
    try:
        match path.suffix.lower():
            case ".gz":
                with gzip.open(path) as packed:
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
            f"{path} is damaged, cut short, or not compressed as its name says ({_first_line(error)}). "
            "Copy or download it again."
        ) from error
    except OSError as error:
        raise LangJepaError(f"{path} cannot be read: {error.strerror or error}.") from error


def _zstd_chunks(path: Path) -> Iterator[bytes]:
    """Decompressed pieces of all frames of a zstd file; the library's own reader ends silently on a cut file."""
    with path.open("rb") as stream:
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        inside = False
        while data := stream.read(CHUNK):
            while data:
                inside = True
                if chunk := unpacker.decompress(data):
                    yield chunk
                data = b""
                if unpacker.eof:
                    data, inside = unpacker.unused_data, False
                    unpacker = zstandard.ZstdDecompressor().decompressobj()
        if inside:
            raise EOFError("the last frame has no end")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
