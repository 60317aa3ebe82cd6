"""Writing files so that a crash leaves the old file or the new one, never half of one."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError


def _flush(path: Path) -> None:
    """Force a file's or a folder's contents to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    """Say so in words where a full disk is what ended the block; libraries wrap that beyond recognition.

    Raises:
        LangJepaError: the disk, or what a user may have of it, is full.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise LangJepaError(
            f"the disk is full: {path} was not written, and what was there before is unchanged. Free some space and "
            "give the command again (of a training run: with --resume)."
        ) from error


def _is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):  # safetensors' own error has no number
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, flush it and rename it to `path`.

    The temporary file is in the same folder, because a rename is atomic only inside one file system. When
    the block raises, the temporary file is removed and `path` stays as it was.

    Raises:
        LangJepaError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with _full_disk_told(path):
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; when the block ends well, put it in `path`'s place.

    An existing folder at `path` is moved aside first and removed afterwards: a folder cannot be replaced in
    one system call. An error in between moves it back; a power cut in between leaves it under a `.old` name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    temporary, old = (path.with_name(f".{path.name}.{mark}.{kind}") for kind in ("tmp", "old"))
    temporary.mkdir()
    try:
        with _full_disk_told(path):
            yield temporary
            for file in [*temporary.rglob("*"), temporary]:
                _flush(file)
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            _flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes of this machine wait for, and that the system frees if we are killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON document; `what` names it in the error when it is absent or damaged.

    Raises:
        LangJepaError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LangJepaError(f"{what} not found: {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LangJepaError(f"{what} is damaged ({path}): {error}") from error


def fingerprint(value: Any) -> str:
    """A short stable hash (16 hex digits of SHA-256) of anything JSON can hold; key order does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_lines(path: Path) -> list[str]:
    """Non-empty lines of a UTF-8 file, stripped.

    Raises:
        LangJepaError: it cannot be read, is not UTF-8, or has none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LangJepaError(f"{path} is not UTF-8 text: {error}") from error
    if not lines:
        raise LangJepaError(f"{path} holds no text")
    return lines
