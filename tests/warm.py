"""Processes that begin with everything imported: one starts in milliseconds instead of 6 CPU seconds.

A server, one per test process, imports what commands need and forks for each start. Where a test is about the start
itself, or about what is imported, it takes `subprocess.Popen`.
"""

import ctypes
import gc
import io
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_IMPORTED = (
    "lang_jepa.cli.app",
    "lang_jepa.comparison.compare",
    "lang_jepa.python.train",
    "lang_jepa.report.run",
    "lang_jepa.training.methods.decoder",
    "lang_jepa.training.methods.encoder",
    "lang_jepa.training.methods.gpt",
    "lang_jepa.training.sharding",
    "lightning.pytorch",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "sklearn.feature_extraction.text",
    "torch.distributed.fsdp",
    "transformers.modeling_utils",
)
_LONGEST = 1 << 17
"""Bytes of a request."""
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2): orphans become children of this process."""


class WarmPopen(subprocess.Popen[Any]):
    """`Popen` of `[sys.executable, "-c" | "-m" | script, ...]` in a fork of the server; a child of this process like any other.

    Raises:
        AssertionError: the command is another one, or asks for what a fork cannot do.
    """

    def _execute_child(  # what Popen calls for the start itself, on every Python since 3.2
        self, args: Sequence[str | Path], executable: object, preexec_fn: object, close_fds: object, pass_fds: object,
        cwd: str | Path | None, env: Mapping[str, str] | None, startupinfo: object, creationflags: object, shell: object,
        p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int, *rest: Any,
    ) -> None:  # fmt: skip
        assert str(args[0]) == sys.executable
        assert not executable
        assert not preexec_fn
        assert not pass_fds
        assert not shell
        request = {
            "arguments": [str(one) for one in args[1:]],
            "folder": str(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "session": bool(rest[-2]),
        }
        streams = [own if own != -1 else number for number, own in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = _start(json.dumps(request).encode(), streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


Popen: type["subprocess.Popen[Any]"] = WarmPopen if sys.platform == "linux" else subprocess.Popen
"""What tests start commands by."""


def _start(request: bytes, streams: Sequence[int]) -> int:
    """Let the server fork, and adopt the process."""
    assert len(request) < _LONGEST
    prctl, server = ctypes.CDLL(None).prctl, _server()
    prctl(_SUBREAPER, 1)
    try:
        socket.send_fds(server, [request], list(streams))
        answer = server.recv(_LONGEST)
    finally:
        prctl(_SUBREAPER, 0)
    assert answer, "the server of warm processes has died"
    return int(answer)


@cache
def _server() -> socket.socket:
    """Start the server; it ends when the other end of its socket is closed."""
    own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.Popen([sys.executable, __file__, str(its.fileno())], env=environment, pass_fds=(its.fileno(),))
    its.close()
    return own


def _serve(requests: socket.socket) -> None:
    for name in _IMPORTED:
        import_module(name)
    gc.freeze()
    while True:
        text, streams, _, _ = socket.recv_fds(requests, _LONGEST, 3)
        if not text:
            return
        read, write = os.pipe()
        if not (between := os.fork()):
            if child := os.fork():
                os.write(write, str(child).encode())
                os._exit(0)  # so that the child is an orphan, which the test process adopts
            for one in (read, write, requests.detach()):
                os.close(one)
            _become(streams=streams, **json.loads(text))
        os.waitpid(between, 0)
        requests.send(os.read(read, 20))
        for one in (read, write, *streams):
            os.close(one)


def _become(
    *, arguments: list[str], folder: str, environment: dict[str, str], session: bool, streams: list[int]
) -> NoReturn:
    """Do what `python` does with these arguments, and end."""
    if session:
        os.setsid()
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        os.dup2(streams[number], number)
        os.close(streams[number])
        stream = open(number, mode, closefd=False)  # noqa: SIM115  # it lives as long as the process
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=name == "stderr", write_through=bool(environment.get("PYTHONUNBUFFERED")))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    what, *rest = arguments
    module = rest.pop(0) if what in ("-c", "-m") else ""
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = [what, *rest]
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = ["" if module else str(Path(what).parent), *given, *sys.path[1:]]
    if what == "-c":
        exec(compile(module, "<string>", "exec"), main.__dict__)
    elif what == "-m":
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(what, run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
