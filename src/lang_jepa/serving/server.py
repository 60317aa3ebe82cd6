"""Run a server: take the port before the model is loaded, and let running requests finish at the end."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from lang_jepa.errors import LangJepaError
from lang_jepa.serving.guard import Rules
from lang_jepa.training.signals import Interrupted

if TYPE_CHECKING:
    from lang_jepa.serving.served import Served

CONNECTIONS = 1000
"""Most connections at once; further ones get 503."""


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens; connections wait until the model is loaded.

    Raises:
        LangJepaError: the port is in use, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(CONNECTIONS)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise LangJepaError(f"port {port} of {host} is in use: stop what listens there, or take --port N") from None
        said = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise LangJepaError(f"cannot listen on {host}, port {port} ({said}): look at --host and --port") from error
    return opened


class _Server(uvicorn.Server):
    """A uvicorn server that calls `on_start` once it has started."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()


def serve(
    path: Path,
    *,
    index: Path | None,
    precision: str | None,
    rules: Rules,
    port: int,
    on_ready: "Callable[[Served, str], None]",
) -> None:
    """Serve a model until SIGTERM or SIGINT; requests that are running are answered first.

    Args:
        path, index, precision: see `Served.open`.
        rules: who may send requests, and how large these may be.
        port: port to listen on (0: any that is free).
        on_ready: called with the model and the address, once requests are answered.

    Raises:
        LangJepaError: `rules` are refused or the port is in use (both are found before the model is loaded), or the
            model or the index cannot be read.
    """
    rules.check()
    with listen(rules.host, port) as opened:
        from lang_jepa.serving.app import make_app  # torch takes seconds; by now the port is known to be free
        from lang_jepa.serving.served import Served

        served = Served.open(path, index, precision)
        name = f"[{rules.host}]" if ":" in rules.host else rules.host
        address = f"http://{name}:{opened.getsockname()[1]}"
        config = uvicorn.Config(
            make_app(served, rules),
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(rules.timeout) + 1,
        )
        try:
            _Server(config, lambda: on_ready(served, address)).run(sockets=[opened])
        except Interrupted:
            return  # uvicorn has shut the server down and raises the signal again
