"""Writing files so that a crash leaves the old file or the new one, never half of one; and what hinders it, in words.

A path that is a link is followed: the file or folder that it names is replaced, in that one's place. Locks are the
exception, they follow nothing.
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
"""How libraries that wrap the error without its number say that a disk is full."""
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)")
_PIECE = 2**20
LARGEST_JSON = 2**26
"""Bytes of the largest JSON document that is read: cards and manifests have a few thousand."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that of a full disk, a quota, or a limit on the size of files."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in words what kept the block from writing `path`; libraries wrap that beyond recognition.

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
                "(or raise the quota or ulimit -f) and give the command again (of a training run: with --resume)."
            ) from error
        if isinstance(error, OSError) and error.errno in _REFUSED:
            raise _unwritable(path, error) from error
        raise


def _unwritable(path: Path, error: OSError) -> LangJepaError:
    where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
    return LangJepaError(f"cannot write {path}: {error.strerror}{where}. Choose another place.")


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        LangJepaError: it cannot be made.
    """
    with writing(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError) as error:  # a file in the way; a place like /proc
            raise _unwritable(path, error) from error


def check_writable(path: Path | str, *, folder: bool = False) -> None:
    """Raise before the work if its result could not be written; leaves nothing behind.

    Args:
        path: to write; what is there may be replaced.
        folder: it is to be a folder.

    Raises:
        LangJepaError: a folder is where a file should be or the other way round, or nothing can be made there.
    """
    path = Path(os.path.realpath(path))
    try:
        with suppress(FileNotFoundError):
            path.lstat()
    except OSError as error:
        raise _unwritable(path, error) from error
    if folder and os.path.exists(path) and not path.is_dir():
        raise LangJepaError(f"{path} is a file, and a folder is to be written there: choose another place")
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
    """Raise if something that is no file is there: replacing a device or a pipe would destroy it."""
    if os.path.isdir(path):
        raise LangJepaError(f"{path} is a folder, and a file is to be written there: choose another place")
    if os.path.exists(path) and not os.path.isfile(path):
        raise LangJepaError(f"{path} is no file but a device or a pipe: choose another place")


def flush(path: Path) -> None:
    """Force a file's or a folder's contents to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """Hold a lock on a temporary file or folder, by which `remove_temporaries` sees that its writer lives."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, flush it and rename it to `path`.

    The temporary file is in the same folder, because a rename is atomic only inside one file system. When
    the block raises, the temporary file is removed and `path` stays as it was.

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
        with suppress(OSError):  # not there, or a name that cannot be
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path, *, known_by: str | None = None, ours: Collection[str] = ()) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; when the block ends well, put it in `path`'s place.

    An existing folder at `path` is moved aside first and removed afterwards: a folder cannot be replaced in
    one system call. An error in between moves it back; a power cut in between leaves it under a `.old` name.

    Args:
        path: of the folder.
        known_by: a file that folders of this kind have. One without it, that is not empty, is refused.
        ours: names in an older folder that go with it; whatever else lies in it, and is not in the new one, moves into
            the new one (only with `known_by`).

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
    """Raise LangJepaError if a folder is there that is not empty and lacks the file that it would be known by."""
    if path.exists() and not path.is_dir():
        raise LangJepaError(f"{path} is a file, and a folder is to be written there: choose another place")
    if path.is_dir() and any(path.iterdir()) and not (path / known_by).is_file():
        raise LangJepaError(
            f"{path} holds something else (it has no {known_by}), which would be lost: choose another folder"
        )


def check_only(folder: Path, ours: Collection[str], *, what: str) -> None:
    """Raise LangJepaError if a folder that is about to be removed holds more than names (patterns) in `ours`."""
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    foreign = sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in ours))
    if foreign:
        raise LangJepaError(
            f"{folder} would have to be removed, but {', '.join(foreign[:3])} in it is no part of {what}: move it away"
        )


def _followed(path: Path) -> Path:
    """Where a path leads if it is a link; else the path."""
    path = Path(path)
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _bring_over(old: Path, new: Path, ours: Collection[str]) -> None:
    """Move what is not ours from a folder that is going to be removed."""
    for entry in old.iterdir():
        if entry.name not in ours and not os.path.lexists(new / entry.name):
            os.replace(entry, new / entry.name)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in a folder; those in use stay.

    A folder that was moved aside when the power went, and has no successor, gets its name back.
    """
    for entry in list(folder.iterdir()) if folder.is_dir() else ():
        found = _TEMPORARY.fullmatch(entry.name)
        if found is None or entry.is_symlink():
            continue
        if found["kind"] == "old" and not os.path.lexists(folder / found["name"]):
            os.replace(entry, folder / found["name"])
            continue
        with suppress(OSError), _in_use(entry):  # another's, in use, or gone already
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def open_lock(path: Path) -> int:
    """A file descriptor to lock. The file is made if it is not there; a link is not followed, nothing is changed.

    Raises:
        LangJepaError: it cannot be made, or something that is no file is there.
    """
    make_folder(path.parent)
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not wait
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | flags, 0o644)
        except PermissionError:  # another user's is locked as well
            descriptor = os.open(path, os.O_RDONLY | flags, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise LangJepaError(f"the lock {path} is a link or no file: remove it") from error
        raise _unwritable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LangJepaError(f"the lock {path} is no file: remove it")
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes of this machine wait for, and that the system frees if we are killed.

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
    """Append UTF-8 text; if that fails half-way, the file is cut back to what it was.

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
    """Write UTF-8 text atomically. What is no Unicode (file names hold such bytes) is written as an escape."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Write a JSON document atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON document; `what` names it in the error when it is absent or damaged.

    Raises:
        LangJepaError: the file is missing or is not JSON.
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
    except ValueError as error:  # not JSON, not UTF-8, a number of thousands of digits
        raise LangJepaError(f"{what} is damaged ({path}): {error}") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def sha256(path: Path) -> str:
    """SHA-256 of a file's contents, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LARGEST_CHECKED = 64 * 2**30
"""Bytes that are read at most to compare checksums when something is opened: half a minute from a fast disk."""


def crc32(path: Path) -> str:
    """CRC-32 of a file's contents, as hex digits.

    It is for files of many gigabytes that are read whenever work starts: it finds each flipped bit and each zeroed
    block at the speed of memory (.14 s for a gigabyte where SHA-256 takes .46 s), and keeps nobody from forging one.
    """
    total = 0
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            total = zlib.crc32(data, total)
    return f"{total:08x}"


def changed_file(sums: Mapping[Path, str]) -> Path | None:
    """The first file whose CRC-32 is not the one given; None: all are as they were, or there is too much to read.

    More than LARGEST_CHECKED bytes in all would keep a training waiting for minutes, on every process: then nothing
    is read.
    """
    if sum(path.stat().st_size for path in sums) > LARGEST_CHECKED:
        return None
    return next((path for path, total in sums.items() if crc32(path) != total), None)


def fingerprint(value: object) -> str:
    """A short stable hash (16 hex digits of SHA-256) of anything JSON can hold; key order does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
