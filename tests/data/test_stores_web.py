"""Files of web servers, of Google's store and of the hub: the same documents as from a disk, or an error."""

import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from store_files import documents_of, opened, write_texts

from lang_jepa.data.sources import stores
from lang_jepa.errors import LangJepaError
from loopback import Answer, Server, part_of, serving, times

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_texts(tmp_path / "texts")
    return tmp_path / "texts"


@pytest.fixture
def web() -> Iterator[tuple[dict[str, bytes], dict[str, str], Server]]:
    """Files on a web server by path, and what it does: `parts`, `etag`, `length`, each on or off."""
    files: dict[str, bytes] = {}
    how = {"parts": "on", "etag": "on", "length": "on"}

    def answer(handler: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        content = files.get(handler.path)
        if content is None:
            return 404, [], b"nothing here"
        part = handler.headers.get("Range", "")
        status, given, headers = 200, content, []
        if part and how["parts"] == "on":
            status, given, headers = part_of(content, part)
        if how["length"] == "off":
            headers.append(("Content-Length", "none"))
        if how["etag"] == "on":
            headers.append(("ETag", f'"{hash(content)}"'))
        return status, headers, given

    with serving(answer) as server:
        yield files, how, server


def test_a_file_of_a_web_server(web: Any, texts: Path) -> None:
    files, how, server = web
    for name in ("a.jsonl", "b.jsonl.gz", "more/h.parquet", "d.txt.zst"):
        files[f"/data/{name}?download=1"] = (texts / name).read_bytes()
        address = f"{server.url}/data/{name}?download=1"
        for parts in ("on", "off"):
            how["parts"] = parts
            assert documents_of(opened(address)) == documents_of(opened(texts / name))
        how["parts"] = "on"
        source = opened(address)
        server.harm = times(2, "cut", name)
        assert documents_of(source) == documents_of(opened(texts / name))
    files["/empty.txt"] = b""
    assert documents_of(opened(f"{server.url}/empty.txt")) == ([], Counter({"empty text": 1}))


def test_a_web_server_that_cannot_be_read(web: Any, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, how, server = web
    address = f"{server.url}/a.jsonl"
    with pytest.raises(LangJepaError, match=r"a\.jsonl: there is no such file or folder"):
        opened(address)
    files["/a.jsonl"] = (texts / "a.jsonl").read_bytes()
    how["length"], how["parts"] = "off", "off"
    with pytest.raises(LangJepaError, match=r"does not say how long the file is: download it first"):
        opened(address)
    how["length"] = "on"
    monkeypatch.setattr(stores, "WHOLE", 1000)
    with pytest.raises(LangJepaError, match=r"gives no parts of files: download it first"):
        opened(address)
    how["parts"] = "on"
    source = opened(address)
    rows = source.rows()
    next(rows)
    files["/a.jsonl"] = files["/a.jsonl"].replace(b"says", b"SAYS")
    with pytest.raises(LangJepaError, match=r"a\.jsonl has changed"):
        list(rows)
    assert opened(address).fingerprint() != source.fingerprint()
    server.harm = lambda asked: "busy"
    with pytest.raises(LangJepaError, match=r"a\.jsonl cannot be read: 4 tries in .*503"):
        opened(address)


def test_without_a_tag_the_content_is_hashed(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lang_jepa.data.sources import local

    files, how, server = web
    how["etag"], files["/a.txt"] = "off", b"A text without a tag."
    first = opened(f"{server.url}/a.txt").fingerprint()
    files["/b/a.txt"] = files["/a.txt"]
    assert opened(f"{server.url}/b/a.txt").fingerprint() == first
    files["/a.txt"] = b"a text without a tag."
    assert opened(f"{server.url}/a.txt").fingerprint() != first
    monkeypatch.setattr(local, "HASH_WHOLE", 4)
    with pytest.raises(LangJepaError, match="no ETag, no Last-Modified"):
        opened(f"{server.url}/a.txt").fingerprint()


def test_the_hub_offline() -> None:
    with pytest.raises(LangJepaError, match=r"hf://datasets/owner/name/a\.jsonl cannot be read: .*offline"):
        opened("hf://datasets/owner/name/a.jsonl")


def test_addresses_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("A file behind file.")
    assert documents_of(opened(f"file://{tmp_path}/a%20b.txt"))[0][0].text == "A file behind file."
    with pytest.raises(LangJepaError, match="there is no file or folder"):
        opened(f"file://{tmp_path}/c.txt")
    import fsspec

    fsspec.filesystem("memory").pipe_file("/texts/a.txt", b"A file in memory.")
    assert documents_of(opened("memory://texts"))[0][0].text == "A file in memory."


@pytest.fixture
def google(texts: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, bytes], Server]]:
    """Objects of a bucket `texts` by name, behind what gcsfs asks of Google's JSON interface."""
    monkeypatch.setenv(
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false"
    )  # it would ask Google by gRPC, whatever the address
    gcsfs = pytest.importorskip("gcsfs", reason="the extra gcs is not installed")
    import fsspec

    files = {path.relative_to(texts).as_posix(): path.read_bytes() for path in texts.rglob("*") if path.is_file()}

    def about(name: str) -> dict[str, Any]:
        tag = sha256(files[name]).hexdigest()[:12]
        whole = {"kind": "storage#object", "name": name, "bucket": "texts", "size": str(len(files[name]))}
        return {**whole, "generation": str(int(tag, 16)), "md5Hash": tag, "contentType": "text/plain"}

    def answer(handler: Any, body: bytes) -> Answer:
        parts = urlsplit(handler.path)
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        name = unquote(parts.path.partition("/b/texts/o/")[2])
        if parts.path.endswith("/b/texts"):
            return 200, [("Content-Type", "application/json")], b'{"kind": "storage#bucket", "name": "texts"}'
        if parts.path.endswith("/o"):
            found = [about(one) for one in sorted(files) if one.startswith(asked.get("prefix", ""))]
            return 200, [("Content-Type", "application/json")], json.dumps({"items": found}).encode()
        if name not in files or asked.get("generation", about(name)["generation"]) != about(name)["generation"]:
            return 404, [], b"{}"
        if not parts.path.startswith("/download"):
            return 200, [("Content-Type", "application/json")], json.dumps(about(name)).encode()
        status, content, headers = part_of(files[name], handler.headers["Range"])
        return status, headers, content

    with serving(answer) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        gcsfs.GCSFileSystem.clear_instance_cache()
        yield files, server
    gcsfs.GCSFileSystem.clear_instance_cache()


def test_google_cloud_storage(google: tuple[dict[str, bytes], Server], texts: Path) -> None:
    files, server = google
    assert documents_of(opened("gs://texts")) == documents_of(opened(texts))
    source = opened("gcs://texts/more/*.parquet")
    server.harm = times(2, "cut", "h.parquet")
    assert documents_of(source) == documents_of(opened(texts / "more" / "*.parquet"))
    before = opened("gs://texts/a.jsonl")
    files["a.jsonl"] += b"\n"
    assert opened("gs://texts/a.jsonl").fingerprint() != before.fingerprint()
    with pytest.raises(LangJepaError, match=r"gs://texts/a\.jsonl is gone, or was replaced"):
        documents_of(before)


@pytest.fixture
def hub(texts: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The files of a data set `owner/name`, and its commit, behind what the hub's library asks."""
    from huggingface_hub import HfFileSystem, constants

    state: dict[str, Any] = {"sha": "a" * 40}
    files = {path.relative_to(texts).as_posix(): path.read_bytes() for path in texts.rglob("*") if path.is_file()}
    state["files"] = {"a" * 40: files}

    def about(name: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(content), "oid": sha256(content).hexdigest()[:40]}

    def answer(handler: Any, body: bytes) -> Answer:
        path = unquote(urlsplit(handler.path).path)
        state.setdefault("asked", []).append((handler.command, handler.path))
        json_type = [("Content-Type", "application/json")]
        if path.startswith("/api/datasets/owner/name/tree/"):
            sha, _, folder = path.removeprefix("/api/datasets/owner/name/tree/").partition("/")
            there = state["files"][state["sha"] if sha == "main" else sha]
            start = folder.rstrip("/") + "/" if folder else ""
            below = [about(name, there[name]) for name in sorted(there) if name.startswith(start)]
            folders = {"/".join(name.split("/")[:depth]) for name in there for depth in range(1, name.count("/") + 1)}
            below += [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
            below = [one for one in below if one["path"].startswith(start)]
            if "recursive=true" not in handler.path.lower():
                below = [one for one in below if "/" not in one["path"].removeprefix(start)]
            return 200, json_type, json.dumps(below).encode()
        if path.startswith("/api/datasets/owner/name/paths-info/"):
            sha = path.rpartition("/")[2]
            there = state["files"][state["sha"] if sha == "main" else sha]
            names = [value for key, value in parse_qsl(body.decode()) if key == "paths"]
            if handler.headers.get("Content-Type", "").startswith("application/json"):
                names = json.loads(body)["paths"]
            return 200, json_type, json.dumps([about(name, there[name]) for name in names if name in there]).encode()
        if path.startswith("/api/datasets/owner/name"):
            return 200, json_type, json.dumps({"id": "owner/name", "sha": state["sha"], "siblings": []}).encode()
        sha, _, name = path.removeprefix("/datasets/owner/name/resolve/").partition("/")
        content = state["files"].get(sha, {}).get(name)
        if content is None:
            return 404, [("X-Error-Code", "EntryNotFound")], b""
        if "Range" not in handler.headers:
            return 200, [], content
        status, given, headers = part_of(content, handler.headers["Range"])
        return status, headers, given

    with serving(answer) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        HfFileSystem.clear_instance_cache()
        yield {**state, "server": server, "state": state}
    HfFileSystem.clear_instance_cache()


def test_files_of_the_hub(hub: dict[str, Any], texts: Path) -> None:
    state = hub["state"]
    there = opened("hf://datasets/owner/name/more")
    assert documents_of(there) == documents_of(opened(texts / "more"))
    one = opened("hf://datasets/owner/name/*.jsonl")
    state["files"]["b" * 40] = {"a.jsonl": b'{"text": "another line"}\n'}
    state["sha"] = "b" * 40
    assert documents_of(one) == documents_of(opened(texts / "*.jsonl"))  # of the commit that was opened
    new = opened("hf://datasets/owner/name/*.jsonl")
    assert [row.text for row in documents_of(new)[0]] == ["another line"]
    assert new.fingerprint() != one.fingerprint()
