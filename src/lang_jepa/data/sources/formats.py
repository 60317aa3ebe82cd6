"""The kinds of files that can be read, with their suffixes and the functions that turn them into rows.

Parquet, JSON and tables hold many documents and are read incrementally. Files of the other kinds hold one document,
which is one row; only what a person would read aloud becomes text, and what is left out is counted.
"""

import io
import logging
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from typing import Any, Protocol

from lang_jepa.data.sources import read_json as json_files
from lang_jepa.data.sources import read_parquet as parquet_files
from lang_jepa.data.sources import read_tables as tables
from lang_jepa.data.sources import text_files
from lang_jepa.data.sources.base import Row, Unreadable
from lang_jepa.data.sources.read_html import FORMAT as HTML_FORMAT
from lang_jepa.data.sources.read_html import declared_text, html_prose
from lang_jepa.data.sources.read_markdown import FORMAT as MARKDOWN_FORMAT
from lang_jepa.data.sources.read_markdown import markdown_prose
from lang_jepa.data.sources.read_rst import FORMAT as RST_FORMAT
from lang_jepa.data.sources.read_rst import rst_prose
from lang_jepa.data.sources.read_subtitles import FORMAT as SUBTITLES_FORMAT
from lang_jepa.data.sources.read_subtitles import subtitles_prose
from lang_jepa.data.sources.remote import AnyPath, size_of
from lang_jepa.data.sources.text_files import NotText
from lang_jepa.errors import LangJepaError, first_line, how_to_install

OFFICE_FORMAT = 1
LARGEST = 1 << 29
"""Maximum unpacked size of a Word file in bytes."""
_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")


def _needs(kind: str, module: str, package: str) -> "CheckColumn":
    """A check that raises unless the library that reads a kind of file is installed."""

    def check(path: AnyPath, column: str, setting: str = "") -> None:
        if find_spec(module) is None:
            raise LangJepaError(
                f"{kind} files are read with {package}, which is not installed: {how_to_install('documents')}. In a "
                "folder they can also be left out, with data.exclude."
            )

    return check


def pdf_prose(path: AnyPath) -> tuple[str, Counter[str]]:
    """The text of all pages, with words hyphenated at a line end joined.

    Raises:
        Unreadable: the file is damaged, encrypted, or without text (scanned pages).
    """
    import pypdf

    content = io.BytesIO(b"".join(text_files.chunks(path)))
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # unreadable files are reported as faults
    try:
        reader = pypdf.PdfReader(content)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted PDF")
        pages = [page.extract_text() for page in reader.pages]
    except Unreadable:
        raise
    except Exception as error:  # a damaged file makes the library raise anything
        raise Unreadable("damaged PDF", first_line(error)) from error
    text = "\n".join(page.strip() for page in pages)
    if not text.strip():
        raise Unreadable("PDF without text (scanned pages?)")
    return _HYPHEN.sub("", text), Counter()


def word_prose(path: AnyPath) -> tuple[str, Counter[str]]:
    """The text of all paragraphs and headings; tables are left out and counted.

    Raises:
        Unreadable: the file is damaged, or larger than LARGEST when unpacked.
    """
    import docx

    content = io.BytesIO(b"".join(text_files.chunks(path)))
    try:
        with zipfile.ZipFile(content) as parts:
            if sum(part.file_size for part in parts.infolist()) > LARGEST:
                raise Unreadable(f"Word file of more than {LARGEST >> 20} MiB")
        document = docx.Document(content)
        texts = [paragraph.text.strip() for paragraph in document.paragraphs]
        tables = len(document.tables)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file makes the library raise anything
        raise Unreadable("damaged Word file", first_line(error)) from error
    return "\n\n".join(text for text in texts if text), +Counter({"tables": tables})


Prose = tuple[str, Counter[str]]


class ReadRows(Protocol):
    """Read the rows of a file from row `skip` on, given the text column, with the values of the columns `beside`."""

    def __call__(self, path: AnyPath, column: str, skip: int, beside: Sequence[str] = (), /) -> Iterator[Row]: ...


