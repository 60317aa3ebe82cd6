"""A torch archive that carries the SHA-256 of all of itself, so that no flipped bit is ever loaded.

The hash is the comment at the end of the zip, which every reader of zip files passes over: it stays one file that is
written atomically, and `torch.load` of any program reads it. Hashed is everything before the comment, the two bytes
of its length included.
"""

import hashlib
import os
import re
import zipfile
from typing import BinaryIO

_MARK = b"lang-jepa sha256 "
_COMMENT = len(_MARK) + 64
_FORMAT = re.compile(rb"X\x06\x00\x00\x00format(?:q.|r.{4})?K(.)", re.DOTALL)
"""How the pickle of a checkpoint begins, whose first entry is its format."""


def seal(file: BinaryIO) -> None:
    """Put the hash behind the archive that was just written to a file, which is open for reading and writing."""
    file.seek(-2, os.SEEK_END)  # the length of the comment, which there is none of
    file.write(_COMMENT.to_bytes(2, "little"))
    file.write(_MARK + _digest(file, file.tell()))


def broken_seal(file: BinaryIO) -> str:
    """What is wrong with a file that should have been sealed; nothing if it is whole."""
    size = file.seek(0, os.SEEK_END)
    if size < _COMMENT:
        return "it is truncated or not a checkpoint"
    file.seek(-_COMMENT, os.SEEK_END)
    comment = file.read()
    if not comment.startswith(_MARK):
        return "it is truncated or not a checkpoint"
    if comment != _MARK + _digest(file, size - _COMMENT):
        return "it is damaged: its contents do not match its checksum"
    return ""


def format_of(file: BinaryIO) -> int | None:
    """The format that an archive begins with, without loading it; None if it is no checkpoint."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as pickle:
                found = _FORMAT.search(pickle.read(64))
    except (
        zipfile.BadZipFile,
        StopIteration,
        OSError,
        ValueError,
        NotImplementedError,
        EOFError,
        RuntimeError,
    ):
        return None
    return found[1][0] if found else None


def _digest(file: BinaryIO, size: int) -> bytes:
    """Hex digits of the SHA-256 of the first bytes of a file; leaves it at their end."""
    total = hashlib.sha256()
    file.seek(0)
    while size:
        part = file.read(min(size, 2**20))
        total.update(part)
        size -= len(part)
    return total.hexdigest().encode()
