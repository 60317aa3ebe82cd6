"""Servers on loopback for the tests of stores: a proxy that does harm, and a plain web server."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, list[tuple[str, str]], bytes]
BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class Asked:
    """One request: its method, path with query, the `Range` it names, and bytes of the body that were sent."""

    method: str
    path: str
    part: str
    sent: int = 0


@dataclass
class Server:
    """A server that runs.

    Attributes:
        url: of it.
        asked: every request so far.
        harm: what is done to a request, which it says by a word: `cut` (half of the body comes), `stall` (half of it,
            and then nothing), `trickle` (a byte every 20 ms), `busy` (503), or nothing.
    """

    url: str
    asked: list[Asked] = field(default_factory=list)
    harm: Callable[[Asked], str | None] = lambda asked: None

    def bytes_of(self, name: str) -> int:
        """Bytes of bodies that were sent of a file."""
        return sum(one.sent for one in self.asked if one.method == "GET" and name in one.path)


def times(number: int, what: str, name: str) -> Callable[[Asked], str | None]:
    """The same harm to the first requests for a file's content."""
    left = [number]

    def harm(asked: Asked) -> str | None:
        if asked.method != "GET" or name not in asked.path or left[0] <= 0:
            return None
        left[0] -= 1
        return what

    return harm


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, bytes], Answer]) -> Iterator[Server]:
    """A server that answers by a function, until the block ends."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else head and body of an answer are 40 ms apart

        def log_message(self, *args: Any) -> None:
            pass

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            asked = Asked(self.command, self.path, self.headers.get("Range", ""))
            server.asked.append(asked)
            harm = server.harm(asked)
            status, headers, content = answer(self, body) if harm != "busy" else (503, [], BUSY)
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            given = {name.lower(): value for name, value in headers}.get("content-length", str(len(content)))
            if given != "none":
                self.send_header("Content-Length", given if self.command == "HEAD" else str(len(content)))
            else:
                self.close_connection = True
            self.end_headers()
            if self.command == "HEAD":
                return
            if harm in ("cut", "stall"):
                content, self.close_connection = content[: len(content) // 2], True
            if harm == "trickle":
                for place in range(len(content)):
                    if ended.is_set():
                        return
                    self.wfile.write(content[place : place + 1])
                    self.wfile.flush()
                    time.sleep(0.02)
            else:
                self.wfile.write(content)
                self.wfile.flush()
            asked.sent = len(content)
            if harm == "stall":
                ended.wait(30)

        def handle(self) -> None:
            with suppress(OSError):  # the client has gone
                super().handle()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    server = Server(f"http://127.0.0.1:{web.server_address[1]}")
    thread = threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        ended.set()
        web.shutdown()
        web.server_close()


def proxy(port: int) -> Any:
    """A server that passes requests on to another one of this machine."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> Answer:
        there = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            there.request(handler.command, handler.path, body, dict(handler.headers.items()))
            given = there.getresponse()
            return given.status, given.getheaders(), given.read()
        finally:
            there.close()

    return serving(answer)


def part_of(content: bytes, part: str) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Status, body and headers of an answer to a request for `bytes=first-last` of a content."""
    first, _, last = part.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last or len(content)) + 1, len(content))
    if start >= len(content):
        return 416, b"", [("Content-Range", f"bytes */{len(content)}")]
    return 206, content[start:stop], [("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")]
