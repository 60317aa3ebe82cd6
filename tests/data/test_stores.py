"""Files of an object store: the same documents as from a disk, whatever happens on the way, or none."""

import json
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_files import LINES, documents_of, opened, write_texts

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources import remote, stores
from lang_jepa.data.sources.base import Document
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.load import load_gpt_settings
from loopback import Asked, Server, times

if TYPE_CHECKING:
    from typed import Ran

BUCKET = "texts"


pytestmark = pytest.mark.usefixtures("impatient")


def _put(name: str, content: bytes) -> None:
    stores.system_of("s3").pipe_file(f"{BUCKET}/{name}", content)


def _upload(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _put(path.relative_to(folder).as_posix(), path.read_bytes())


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_texts(tmp_path / "texts")
    return tmp_path / "texts"


def test_a_store_gives_the_documents_of_a_disk(s3: Server, texts: Path) -> None:
    _upload(texts)
    here, there = opened(texts), opened(f"s3://{BUCKET}")
    assert documents_of(there) == documents_of(here)
    assert documents_of(there, skip=3600) == documents_of(here, skip=3600)
    assert there.description == here.description.replace(str(texts), f"s3://{BUCKET}").replace("2 hidden", "1 hidden")
    assert there.fingerprint() == opened(f"s3://{BUCKET}").fingerprint()
    for name in ("d.txt.zst", "more/h.parquet", "more/"):
        assert documents_of(opened(f"s3://{BUCKET}/{name}")) == documents_of(opened(texts / name))


def test_office_files_of_a_store(s3: Server, tmp_path: Path) -> None:
    office_files = pytest.importorskip("office_files", reason="python-docx is not installed")
    office_files.write_office_files(tmp_path)
    _upload(tmp_path)
    documents, rejected = documents_of(opened(f"s3://{BUCKET}"))
    assert [document.text.split(".")[0] for document in documents] == [
        "A heading\n\nA paragraph",
        "A page with an example",
    ]
    assert not rejected
    s3.harm = times(99, "busy", "b.pdf")
    with pytest.raises(LangJepaError, match=r"b\.pdf cannot be read: 4 tries"):  # and not "damaged PDF"
        documents_of(opened(f"s3://{BUCKET}"))


@pytest.mark.parametrize("where", ["s3", "here"])
def test_patterns(where: str, texts: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(texts)
    if where == "s3":
        request.getfixturevalue("s3")
        _upload(texts)
        root = f"s3://{BUCKET}"

    def names(pattern: str, **changes: object) -> list[str]:
        return [file.name for file in opened(f"{root}/{pattern}", **changes).files]  # type: ignore[attr-defined]

    assert names("*.jsonl*") == ["a.jsonl", "b.jsonl.gz"]
    assert names("**/*.jsonl") == ["a.jsonl"]
    assert names("more/*.[mp]*") == ["f.md", "h.parquet"]
    assert names("*/[fh].*") == ["more/f.md", "more/h.parquet"]
    assert names("m*") == ["more/e.json", "more/f.md", "more/h.parquet"]
    assert names("**", include=("more",), exclude=("**/*.md",)) == ["more/e.json", "more/h.parquet"]
    with pytest.raises(LangJepaError, match=r"'\*\.tsv' matches no file below .*There are 8 files"):
        names("*.tsv")


def test_the_name_itself_wins_over_the_pattern(s3: Server) -> None:
    _put("a[1].txt", b"The name has brackets.")
    _put("a1.txt", b"The pattern matches this.")
    assert [row.text for row in documents_of(opened(f"s3://{BUCKET}/a[1].txt"))[0]] == ["The name has brackets."]


@pytest.mark.parametrize("harm", ["cut", "stall", "busy", "trickle"])
@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "more/h.parquet"])
def test_what_passes_is_tried_again(s3: Server, texts: Path, harm: str, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(stores, "SECONDS", 0.4)
    _put(name, (texts / name).read_bytes())
    source = opened(f"s3://{BUCKET}/{name}")
    s3.harm = times(2, harm, name)
    assert documents_of(source) == documents_of(opened(texts / name))
    assert s3.harm(Asked("GET", name, "")) is None, "no harm was done"


@pytest.mark.parametrize(
    ("harm", "words"),
    [("cut", "payload is not completed"), ("busy", "reduce your request rate"), ("stall", "no answer within")],
)
@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "c.csv", "more/e.json", "more/h.parquet"])
def test_what_does_not_pass_is_an_error(
    s3: Server, texts: Path, harm: str, words: str, name: str, monkeypatch: Any
) -> None:
    """In the middle of a file, after its beginning could be read: never a source with fewer documents."""
    monkeypatch.setattr(stores, "SECONDS", 0.2)
    _put(name, (texts / name).read_bytes())
    source = opened(f"s3://{BUCKET}/{name}")
    asked = len(s3.asked)
    s3.harm = lambda one: harm if one.method == "GET" and not one.part.startswith("bytes=0-") else None
    with pytest.raises(LangJepaError, match=rf"s3://{BUCKET}/{name} cannot be read: 4 tries in .*{words}"):
        documents_of(source)
    assert len(s3.asked) - asked < 20


