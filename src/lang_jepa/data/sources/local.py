"""Files as a source, local or in a store: one file of a known kind, or a folder of such files, read in place.

Nothing is copied to a cache, and only files that are one document are held in memory whole. A damaged file with many
documents is an error that names it; a damaged row, or a damaged file with one document, is rejected and counted.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources import formats, forms, groups, rotated, text_files
from lang_jepa.data.sources.base import FORMAT, Document, Rejection, Row, Source, judge, option, units_of
from lang_jepa.data.sources.listing import File, Folder, listed
from lang_jepa.data.sources.parts import Part, Piece, parts_of
from lang_jepa.data.sources.read_parquet import check_text
from lang_jepa.data.sources.remote import AnyPath, RemoteFile, size_of
from lang_jepa.data.sources.text_files import CHUNK
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings

HASH_WHOLE = 1 << 30
"""Largest file in bytes whose content is hashed; larger ones are identified by size and modification time."""


@dataclass
class LocalSource(Source):
    """One file, or all usable files of a folder in sorted order."""

    files: list[File] = field(default_factory=list)
    _repeated: frozenset[int] | None = None
    _shares: dict[str, float] | None = None
    _parts: dict[int, list[Part]] = field(default_factory=dict, compare=False)
    _ends: dict[str, tuple[NDArray[np.uint64], NDArray[np.int64]]] = field(default_factory=dict, compare=False)

    @classmethod
    def open(cls, settings: DataSettings, place: AnyPath | Folder) -> Self:
        """List the files, and check the columns of files that have named columns.

        Raises:
            LangJepaError: an unknown kind of file, a folder without usable files, a broken link, a damaged parquet
                file, a missing column, groups without a table, a table with one message per row but no groups, a
                pattern that matches nothing, or a library that is not installed.
        """
        files, description = listed(settings, place)
        for file in files:
            if file.kind.prose is None and settings.units == "turns" and settings.group_column is None:
                forms.check(file.path, file.kind, settings.text_column)
            file.kind.check(file.path, settings.text_column)
            if file.kind is formats.PARQUET and settings.units != "turns":
                check_text(file.path, settings.text_column)
        if settings.group_column is not None:
            _check_groups(files, description, settings)
        return cls(settings, description, {}, files)

    def fingerprint(self, *, quick: bool = False) -> str:
        """Names, sizes and content hashes of the files (above HASH_WHOLE bytes size and modification time, in a store
        its own content identifier), the text column, and the rules by which the files are read.
        """
        rules = sorted({(file.kind.name, file.kind.format) for file in self.files})
        read: list[object] = [FORMAT, text_files.FORMAT, rules, self.settings.text_column, *units_of(self.settings)]
        read += [*groups.rules(self.settings), *(["rotated", rotated.FORMAT] if self._logs() else [])]
        return fingerprint(["local", read, [[file.name, *_content(file.path, quick=quick)] for file in self.files]])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """Rows from `skip` on, file after file; with groups, which may end anywhere, all rows are read.

        Identities are the group or the `id` column if there is one, otherwise `<file>:<row>`; an id that occurs more
        than once in the source always becomes `<id>@<file>:<row>`, whatever row reading begins at.
        """
        if self.settings.group_column is not None:
            yield from islice(self._read(0), skip, None)
        else:
            yield from self._read(skip)

    def _read(self, skip: int) -> Iterator[Document | Rejection]:
        for file in self.files:
            if skip and skip >= (count := file.kind.count(file.path)):
                skip -= count
                continue
            for row in self._rows(file, skip):
                yield self._judged(row, file, self._identity(file, row))
            skip = 0

    def _judged(self, row: Row, file: File, identity: str) -> Document | Rejection:
        where = f"{file.name}:{row.place}"
        if row.fault:
            return Rejection(row.fault, where)
        return self._cut(judge(identity, row.text, where, self.settings, row.left_out), file)

    def size(self) -> int:
        return sum(size_of(file.path) for file in self.files)

    def parts(self, size: int) -> Sequence[Part]:
        if size not in self._parts:
            self._parts[size] = parts_of(self._pieces(size), size)
        return self._parts[size]

    def _pieces(self, size: int) -> Iterator[Piece]:
        """Pieces of the files; tables with groups are not divided, since a group may end anywhere."""
        for number, file in enumerate(self.files):
            whole = [(0, 0, size_of(file.path))]
            for piece in whole if self._has_groups(file) else file.kind.pieces(file.path, size):
                yield Piece(number, *piece)

    def read_part(self, part: Part) -> Iterator[Document | Rejection]:
        for piece in part:
            file = self.files[piece.file]
            place = f"{file.name}@{piece.first}" if piece.first and file.kind is formats.JSON else file.name
            if self._has_groups(file):
                rows = self._rows(file, 0)
            else:
                beside = groups.beside(self.settings)
                rows = file.kind.read_between(file.path, self.settings.text_column, piece.first, piece.stop, beside)
            for row in rows:
                judged = self._judged(row, file, row.id or f"{place}:{row.number}")
                if row.id and isinstance(judged, Document):
                    judged = replace(judged, place=f"{place}:{row.number}")
                yield judged

    def _rows(self, file: File, skip: int) -> Iterator[Row]:
        """The rows of a file; a table with groups yields one row per group and holds those that have not ended."""
        settings = self.settings
        rows = file.kind.rows(file.path, settings.text_column, skip, groups.beside(settings))
        if not self._has_groups(file):
            return rows
        last = dict(zip(*(part.tolist() for part in self._last_rows(file)), strict=True))
        column = str(settings.group_column)
        names = ((row, groups.group_of(row.beside.get(column))) for row in rows)
        ends = ((row, name is not None and last.get(formats.id_hash(name)) == row.number) for row, name in names)
        return groups.grouped(ends, settings)

    def _has_groups(self, file: File) -> bool:
        return self.settings.group_column is not None and file.kind.prose is None

    def _last_rows(self, file: File) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes of a file's groups, uint64 [G], and the last row of each, int64 [G]; only the group column is read."""
        if file.name in self._ends:
            return self._ends[file.name]
        column = str(self.settings.group_column)
        rows = ((row.number, groups.group_of(row.text)) for row in file.kind.rows(file.path, column, 0))
        pair = np.dtype([("group", np.uint64), ("row", np.int64)])
        found = np.fromiter(((formats.id_hash(name), number) for number, name in rows if name is not None), pair)
        values, places = np.unique(found["group"][::-1], return_index=True)
        self._ends[file.name] = values, found["row"][::-1][places]
        return self._ends[file.name]

    def _logs(self) -> list[list[str]]:
        """Logs that have several files, which share one held-out tail."""
        by_tail = self.settings.val_split == "tail" and self.settings.val_fraction > 0
        return rotated.logs_of(file.name for file in self.files) if by_tail else []

    def _cut(self, row: Document | Rejection, file: File) -> Document | Rejection:
        """A document with its number of training lines set, if that depends on other files of its log."""
        if self._shares is None:
            parts = {name for log in self._logs() for name in log}
            paths = {file.name: file.path for file in self.files if file.name in parts}
            self._shares = rotated.shares_learnt(paths, self.settings.val_fraction, in_records=self.settings.records)
        if isinstance(row, Rejection) or file.name not in self._shares:
            return row
        units = sum(1 for line in row.text.split("\n") if line.strip())
        return replace(row, learnt=round(self._shares[file.name] * units))

    def columns(self, other: str, setting: str) -> Iterator[tuple[str, object, object]]:
        """Yield identity, raw text and raw value of another column for every row that has both.

        Args:
            other: the other column.
            setting: the setting that names it, for messages.

        Raises:
            LangJepaError: a file has no columns, or not this one.
        """
        for file in self.files:
            if file.kind.prose is not None or file.kind is formats.TEXT:
                raise LangJepaError(f"{file.path} has no columns, it is one text: take .parquet or .jsonl.")
            file.kind.check(file.path, other, setting)
            texts, others = (file.kind.rows(file.path, name, 0) for name in (self.settings.text_column, other))
            for row, beside in zip(texts, others, strict=True):
                if not row.fault and not beside.fault:
                    yield self._identity(file, row), row.text, beside.text

    def messages(self, other: str, setting: str) -> Iterator[tuple[str, object, object]]:
        """Yield conversation identity, raw text and another raw column for every row with a group; args as `columns`.

        Raises:
            LangJepaError: a table does not have this column.
        """
        column = str(self.settings.group_column)
        for file in filter(self._has_groups, self.files):
            file.kind.check(file.path, other, setting)
            identities = dict[str, str]()
            for row in file.kind.rows(file.path, self.settings.text_column, 0, [column, other]):
                name = groups.group_of(row.beside.get(column))
                if name is None:
                    continue
                identity = identities.setdefault(name, self._identity(file, replace(row, id=name)))
                if not row.fault:
                    yield identity, row.text, row.beside.get(other)

    def _identity(self, file: File, row: Row) -> str:
        place = f"{file.name}:{row.number}"
        repeated = row.id and formats.id_hash(row.id) in self._repeated_ids()
        return f"{row.id}@{place}" if repeated else row.id or place

    def _repeated_ids(self) -> frozenset[int]:
        """Hashes of ids that occur more than once; reads only the id or group columns and takes 8 bytes per row."""
        if self._repeated is None:
            column = self.settings.text_column
            parts = [
                self._last_rows(file)[0]
                if self._has_groups(file)
                else np.fromiter(formats.id_hashes(file.path, file.kind, column), np.uint64)
                for file in self.files
            ]
            values, counts = np.unique(np.concatenate(parts), return_counts=True)
            self._repeated = frozenset(values[counts > 1].tolist())
        return self._repeated


