"""Sources: rows, skipping, limits, identities, fingerprints, and what is said when something is wrong."""

import gzip
import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lang_jepa import stories
from lang_jepa.data.sources.base import Document, Rejection, Source, require_documents, some_documents
from lang_jepa.data.sources.hub import HubSource, parse_hub_name
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

# Every third text is too short and every seventh is null.
TEXTS = [None if i % 7 == 0 else "short" if i % 3 == 0 else f"Text number {i} is long enough." for i in range(40)]
GOOD = sum(text is not None and text != "short" for text in TEXTS)


def _open(path: object, **changes: object) -> Source:
    values = {"train_file": str(path), "limit": None, "min_length": 10} | changes
    return open_source(DataSettings(**values))  # type: ignore[arg-type]


def _all(source: Source, skip: int = 0) -> tuple[list[Document], Counter[str]]:
    rejected: Counter[str] = Counter()
    return list(source.documents(rejected, source.rows(skip))), rejected


def _jsonl(path: Path, texts: list[str | None]) -> Path:
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def _parquet(path: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=6)
    return path


def _make(kind: str, folder: Path) -> object:
    if kind == "stories":
        return "stories"
    if kind == "parquet":
        return _parquet(folder / "x.parquet", {"text": TEXTS})
    if kind == "jsonl":
        return _jsonl(folder / "x.jsonl", TEXTS)
    (folder / "mixed").mkdir()
    _parquet(folder / "mixed" / "b.parquet", {"text": TEXTS[:15]})
    _jsonl(folder / "mixed" / "c.jsonl.gz", TEXTS[15:])
    (folder / "mixed" / "a.txt").write_text("One text file that is long enough.")
    (folder / "mixed" / "d.txt").write_text("tiny")
    return folder / "mixed"


KINDS = ["parquet", "jsonl", "folder", "stories"]


