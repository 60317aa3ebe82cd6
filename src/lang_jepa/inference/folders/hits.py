"""The place of a search hit in its file, as far as the file still confirms it, and the paragraph around it."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lang_jepa.data.sources.text_files import chunks, lines
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


class HitPlaces:
    """Finds the places of an index's hits; a text is read once, a file of rows up to the row of each hit.

    Args:
        index: an index of files on this machine; hits of any other index have no place.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._files: dict[str, Any] = index.info.get("files") or {}
        self._raw, self._numbers = cache(raw_text), cache(row_lines)
        self._lines = cache(self._lines_of_document)

    def of(self, hit: Hit) -> Place | None:
        """Return the place of a hit; None if it is in no file that still exists."""
        found = file_of(hit.document, Path(self._files["root"])) if self._files else None
        if found is None:
            return None
        path, row = found
        shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
        if self._files["lines"]:
            line = row if _line(path, row) == hit.text else None
            return Place(shown, line, self.around(hit))
        raw = self._raw(path)
        if raw is None:
            return Place(shown, self._line_of_row(path, row, hit.text), self.around(hit))
        first, _ = self._index.rows_of(hit.row)
        line = self._lines(path, first)[hit.row - first]
        return Place(shown, line, self.around(hit) if line is None else paragraph_at(raw, line))

    def around(self, hit: Hit) -> str:
        """Return the unit of a hit with the units beside it in its document."""
        first, stop = self._index.rows_of(hit.row)
        rows = range(max(first, hit.row - _AROUND), min(stop, hit.row + _AROUND + 1))
        return " ".join(self._index.arrays.text(row) for row in rows)

    def _lines_of_document(self, path: Path, first: int) -> Lines:
        raw = self._raw(path) or ""
        return lines_of(raw, [self._index.arrays.text(row) for row in range(*self._index.rows_of(first))])

    def _line_of_row(self, path: Path, row: int, text: str) -> int | None:
        """Return the line of a row of JSON lines, if the text is still in it."""
        numbers = self._numbers(path)
        if row >= len(numbers):
            return None
        try:
            values = json.dumps(json.loads(_line(path, numbers[row])), ensure_ascii=False)
        except ValueError:
            return None
        there = json.dumps(one_line(text), ensure_ascii=False)[1:-1]
        return numbers[row] if there in one_line(values.replace("\\n", " ")) else None


def _line(path: Path, number: int) -> str:
    """Return a line of a file, from 1, without white space at its ends; empty if there is no such line."""
    try:
        for at, line in enumerate(lines(chunks(path)), start=1):
            if at == number:
                return line.decode("utf-8", "replace").strip()
    except LangJepaError:  # it can no longer be read
        return ""
    return ""
