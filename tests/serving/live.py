"""A server on loopback that runs in a thread of the test process, and how tests ask it."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI

from lang_jepa.serving.app import make_app
from lang_jepa.serving.guard import Rules
from lang_jepa.serving.served import Served
from lang_jepa.serving.server import listen


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


@dataclass
class Live:
    """A server that runs.

    Attributes:
        port: of it.
        served: its model.
        app: the application.
    """

    port: int
    served: Served
    app: FastAPI

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return ask(connection, method, path, body, **headers)
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def count(self, name: str) -> float:
        """A number of GET /metrics: of a counter with labels, their sum."""
        lines = str(self.ask("GET", "/metrics").body).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The model's thread is kept busy meanwhile."""
        begun, done = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            done.wait(30)

        holder = threading.Thread(target=lambda: asyncio.run(self.app.state.worker.do(wait)))
        holder.start()
        begun.wait(30)
        try:
            yield
        finally:
            done.set()
            holder.join()

    def wait_for(self, waiting: int) -> None:
        """Return once so many requests are in the line."""
        deadline = time.monotonic() + 20
        while (found := self.count("lang_jepa_queue_length")) != waiting:
            assert time.monotonic() < deadline, found
            time.sleep(0.005)


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One request; names of headers have _ in the place of -."""
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "application/json"} if sent is not None else {}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, sent, named)
    response = connection.getresponse()
    text = response.read()
    found = {name.lower(): value for name, value in response.getheaders()}
    is_json = found.get("content-type", "").startswith("application/json")
    return Answer(response.status, json.loads(text) if is_json else text.decode(), found)


@contextmanager
def serving(served: Served, **rules: Any) -> Iterator[Live]:
    """A server of a model."""
    given = Rules(**rules)
    opened = listen("127.0.0.1", 0)
    app = make_app(served, given)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, server_header=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.002)
        yield Live(opened.getsockname()[1], served, app)
    finally:
        server.should_exit = True
        thread.join(30)
        opened.close()
