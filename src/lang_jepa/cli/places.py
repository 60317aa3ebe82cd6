"""How far a file was read, as plain data, and where to resume: in the same file, whatever its name is by now."""

import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Identity = tuple[int, int]
"""Device and inode of a file."""
_KNOWN_BY = 1024
"""Bytes at its beginning and before the place by which a file is recognised, beside its inode, which may belong to
another file by now.
"""
_REST = 1 << 17
"""Bytes after a place that are saved with it, at most, in case the file is gone later."""


def identity_of(path: Path) -> Identity | None:
    """Return which file a name leads to; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def place_in(path: Path, offset: int, line: int, name: Path | None = None) -> dict[str, Any]:
    """Return how far a file was read, as plain data; empty if it is gone.

    Args:
        path: of the file.
        offset: bytes that were read.
        line: number of the line there.
        name: under which it was asked for (None: the path).
    """
    try:
        with path.open("rb") as file:
            marks = _marks(file.fileno(), offset)
            rest, found = os.pread(file.fileno(), _REST, offset), os.fstat(file.fileno())
    except OSError:
        return {}
    if marks is None:
        return {}
    known = {"name": os.path.abspath(name or path), "file": str(path.resolve()), "offset": offset, "line": line}
    known |= {"device": found.st_dev, "inode": found.st_ino, "marks": marks}
    return {**known, "rest": rest.decode("utf-8", "replace")}


def found_place(path: Path, place: Any) -> tuple[int, int] | None:
    """Return the offset and the line at which `place_in` left a file; None if this is not that file, or no longer.

    Args:
        path: of the file.
        place: what `place_in` returned; anything else is not a place.
    """
    if not isinstance(place, Mapping):
        return None
    offset, line = place.get("offset"), place.get("line")
    if type(offset) is not int or type(line) is not int or line < 1 or offset < 0:
        return None
    if identity_of(path) != (place.get("device"), place.get("inode")) or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            marks = _marks(file.fileno(), offset)
    except OSError:
        return None
    return (offset, line) if marks is not None and marks == place.get("marks") else None


def moved_file(path: Path, place: Any) -> Path | None:
    """Find the file that was read under this name: where a link led, or beside that under another name.

    Args:
        path: under which the file was read, and which leads to another file by now.
        place: what `place_in` returned.
    """
    if not _is_of(path, place) or not isinstance(place.get("file"), str):
        return None
    there = Path(place["file"])
    return next((one for one in (there, *beside(there)) if found_place(one, place) is not None), None)


def beside(path: Path) -> Iterator[Path]:
    """Yield the files of the folder in which a file is or was; none if the folder is gone."""
    try:
        with os.scandir(path.parent) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return


def left_over(path: Path, place: Any) -> tuple[bytes, int] | None:
    """Return what followed the place in a file that is gone, and the number of its first line; None if unknown.

    Args:
        path, place: as in `moved_file`.
    """
    if not _is_of(path, place):
        return None
    rest, line = place.get("rest"), place.get("line")
    return (rest.encode(), line) if isinstance(rest, str) and rest and type(line) is int and line > 0 else None


def _is_of(path: Path, place: Any) -> bool:
    """Whether a place is in a file that had this name."""
    return isinstance(place, Mapping) and place.get("name") == os.path.abspath(path)


def _marks(file: int, offset: int) -> list[int] | None:
    """Checksums of a file's beginning and of what is before the place; None if the file is shorter."""
    size = min(offset, _KNOWN_BY)
    pieces = [os.pread(file, size, start) for start in (0, offset - size)]
    return [zlib.crc32(piece) for piece in pieces] if min(map(len, pieces)) == size else None
