"""Count requests, and refuse some before they reach the model: wrong sites, hosts or keys; bodies too large or slow."""

import asyncio
import hmac
import ipaddress
import json
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lang_jepa.errors import LangJepaError
from lang_jepa.serving.refusals import Refused

OPEN = ("/", "/health")
"""Paths that need no key."""
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address that a server listens on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Rules:
    """Who may send requests, and how large these may be.

    Attributes:
        host: address that the server listens on.
        api_key: key that every request must carry, except for the paths in `OPEN` (None: no key is needed).
        allow_remote: other machines may send requests without a key, and the Host header may hold any name.
        max_body: most bytes of a request body.
        max_texts: most texts in a request.
        max_characters: most characters of a text.
        queue: most requests that may wait for the model.
        timeout: seconds within which a body must arrive, and for which a request may wait before work on it begins.
    """

    host: str = "127.0.0.1"
    api_key: str | None = None
    allow_remote: bool = False
    max_body: int = 4_000_000
    max_texts: int = 2048
    max_characters: int = 200_000
    queue: int = 256
    timeout: float = 30.0

    def check(self) -> None:
        """Raise LangJepaError for a server open to all unless that is wanted, an empty key, or an endless timeout."""
        if not math.isfinite(self.timeout):
            raise LangJepaError(f"--timeout must be a finite number of seconds, not {self.timeout}")
        if self.api_key is not None and not self.api_key.strip():
            raise LangJepaError("the API key is empty: give --api-key KEY, or leave it out")
        if not (is_loopback(self.host) or self.api_key or self.allow_remote):
            raise LangJepaError(
                f"--host {self.host} accepts requests from other machines: give --api-key KEY (or set "
                "LANG_JEPA_API_KEY), or --allow-remote if anyone who can reach this port may use the model"
            )

    def texts(self, texts: list[str], param: str, most: int | None = None) -> list[str]:
        """Return the texts of a request if they are within the limits.

        Args:
            texts: texts of the request.
            param: the field that holds them.
            most: how many there may be (None: `max_texts`).

        Raises:
            Refused: no text, too many, or one that is too long.
        """
        if not texts:
            raise Refused(400, f"{param} is empty: give at least one text", param=param, code="empty")
        if len(texts) > (most or self.max_texts):
            option = "" if most else " (--max-texts)"
            message = f"{param} has {len(texts):,} texts, and at most {most or self.max_texts:,} are read{option}"
            raise Refused(400, message, param=param, code="too_many_texts")
        longest = max(range(len(texts)), key=lambda number: len(texts[number]))
        if len(texts[longest]) > self.max_characters:
            which = f"text {longest} of {param}" if len(texts) > 1 else param
            message = (
                f"{which} has {len(texts[longest]):,} characters, and at most {self.max_characters:,} are read "
                "(--max-characters)"
            )
            raise Refused(400, message, param=param, code="text_too_long")
        return texts


class Counts:
    """The metrics of one server.

    Attributes:
        waiting: number of requests that wait for the model.
    """

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        register = self._all
        names = ("path", "method", "status")
        self._requests = Counter("lang_jepa_requests", "Requests answered.", names, registry=register)
        self._seconds = Histogram(
            "lang_jepa_request_seconds", "Time to answer a request.", ("path",), buckets=_SECONDS, registry=register
        )
        self._batches = Histogram(
            "lang_jepa_batch_requests", "Requests encoded together.", buckets=_SIZES, registry=register
        )
        self._texts = Counter("lang_jepa_texts_encoded", "Texts encoded for /v1/embeddings.", registry=register)
        self.waiting = Gauge("lang_jepa_queue_length", "Requests that wait for the model.", registry=register)

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request; `path` and `method` come from fixed lists, or are "other"."""
        self._requests.labels(path, method, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, *, requests: int, texts: int) -> None:
        """Count one call of the encoder."""
        self._batches.observe(requests)
        self._texts.inc(texts)

    def text(self) -> bytes:
        """Return all metrics, as `GET /metrics` serves them."""
        return generate_latest(self._all)


class Guard:
    """ASGI middleware that counts all requests, refuses some, and passes the others on with their whole body.

    Args:
        app: the application that answers.
        rules: who may send requests, and how large these may be.
        counts: metrics of all requests.
        paths: the paths that exist; all others count as "other".
    """

    def __init__(self, app: Any, *, rules: Rules, counts: Counts, paths: frozenset[str]) -> None:
        self._app, self._rules, self._counts, self._paths = app, rules, counts, paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._admit(scope, headers)
            body = await self._body(receive, headers) if scope["method"] != "GET" else b""
            await self._app(scope, _replayed(body, receive), noted)
        except Refused as error:
            await _refuse(error, noted)
        except _GoneError:
            status = 499  # the status that servers log for a client that disconnected
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._counts.request(path, method, status, time.perf_counter() - begun)

    def _admit(self, scope: Message, headers: dict[str, str]) -> None:
        """Raise Refused for pages of other sites, wrong hosts, missing or wrong keys, and bodies that are not JSON."""
        rules, host, origin = self._rules, headers.get("host", ""), headers.get("origin")
        if is_loopback(rules.host) and not (rules.api_key or rules.allow_remote or _names_loopback(host)):
            message = f"this server answers to localhost and loopback addresses only, not to the host {host!r}"
            raise Refused(403, message, code="wrong_host")
        if origin is not None and scope["method"] != "GET" and _site(origin) != host.lower():
            raise Refused(403, "requests from pages of other sites are refused (Origin)", code="wrong_origin")
        if rules.api_key is not None and scope["path"] not in OPEN:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {rules.api_key}".encode("utf-8", "surrogateescape")):
                message = "this server needs a key: send the header 'Authorization: Bearer KEY'"
                raise Refused(401, message, code="invalid_api_key")
        if scope["method"] == "POST" and scope["path"] in self._paths:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise Refused(400, "send JSON, with the header 'Content-Type: application/json'", code="wrong_type")

    async def _body(self, receive: Receive, headers: dict[str, str]) -> bytes:
        """Read the whole body, and no more of it than the limit allows."""
        most, seconds = self._rules.max_body, self._rules.timeout
        large = Refused(
            413, f"the body is larger than {most:,} bytes (--max-body): send less at once", code="too_large"
        )
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 15 or int(declared) > most:
            raise large
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise large
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Refused(408, f"the body did not arrive within {seconds:g} seconds", code="too_slow") from None
        return b"".join(parts)


class _GoneError(Exception):
    """The client disconnected before its request had arrived."""


def _names_loopback(host: str) -> bool:
    """Whether a Host header names this machine, whatever the port."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _site(origin: str) -> str:
    """Return host and port of an Origin header, empty if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body once, then whatever arrives (that the client disconnected)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(error: Refused, send: Send) -> None:
    """Answer with an error and close the connection, since the body may not have been read."""
    body = json.dumps(error.body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    headers = [(name.encode(), value.encode()) for name, value in {**named, **error.headers}.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
