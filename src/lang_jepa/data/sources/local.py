"""Local files as a source: one file of a known kind, or a folder of them, read in place.

Nothing is copied to a cache, and only a file that is one document is ever held whole. A damaged file of many documents
is an error that names it; a damaged row, or a file of one document, is rejected and counted.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources import formats, groups, rotated, text_files
from lang_jepa.data.sources.base import FORMAT, Document, Rejection, Row, Source, judge, units_of
from lang_jepa.data.sources.read_json import no_documents
from lang_jepa.data.sources.read_parquet import check_text
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings

_SHOWN = 12


def chosen(names: Sequence[str], include: Sequence[str], exclude: Sequence[str], where: str) -> set[str]:
    """The names that are included (all, where no pattern says which) and not excluded.

    Args:
        names: of files, relative to the folder, with `/` between their parts.
        include, exclude: patterns of such names: `*` and `?` stand for anything but `/`, `**` for any folders, `[ab]`
            for one of some characters. A pattern that matches a folder means everything below it.
        where: the folder, for messages.

    Raises:
        LangJepaError: a pattern that matches nothing.
    """
    kept = set(names)
    for setting, patterns in (("data.include", include), ("data.exclude", exclude)):
        found: set[str] = set()
        for pattern in patterns:
            matches = {name for name in names if _compiled(pattern).fullmatch(name)}
            if not matches:
                raise LangJepaError(
                    f"{setting}: {pattern!r} matches no file below {where}. There are {_listed(names)}."
                )
            found |= matches
        if patterns:
            kept = kept & found if setting == "data.include" else kept - found
    if not kept:
        raise LangJepaError(
            f"data.exclude leaves no file of {where}. There are {_listed(names)}."
            if names
            else f"the folder {where} has no files"
        )
    return kept


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{len(names)} files: {shown}{', ...' if len(names) > _SHOWN else ''}" if names else "no files"


def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", pattern.removeprefix("./").rstrip("/"), re.DOTALL):
        match piece:
            case "**/":
                parts.append("(?:[^/]+/)*")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if len(piece) > 1:
                inside = piece[1:-1].replace("\\", r"\\").replace("[", r"\[")
                parts.append(f"[^{inside[1:]}/]" if inside.startswith("!") else f"[{inside}]")
            case _:
                parts.append(re.escape(piece))
    try:
        return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)
    except re.error as error:
        raise LangJepaError(f"data.include, data.exclude: {pattern!r} is no pattern ({error})") from error


HASH_WHOLE = 1 << 30
"""Bytes up to which a file's content is hashed; a larger one is known by size and time of change."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source.

    Attributes:
        name: that stands in document identities (relative to the folder).
        path: of it.
        kind: that reads it.
    """

    name: str
    path: Path
    kind: formats.Kind


@dataclass
class LocalSource(Source):
    """One file, or all usable files of a folder in sorted order."""

    root: Path = Path()
    files: list[File] = field(default_factory=list)
    _repeated: frozenset[int] | None = None
    _shares: dict[str, float] | None = None
    _ends: dict[str, tuple[NDArray[np.uint64], NDArray[np.int64]]] = field(default_factory=dict, compare=False)

    @classmethod
    def open(cls, settings: DataSettings, path: Path) -> Self:
        """List the files, and check the columns of those that name theirs.

        Raises:
            LangJepaError: an unknown kind of file, a folder without usable files, a broken link, a damaged parquet
                file, a column that is not there, groups without a table, a pattern that matches nothing, or a library
                that is not installed.
        """
        if path.is_dir():
            files, passed = _walk(path, settings)
            if not files:
                raise LangJepaError(
                    f"data.train_file: the folder {path} has no file that can be read{_passed_over(passed)}. "
                    f"Known kinds: {formats.KNOWN}."
                )
            kinds = Counter(file.kind.name for file in files)
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            description = f"folder {path}: {counts}{_passed_over(passed)}"
        else:
            refuse_patterns(settings, f"the file {path}")
            files, description = [_named(path, settings)], f"file {path}"
        for file in files:
            file.kind.check(file.path, settings.text_column)
            if file.kind is formats.PARQUET and settings.units != "turns":
                check_text(file.path, settings.text_column)
        if settings.group_column is not None:
            _check_groups(files, description, settings)
        return cls(settings, description, {}, path, files)

    def fingerprint(self) -> str:
        """Names, sizes and content hashes of the files (size and time of change above HASH_WHOLE bytes), the column of
        the text, and the rules by which the files are read.
        """
        rules = sorted({(file.kind.name, file.kind.format) for file in self.files})
        read: list[object] = [FORMAT, text_files.FORMAT, rules, self.settings.text_column, *units_of(self.settings)]
        read += [*groups.rules(self.settings), *(["rotated", rotated.FORMAT] if self._logs() else [])]
        return fingerprint(["local", read, [[file.name, *_content(file.path)] for file in self.files]])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """Rows from `skip` on, file after file; of groups, which end anywhere, all are read.

        Identities are the group or the `id` column where there is one, else `<file>:<row>`; an id that occurs more than
        once in the source becomes `<id>@<file>:<row>` everywhere, whatever row reading begins at.
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
                where = f"{file.name}:{row.place}"
                if row.fault:
                    yield Rejection(row.fault, where)
                else:
                    identity = self._identity(file, row)
                    yield self._cut(judge(identity, row.text, where, self.settings, row.left_out), file)
            skip = 0

    def _rows(self, file: File, skip: int) -> Iterator[Row]:
        """The rows of a file; of a table with groups a row each, with memory for those that have not ended."""
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
        """Hashes of a file's groups, uint64 [G], and the last row of each, int64 [G]; only that column is read."""
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
        """Logs of several files, whose tail is that of all of them."""
        by_tail = self.settings.val_split == "tail" and self.settings.val_fraction > 0
        return rotated.logs_of(file.name for file in self.files) if by_tail else []

    def _cut(self, row: Document | Rejection, file: File) -> Document | Rejection:
        """A document with how much of it is learnt from, where that does not depend on it alone."""
        if self._shares is None:
            parts = {name for log in self._logs() for name in log}
            paths = {file.name: file.path for file in self.files if file.name in parts}
            self._shares = rotated.shares_learnt(paths, self.settings.val_fraction, in_records=self.settings.records)
        if isinstance(row, Rejection) or file.name not in self._shares:
            return row
        units = sum(1 for line in row.text.split("\n") if line.strip())
        return replace(row, learnt=round(self._shares[file.name] * units))

    def columns(self, other: str) -> Iterator[tuple[str, object, object]]:
        """Identity, text column and another column of every row, raw; rows without one of them are left out.

        Raises:
            LangJepaError: a file of a kind that has no columns, or without this one.
        """
        for file in self.files:
            if file.kind.prose is not None or file.kind is formats.TEXT:
                raise LangJepaError(f"{file.path} has no columns, it is one text: take .parquet or .jsonl.")
            file.kind.check(file.path, other)
            texts, others = (file.kind.rows(file.path, name, 0) for name in (self.settings.text_column, other))
            for row, beside in zip(texts, others, strict=True):
                if not row.fault and not beside.fault:
                    yield self._identity(file, row), row.text, beside.text

    def _identity(self, file: File, row: Row) -> str:
        place = f"{file.name}:{row.number}"
        repeated = row.id and formats.id_hash(row.id) in self._repeated_ids()
        return f"{row.id}@{place}" if repeated else row.id or place

    def _repeated_ids(self) -> frozenset[int]:
        """Hashes of ids that occur more than once; reads only the columns of ids or groups, 8 bytes for each row."""
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
    """Raise unless there is a table, and each has the columns of groups and of speakers."""
    tables = [file for file in files if file.kind.prose is None]
    if not tables:
        raise LangJepaError(
            f"data.group_column={settings.group_column} groups rows of tables (parquet, JSON, CSV), and {description} "
            "has none: leave it out."
        )
    for name in ("group_column", "speaker_column"):
        column = getattr(settings, name)
        for file in tables if column is not None else ():
            file.kind.check(file.path, column, f"data.{name}")
            first = next(iter(file.kind.rows(file.path, column, 0)), None) if file.kind is formats.JSON else None
            if first is not None and first.fault == f"no '{column}' key":
                raise LangJepaError(f"{file.path} has no key '{column}' in {first.place}. Set data.{name}.")


