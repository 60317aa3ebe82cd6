"""What is refused, with which status and words; and bodies that nobody would write."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import Live, ask, serving

from lang_jepa.errors import LangJepaError
from lang_jepa.serving.guard import Rules, is_loopback
from lang_jepa.serving.served import Served

KEY = "sesame-äöü"


@pytest.fixture(scope="module")
def strict(run: Path) -> Iterator[Live]:
    """A server with a key and small limits."""
    rules: dict[str, Any] = {"max_body": 2000, "max_texts": 3, "max_characters": 50, "queue": 2, "timeout": 0.6}
    with serving(Served.open(run), api_key=KEY, **rules) as live:
        yield live


def post(live: Live, path: str, body: Any) -> Any:
    return live.post(path, body, Authorization=f"Bearer {KEY}".encode().decode("latin-1"))


def test_a_key_opens_everything_but_health_and_the_page(strict: Live) -> None:
    assert strict.ask("GET", "/health").status == strict.ask("GET", "/").status == 200
    for path in ("/metrics", "/docs", "/openapi.json", "/run", "/v1/models", "/nothing"):
        refused = strict.ask("GET", path)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer"), path
    for wrong in (
        "",
        "Bearer",
        "Bearer sesame",
        KEY.encode().decode("latin-1"),
        f"Basic {KEY}".encode().decode("latin-1"),
    ):
        refused = strict.post("/v1/embeddings", {"input": "a"}, Authorization=wrong)
        assert (refused.status, refused.body["error"]["code"]) == (401, "invalid_api_key")
    assert post(strict, "/v1/embeddings", {"input": "a word"}).status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input": ["a"] * 4}, "at most 3 are read (--max-texts)"),
        ({"input": ["a", "b" * 51]}, "text 1 of input has 51 characters, and at most 50"),
        ({"input": []}, "input is empty"),
        ({"input": "  "}, "no token"),
        ({"input": [5, 6]}, "token ids"),
        ({"input": "a", "dimensions": 5}, "cannot be cut to 5"),
    ],
)
def test_texts_that_are_too_many_too_long_or_none(strict: Live, body: Any, said: str) -> None:
    refused = post(strict, "/v1/embeddings", body)
    assert refused.status == 400
    assert said in refused.message


def test_what_does_not_fit_names_the_field_and_does_not_repeat_what_was_sent(strict: Live) -> None:
    refused = post(strict, "/rank", {"context": ["secret"], "candidates": "secret"})
    assert (refused.status, refused.body["error"]["param"]) == (422, "candidates")
    assert "secret" not in refused.message
    unknown = post(strict, "/search", {"querry": "x"})
    assert (unknown.status, unknown.body["error"]["param"]) == (422, "querry")


def test_what_is_no_json(strict: Live) -> None:
    for body in (b"", b"{", b"\xff\xfe", b"[" * 1900, b'{"input": ' + b"9" * 1500 + b"}"):
        assert post(strict, "/v1/embeddings", body).status in (400, 422), body[:5]
    form = strict.post("/v1/embeddings", b"input=a", Authorization=f"Bearer {KEY}".encode().decode("latin-1"),
                       Content_Type="text/plain")  # fmt: skip
    assert (form.status, form.body["error"]["code"]) == (400, "wrong_type")
    assert strict.ask("PUT", "/health", {}).status == 405


def raw(live: Live, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", live.port), timeout=10)
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n".encode()
    connection.sendall(head + b"Content-Type: application/json\r\n" + sent)
    return connection


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    with connection:
        found = b""
        while part := connection.recv(4096):
            found += part
    return int(found.split()[1]), found


def test_a_body_that_is_too_large_is_refused_before_it_is_read(strict: Live) -> None:
    status, said = answer_of(raw(strict, b"Content-Length: 999999999\r\n\r\n"))
    assert (status, b"--max-body" in said) == (413, True)
    assert answer_of(raw(strict, b"Content-Length: " + b"9" * 40 + b"\r\n\r\n"))[0] in (400, 413)
    # Without a length the limit is found while it comes; the client goes on sending, and is cut off.
    connection = raw(strict, b"Transfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b"3e8\r\n" + b"a" * 1000 + b"\r\n" + b"3e8\r\n" + b"a" * 1000 + b"\r\n1\r\nb\r\n")
    assert answer_of(connection)[0] == 413


def test_a_client_that_is_too_slow_is_sent_away_and_holds_up_nobody(strict: Live) -> None:
    begun = time.monotonic()
    slow = raw(strict, b'Content-Length: 100\r\n\r\n{"input": ')
    assert post(strict, "/v1/embeddings", {"input": "a word"}).status == 200
    assert time.monotonic() - begun < 0.6
    assert answer_of(slow)[0] == 408


def test_a_client_that_leaves_is_no_error(strict: Live) -> None:
    for sent in (b"Content-Length: 100\r\n\r\n{", b'Content-Length: 15\r\n\r\n{"input": "ab"}'):
        raw(strict, sent).close()
    assert post(strict, "/v1/embeddings", {"input": "a word"}).status == 200


def test_who_finds_the_line_full_or_waits_too_long_is_asked_to_come_again(strict: Live) -> None:
    answers: list[Any] = [None, None]

    def wait(number: int) -> None:
        answers[number] = post(strict, "/v1/embeddings", {"input": "a word"})

    with strict.busy():
        threads = [threading.Thread(target=wait, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while len(strict.app.state.worker._line) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        full = post(strict, "/rank", {"context": ["a b"], "candidates": ["c"]})
        for thread in threads:
            thread.join()
    assert (full.status, full.body["error"]["code"], full.headers["retry-after"]) == (503, "queue_full", "1")
    assert {(one.status, one.body["error"]["code"], one.headers["retry-after"]) for one in answers} == {
        (503, "timeout", "1")
    }
    assert len(strict.app.state.worker._line) == 0
    assert post(strict, "/v1/embeddings", {"input": "a word"}).status == 200


def test_pages_of_other_sites_and_other_host_names_are_refused(live: Live) -> None:
    body = {"input": "a word"}
    for origin in (
        "http://evil.example",
        "null",
        "http://localhost:1",
        "http://[",
        f"https://evil.example:{live.port}",
    ):
        assert live.post("/v1/embeddings", body, Origin=origin).status == 403, origin
    assert live.post("/v1/embeddings", body, Origin=f"http://127.0.0.1:{live.port}").status == 200
    for host in ("evil.example", f"evil.example:{live.port}", "127.0.0.1.evil.example", "[", ""):
        assert live.ask("GET", "/health", Host=host).status in (400, 403), host
    for host in ("localhost", f"localhost:{live.port}", "127.0.0.1", f"[::1]:{live.port}"):
        assert live.ask("GET", "/health", Host=host).status == 200, host


def test_other_machines_may_ask_only_where_that_is_wanted() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        with pytest.raises(LangJepaError, match="--allow-remote"):
            Rules(host=host).check()
        Rules(host=host, api_key="k").check()
        Rules(host=host, allow_remote=True).check()
    Rules(host="127.0.0.1").check()
    assert is_loopback("::1")
    with pytest.raises(LangJepaError, match="empty"):
        Rules(api_key=" ").check()


def test_requests_are_counted_by_path_and_status(live: Live) -> None:
    live.ask("GET", "/a-path-that-nobody-has")
    live.post("/rank", {})
    text = live.ask("GET", "/metrics").body
    assert 'lang_jepa_requests_total{method="GET",path="other",status="404"}' in text
    assert 'lang_jepa_requests_total{method="POST",path="/rank",status="422"}' in text
    assert 'lang_jepa_request_seconds_bucket{le="0.005",path="/v1/embeddings"}' in text
    assert "a-path-that-nobody-has" not in text


PATHS = ("/v1/embeddings", "/predict", "/rank", "/surprise", "/segment", "/document", "/neighbours", "/search", "/reply", "/decode",
         "/continue")  # fmt: skip
FIELDS = ("input", "model", "encoding_format", "context", "roles", "role", "candidates", "text", "units", "format", "query",
          "mode", "top_k", "texts", "tokens", "sentences", "segments", "using", "dimensions")  # fmt: skip
WORDS = st.sampled_from(
    ["a word", "", "prose", "after", "meaning", "best", "base64", "\ud800", "\u200b", "\x00", "x" * 300]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                      max_leaves=8)  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), VALUES, max_size=4)


@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_no_body_is_an_error_of_the_server(live: Live, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PATHS))
    shaped = st.dictionaries(
        st.sampled_from(FIELDS), WORDS | st.lists(WORDS, max_size=3) | st.integers(-1, 200), max_size=3
    )
    body = data.draw(BODIES.map(json.dumps).map(str.encode) | shaped.map(json.dumps).map(str.encode)
                     | st.binary(max_size=60) | VALUES.map(json.dumps).map(str.encode))  # fmt: skip
    answer = live.post(path, body)
    assert answer.status < 500, (path, body, answer.body)
    if answer.status != 200:
        assert answer.body["error"]["message"]
        assert answer.body["error"].keys() == {"message", "type", "param", "code"}


def test_connections_stay_open_for_more(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=10)
    assert [ask(connection, "POST", "/v1/embeddings", {"input": "a word"}).status for _ in range(3)] == [200] * 3
    opened = connection.sock
    assert ask(connection, "GET", "/health").status == 200
    assert connection.sock is opened
    connection.close()
