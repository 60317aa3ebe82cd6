"""How far a file was read, as plain data, and where to go on: in the same file, wherever its name is by now."""

import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Identity = tuple[int, int]
"""Of a file: device and inode."""
_KNOWN_BY = 1024
"""Bytes at its beginning and before the place by which a file is known again, beside its inode, which may be another
file's by now.
"""
_REST = 1 << 17
"""Bytes after a place that are kept with it at most, for when the file is gone."""


def identity_of(path: Path) -> Identity | None:
    """Which file a name stands for; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def place_in(path: Path, offset: int, line: int, name: Path | None = None) -> dict[str, Any]:
    """How far a file was read, as plain data; nothing where it is gone.

    Args:
        path: of the file.
        offset: bytes that were read.
        line: number of the line there.
        name: by which it was asked for (None: the path).
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
    """The offset and the line where `place_in` left a file; None where it is another file by now, or was.

    Args:
        path: of the file.
        place: what `place_in` returned; anything else is no place.
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
    """Where the file is by now that was read under this name: where a link led, or beside that under another name.

    Args:
        path: by which the file was read, and which is another file by now.
        place: what `place_in` returned.
    """
    if not _is_of(path, place) or not isinstance(place.get("file"), str):
        return None
    there = Path(place["file"])
    return next((one for one in (there, *beside(there)) if found_place(one, place) is not None), None)


def beside(path: Path) -> Iterator[Path]:
    """The files of a folder in which a file is or was; nothing where the folder is gone."""
    try:
        with os.scandir(path.parent) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return


def left_over(path: Path, place: Any) -> tuple[bytes, int] | None:
    """What stood after the place in a file that is gone, and the number of its first line; None where nothing is known.

    Args:
        path, place: as of `moved_file`.
    """
    if not _is_of(path, place):
        return None
    rest, line = place.get("rest"), place.get("line")
    return (rest.encode(), line) if isinstance(rest, str) and rest and type(line) is int and line > 0 else None


def _is_of(path: Path, place: Any) -> bool:
    """Whether a place is one of a file that had this name."""
    return isinstance(place, Mapping) and place.get("name") == os.path.abspath(path)


def _marks(file: int, offset: int) -> list[int] | None:
    """Checksums of a file's beginning and of what stands before the place; None where it is shorter."""
    size = min(offset, _KNOWN_BY)
    pieces = [os.pread(file, size, start) for start in (0, offset - size)]
    return [zlib.crc32(piece) for piece in pieces] if min(map(len, pieces)) == size else None
