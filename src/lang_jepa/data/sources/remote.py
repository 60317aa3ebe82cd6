"""Files in object stores and on web servers, which file readers accept in place of local paths."""

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, overload
from urllib.parse import urlsplit

from lang_jepa.data.sources import stores
from lang_jepa.data.sources.stores import Entry
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.addresses import ADDRESS, refuse_secret

FIRST = 1 << 20
"""Bytes of the first request for a file that is read from its beginning; each further one is twice as large."""
MOST = 1 << 23
"""Bytes of the largest request."""
REST_OF_REQUEST = 1 << 16
"""Bytes of each request for the rest of a line after the part of a file that is read."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as it was when it was listed; if it has changed since then, it is not read.

    Attributes:
        address: of the file, for messages.
        scheme: of the address.
        entry: its description by the store.
    """

    address: str
    scheme: str
    entry: Entry

    def __str__(self) -> str:
        return self.address

    @property
    def _pure(self) -> PurePosixPath:
        web = self.scheme in ("http", "https")
        return PurePosixPath(urlsplit(self.address).path if web else self.address)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self._pure.name

    @property
    def suffix(self) -> str:
        """The last suffix of the name."""
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name."""
        return self._pure.suffixes

    @overload
    def open(self, mode: Literal["rb"] = ..., buffering: Literal[-1] = ...) -> io.BufferedReader: ...
    @overload
    def open(self, mode: Literal["rb"], buffering: Literal[0]) -> "Ranges": ...

    def open(self, mode: Literal["rb"] = "rb", buffering: int = -1) -> "io.BufferedReader | Ranges":
        """Open the file, with requests that grow while it is read in order; unbuffered, as large as the reads."""
        return io.BufferedReader(Ranges(self, ahead=FIRST)) if buffering else Ranges(self)


class Ranges(io.RawIOBase):
    """Bytes of a remote file, with at most one request's worth held in memory.

    Args:
        file: to read.
        ahead: bytes of the first request; each is twice as large as the one before, up to MOST (0: requests are as
            large as the reads).

    Raises:
        Unreachable: raised by its methods, see `stores.fetch`.
    """

    def __init__(self, file: RemoteFile, ahead: int = 0) -> None:
        super().__init__()
        self._file, self._ahead = file, ahead
        self._at, self._begin, self._held = 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._file.entry.size)[whence])
        return self._at

    def readinto(self, target: "memoryview | bytearray") -> int:  # type: ignore[override]
        view, done = memoryview(target).cast("B"), 0
        while done < len(view) and self._at < self._file.entry.size:
            place = self._at - self._begin
            if not 0 <= place < len(self._held):
                self._request(len(view) - done)
                continue
            piece = self._held[place : place + len(view) - done]
            view[done : done + len(piece)] = piece
            done, self._at = done + len(piece), self._at + len(piece)
        return done

    def _request(self, wanted: int) -> None:
        file = self._file
        asked = min(self._ahead or min(wanted, MOST), file.entry.size - self._at)
        self._held = b""
        self._begin, self._held = stores.fetch(file.scheme, file.entry, self._at, self._at + asked, file.address)
        if self._ahead:
            self._ahead = min(2 * len(self._held), MOST)


AnyPath = Path | RemoteFile
"""A readable file, local or remote: `.open("rb")`, `.name`, `.suffix`, `.suffixes`."""


def size_of(path: AnyPath) -> int:
    """Size of a file in bytes."""
    return path.entry.size if isinstance(path, RemoteFile) else path.stat().st_size


def split(address: str, setting: str = "data.train_file") -> tuple[str, str] | None:
    """Scheme and rest of an address, or None if it is not an address.

    Args:
        address: to split.
        setting: the setting it comes from, for messages.

    Raises:
        LangJepaError: it contains a secret, its scheme is unknown, a library is not installed, or it names no file.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        return None
    try:
        refuse_secret(address)
    except ValueError as error:
        raise LangJepaError(f"{setting}: {error}.") from error
    scheme, rest = {"gcs": "gs"}.get(match[1].lower(), match[1].lower()), match[2].rstrip("/")
    if not rest.strip("/"):
        raise LangJepaError(f"{setting}: {address} has no path after {scheme}://.")
    if scheme != "file":
        stores.check(scheme, address, setting)
    if scheme == "hf" and not (rest.startswith("datasets/") and rest.count("/") >= 2):
        raise LangJepaError(f"{setting}: {address} is not of the form hf://datasets/OWNER/NAME/PATH.")
    return scheme, rest


def look_up(scheme: str, rest: str) -> RemoteFile | dict[str, RemoteFile]:
    """The file at an address, or the files below it (see `folder`), as they are now.

    Raises:
        Missing: there is neither.
        Unreachable: the store cannot be reached.
    """
    address, path = f"{scheme}://{rest}", _path(scheme, rest)
    entry = stores.describe(scheme, path, address)
    return RemoteFile(address, scheme, entry) if entry else folder(scheme, rest)


def folder(scheme: str, rest: str, prefix: str = "") -> dict[str, RemoteFile]:
    """All files below an address whose names begin with a prefix, or all files if the store cannot filter; by name
    relative to the address.

    Raises:
        Unreachable: the store cannot be reached.
        LangJepaError: it is a web server, which has no folders.
    """
    address, path = f"{scheme}://{rest}", _path(scheme, rest)
    if not stores.STORES[scheme].listed:
        raise LangJepaError(f"data.train_file: {address}: a web server does not list its files: name one file.")
    entries = sorted(stores.listing(scheme, path, address, prefix), key=lambda entry: entry.name)
    names = (entry.name.strip("/").removeprefix(path.strip("/") + "/") for entry in entries)
    return {name: RemoteFile(f"{address}/{name}", scheme, entry) for name, entry in zip(names, entries, strict=True)}


def _path(scheme: str, rest: str) -> str:
    """The path of an address in its file system; a hub address is pinned to its current commit."""
    if scheme in ("http", "https"):
        return f"{scheme}://{rest}"
    if scheme != "hf":
        return f"/{rest}" if scheme == "memory" else rest
    address = f"hf://{rest}"
    system = stores.system_of("hf")
    system.invalidate_cache()
    found = stores.patiently(address, lambda: system.resolve_path(rest))
    sha = stores.patiently(
        address,
        lambda: system._api.repo_info(found.repo_id, repo_type=found.repo_type, revision=found.revision).sha,
    )
    return f"datasets/{found.repo_id}@{sha}/{found.path_in_repo}".rstrip("/")
