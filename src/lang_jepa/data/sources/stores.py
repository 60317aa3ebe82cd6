"""Requests to object stores and web servers through fsspec file systems: list files, and read parts of them.

Every request has a time limit and is retried a bounded number of times if that may help. If it still fails, an error
names the object; a file is never taken to be shorter than it is, or missing when it is not.
"""

import os
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from lang_jepa.errors import LangJepaError, first_line, how_to_install
from lang_jepa.settings.addresses import without_secrets

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each retry."""
PATIENCE = 120.0
"""Seconds after which there are no more retries."""
SECONDS = 60.0
"""Time limit of a request."""
WHOLE = 1 << 26
"""Size in bytes of the largest file that is downloaded whole from a web server without range requests."""
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_TRANSPORT = {"OSError", "TimeoutError", "HTTPClientError", "ClientError", "TransportError", "HTTPError", "EOFError"}
"""Transport error classes of the libraries, by name, since not every library is installed."""
_NOT_ALLOWED = {"PermissionError", "NoCredentialsError", "PartialCredentialsError", "GoogleAuthError"}
_T = TypeVar("_T")


class Unreachable(LangJepaError):
    """A file in a store cannot be reached, which says nothing about its content."""


class Missing(Unreachable):
    """Nothing exists at an address."""


class _WrongLength(OSError):
    """A response with fewer or more bytes than requested."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as described by its store.

    Attributes:
        name: in its file system.
        size: in bytes.
        content: an identifier that changes with the content; empty if the store provides none.
        pin: sent with requests, so that all parts come from the same content.
    """

    name: str
    size: int
    content: str = ""
    pin: str = ""


Fetch = Callable[[Any, Entry, int, int], Coroutine[Any, Any, tuple[int, bytes]] | tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Store:
    """How to access the files of a scheme.

    Attributes:
        package: module that must be installed.
        extra: the extra that installs it.
        fetch: reads a range of bytes of a file; returns where the data begins, and the data.
        content, pin: keys of a file description; for `content` the first that has a value is used.
        listed: whether it has folders that can be listed.
        options: of the file system.
    """

    package: str
    extra: str
    fetch: Fetch
    content: tuple[str, ...] = ()
    pin: str = ""
    listed: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def entry(self, info: Mapping[str, Any]) -> Entry:
        """Convert a description by the file system."""
        found = next((f"{key} {info[key]}" for key in self.content if info.get(key)), "")
        return Entry(info["name"], int(info["size"]), found, str(info.get(self.pin) or ""))


async def _from_s3(system: Any, entry: Entry, start: int, stop: int) -> tuple[int, bytes]:
    bucket, key, _ = system.split_path(entry.name)
    given = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}"}
    answer = await system._call_s3("get_object", **given, **({"IfMatch": entry.pin} if entry.pin else {}))
    async with answer["Body"] as body:
        if entry.pin and answer.get("ETag", entry.pin) != entry.pin:  # for stores that ignore IfMatch
            raise _Changed
        return start, await body.read()


async def _from_gcs(system: Any, entry: Entry, start: int, stop: int) -> tuple[int, bytes]:
    return start, await system._cat_file(entry.name, start, stop, generation=entry.pin or None)


async def _from_web(system: Any, entry: Entry, start: int, stop: int) -> tuple[int, bytes]:
    async with await _asked(system, entry.name, f"bytes={start}-{stop - 1}") as answer:
        if answer.status != 416:  # the file has become shorter
            answer.raise_for_status()
        if _web_entry(entry.name, answer) != entry:
            raise _Changed
        whole = answer.status != 206
        return 0 if whole else start, await answer.read()


def _at_once(system: Any, entry: Entry, start: int, stop: int) -> tuple[int, bytes]:
    return start, system.cat_file(entry.name, start, stop, cache_type="none")


class _Changed(Exception):
    """A file is no longer the one that was listed."""


async def _asked(system: Any, url: str, part: str) -> Any:
    """A web server's response to a request for part of a file, without transport compression."""
    session = await system.set_session()
    return session.get(system.encode_url(url), headers={"Range": part, "Accept-Encoding": "identity"})