class CheckColumn(Protocol):
    """Raise unless a file has the column named by a setting."""

    def __call__(self, path: AnyPath, column: str, setting: str = ..., /) -> None: ...


class ReadBetween(Protocol):
    """Read the rows of a piece of a file, from `first` up to `stop`, given the text column."""

    def __call__(
        self, path: AnyPath, column: str, first: int, stop: int, beside: Sequence[str] = (), /
    ) -> Iterator[Row]: ...


def _whole(path: AnyPath, size: int) -> list[tuple[int, int, int]]:
    """The pieces of a file that is read whole."""
    return [(0, 0, size_of(path))]


def _any_column(path: AnyPath, column: str, setting: str = "") -> None:
    """The check of a kind without columns."""


_BY_NAME: dict[str, "Kind"] = {}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        name: for messages.
        suffixes: in lower case.
        format: version of its reader's rules; it enters the fingerprint of a source.
        rows: reads the rows of a file.
        count: counts the rows of a file.
        check: raises unless a file has the column; called before anything is read.
        names: column names of a file; empty if it has no columns.
        packed: whether files with .gz or .zst after the suffix can be read too.
        pieces: divides a file into independently readable pieces of about a given size: first, stop, bytes (`Piece`).
        rows_between: reads the rows of a piece (None: files are read whole).
    """

    name: str
    suffixes: tuple[str, ...]
    format: int
    rows: ReadRows
    count: Callable[[AnyPath], int] = lambda path: 1
    check: CheckColumn = _any_column
    names: Callable[[AnyPath], list[str]] = lambda path: []
    packed: bool = True
    prose: Callable[[AnyPath], Prose] | None = None
    pieces: Callable[[AnyPath, int], list[tuple[int, int, int]]] = _whole
    rows_between: ReadBetween | None = None

    def __post_init__(self) -> None:
        _BY_NAME[self.name] = self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a kind by its name, so that it is the same object in another process."""
        return kind_called, (self.name,)

    def read_between(self, path: AnyPath, column: str, first: int, stop: int, beside: Sequence[str]) -> Iterator[Row]:
        """The rows of a piece of a file, numbered from the start of the piece (parquet: from the start of the file)."""
        if self.rows_between is None:
            return self.rows(path, column, 0, beside)
        return self.rows_between(path, column, first, stop, beside)


def kind_called(name: str) -> Kind:
    """The kind with the given name."""
    return _BY_NAME[name]


def _document(
    name: str,
    suffixes: tuple[str, ...],
    version: int,
    prose: Callable[[AnyPath], Prose],
    *,
    check: CheckColumn = _any_column,
    packed: bool = True,
) -> Kind:
    """Define a kind whose files are one document each."""

    def rows(path: AnyPath, column: str, skip: int, beside: Sequence[str] = ()) -> Iterator[Row]:
        if skip:
            return
        try:
            text, left_out = prose(path)
        except NotText as error:
            yield Row(0, f"byte {error.place}", fault=error.reason)
        except Unreadable as error:
            yield Row(0, error.detail or "start", fault=error.reason)
        else:
            yield Row(0, "start", text=text, left_out=tuple(sorted(left_out.items())))

    return Kind(name, suffixes, version, rows, check=check, packed=packed, prose=prose)


def _decoded(read: Callable[[str], Prose]) -> Callable[[AnyPath], Prose]:
    return lambda path: read(text_files.decode(b"".join(text_files.chunks(path))))


def _html(path: AnyPath) -> Prose:
    """The prose of a page in UTF-8 or in the encoding that it declares."""
    content = b"".join(text_files.chunks(path))
    try:
        return html_prose(text_files.decode(content))
    except NotText:
        text = declared_text(content)
        if text is None:
            raise
        return html_prose(text)


