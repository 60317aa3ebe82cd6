"""Allow one training run per folder, with a lock that the system frees however the process ends."""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import open_lock

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_held: set[int] = set()
"""Descriptors of this process's locks. A forked child, such as a loader process, closes them at once, so that it does
not keep them if we are killed."""


class RunLock:
    """Holds a run directory, creating it if needed, until `close` or the end of the process.

    The lock file lies in the folder and moves with it. A link in its place is never followed, and nothing is written to
    it before the lock is ours. A second lock in the same process is refused too.

    Args:
        folder: the run directory.
        setting: name of the setting that chooses it, for messages.

    Attributes:
        works: False if the file system has no locks, so that nothing keeps others out.

    Raises:
        LangJepaError: another training run holds the folder (the message has its process id), or it cannot be created.
    """

    def __init__(self, folder: Path, *, setting: str = "logging.log_dir") -> None:
        self.setting, self.works = setting, True
        self.folder = folder
        self._descriptor: int | None = self._take(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def follow(self, folder: Path) -> None:
        """Hold a new folder instead of the one that was moved away."""
        taken = self._take(folder)
        self._free()
        self.folder, self._descriptor = folder, taken

    def close(self) -> None:
        """Release the lock, and remove the folder if it holds nothing else."""
        if self._descriptor is None:
            return
        with suppress(OSError):  # moved or filled in the meantime: it stays
            if os.listdir(self.folder) == [LOCK]:
                (self.folder / LOCK).unlink()
                self.folder.rmdir()
        self._free()

    def _free(self) -> None:
        if self._descriptor in _held:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None

    def _take(self, folder: Path) -> int:
        while True:
            descriptor = open_lock(folder / LOCK)
            try:
                self._lock(descriptor)
                if _is_there(folder / LOCK, descriptor):  # else its owner removed it after we opened it
                    with suppress(OSError):  # a full disk, or another user's file: the lock works without our name
                        os.ftruncate(descriptor, 0)
                        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
                    _held.add(descriptor)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LangJepaError(
                f"{holder(descriptor)} is training in {self.folder}. Wait until it ends, stop it (it saves), or "
                f"set another {self.setting}."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self.works = False


def holder(descriptor: int) -> str:
    """The process that wrote itself into a lock, in words."""
    number, _, host = os.pread(descriptor, 200, 0).decode(errors="replace").partition(" ")
    where = host.strip()
    return f"process {number.strip() or 'unknown'}" + (f" on {where}" if where != socket.gethostname() else "")


def live_below(folder: Path) -> str | None:
    """Which process trains in a subfolder (a decoder in its encoder's run, say), and where; None if there is none."""
    inside = (path.parent for path in folder.rglob(LOCK) if path.parent != folder)
    return next((f"{who} is at work in {place}" for place in inside if (who := at_work(place))), None)


def at_work(folder: Path) -> str | None:
    """Which process trains in a folder, in words; None if there is none."""
    path = folder / LOCK
    if path.is_symlink() or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return holder(file.fileno())
    except OSError:  # no locks there, or no permission to read: nothing is known
        return None
    return None


def _let_go_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether a path still points to an open file."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