def _web_entry(url: str, answer: Any) -> Entry:
    """Describe a file from the headers of a response.

    Raises:
        LangJepaError: its length is unknown, or it is large and the server does not support range requests.
    """
    headers, why = answer.headers, ""
    length = headers.get("Content-Range", "").rpartition("/")[2] if answer.status in (206, 416) else None
    if length is None:
        length = headers.get("Content-Length", "") if not headers.get("Content-Encoding") else ""
        why = "gives no parts of files" if length.isdigit() and int(length) > WHOLE else ""
    if why or not length.isdigit():
        raise Unreachable(f"{url}: the server {why or 'does not say how long the file is'}: download it first.")
    found = next((f"{key} {headers[key]}" for key in ("ETag", "Last-Modified") if headers.get(key)), "")
    return Entry(url, int(length), found, found)


_CHECKSUM = ("md5Hash", "crc32c", "etag")
STORES = {
    "s3": Store("s3fs", "s3", _from_s3, ("ETag",), "ETag", options={"use_listings_cache": False}),
    "gs": Store("gcsfs", "gcs", _from_gcs, _CHECKSUM, "generation", options={"use_listings_cache": False}),
    "hf": Store("huggingface_hub", "", _at_once, ("blob_id",)),
    "https": Store("aiohttp", "", _from_web, listed=False),
    "http": Store("aiohttp", "", _from_web, listed=False),
    "memory": Store("fsspec", "", _at_once),
}
"""The supported schemes, besides `file`."""


def check(scheme: str, address: str, setting: str) -> None:
    """Raise unless files of a scheme can be read; `setting` is the setting that names them.

    Raises:
        LangJepaError: the scheme is unknown, or its library is not installed.
    """
    if scheme not in STORES:
        known = ", ".join(f"{name}://" for name in STORES if name != "memory")
        raise LangJepaError(
            f"{setting}: {without_secrets(address)}: files behind {scheme}:// are not read; {known} are. Copy "
            "the files into a folder and name that."
        )
    store = STORES[scheme]
    if find_spec(store.package) is None:
        raise LangJepaError(
            f"{setting}: {address} needs {store.package}, which is not installed: {how_to_install(store.extra)}."
        )


def system_of(scheme: str) -> Any:
    """The file system of a scheme, one per process, since its connections do not survive a fork."""
    import fsspec

    return fsspec.filesystem(scheme, **dict(STORES[scheme].options))


def describe(scheme: str, path: str, address: str) -> Entry | None:
    """The file at a path, or None if it is a folder.

    Raises:
        Missing: there is neither.
        Unreachable: the store cannot be reached.
    """
    store, system = STORES[scheme], system_of(scheme)
    if scheme in ("http", "https"):
        return patiently(address, lambda: _in_time(system, _web_info(system, path)))
    info = patiently(address, lambda: _called(system, "info", path))
    return store.entry(info) if info["type"] == "file" else None


async def _web_info(system: Any, url: str) -> Entry:
    async with await _asked(system, url, "bytes=0-0") as answer:
        if answer.status != 416:  # the first byte of an empty file
            answer.raise_for_status()
        return _web_entry(url, answer)


def listing(scheme: str, path: str, address: str, prefix: str = "") -> list[Entry]:
    """All files below a folder, at any depth.

    Args:
        scheme, path: of the folder.
        address: of the folder, for messages.
        prefix: of the wanted names; other files may be returned too.
    """
    store, system = STORES[scheme], system_of(scheme)
    more = {"prefix": prefix} if prefix and scheme in ("s3", "gs") else {}
    found = patiently(address, lambda: _called(system, "find", path, detail=True, **more))
    infos = [info for info in found.values() if info["type"] == "file" and not info["name"].endswith("/")]
    return [store.entry(info) for info in infos]