KINDS = (
    Kind(
        "parquet",
        (".parquet",),
        parquet_files.FORMAT,
        parquet_files.rows,
        parquet_files.count,
        parquet_files.check,
        parquet_files.names,
        packed=False,
        pieces=parquet_files.pieces,
        rows_between=parquet_files.rows_between,
    ),
    Kind(
        "JSON",
        (".jsonl", ".ndjson", ".json"),
        json_files.FORMAT,
        json_files.rows,
        json_files.count,
        names=json_files.names,
        pieces=json_files.pieces,
        rows_between=json_files.rows_between,
    ),
    Kind("table", (".csv", ".tsv"), tables.FORMAT, tables.rows, tables.count, tables.check, tables.names),
    _document("text", (".txt",), 1, _decoded(lambda text: (text, Counter()))),
    _document("Markdown", (".md", ".markdown"), MARKDOWN_FORMAT, _decoded(markdown_prose)),
    _document("MDX", (".mdx",), MARKDOWN_FORMAT, _decoded(lambda text: markdown_prose(text, mdx=True))),
    _document("reStructuredText", (".rst",), RST_FORMAT, _decoded(rst_prose)),
    _document("HTML", (".html", ".htm", ".xhtml"), HTML_FORMAT, _html),
    _document("subtitles", (".srt", ".vtt"), SUBTITLES_FORMAT, _decoded(subtitles_prose)),
    _document("PDF", (".pdf",), OFFICE_FORMAT, pdf_prose, check=_needs("PDF", "pypdf", "pypdf"), packed=False),
    _document("Word", (".docx",), OFFICE_FORMAT, word_prose, check=_needs("Word", "docx", "python-docx"), packed=False),
)
PARQUET, JSON, TEXT = (next(kind for kind in KINDS if kind.name == name) for name in ("parquet", "JSON", "text"))

_UNPACKED = [suffix for kind in KINDS if not kind.packed for suffix in kind.suffixes]
KNOWN = (
    f"{', '.join(suffix for kind in KINDS for suffix in kind.suffixes)} (all but {', '.join(_UNPACKED[:-1])} and "
    f"{_UNPACKED[-1]} also with .gz or .zst behind)"
)
"""The suffixes that can be read, for messages."""


def kind_of(path: AnyPath) -> Kind | None:
    """The kind of a file by its suffix, or None if it is unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] in text_files.PACKED
    last = suffixes[-2:-1] if packed else suffixes[-1:]
    for kind in KINDS:
        if last and last[0] in kind.suffixes:
            return kind if kind.packed or not packed else None
    return None


def kind_of_named(path: AnyPath) -> Kind | None:
    """The kind of a file named explicitly: JSON lines are recognised under any name."""
    kind = kind_of(path)
    if kind is None or kind.name == "text":
        return JSON if json_files.looks_like_lines(path) else kind
    return kind


def read_document(path: AnyPath) -> str:
    """The text of a file that holds one document; files with an unknown suffix are read as plain text.

    Raises:
        LangJepaError: the file cannot be read, is a PDF without text, or holds many documents.
    """
    kind = kind_of(path)
    if kind is None:
        return text_files.text_of(text_files.chunks(path), str(path))
    if kind.prose is None:
        raise LangJepaError(
            f"{path} is a {kind.name} file, which holds many documents, but exactly one is expected: save the text of "
            "one as .txt or .md"
        )
    kind.check(path, "")
    try:
        return kind.prose(path)[0]
    except (NotText, Unreadable) as error:
        raise LangJepaError(f"{path} cannot be read: {error}.") from error


def id_hash(identity: str) -> int:
    """64-bit hash of a document's id."""
    return int.from_bytes(blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def id_hashes(path: AnyPath, kind: Kind, column: str) -> Iterator[int]:
    """Yield hashes of the ids of a file's rows in order; nothing for rows without ids."""
    if kind.prose is not None:
        return
    if kind.name == "parquet":
        yield from map(id_hash, parquet_files.ids(path, column))
        return
    for row in kind.rows(path, column, 0):
        if row.id:
            yield id_hash(row.id)
