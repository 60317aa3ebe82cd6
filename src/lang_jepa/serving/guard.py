"""What is refused before a model is asked: other sites and hosts, missing keys, bodies that are too large or slow."""

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

from lang_jepa.errors import LangJepaError
from lang_jepa.serving.counts import Counts
from lang_jepa.serving.refusals import Refused

OPEN = ("/", "/health")
"""Paths that need no key."""
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
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
    """Who may ask, and how much.

    Attributes:
        host: that the server listens on.
        api_key: that every request but those for `OPEN` has to bear (None: none is needed).
        allow_remote: other machines may ask without a key, and any name may be in the Host header.
        max_body: bytes of a body.
        max_texts: texts of a request.
        max_characters: of a text.
        queue: requests that may wait.
        timeout: seconds in which a body has to arrive, and for which a request waits until it is begun.
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
        """Raise LangJepaError where everybody could ask, unless that is wanted, and for a time that never ends."""
        if not math.isfinite(self.timeout):
            raise LangJepaError(f"--timeout {self.timeout} is no number of seconds")
        if self.api_key is not None and not self.api_key.strip():
            raise LangJepaError("the API key is empty: give --api-key KEY, or leave it out")
        if not (is_loopback(self.host) or self.api_key or self.allow_remote):
            raise LangJepaError(
                f"--host {self.host} lets other machines ask: give --api-key KEY (or set LANG_JEPA_API_KEY), or say "
                "--allow-remote if everybody who can reach this port may use the model"
            )

    def texts(self, texts: list[str], param: str, most: int | None = None) -> list[str]:
        """The texts of a request.

        Args:
            texts: of it.
            param: the field that they are in.
            most: how many there may be (None: `max_texts`).

        Raises:
            Refused: none, too many, or one that is too long.
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


class Guard:
    """ASGI middleware: refuses, counts, and hands on the requests that are left with their whole body.

    Args:
        app: that answers.
        rules: who may ask.
        counts: of all requests.
        paths: that there are; others count as "other".
    """

    def __init__(self, app: Any, *, rules: Rules, counts: Counts, paths: frozenset[str]) -> None:
        self._app, self._rules, self._counts, self._paths = app, rules, counts, paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
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
            status = 499  # as servers log a client that left
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._counts.request(path, method, status, time.perf_counter() - begun)

    def _admit(self, scope: Message, headers: dict[str, str]) -> None:
        """Raise Refused for another site's page, another host name, a missing key or a body that is no JSON."""
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
        """The whole body; no more of it is read than the limit."""
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
    """The client left before its request was there."""


def _names_loopback(host: str) -> bool:
    """Whether a Host header names this machine, whatever the port."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _site(origin: str) -> str:
    """Host and port of an Origin header, empty where it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, and then what comes (that the client left)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(error: Refused, send: Send) -> None:
    """Answer with an error; the connection is closed where its body may not have been read."""
    body = json.dumps(error.body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    headers = [(name.encode(), value.encode()) for name, value in {**named, **error.headers}.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
