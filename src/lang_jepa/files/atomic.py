"""Write files so that a crash leaves either the old or the new one, and report in words why writing failed.

Symbolic links are followed: the file or folder that a link points to is replaced. Only locks do not follow links.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
_FULL_TEXTS = tuple(map(os.strerror, _FULL))
"""Messages of a full disk, for libraries that wrap the error without its number."""
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)")
_PIECE = 2**20
LARGEST_JSON = 2**26
"""Bytes in the largest JSON document that is read; cards and manifests have a few thousand."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error was caused by a full disk, a quota, or a limit on file sizes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the block that writes `path` into clear messages, since libraries wrap them beyond recognition.

    Raises:
        LangJepaError: the disk is full, or writing is not allowed there.
    """
    try:
        yield
    except LangJepaError:
        raise
    except Exception as error:
        if is_full(error):
            raise LangJepaError(
                f"the disk is full: {path} was not written, and what was there before is unchanged. Free some space "
                "(or raise the quota or ulimit -f) and run the command again (for a training run, with --resume)."
            ) from error
        if isinstance(error, OSError) and error.errno in _REFUSED:
            raise _unwritable(path, error) from error
        raise


def _unwritable(path: Path, error: OSError) -> LangJepaError:
    where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
    return LangJepaError(f"cannot write {path}: {error.strerror}{where}. Choose another path.")


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        LangJepaError: the folder cannot be created.
    """
    with writing(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError) as error:  # a file in the way; a place like /proc
            raise _unwritable(path, error) from error


def check_writable(path: Path | str, *, folder: bool = False) -> None:
    """Check before the work that its result can be written; leaves nothing behind.

    Args:
        path: to write; an existing file or folder may be replaced.
        folder: whether the result is a folder.

    Raises:
        LangJepaError: there is a folder instead of a file or vice versa, or nothing can be created there.
    """
    path = Path(os.path.realpath(path))
    try:
        with suppress(FileNotFoundError):
            path.lstat()
    except OSError as error:
        raise _unwritable(path, error) from error
    if folder and os.path.exists(path) and not path.is_dir():
        raise LangJepaError(f"{path} is a file, and a folder is to be written there: choose another path")
    if not folder:
        _check_file(path)
    place = path if folder else path.parent
    while not os.path.exists(place):
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise _unwritable(path, OSError(error.errno, error.strerror, str(place))) from error


def _check_file(path: Path) -> None:
    """Raise if the path exists and is not a file: replacing a device or a pipe would destroy it."""
    if os.path.isdir(path):
        raise LangJepaError(f"{path} is a folder, and a file is to be written there: choose another path")
    if os.path.exists(path) and not os.path.isfile(path):
        raise LangJepaError(f"{path} is a device or a pipe, not a file: choose another path")


def flush(path: Path) -> None:
    """Force the contents of a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """Lock a temporary file or folder, so that `remove_temporaries` sees that its writer is alive."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` once the block has succeeded and it is flushed.

    The temporary file is in the same folder, because a rename is atomic only within a file system. If the block raises,
    the temporary file is removed and `path` is unchanged.

    Raises:
        LangJepaError: the disk is full, or writing is not allowed there.
    """
    path = _followed(path)
    _check_file(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with writing(path):
            temporary.touch()
            with _in_use(temporary):
                yield temporary
                flush(temporary)
                os.replace(temporary, path)
            flush(path.parent)
    finally:
        with suppress(OSError):  # it does not exist, or its name is invalid
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path, *, known_by: str | None = None, ours: Collection[str] = ()) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`, and move it to `path` once the block has succeeded.

    An existing folder at `path` is moved aside first and removed afterwards, because a folder cannot be replaced in one
    system call. An error in between moves it back; a power cut in between leaves it under a `.old` name.

    Args:
        path: of the folder.
        known_by: a file that folders of this kind have. An existing folder without it is refused unless empty.
        ours: names in the old folder that are removed with it; anything else in it that the new folder lacks is moved
            into the new one (only with `known_by`).

    Raises:
        LangJepaError: the disk is full, writing is not allowed there, or something else is there.
    """
    path = _followed(path)
    if known_by is not None:
        check_replaceable(path, known_by)
    make_folder(path.parent)
    mark = uuid.uuid4().hex[:8]
    temporary, old = (path.with_name(f".{path.name}.{mark}.{kind}") for kind in ("tmp", "old"))
    try:
        with writing(path):
            temporary.mkdir()
            with _in_use(temporary):
                yield temporary
                for file in [*temporary.rglob("*"), temporary]:
                    flush(file)
                if path.exists():
                    os.replace(path, old)
                os.replace(temporary, path)
                if known_by is not None and old.exists():
                    _bring_over(old, path, {known_by, *ours})
            flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_replaceable(path: Path, known_by: str) -> None:
    """Raise LangJepaError if the path is a file, or a folder that is not empty and lacks the file `known_by`."""
    if path.exists() and not path.is_dir():
        raise LangJepaError(f"{path} is a file, and a folder is to be written there: choose another path")
    if path.is_dir() and any(path.iterdir()) and not (path / known_by).is_file():
        raise LangJepaError(
            f"{path} holds something else (it has no {known_by}), which would be lost: choose another folder"
        )


