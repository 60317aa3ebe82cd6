"""Rows that are lines or paragraphs, joined into the documents that they are part of (wikitext and its like)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

from lang_jepa.data.sources.base import Document, Rejection, RowSource, judge
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings

FORMAT = 1
"""Number of the rules by which rows are joined; it enters the fingerprint."""
_TITLE = re.compile(r"\s*= [^=\s](.*[^=\s])? =\s*")
_BLANK = ("empty text", "null text", "no visible characters")


@dataclass
class JoinedRows(RowSource):
    """Another source's rows, a line each, up to `data.join_rows` in a document; a title begins the next one.

    Empty rows are blank lines. A row that is rejected for another reason stands for itself. `settings.limit` and
    `settings.min_length` are those of the joined documents.
    """

    rows_of: RowSource | None = None

    @classmethod
    def of(cls, settings: DataSettings, rows: RowSource) -> Self:
        """Join the rows of a source, which must give all of them, however short."""
        return cls(settings, f"{rows.description}, rows joined", rows_of=rows)

    def fingerprint(self) -> str:
        assert self.rows_of is not None
        return fingerprint([self.rows_of.fingerprint(), self.settings.join_rows, FORMAT])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        return islice(self._joined(), skip, None)

    def _joined(self) -> Iterator[Document | Rejection]:
        assert self.rows_of is not None
        identity, lines = "", list[str]()
        for row in self.rows_of.read(0):
            if isinstance(row, Rejection) and row.reason not in _BLANK:
                yield row
                continue
            text = row.text if isinstance(row, Document) else ""
            if lines and (len(lines) == self.settings.join_rows or _TITLE.fullmatch(text)):
                yield self._document(identity, lines)
                lines = []
            if isinstance(row, Document) and not lines:
                identity = row.id
            if text or lines:
                lines.append(text.strip("\r\n"))
        if lines:
            yield self._document(identity, lines)

    def _document(self, identity: str, lines: list[str]) -> Document | Rejection:
        return judge(identity, "\n".join(lines), identity, self.settings.min_length)