def _check_groups(files: Sequence[File], description: str, settings: DataSettings) -> None:
    """Raise unless there is a table, and every table has the group column and the speaker column."""
    tables = [file for file in files if file.kind.prose is None]
    if not tables:
        raise LangJepaError(
            f"data.group_column={settings.group_column} groups rows of tables (parquet, JSON, CSV), and {description} "
            "has none: leave it out (with a run's settings, data.group_column=null)."
        )
    for name in ("group_column", "speaker_column"):
        column = getattr(settings, name)
        for file in tables if column is not None else ():
            file.kind.check(file.path, column, option(name))
            first = next(iter(file.kind.rows(file.path, column, 0)), None) if file.kind is formats.JSON else None
            if first is not None and first.fault == f"no '{column}' key":
                raise LangJepaError(f"{file.path} has no key '{column}' in {first.place}. Set {option(name)}.")


def _content(path: AnyPath, *, quick: bool) -> list[int | str]:
    """Size and BLAKE2 hash of a file or of its beginning; for a very large file, size and modification time in ns.

    For a file in a store, the size and the store's content identifier are used without reading it, if there is one.
    """
    if isinstance(path, RemoteFile) and path.entry.content:
        return [path.entry.size, path.entry.content]
    try:
        size = size_of(path)
        if quick:
            with path.open("rb") as stream:
                return [size, hashlib.blake2b(stream.read(CHUNK)).hexdigest()[:32]]
        if size > HASH_WHOLE:
            if isinstance(path, RemoteFile):
                raise LangJepaError(
                    f"{path}: its server does not show when a file changes (no ETag, no Last-Modified): download it."
                )
            return [size, path.stat().st_mtime_ns]
        with path.open("rb") as stream:
            return [size, hashlib.file_digest(stream, "blake2b").hexdigest()[:32]]
    except OSError as error:
        raise LangJepaError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