def test_a_failure_while_a_folder_is_listed_passes_nothing_over(s3: Server, texts: Path) -> None:
    """Of .json files the beginning is read to see whether they are documents; one that cannot be read is no "JSON
    without documents".
    """
    _upload(texts)
    for harm in ("busy", "cut"):
        s3.harm = times(99, harm, "more/e.json")
        for units in ("sentences", "turns"):
            with pytest.raises(LangJepaError, match=r"more/e\.json cannot be read"):
                opened(f"s3://{BUCKET}/more", units=units, exclude=("*.md", "*.parquet"))
        s3.harm = lambda asked: "busy" if "list-type" in asked.path else None
        with pytest.raises(LangJepaError, match=rf"s3://{BUCKET} cannot be read: 4 tries"):
            opened(f"s3://{BUCKET}")


@pytest.mark.parametrize("name", ["a.jsonl", "more/h.parquet", "d.txt.zst"])
def test_vanished_and_changed_objects_are_refused(s3: Server, texts: Path, name: str) -> None:
    content = (texts / name).read_bytes()
    _put(name, content)
    before = opened(f"s3://{BUCKET}/{name}")
    _put(name, content + b"\n")
    with pytest.raises(LangJepaError, match=rf"{name} has changed since the files were listed"):
        documents_of(before)
    _put(name, content)
    assert documents_of(before) == documents_of(opened(texts / name))
    stores.system_of("s3").rm_file(f"{BUCKET}/{name}")
    with pytest.raises(LangJepaError, match=rf"{name} is gone, or was replaced, since the files were listed"):
        documents_of(before)


@pytest.mark.parametrize("name", ["a.jsonl", "more/h.parquet"])
def test_an_object_that_changes_while_it_is_read(s3: Server, texts: Path, name: str) -> None:
    content = (texts / name).read_bytes()
    _put(name, content)
    rows = opened(f"s3://{BUCKET}/{name}").rows()
    assert isinstance(next(rows), Document)
    _put(name, content.replace(b"says", b"SAYS"))
    with pytest.raises(LangJepaError, match=rf"{name} has changed"):
        list(rows)


def test_only_the_columns_that_are_wanted_are_fetched(s3: Server, tmp_path: Path) -> None:
    noise = [bytes(json.dumps(number), "ascii").ljust(9000, bytes([number % 251])) for number in range(2000)]
    table = pa.table({"text": [row["text"] for row in LINES[:2000]], "image": noise})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=500, compression="none", use_dictionary=False)
    _put("x.parquet", (tmp_path / "x.parquet").read_bytes())
    source = opened(f"s3://{BUCKET}/x.parquet")
    footers = s3.bytes_of("x.parquet")
    assert documents_of(source) == documents_of(opened(tmp_path / "x.parquet"))
    texts = sum(len(row["text"]) + 4 for row in LINES[:2000])
    assert footers < 300_000
    assert s3.bytes_of("x.parquet") - footers < texts + 150_000 < (tmp_path / "x.parquet").stat().st_size / 20


def test_requests_grow_and_hold_little(s3: Server) -> None:
    _put("big.txt", b"0123456789abcdef" * 20_000)
    file = remote.look_up("s3", f"{BUCKET}/big.txt")
    assert isinstance(file, remote.RemoteFile)
    s3.asked.clear()
    with file.open("rb") as stream:
        assert hash(stream.read()) == hash(b"0123456789abcdef" * 20_000)
        assert [one.sent >> 10 for one in s3.asked] == [8, 16, 32, 64, 128, 64]
        stream.seek(-16, 2)
        assert stream.read() == b"0123456789abcdef"
        stream.seek(100_001)
        assert stream.read(3) == b"123"


