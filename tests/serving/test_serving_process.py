"""`lang-jepa serve` as a process: what it refuses before it loads anything, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tiny import environment
from typed import Type
from warm import Popen


@contextmanager
def started(*arguments: object) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A server process and its port."""
    command = [sys.executable, "-m", "lang_jepa.cli", "serve", *map(str, arguments), "--port", "0"]
    child = Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        said = child.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        assert found, (said, child.stderr and child.stderr.read())
        yield child, int(found[1])
    finally:
        child.kill()
        child.communicate()


def test_sigterm_in_the_middle_of_a_request_answers_it_and_ends_with_0(run: Path) -> None:
    with started(run) as (child, port):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            body = b'{"input": "a word"}'
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(f"{head}Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100"), "the server waits for the body now"
            child.send_signal(signal.SIGTERM)
            while True:  # until it takes no more connections
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                except OSError:
                    break
            connection.sendall(body)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        out, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")
    assert "every request that was running is answered" in out


def test_a_port_in_use_is_found_before_the_model_is_loaded(type_in: Type) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = type_in("serve", "no/such/run", "--port", port)
    assert ran.status == 2
    assert f"port {port} of 127.0.0.1 is in use" in ran.err


def test_other_hosts_and_empty_keys_are_refused_before_the_model_is_loaded(
    type_in: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--allow-remote" in type_in("serve", "no/such/run", "--host", "0.0.0.0").err
    assert "cannot listen on" in type_in("serve", "no/such/run", "--host", "192.0.2.1", "--api-key", "k").err
    monkeypatch.setenv("LANG_JEPA_API_KEY", "  ")
    assert "the API key is empty" in type_in("serve", "no/such/run").err
    monkeypatch.setenv("LANG_JEPA_API_KEY", "k")
    assert "no model at no/such/run" in type_in("serve", "no/such/run", "--port", "0").err


def test_without_the_extra_the_error_names_it(type_in: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = type_in("serve", "no/such/run")
    assert (ran.status, 'pip install "lang-jepa[serve]" (in a clone' in ran.err) == (2, True)
    assert os.environ.get("LANG_JEPA_API_KEY") is None