@pytest.mark.parametrize("limit", [None, 1, 9, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_reading_from_a_row_on_is_the_tail_of_reading_all(kind: str, limit: int | None, tmp_path: Path) -> None:
    if kind == "stories" and limit in {None, 1000}:
        limit = 20
    source = _open(_make(kind, tmp_path), limit=limit)
    rows = list(source.rows())
    everything, rejected = _all(source)
    assert [row for row in rows if isinstance(row, Document)] == everything
    assert len(rows) == len(everything) + rejected.total()
    assert len(everything) == min(limit or 1000, 20 if kind == "stories" else GOOD + (kind == "folder"))
    assert len({document.id for document in everything}) == len(everything)
    for skip in range(len(rows) + 3):
        assert list(source.rows(skip)) == rows[skip:]
        tail, rejected = _all(source, skip)
        assert tail == [row for row in rows[skip:] if isinstance(row, Document)]
        assert rejected == Counter(row.reason for row in rows[skip:] if isinstance(row, Rejection))


def test_rejections_are_counted_by_reason_and_shown_with_places(tmp_path: Path) -> None:
    source = _open(_jsonl(tmp_path / "x.jsonl", ["x" * 9, None, "", " " * 50 + "x" * 9, "x" * 10, "y", "z"]))
    documents, rejected = _all(source)
    assert [document.text for document in documents] == ["x" * 10]
    assert rejected == {"too short": 4, "null text": 1, "empty text": 1}
    assert source.examples["null text"] == ["x.jsonl:line 2"]
    assert source.examples["too short"] == ["x.jsonl:line 1", "x.jsonl:line 4", "x.jsonl:line 6"]


def test_text_is_left_as_it_is(tmp_path: Path) -> None:
    texts = [
        "  outer space stays \r\n\t",
        "e\u0301 is not composed",
        "\ufeffmark in a row",
        "a\0" + "b" * 2000,
    ]
    assert [d.text for d in _all(_open(_jsonl(tmp_path / "x.jsonl", list(texts))))[0]] == texts
    assert [d.text for d in _all(_open(_parquet(tmp_path / "x.parquet", {"text": texts})))[0]] == texts
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfOne line.\r\nTwo lines.\n")
    assert _all(_open(tmp_path / "x.txt"))[0] == [Document("x.txt:0", "One line.\r\nTwo lines.\n")]


@pytest.mark.parametrize(("length", "accepted"), [(1000, True), (999, False)])
def test_one_nul_in_a_thousand_characters_is_the_most(length: int, accepted: bool, tmp_path: Path) -> None:
    documents, rejected = _all(_open(_jsonl(tmp_path / "x.jsonl", ["\0" + "a" * (length - 1)])))
    assert (len(documents), rejected.total()) == (accepted, not accepted)


def test_identities(tmp_path: Path) -> None:
    text = ["Some text here."] * 5
    path = _parquet(tmp_path / "x.parquet", {"id": ["a", "b", "a", None, "c"], "text": text})
    expected = ["a@x.parquet:0", "b", "a@x.parquet:2", "x.parquet:3", "c"]
    assert [d.id for d in _all(_open(path))[0]] == expected
    assert [d.id for d in _all(_open(path), skip=1)[0]] == expected[1:]
    assert [d.id for d in _all(_open(path, text_column="id", min_length=1))[0]] == [
        f"x.parquet:{i}" for i in (0, 1, 2, 4)
    ]
    (tmp_path / "d" / "sub").mkdir(parents=True)
    for name in ("d/x.jsonl", "d/sub/x.jsonl"):
        (tmp_path / name).write_text('{"id": 7, "text": "Some text here."}\n{"text": "Some more text."}\n')
    assert [d.id for d in _all(_open(tmp_path / "d"))[0]] == [
        "7@sub/x.jsonl:0",
        "sub/x.jsonl:1",
        "7@x.jsonl:0",
        "x.jsonl:1",
    ]


def test_real_data_keeps_its_ids(shared_data: Path) -> None:
    path = shared_data / "openstax.parquet"
    documents, rejected = _all(_open(path))
    assert [d.id for d in documents] == pq.read_table(path, columns=["id"])["id"].to_pylist()
    assert not rejected


def test_a_fingerprint_tells_contents_apart(tmp_path: Path) -> None:
    first = _jsonl(tmp_path / "x.jsonl", ["some text here"])
    before = _open(first).fingerprint()
    os.utime(first, (1, 1))
    assert _open(first).fingerprint() == before
    (tmp_path / "copy").mkdir()
    assert _open(_jsonl(tmp_path / "copy" / "x.jsonl", ["some text here"])).fingerprint() == before
    assert _open(_jsonl(first, ["same text here"])).fingerprint() != before
    folder = _open(tmp_path / "copy").fingerprint()
    (tmp_path / "copy" / "x.jsonl").rename(tmp_path / "copy" / "y.jsonl")
    assert _open(tmp_path / "copy").fingerprint() != folder
    assert _open("stories", limit=3).fingerprint() != _open("stories", limit=4).fingerprint()


def test_a_very_large_file_is_known_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lang_jepa.data.sources.local.HASH_WHOLE", 10)
    path = _jsonl(tmp_path / "x.jsonl", ["some text here"])
    before = _open(path).fingerprint()
    os.utime(path, (1, 1))
    assert _open(path).fingerprint() != before


def test_a_folder_says_what_it_passed_over(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", ".hidden.txt", "c.exe", "Makefile"):
        (tmp_path / name).write_text("A text that is long enough.")
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    source = _open(tmp_path)
    assert [document.id for document in _all(source)[0]] == ["a.txt:0", "b.md:0"]
    for part in ("1 text", "1 Markdown", "1 hidden", "1 linked folder", "(.exe)", "(no suffix)"):
        assert part in source.description


def test_a_folder_is_read_in_sorted_order(tmp_path: Path) -> None:
    names = ["b/z.txt", "c.txt", "a.txt", "b/y.txt", "d.txt", "B.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("A text that is long enough.")
    assert [document.id for document in _all(_open(tmp_path))[0]] == [f"{name}:0" for name in sorted(names)]


def test_require_documents_explains(tmp_path: Path) -> None:
    source = _open(_jsonl(tmp_path / "x.jsonl", ["a", "b", None]))
    documents, rejected = _all(source)
    with pytest.raises(LangJepaError, match=r"all 3 rows were rejected") as failure:
        require_documents(len(documents), rejected, source)
    assert "2 x too short, for example x.jsonl:line 1, x.jsonl:line 2" in str(failure.value)
    require_documents(1, rejected, source)
    with pytest.raises(LangJepaError, match="is empty: it has no rows"):
        require_documents(0, Counter(), source)


def test_stories_are_a_source(tmp_path: Path) -> None:
    documents, _ = _all(_open("stories", limit=5))
    assert [(d.id, d.text) for d in documents] == [(s.id, s.text) for s in stories.generate(5, seed=0)]
    endless = _open("stories", streaming=True)
    assert [row.id for row in islice(endless.rows(skip=1000), 2) if isinstance(row, Document)] == [
        story.id for story in stories.generate(2, seed=0, start=1000)
    ]
    with pytest.raises(LangJepaError, match=r"data\.limit"):
        _open("stories")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("storeis", "Did you mean stories"),
        ("sample-10bt", "Did you mean sample-10BT"),
        ("", "is empty"),
        ("a\0b.txt", "no file or folder"),
        ("x" * 5000, "cannot look at"),
        ("no/such/folder/x.jsonl", "no file or folder"),
        ("a/b/c", r"owner/name\[:config\]"),
        ("owner/data.parquet", "no file or folder"),
        ("no/such/folder/**/*.parquet", "no file or folder"),
    ],
)
def test_a_name_that_is_nothing(name: str, message: str) -> None:
    with pytest.raises(LangJepaError, match=message):
        _open(name)


def test_a_misspelt_folder_on_the_way_is_found(tmp_path: Path) -> None:
    (tmp_path / "corpora").mkdir()
    with pytest.raises(LangJepaError, match=r"Did you mean .*corpora\?"):
        _open(tmp_path / "corprra" / "x.txt")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("owner/name", ("owner/name", None, "train")),
        ("owner/name:cfg", ("owner/name", "cfg", "train")),
        ("owner/name:20231101.en@train[:10%]", ("owner/name", "20231101.en", "train[:10%]")),
        ("owner/name@test", ("owner/name", None, "test")),
        ("name", None),
        ("a/b/c", None),
        ("./name", None),
        ("owner/name:", None),
    ],
)
def test_hub_names(name: str, parts: tuple[str, str | None, str] | None) -> None:
    assert parse_hub_name(name) == parts


