"""Read rows of parquet files, a few at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.data.sources.base import Row, identity_of, option
from lang_jepa.data.sources.parts import DAMAGED
from lang_jepa.data.sources.remote import AnyPath, Ranges, RemoteFile
from lang_jepa.data.sources.text_files import CHUNK, NOT_UTF8
from lang_jepa.errors import LangJepaError, check_extra, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMAT = 1
BATCH_ROWS = 64
"""Number of rows held in memory at a time."""
REQUEST = 1 << 22
"""Bytes of a column requested from a store at a time."""


@contextmanager
def _parquet(path: AnyPath) -> Iterator["pq.ParquetFile"]:
    """Open a parquet file, turning whatever is wrong with it into one clear error."""
    check_extra("hub", f"{path} is a parquet file, which")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without these two options a whole column of a row group, perhaps gigabytes, is read at once.
        source, size = (Ranges(path), REQUEST) if isinstance(path, RemoteFile) else (path, CHUNK)
        flat = {"buffer_size": size, "pre_buffer": False}
        with pq.ParquetFile(source, page_checksum_verification=True, **flat) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        is_empty = isinstance(path, Path) and path.is_file() and path.stat().st_size == 0
        what = (
            "is empty (0 bytes), so it is not a parquet file"
            if is_empty
            else (f"is damaged, cut short, or not a parquet file ({first_line(error)})")
        )
        raise LangJepaError(f"{path} {what}. Copy or download it again.") from error


def check(path: AnyPath, column: str, setting: str = option("text_column")) -> None:
    """Raise unless a parquet file has exactly one column of the name given in the setting."""
    with _parquet(path) as file:
        schema = file.schema_arrow
        if column not in schema.names:
            raise LangJepaError(
                f"{path} has no column '{column}'; its columns are {', '.join(schema.names) or '(none)'}. "
                f"Set {setting}."
            )
        if schema.names.count(column) > 1:
            raise LangJepaError(f"{path} has more than one column '{column}'. Rename or drop one.")


def check_text(path: AnyPath, column: str) -> None:
    """Raise unless a column of a parquet file holds text."""
    with _parquet(path) as file:
        import pyarrow as pa

        schema = file.schema_arrow
        kind = schema.field(column).type
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        tests = (
            pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary,
            pa.types.is_large_binary, pa.types.is_null,
        )  # fmt: skip
        if not any(test(inner) for test in tests):
            text = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
            raise LangJepaError(
                f"{path}: the column '{column}' holds {kind}, not text; columns of text are "
                f"{', '.join(text) or '(none)'}. Set data.text_column (--text-column)"
                + (", or data.units=turns for a list of messages." if _is_list(kind) else ".")
            )


def _is_list(kind: "pa.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind))


def names(path: AnyPath) -> list[str]:
    """Names of the columns."""
    with _parquet(path) as file:
        return list(file.schema_arrow.names)


def count(path: AnyPath) -> int:
    """Number of rows, from the footer."""
    with _parquet(path) as file:
        return int(file.metadata.num_rows)


def rows(path: AnyPath, column: str, skip: int, beside: Sequence[str] = ()) -> Iterator[Row]:
    """Rows from `skip` on, with the values of the columns `beside`; skipped row groups are not read."""
    with _parquet(path) as file:
        number, groups = 0, list(range(file.num_row_groups))
        while groups and number + file.metadata.row_group(groups[0]).num_rows <= skip:
            number += file.metadata.row_group(groups.pop(0)).num_rows
        yield from _rows(file, groups, number, column, skip, beside)


def pieces(path: AnyPath, size: int) -> list[tuple[int, int, int]]:
    """The row groups as (number, number + 1, bytes)."""
    with _parquet(path) as file:
        every = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        columns = [[group.column(number) for number in range(group.num_columns)] for group in every]
        return [(n, n + 1, sum(one.total_compressed_size for one in some)) for n, some in enumerate(columns)]


def rows_between(path: AnyPath, column: str, first: int, stop: int, beside: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of row groups `first` to `stop` - 1; a damaged row group yields a row with a fault."""
    with _parquet(path) as file:
        from pyarrow import ArrowException

        sizes = [file.metadata.row_group(number).num_rows for number in range(stop)]
        for number in range(first, stop):
            start = sum(sizes[:number])
            try:
                yield from _rows(file, [number], start, column, start, beside)
            except (ArrowException, OSError) as error:
                place = f"row group {number} ({sizes[number]:,} rows: {first_line(error)})"
                yield Row(start, place, fault=DAMAGED)


def _rows(
    file: "pq.ParquetFile", groups: list[int], number: int, column: str, skip: int, beside: Sequence[str]
) -> Iterator[Row]:
    """Rows from row `skip` on of some row groups, the first of which begins with row `number`."""
    known = file.schema_arrow.names
    with_ids = "id" in known and column != "id"
    others = [name for name in beside if name in known]
    columns = list(dict.fromkeys([column, *(["id"] if with_ids else []), *others]))
    if not groups:
        return
    for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=groups, columns=columns):
        start = min(max(skip - number, 0), batch.num_rows)
        number, batch = number + start, batch.slice(start)
        values = {name: _values(batch.column(batch.schema.get_field_index(name))) for name in columns}
        for offset, text in enumerate(values[column]):
            identity = identity_of(values["id"][offset]) if with_ids else None
            fault = NOT_UTF8 if isinstance(text, bytes) else None
            there = {name: values[name][offset] for name in others}
            yield Row(number, f"row {number}", identity, text, fault, beside=there)
            number += 1


def ids(path: AnyPath, column: str) -> Iterator[str]:
    """The ids of the rows of a file; only the id column is read."""
    with _parquet(path) as file:
        if "id" not in file.schema_arrow.names or column == "id":
            return
        for batch in file.iter_batches(columns=["id"], batch_size=4096):
            yield from (i for value in _values(batch.column(0)) if (i := identity_of(value)))


def _values(column: "pa.Array") -> list[Any]:
    """A column as Python values; bytes become text if they are valid UTF-8 and stay bytes otherwise."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast("large_binary").to_pylist()
    return [_decoded(value) if isinstance(value, bytes) else value for value in values]


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
