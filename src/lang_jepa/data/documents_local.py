"""Local files as a source: parquet, JSON lines, plain text, or a folder of them, read in place.

Nothing is copied to a cache, and only a plain-text file (one document) is ever held whole. A damaged file is
an error that names it; a damaged row is rejected and counted.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from lang_jepa.config import DataSettings
from lang_jepa.data import documents_formats as formats
from lang_jepa.data.documents_base import Document, Rejection, RowSource, judge
from lang_jepa.errors import LangJepaError
from lang_jepa.files import fingerprint

HASH_WHOLE = 1 << 30
"""Bytes up to which a file's content is hashed; a larger one is told by size and time of change."""


@dataclass
class LocalSource(RowSource):
    """One file, or all usable files of a folder in sorted order."""

    root: Path = Path()
    files: list[tuple[str, Path]] = field(default_factory=list)
    """Name that stands in document identities (relative to the folder), and the path."""
    _repeated: frozenset[int] | None = None

    @classmethod
    def open(cls, settings: DataSettings, path: Path) -> Self:
        """List the files and check the columns of parquet files.

        Raises:
            LangJepaError: an unknown kind of file, a folder without usable files, a broken link, a damaged
                parquet file, or a column that is not there.
        """
        if path.is_dir():
            files, passed = _walk(path)
            if not files:
                raise LangJepaError(
                    f"data.train_file: the folder {path} has no file that can be read{_passed_over(passed)}. "
                    f"Known kinds: {formats.KNOWN}."
                )
            kinds = Counter(formats.kind_of(file) for _, file in files)
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()) if kind)
            description = f"folder {path}: {counts}{_passed_over(passed)}"
        else:
            _check_file(path)
            files, description = [(path.name, path)], f"file {path}"
        for _, file in files:
            if formats.kind_of(file) == "parquet":
                formats.check_parquet(file, settings.text_column)
        return cls(settings, description, {}, path, files)

    def fingerprint(self) -> str:
        """Names, sizes and content hashes of the files (size and time of change above HASH_WHOLE bytes)."""
        return fingerprint(["local", [[name, *_content(path)] for name, path in self.files]])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """Rows from `skip` on, file after file.

        Identities are the `id` column where there is one, else `<file>:<row>`; an id that occurs more than
        once in the source becomes `<id>@<file>:<row>` everywhere, whatever row reading begins at.
        """
        repeated, settings = self._repeated_ids(), self.settings
        for name, path in self.files:
            if skip and skip >= (count := formats.count_rows(path)):
                skip -= count
                continue
            for row in formats.read_rows(path, settings.text_column, skip):
                place = f"{name}:{row.number}"
                identity = row.id or place
                if row.id and formats.id_hash(row.id) in repeated:
                    identity = f"{row.id}@{place}"
                if row.fault:
                    yield Rejection(row.fault, f"{name}:{row.place}")
                else:
                    yield judge(identity, row.text, f"{name}:{row.place}", settings.min_length)
            skip = 0

    def _repeated_ids(self) -> frozenset[int]:
        """Hashes of ids that occur more than once; reads only the id columns, 8 bytes for each row."""
        if self._repeated is None:
            parts = [
                np.fromiter(formats.id_hashes(path, self.settings.text_column), np.uint64)
                for _, path in self.files
            ]
            values, counts = np.unique(np.concatenate(parts), return_counts=True)
            self._repeated = frozenset(values[counts > 1].tolist())
        return self._repeated


def has_known_suffix(path: Path) -> bool:
    """Whether the name ends like a file that can be read."""
    return formats.kind_of(path) is not None


def _check_file(path: Path) -> None:
    """Raise unless `path` is a regular file of a known kind that may be read."""
    what = f"data.train_file: {path}"
    if not path.exists():
        raise LangJepaError(f"{what} is a link to {os.readlink(path)}, which is not there. Mend the link.")
    if not path.is_file():
        raise LangJepaError(f"{what} is neither a file nor a folder.")
    if formats.kind_of(path) is None:
        raise LangJepaError(
            f"{what} ends in '{path.suffix}', which is no kind of file known here. Convert or rename it to one "
            f"of {formats.KNOWN}."
        )
    if not os.access(path, os.R_OK):
        raise LangJepaError(f"{what} may not be read: check its permissions.")


def _walk(folder: Path) -> tuple[list[tuple[str, Path]], Counter[str]]:
    """All usable files below a folder, sorted by relative name, and what was passed over."""
    files: list[tuple[str, Path]] = []
    passed: Counter[str] = Counter()

    def refuse(error: OSError) -> None:
        raise LangJepaError(
            f"data.train_file: the folder {error.filename} cannot be read: {error.strerror}. Check its permissions."
        )

    for place, folders, names in os.walk(folder, onerror=refuse):
        here = Path(place)
        passed["hidden"] += sum(name.startswith(".") for name in [*folders, *names])
        passed["linked folder"] += sum(not n.startswith(".") and (here / n).is_symlink() for n in folders)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = here / name
            if name.startswith("."):
                continue
            if formats.kind_of(path) is None:
                passed[f"of unknown kind ({path.suffix or 'no suffix'})"] += 1
                continue
            _check_file(path)
            files.append((path.relative_to(folder).as_posix(), path))
    return sorted(files), passed


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