def test_hub_rows_come_through_the_streaming_reader(tmp_path: Path) -> None:
    """The reader takes a local folder in the place of a hub name, so that no network is needed."""
    _parquet(tmp_path / "train.parquet", {"text": TEXTS, "id": [f"n{i}" for i in range(40)]})
    settings = DataSettings(train_file="owner/name", limit=None, min_length=10)
    source = HubSource(settings, "hub data set owner/name", {}, str(tmp_path))
    rows = list(source.rows())
    assert [row.id if isinstance(row, Document) else None for row in rows] == [
        f"n{i}" if text and text != "short" else None for i, text in enumerate(TEXTS)
    ]
    assert list(source.rows(skip=11)) == rows[11:]
    for broken, message in (
        (HubSource(settings, "", {}, str(tmp_path), None, "nosplit"), "config and split"),
        (HubSource(settings, "", {}, str(tmp_path), "noconfig"), "config and split"),
        (
            HubSource(settings.model_copy(update={"text_column": "body"}), "", {}, str(tmp_path)),
            "columns are text, id",
        ),
    ):
        with pytest.raises(LangJepaError, match=message):
            list(broken.rows())


_HUB = """
    import sys, threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            if "hangup" in self.path:
                return self.connection.close()
            status, code = (403, "GatedRepo") if "gated" in self.path else (404, "RepoNotFound")
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *values):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    import os
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    from lang_jepa.settings.data import DataSettings
    from lang_jepa.data.sources.source import open_source
    from lang_jepa.errors import LangJepaError
    for name in sys.argv[1:]:
        try:
            open_source(DataSettings(train_file=name))
        except LangJepaError as error:
            print(" ".join(str(error).split()))
"""