def refuse_patterns(settings: DataSettings, what: str) -> None:
    """Raise if files of a folder are to be chosen where there is no folder."""
    for name in ("include", "exclude"):
        if getattr(settings, name):
            raise LangJepaError(
                f"data.{name} chooses files of a folder, but data.train_file is {what}. Name the folder, or leave "
                f"data.{name} empty."
            )


def has_known_suffix(path: Path) -> bool:
    """Whether the name ends like a file that can be read."""
    return formats.kind_of(path) is not None


def _named(path: Path, settings: DataSettings) -> File:
    """A file that the settings name.

    Raises:
        LangJepaError: it is of no known kind, or no documents but a configuration.
    """
    _check_file(path)
    kind = formats.kind_of_named(path) or (formats.TEXT if settings.units == "lines" else None)
    if kind is None:
        raise LangJepaError(
            f"data.train_file: {path} ends in '{path.suffix}', which is no kind of file known here, and does not "
            f"begin with a line of JSON. Convert or rename it to one of {formats.KNOWN}."
        )
    if kind is formats.JSON and (reason := no_documents(path, settings.text_column)):
        raise LangJepaError(
            f"data.train_file: {path} is {reason}, not JSON lines and no array of documents. Set data.text_column "
            "(--text-column), or write one object a line, for example with `jq -c '.KEY[]' in.json > out.jsonl` (KEY "
            "holds the documents)."
        )
    return File(path.name, path, kind)