def test_another_process_reads_on(s3: Server, texts: Path) -> None:
    """A loader process is forked from one that has connections; it makes its own."""
    _upload(texts / "more")
    source = opened(f"s3://{BUCKET}")
    expected = documents_of(source)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(documents_of(source)))
    child.start()
    assert queue.get() == expected
    child.join(10)
    assert child.exitcode == 0


def test_prepare_from_a_store(s3: Server, texts: Path, settings_for: Callable[..., DataSettings]) -> None:
    _upload(texts / "more")
    settings = settings_for(texts / "more", min_sentences=1).model_copy(update={"train_file": f"s3://{BUCKET}"})
    s3.harm = lambda one: "cut" if "h.parquet" in one.path and one.part.startswith("bytes=4-") else None
    with pytest.raises(LangJepaError, match=r"h\.parquet cannot be read"):
        prepare(settings)
    folder = Path(settings.corpus_dir)
    assert not list(folder.glob("*/manifest.json"))
    s3.harm = times(3, "busy", "h.parquet")
    there, here = prepare(settings), prepare(settings_for(texts / "more", min_sentences=1))
    sums = [{**corpus.manifest["checksums"], "manifest.json": ""} for corpus in (there, here)]
    assert sums[0] == sums[1]
    assert there.manifest["statistics"] == here.manifest["statistics"]
    asked = len(s3.asked)
    assert prepare(settings).reused
    assert not [one for one in s3.asked[asked:] if one.sent > 70_000]
    assert "hidden-word" not in "".join(file.read_text("latin-1") for file in folder.rglob("*") if file.is_file())


def test_what_an_address_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, message in {
        "ftp://host/a.txt": r"behind ftp:// are not read; s3://, gs://, hf://, https://, http:// are",
        "s3://": "has no path after s3://",
        "hf://owner/name": "is not of the form hf://datasets/OWNER/NAME/PATH",
    }.items():
        with pytest.raises(LangJepaError, match=message):
            opened(name)
    monkeypatch.setattr(stores, "find_spec", lambda name: None)
    for name, extra in {"s3://bucket/x": "s3", "gs://bucket/*.txt": "gcs", "gcs://bucket": "gcs"}.items():
        with pytest.raises(LangJepaError, match=rf'pip install "lang-jepa\[{extra}\]" \(in a clone'):
            opened(name)


def test_no_credentials(s3: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        LangJepaError, match=r"may not be read \(Unable to locate credentials\)\. Check the credentials"
    ):
        opened(f"s3://{BUCKET}/a.txt")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    "address",
    [
        "s3://someone:hidden-word@bucket/a.jsonl",
        "https://hidden-word@host/a.jsonl",
        "https://host/a.jsonl?X-Amz-Date=1&X-Amz-Signature=hidden-word",
        "https://host/a.jsonl?token=hidden-word",
        "https://host/a.jsonl?sv=1&sig=hidden-word",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_shown(address: str, type_in: "Callable[..., Ran]") -> None:
    ran = type_in("prepare", "documents", "-o", f"data.train_file={address}")
    assert ran.status == 2
    assert "comes with" in ran.err
    with pytest.raises(LangJepaError) as failure:
        open_source(DataSettings().model_copy(update={"train_file": address}))
    with pytest.raises(ValueError) as invalid:
        DataSettings(train_file=address)
    with pytest.raises(LangJepaError) as loaded:
        load_gpt_settings("gpt", [f"data.train_file={address}"])
    shown = [ran.err, ran.out, *map(str, (failure.value, invalid.value, loaded.value))]
    assert not any("hidden-word" in text for text in shown)


def test_parts_of_files_of_a_store(s3: Server, texts: Path) -> None:
    """Each reader fetches its own part: together little more than the source, and the rows of a disk."""
    for name in ("a.jsonl", "more/h.parquet"):
        _put(name, (texts / name).read_bytes())
        there, here = opened(f"s3://{BUCKET}/{name}"), opened(texts / name)
        assert there.parts(1 << 16) == here.parts(1 << 16)
        assert len(there.parts(1 << 16)) > 2
        s3.asked.clear()
        read = [pickle.loads(pickle.dumps(there)).read_part(part) for part in there.parts(1 << 16)]
        assert [list(rows) for rows in read] == [list(here.read_part(part)) for part in here.parts(1 << 16)]
        footers = len(read) * (1 << 16)
        assert s3.bytes_of(name) < 1.1 * (texts / name).stat().st_size + footers
    s3.harm = times(99, "busy", "h.parquet")
    with pytest.raises(LangJepaError, match=r"h\.parquet cannot be read"):  # and no damaged row group
        [list(there.read_part(part)) for part in there.parts(1 << 16)]
