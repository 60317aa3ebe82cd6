"""Read rows of CSV and TSV files with a header."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from lang_jepa.data.sources.base import Row, identity_of, option
from lang_jepa.data.sources.remote import AnyPath
from lang_jepa.data.sources.text_files import NOT_UTF8, UTF16, chunks, lines
from lang_jepa.errors import LangJepaError, first_line

FORMAT = 1
MAX_FIELD = 1 << 26
"""Maximum number of characters in one field; a longer one is taken for an unclosed quote."""
DELIMITERS = ",;\t|"
"""Possible delimiters of a CSV file: the one that yields the column is used, else the one with most fields."""
BAD_QUOTES = "\0quotes"
"""Placeholder for the fields of a row with invalid quoting."""
_PROBED = 200
"""Number of lines by which a TSV file is judged."""
_UNDECODED = re.compile("[\udc80-\udcff]")
_PHYSICAL = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

csv.field_size_limit(MAX_FIELD)


def check(path: AnyPath, column: str, setting: str = option("text_column")) -> None:
    """Raise unless a file is empty or its header has the column named by the setting.

    Raises:
        LangJepaError: there is no such column, or more than one.
    """
    header = _header(path, column)[1]
    if header and column not in header:
        raise LangJepaError(
            f"{path} has no column '{column}' in its first row, which is its header; the columns there are "
            f"{', '.join(name[:40] for name in header[:20])}. Set {setting}; if the file has no header, put "
            "a row of names first."
        )
    if header.count(column) > 1:
        raise LangJepaError(f"{path} has more than one column '{column}'. Rename or drop one.")


def names(path: AnyPath) -> list[str]:
    """Names of the columns."""
    return _header(path, "")[1]


def count(path: AnyPath) -> int:
    """Number of rows, without the header."""
    return sum(1 for _ in rows(path, "", 0))


def rows(path: AnyPath, column: str, skip: int, beside: Sequence[str] = ()) -> Iterator[Row]:
    """Rows from `skip` on, with the values of the columns `beside`.

    Raises:
        LangJepaError: a field has more than MAX_FIELD characters.
    """
    delimiter, header = _header(path, column)
    index = header.index(column) if column in header else None
    with_ids = header.index("id") if "id" in header and column != "id" else None
    others = [(name, header.index(name)) for name in beside if name in header]
    records = _records(path, delimiter)
    next(records, None)
    for number, (line, fields) in enumerate(records):
        if number < skip:
            continue
        where = f"line {line}"
        whole = len(fields) == len(header)
        there: dict[str, object] = {name: fields[place] for name, place in others} if whole else {}
        if fields == [BAD_QUOTES]:
            yield Row(number, where, fault="quotes inside a field that are not doubled")
        elif not whole:
            fault = "another number of fields than the header"
            yield Row(number, f"{where} ({len(fields)}, not {len(header)})", fault=fault)
        elif index is None:
            yield Row(number, where, fault=f"no '{column}' column")
        elif _UNDECODED.search(fields[index]):
            yield Row(number, where, fault=NOT_UTF8, beside=there)
        else:
            identity = identity_of(fields[with_ids]) if with_ids is not None else None
            yield Row(number, where, identity, fields[index], beside=there)


def _header(path: AnyPath, column: str) -> tuple[str, list[str]]:
    """The delimiter, and the column names in the first row."""
    choices = "\t" if _is_tsv(path) else DELIMITERS
    found = [(one, _names(path, one)) for one in choices]
    return max(found, key=lambda pair: (column in pair[1], len(pair[1])))


def _names(path: AnyPath, delimiter: str) -> list[str]:
    return [name.strip() for name in next(_records(path, delimiter), (0, []))[1]]


def _is_tsv(path: AnyPath) -> bool:
    return ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]]


def _records(path: AnyPath, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield non-blank rows as (number of the line it ends on, fields)."""
    if _is_tsv(path) and _is_plain(path):
        for number, line in enumerate(_lines(path), start=1):
            if line.strip():
                yield number, [_unquoted(field) for field in line.rstrip("\r\n").split("\t")]
        return
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            if "end of data" in str(error) or "limit" in str(error):
                raise LangJepaError(
                    f"{path}, line {reader.line_num}: {first_line(error)}. Is there a quote that is never closed?"
                ) from error
            fields = [BAD_QUOTES]
        if fields is None:
            return
        if fields:
            yield reader.line_num, fields


def _is_plain(path: AnyPath) -> bool:
    """Whether a TSV file uses no quoting: each of its first lines has as many tabs as the header.

    Such files often contain single quotation marks, which quoting rules would take for the start of a long field.
    """
    tabs = {line.count("\t") for line in islice(_lines(path), _PROBED) if line.strip()}
    return len(tabs) <= 1


def _unquoted(field: str) -> str:
    """A field without the quotes that a CSV writer puts around it; one that merely begins with a quote is kept."""
    inner = field[1:-1]
    if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return field


def _lines(path: AnyPath) -> Iterator[str]:
    """Decoded lines with their line ends; invalid UTF-8 bytes become lone surrogates. A lone `\\r` also ends a line.

    Raises:
        LangJepaError: it is UTF-16, judging by a byte order mark or zero bytes in its first line.
    """
    for number, raw in enumerate(lines(chunks(path))):
        if not number and (raw.startswith(UTF16) or b"\0" in raw):
            raise LangJepaError(
                f"{path} is UTF-16 or binary, and tables are read as UTF-8: save it as UTF-8 (for example by `iconv -f "
                "UTF-16 -t UTF-8 in.csv > out.csv`)."
            )
        line = raw.decode("utf-8", "surrogateescape") + "\n"
        if "\r" in line[:-2]:
            yield from _PHYSICAL.findall(line)
        else:
            yield line