def _check_file(path: Path) -> None:
    """Raise unless `path` is a regular file that may be read."""
    what = f"data.train_file: {path}"
    if not path.exists():
        raise LangJepaError(f"{what} is a link to {os.readlink(path)}, which is not there. Mend the link.")
    if not path.is_file():
        raise LangJepaError(f"{what} is neither a file nor a folder.")
    if not os.access(path, os.R_OK):
        raise LangJepaError(f"{what} may not be read: check its permissions.")


def _walk(folder: Path, settings: DataSettings) -> tuple[list[File], Counter[str]]:
    """All usable files below a folder, sorted by relative name, and what was passed over."""
    names, passed = _names(folder)
    wanted = names
    if settings.include or settings.exclude:
        wanted = sorted(chosen(names, settings.include, settings.exclude, str(folder)))
        passed["left out by data.include and data.exclude"] = len(names) - len(wanted)
    files: list[File] = []
    for name in wanted:
        path = folder / name
        kind = formats.kind_of(path)
        if kind is None and settings.units == "lines" and rotated.is_log(path.name):
            kind = formats.TEXT
        if kind is None:
            passed[f"of unknown kind ({path.suffix or 'no suffix'})"] += 1
            continue
        _check_file(path)
        lists = path.with_suffix("") if path.suffix.lower() in text_files.PACKED else path
        if lists.suffix.lower() == ".json" and no_documents(path, settings.text_column):
            passed["JSON without documents"] += 1
            continue
        files.append(File(name, path, kind))
    return files, passed


def _names(folder: Path) -> tuple[list[str], Counter[str]]:
    """Relative names of all files below a folder, sorted, without what is hidden or in a linked folder."""
    names: list[str] = []
    passed: Counter[str] = Counter()

    def refuse(error: OSError) -> None:
        raise LangJepaError(
            f"data.train_file: the folder {error.filename} cannot be read: {error.strerror}. Check its permissions."
        )

    for place, folders, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        passed["hidden"] += sum(name.startswith(".") for name in [*folders, *files])
        passed["linked folder"] += sum(not n.startswith(".") and (here / n).is_symlink() for n in folders)
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [(here / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(names), passed


def _passed_over(passed: Counter[str]) -> str:
    """A remark on files that were not taken, or nothing."""
    parts = [f"{count} {what}" for what, count in sorted(passed.items()) if count]
    return f" (passed over: {', '.join(parts)})" if parts else ""


def _content(path: Path) -> list[int | str]:
    """Size and BLAKE2 hash of a file; for a very large one size and time of change in nanoseconds."""
    try:
        status = path.stat()
        if status.st_size > HASH_WHOLE:
            return [status.st_size, status.st_mtime_ns]
        with path.open("rb") as stream:
            return [status.st_size, hashlib.file_digest(stream, "blake2b").hexdigest()[:32]]
    except OSError as error:
        raise LangJepaError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
