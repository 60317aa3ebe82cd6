"""Separate the interleaved lines of several processes in one file by `data.session`, into one document each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from lang_jepa.data.sources.base import Document, Rejection, Source, first_held_out, judge
from lang_jepa.data.sources.patterns import own_pattern
from lang_jepa.errors import one_line
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings

FORMAT = 1
"""Version of the rules for separating sessions; it enters the fingerprint."""


def session_names(lines: Iterable[str], settings: DataSettings) -> list[str | None]:
    """The session of each line; None for lines without a match, and for all if `data.session` is not set.

    Raises:
        LangJepaError: the expression takes too long on a line.
    """
    if settings.session is None:
        return [None for _ in lines]
    pattern = own_pattern(settings.session, "data.session")
    return [pattern.group(line) for line in lines]


@dataclass
class Sessions(Source):
    """Another source's documents, with the lines of each session as one document, in the order of their first lines.

    A session's id is the file's id with `#` and the value of the group; lines without a match form a document under the
    file's own id. With `data.val_split=tail` a session is cut where the file is, so no training line comes after a
    held-out one. `settings.limit` and `settings.min_length` apply to the sessions. One file is held in memory, as
    without sessions.

    Raises:
        LangJepaError: while reading, if the expression takes too long on a line.
    """

    documents_of: Source = field(kw_only=True)

    @classmethod
    def of(cls, settings: DataSettings, documents: Source) -> Self:
        """Separate the sessions of a source, which must yield all of its documents, however short."""
        return cls(settings, f"{documents.description}, by session", documents_of=documents)

    def fingerprint(self, *, quick: bool = False) -> str:
        return fingerprint([self.documents_of.fingerprint(quick=quick), self.settings.session, FORMAT])

    def complaint(self, most: int | None = None) -> str | None:
        """Complain if the expression matches no line at all; reads up to the first match."""
        first = ""
        for row in islice(self.documents_of.read(0), most):
            for line in _lines(row) if isinstance(row, Document) else ():
                if session_names([line], self.settings)[0] is not None:
                    return None
                first = first or line
        if not first:  # no lines at all, which is reported elsewhere
            return None
        where = self.documents_of.description if most is None else f"the first rows of {self.documents_of.description}"
        return (
            f"data.session={self.settings.session} matches no line of {where}, so sessions cannot be separated. Fix "
            f"the expression, or leave it out. The first line is: {one_line(first)[:200]}"
        )

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        return islice(self._read(), skip, None)

    def _read(self) -> Iterator[Document | Rejection]:
        for row in self.documents_of.read(0):
            if isinstance(row, Document):
                yield from self._sessions(row)
            else:
                yield row

    def _sessions(self, whole: Document) -> Iterator[Document | Rejection]:
        settings = self.settings.model_copy(update={"records": False})  # the records are lines already
        lines = _lines(whole)
        tail = settings.val_split == "tail"
        cut = first_held_out(len(lines), settings.val_fraction) if whole.learnt is None else whole.learnt
        sessions: dict[str | None, list[int]] = {}
        for row, name in enumerate(session_names(lines, settings)):
            sessions.setdefault(name, []).append(row)
        for name, rows in sessions.items():
            identity = whole.id if name is None else f"{whole.id}#{name}"
            text, learnt = "\n".join(lines[row] for row in rows), sum(row < cut for row in rows)
            yield judge(identity, text, identity, settings, learnt=learnt if tail else None)


def _lines(document: Document) -> list[str]:
    return [line for line in map(str.strip, document.text.split("\n")) if line]
