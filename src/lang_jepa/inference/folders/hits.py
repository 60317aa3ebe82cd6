"""The place of a search hit in its file, as far as the file still confirms it, and the paragraph around it."""

import json
import os
from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from lang_jepa.data.sources.text_files import BOM, PACKED, chunks, lines, lines_between
from lang_jepa.errors import LangJepaError, one_line
from lang_jepa.inference.folders.places import Lines, file_of, lines_of, paragraph_at, raw_text, row_lines
from lang_jepa.inference.index import Hit, Index

_AROUND = 2
"""Units on either side that make up the paragraph, if there is no text file to take it from."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a hit.

    Attributes:
        path: path of its file, relative to the current folder if the file lies below it.
        line: from 1; None if the file leaves doubt (there is markup in between, or it has changed since).
        paragraph: the paragraph around the hit.
    """

    path: str
    line: int | None
    paragraph: str

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


_KEPT = 64
"""Files, and documents, of which the lines are remembered."""


class HitPlaces:
    """Finds the places of an index's hits; a file is read once, and again if it has changed.

    Args:
        index: an index of files on this machine; hits of any other index have no place.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._files: dict[str, Any] = index.info.get("files") or {}
        self._raw_of = lru_cache(_KEPT)(lambda path, changed: raw_text(path))
        self._numbers_of = lru_cache(_KEPT)(lambda path, changed: array("q", row_lines(path)))
        self._starts_of = lru_cache(_KEPT)(lambda path, changed: _starts(path))
        self._lines_of = lru_cache(_KEPT)(lambda path, first, changed: self._lines_of_document(path, first))

    def of(self, hit: Hit) -> Place | None:
        """Return the place of a hit; None if it is in no file that still exists."""
        found = file_of(hit.document, Path(self._files["root"])) if self._files else None
        if found is None:
            return None
        path, row = found
        shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
        if self._files["lines"]:
            line = row if self._line(path, row) == hit.text else None
            return Place(shown, line, self.around(hit))
        raw = self._raw_of(path, _changed(path))
        if raw is None:
            return Place(shown, self._line_of_row(path, row, hit.text), self.around(hit))
        first, _ = self._index.rows_of(hit.row)
        line = self._lines_of(path, first, _changed(path))[hit.row - first]
        return Place(shown, line, self.around(hit) if line is None else paragraph_at(raw, line))

    def around(self, hit: Hit) -> str:
        """Return the unit of a hit with the units beside it in its document."""
        first, stop = self._index.rows_of(hit.row)
        rows = range(max(first, hit.row - _AROUND), min(stop, hit.row + _AROUND + 1))
        return " ".join(self._index.arrays.text(row) for row in rows)

    def _lines_of_document(self, path: Path, first: int) -> Lines:
        raw = self._raw_of(path, _changed(path)) or ""
        return lines_of(raw, [self._index.arrays.text(row) for row in range(*self._index.rows_of(first))])

    def _line_of_row(self, path: Path, row: int, text: str) -> int | None:
        """Return the line of a row of JSON lines, if the text is still in it."""
        numbers = self._numbers_of(path, _changed(path))
        if row >= len(numbers):
            return None
        try:
            values = json.dumps(json.loads(self._line(path, numbers[row])), ensure_ascii=False)
        except ValueError:
            return None
        there = json.dumps(one_line(text), ensure_ascii=False)[1:-1]
        return numbers[row] if there in one_line(values.replace("\\n", " ")) else None

    def _line(self, path: Path, number: int) -> str:
        """Return a line of a file, from 1, without white space at its ends; empty if there is no such line."""
        try:
            if path.suffix.lower() in PACKED:  # nothing in it can be read without what comes before
                found = next(islice(lines(chunks(path)), number - 1, None), b"")
            else:
                starts = self._starts_of(path, _changed(path))
                found = b"" if number > len(starts) else _from(path, starts[number - 1])
        except (LangJepaError, OSError):  # it can no longer be read
            return ""
        return found.decode("utf-8", "replace").strip()


def _changed(path: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, by which one that has changed is recognised; zeros if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _starts(path: Path) -> "array[int]":
    """The bytes at which the lines of a file begin."""
    return array("q", (start for start, _ in lines_between(path, 0, path.stat().st_size)))


def _from(path: Path, start: int) -> bytes:
    """The line of a file that begins at a byte."""
    with path.open("rb") as file:
        file.seek(start)
        return file.readline().removeprefix(BOM if start == 0 else b"")