def check_only(folder: Path, ours: Collection[str], *, what: str) -> None:
    """Raise LangJepaError if a folder about to be removed holds names that match no pattern in `ours`."""
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    foreign = sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in ours))
    if foreign:
        raise LangJepaError(
            f"{folder} would have to be removed, but {', '.join(foreign[:3])} in it is not part of {what}: move it away"
        )


def _followed(path: Path) -> Path:
    """The target of a path if it is a link, else the path."""
    path = Path(path)
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _bring_over(old: Path, new: Path, ours: Collection[str]) -> None:
    """Move everything that is not ours out of a folder about to be removed."""
    for entry in old.iterdir():
        if entry.name not in ours and not os.path.lexists(new / entry.name):
            os.replace(entry, new / entry.name)


def remove_temporaries(folder: Path) -> None:
    """Remove temporary files and folders that killed processes left in a folder; those in use stay.

    A folder that was moved aside before a power cut and has no successor gets its name back.
    """
    for entry in list(folder.iterdir()) if folder.is_dir() else ():
        found = _TEMPORARY.fullmatch(entry.name)
        if found is None or entry.is_symlink():
            continue
        if found["kind"] == "old" and not os.path.lexists(folder / found["name"]):
            os.replace(entry, folder / found["name"])
            continue
        with suppress(OSError), _in_use(entry):  # another user's, in use, or already gone
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def open_lock(path: Path) -> int:
    """Open a file to lock, creating it if it does not exist; links are not followed, and contents are not changed.

    Raises:
        LangJepaError: the file cannot be created, or something other than a file is there.
    """
    make_folder(path.parent)
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not wait
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | flags, 0o644)
        except PermissionError:  # another user's file can be locked too
            descriptor = os.open(path, os.O_RDONLY | flags, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise LangJepaError(f"the lock {path} is a link, or not a file: remove it") from error
        raise _unwritable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LangJepaError(f"the lock {path} is not a file: remove it")
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock for which other processes on this machine wait, and which the system frees if we are killed.

    Raises:
        LangJepaError: see `open_lock`.
    """
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def append_text(path: Path, text: str) -> None:
    """Append UTF-8 text; if this fails halfway, the file is truncated to its previous length.

    Raises:
        LangJepaError: the disk is full, or writing is not allowed there.
    """
    with writing(path), path.open("ab", buffering=0) as file:
        end, rest = os.fstat(file.fileno()).st_size, memoryview(text.encode("utf-8"))
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(end)
            raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; bytes that are not Unicode, as in some file names, are written as escapes."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Write a JSON document atomically, with keys in the given order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON document; `what` names it in error messages.

    Raises:
        LangJepaError: the file is missing, unreadable, too large, or not JSON.
    """
    try:
        size = Path(path).stat().st_size
        if size > LARGEST_JSON:
            raise LangJepaError(f"{what} is damaged ({path}): {size:,} bytes are too many")
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise LangJepaError(f"{what} not found: {path}") from None
    except OSError as error:
        raise LangJepaError(f"{what} cannot be read ({path}): {error.strerror}") from error
    except RecursionError:
        raise LangJepaError(f"{what} is damaged ({path}): it is nested too deeply") from None
    except ValueError as error:  # not JSON, not UTF-8, or a number with thousands of digits
        raise LangJepaError(f"{what} is damaged ({path}): {error}") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def sha256(path: Path) -> str:
    """SHA-256 of a file's contents, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LARGEST_CHECKED = 64 * 2**30
"""Maximum bytes read to compare checksums when something is opened: half a minute from a fast disk."""


def crc32(path: Path) -> str:
    """CRC-32 of a file's contents, as hex digits.

    It is for files of many gigabytes that are read whenever work starts: it detects every flipped bit and every zeroed
    block at the speed of memory (.14 s for a gigabyte where SHA-256 takes .46 s), but does not protect against forgery.
    """
    total = 0
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            total = zlib.crc32(data, total)
    return f"{total:08x}"


def changed_file(sums: Mapping[Path, str]) -> Path | None:
    """The first file whose CRC-32 differs from the given one; None if all are unchanged or there is too much to read.

    Above LARGEST_CHECKED bytes in total nothing is read, because every process of a training run would wait for
    minutes.
    """
    if sum(path.stat().st_size for path in sums) > LARGEST_CHECKED:
        return None
    return next((path for path, total in sums.items() if crc32(path) != total), None)


def fingerprint(value: object) -> str:
    """A short stable hash (16 hex digits of SHA-256) of any JSON value; key order does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