def _ask_hub(*names: str, offline: bool) -> list[str]:
    """Messages of a fresh process that asks a hub on this machine, which knows no data set."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1" if offline else "0", "NO_PROXY": "127.0.0.1"}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_HUB), *names],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return result.stdout.splitlines()


def test_each_refusal_of_the_hub_has_its_message() -> None:
    unknown, gated, broken = _ask_hub("owner/unknown", "owner/gated", "owner/hangup", offline=False)
    assert "no public data set 'owner/unknown'" in unknown
    assert "accept its terms" in gated
    assert "cannot be reached" in broken
    (offline,) = _ask_hub("sample-10BT", offline=True)
    assert "sample-10BT is a hub data set, but the hub cannot be reached (no network, or HF_HUB_OFFLINE" in offline
    assert "data.train_file=stories" in offline


@pytest.mark.network
def test_fineweb_edu_is_streamed() -> None:
    source = _open("sample-10BT", limit=3)
    documents, _ = _all(source)
    assert len(documents) == 3
    assert _all(source, skip=1)[0] == documents[1:]
    with pytest.raises(LangJepaError, match="no public data set"):
        _open("lang-jepa-tests/there-is-no-such-data-set")


WIKI = [
    "",
    " = One = \n",
    "",
    " First line . \n",
    " = = Part = = \n",
    None,
    " More . \n",
    " = Two = \n",
    " Text . \n",
    "\0",
    "x",
]


def test_rows_that_are_lines_become_documents(tmp_path: Path) -> None:
    """A title begins a document, an empty row is a blank line; what is no text is counted and joined to nothing."""
    file = _jsonl(tmp_path / "wiki.jsonl", WIKI)
    texts = [
        " = One = \n\n First line . \n = = Part = = \n\n More . ",
        " = Two = \n Text . \nx",
    ]
    source = _open(file, join_rows=1000, min_length=3)
    documents, rejected = _all(source)
    assert [document.text for document in documents] == texts
    assert rejected == Counter({"binary data (NUL characters)": 1})
    assert [document.text for document in _all(_open(file, join_rows=1000, limit=1))[0]] == texts[:1]
    assert [document.text for document in _all(_open(file, join_rows=1000, min_length=20))[0]] == texts[:1]
    pairs, _ = _all(_open(file, join_rows=2, min_length=1))
    assert [one.text.count("\n") for one in pairs] == [1, 1, 0, 1, 0]
    assert len({document.id for document in documents}) == 2
    prints = {_open(file, **some).fingerprint() for some in ({}, {"join_rows": 2}, {"join_rows": 3})}
    assert len(prints) == 3


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_joined_rows_from_any_document_on(tmp_path: Path, skip: int) -> None:
    source = _open(_jsonl(tmp_path / "wiki.jsonl", WIKI), join_rows=1000, min_length=3)
    assert list(source.rows(skip)) == list(source.rows())[skip:]


@pytest.mark.parametrize("name", ["a.log", "a.txt", "a.jsonl", "a.csv", "a.parquet", "two"])
@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_called_empty(name: str, text: str, tmp_path: Path) -> None:
    files = [tmp_path / "two" / "a.txt", tmp_path / "two" / "b.txt"] if name == "two" else [tmp_path / name]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("" if file.suffix == ".parquet" else text)
    units = {"units": "lines"} if name == "a.log" else {}
    settings = DataSettings(train_file=str(tmp_path / name), tokenizer_path="trained", **units)
    with pytest.raises(LangJepaError, match="empty") as failure:
        list(some_documents(open_source(settings)))
    assert "rows were rejected" not in str(failure.value)
