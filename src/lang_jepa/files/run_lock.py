"""One training a folder: a lock that the system frees when its process ends, however that ends."""

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
"""Descriptors of the locks of this process. A forked child (a loader process, say) must not keep them when we are
killed, so it closes them at once."""


class RunLock:
    """Holds a run directory, which is made if needed, until `close` or the end of the process.

    It lies in the folder and so goes with it when the folder is moved. A link in its place is never followed, and
    nothing is written into it before it is ours. A second one in the same process is refused too.

    Args:
        folder: the run directory.
        setting: that names it, for messages.

    Attributes:
        works: False where the file system has no locks, so that nothing keeps others out.

    Raises:
        LangJepaError: another training holds it (the message has its process id), or it cannot be made.
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
        """Hold a new folder in the place of the one that was moved away."""
        taken = self._take(folder)
        self._free()
        self.folder, self._descriptor = folder, taken

    def close(self) -> None:
        """Let others in; a folder that holds nothing else is removed."""
        if self._descriptor is None:
            return
        with suppress(OSError):  # it was moved or filled meanwhile: then it stays
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
                if _is_there(folder / LOCK, descriptor):  # else its owner removed it after we had opened it
                    with suppress(OSError):  # a full disk, or another user's file: the lock holds without our name
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
            raise LangJepaError(self._held(descriptor)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self.works = False

    def _held(self, descriptor: int) -> str:
        return (
            f"{holder(descriptor)} is training in {self.folder}. Wait until it ends, stop it (it saves), or "
            f"set another {self.setting}."
        )


def holder(descriptor: int) -> str:
    """Who wrote itself into a lock, in words."""
    number, _, host = os.pread(descriptor, 200, 0).decode(errors="replace").partition(" ")
    where = host.strip()
    return f"process {number.strip() or 'unknown'}" + (f" on {where}" if where != socket.gethostname() else "")


def live_below(folder: Path) -> str | None:
    """Who trains in a folder inside of this one (a decoder inside its encoder's run, say), and where; None: nobody."""
    inside = (path.parent for path in folder.rglob(LOCK) if path.parent != folder)
    return next((f"{who} is at work in {place}" for place in inside if (who := at_work(place))), None)


def at_work(folder: Path) -> str | None:
    """Who trains in a folder, in words; None: nobody."""
    path = folder / LOCK
    if path.is_symlink() or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return holder(file.fileno())
    except OSError:  # no locks there, or not ours to read: nothing is known
        return None
    return None


def _let_go_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to an open file."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