def fetch(scheme: str, entry: Entry, start: int, stop: int, address: str) -> tuple[int, bytes]:
    """Read the bytes of a file from `start` up to `stop`; from a slow store perhaps fewer, but at least one.

    Returns:
        Where the data begins, and the data; the whole file if the server only delivers whole files.

    Raises:
        Unreachable: the file is gone, has changed since it was described, or cannot be read after all retries.
    """
    store, system, wanted = STORES[scheme], system_of(scheme), stop - start

    def once() -> tuple[int, bytes]:
        nonlocal wanted
        try:
            given = store.fetch(system, entry, start, start + wanted)
            begin, data = given if isinstance(given, tuple) else _in_time(system, given)
        except TimeoutError:
            wanted = max(wanted // 2, 1)
            raise
        if len(data) not in ({wanted, entry.size} if begin == 0 else {wanted}):
            raise _WrongLength(f"{len(data):,} bytes came, and {wanted:,} were asked for")
        return begin, data

    try:
        return patiently(address, once)
    except Missing as error:
        raise Unreachable(
            f"{address} is gone, or was replaced, since the files were listed. Run the same again, which lists them."
        ) from error


def put(scheme: str, what: Path | bytes, path: str) -> None:
    """Upload a file or a few bytes to an address, and check the length of the result.

    Raises:
        Unreachable: it cannot be written.
    """
    system, wanted = system_of(scheme), len(what) if isinstance(what, bytes) else what.stat().st_size

    def once() -> None:
        if isinstance(what, bytes):
            _called(system, "pipe_file", path, what)
        else:
            system.put_file(str(what), path)  # in parts, each with the library's own time limits
        size = int(_called(system, "info", path)["size"])
        if size != wanted:
            raise _WrongLength(f"{size:,} bytes are there, of {wanted:,}")

    patiently(f"{scheme}://{path}", once, "written")


def _called(system: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of a file system, with the time limit if it can be interrupted."""
    method = getattr(system, f"_{name}", None) if getattr(system, "async_impl", False) else None
    return _in_time(system, method(*args, **kwargs)) if method else getattr(system, name)(*args, **kwargs)


def _in_time(system: Any, running: Coroutine[Any, Any, _T]) -> _T:
    from fsspec.asyn import sync

    async def run() -> _T:
        return await running

    result: _T = sync(system.loop, run, timeout=SECONDS)
    return result


def patiently(address: str, call: Callable[[], _T], done: str = "read") -> _T:
    """Make a request, with retries if they may help, and return the response.

    Raises:
        Missing: there is no such object.
        Unreachable: missing permission, content that changed since it was listed, or failure of all retries.
    """
    began = time.monotonic()
    for tries, pause in enumerate((*PAUSES, None), start=1):
        try:
            return call()
        except LangJepaError:
            raise
        except Exception as error:  # each library has its own exceptions
            refusal = _refusal(error, address, done)
            took = time.monotonic() - began
            if refusal is None and (pause is None or took + pause > PATIENCE):
                refusal = Unreachable(
                    f"{address} cannot be {done}: {tries} {'try' if tries == 1 else 'tries'} in {took:.0f} s, the last "
                    f"one failed with: {_words(error)}. Run the same again when the store answers; finished blocks are "
                    "used again."
                )
            if refusal is not None:
                raise refusal from error
        time.sleep((pause or 0) * random.SystemRandom().uniform(0.5, 1))  # leaves the seeded generators alone
    raise AssertionError("the last try returns or raises")


def _refusal(error: Exception, address: str, done: str) -> LangJepaError | None:
    """The error to raise for a failure that a retry would not fix, or None."""
    status, kinds = _status(error), {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, _Changed) or status == 412:
        return Unreachable(
            f"{address} has changed since the files were listed. Wait until nobody writes there, or copy the files "
            "to a place that stays as it is, and run the same again."
        )
    if status == 404 or "FileNotFoundError" in kinds:
        return Missing(f"{address}: there is no such file or folder.")
    if status in (401, 403) or kinds & _NOT_ALLOWED:
        return Unreachable(
            f"{address} may not be {done} ({_words(error)}). Check the credentials that the library finds (s3://: "
            "the environment, ~/.aws or the machine's role; gs://: `gcloud auth application-default login`; hf://: `hf "
            "auth login`) and what they allow."
        )
    offline = "OfflineModeIsEnabled" in kinds  # the hub's offline mode, set in the environment
    if status in _MAY_PASS or (status is None and kinds & _TRANSPORT and not offline):
        return None
    return Unreachable(f"{address} cannot be {done}: {_words(error)}.")


def _status(error: Exception) -> int | None:
    """The HTTP status behind an error; s3fs has it only in the cause of its own error."""
    for answer in (getattr(one, "response", None) for one in (error, error.__cause__)):
        if isinstance(answer, dict):  # from botocore
            return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
    answer = getattr(error, "response", None)
    found = getattr(answer, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    return int(found) if isinstance(found, int | str) and str(found).isdigit() else None


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):  # from our own time limit
        return f"no answer within {SECONDS:.0f} s"
    text = without_secrets(first_line(error)).rstrip(".")
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno and not text else text
