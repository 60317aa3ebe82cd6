"""Corpora in an object store: uploaded with the manifest last, copied once to a machine, and never half of one."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from texts import text_of

from lang_jepa.data.corpus.corpus import Corpus, checksums
from lang_jepa.data.corpus.prepare import PrepareEvent, prepare
from lang_jepa.data.corpus.store import CorpusStore
from lang_jepa.data.sources import stores
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model import own_folder
from lang_jepa.settings.data import DataSettings
from loopback import Server

pytestmark = pytest.mark.usefixtures("impatient")
ADDRESS = "s3://texts/corpora"


@pytest.fixture
def settings(
    settings_for: Callable[..., DataSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DataSettings:
    monkeypatch.setenv("LANG_JEPA_CACHE", str(tmp_path / "one"))
    return settings_for((text_of(number) for number in range(60)), corpus_dir=ADDRESS)


def _prepared(settings: DataSettings) -> tuple[Corpus, list[PrepareEvent]]:
    events: list[PrepareEvent] = []
    return prepare(settings, progress=events.append), events


def _files() -> list[str]:
    names = [entry.name.partition("/corpora/")[2] for entry in stores.listing("s3", "texts/corpora", ADDRESS)]
    return [name for name in names if "/" in name]


def test_one_machine_prepares_and_another_one_reads(
    s3: Server, settings: DataSettings, settings_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, events = _prepared(settings)
    assert not first.reused
    assert events[-1].message == f"uploaded to {ADDRESS}/{first.path.name}"
    puts = [one.path.split("?")[0].removeprefix("/texts/corpora/") for one in s3.asked if one.method == "PUT"][2:]
    assert puts[-1] == f"{first.path.name}/manifest.json"
    ours = sorted(f"{first.path.name}/{name}" for name in first.manifest["checksums"])
    assert sorted(puts) == sorted(_files()) == ours
    s3.asked.clear()
    assert _prepared(settings)[0].reused
    assert [one.method for one in s3.asked] == ["HEAD"]

    monkeypatch.setenv("LANG_JEPA_CACHE", str(tmp_path / "two"))
    second, events = _prepared(settings)
    assert second.path.is_relative_to(tmp_path / "two")
    assert checksums(second.path, second.manifest) == checksums(first.path, first.manifest)
    assert [event.stage for event in events] == ["reused"]
    assert "was copied to" in events[0].message
    assert not [one for one in s3.asked if one.method == "PUT"]
    here = prepare(settings_for(Path(settings.train_file)))
    assert here.manifest["checksums"] == second.manifest["checksums"]


def test_an_upload_that_failed_is_made_up_for(s3: Server, settings: DataSettings) -> None:
    s3.harm = lambda one: "busy" if one.method == "PUT" and "corpora/.lang-jepa" in one.path else None
    with pytest.raises(LangJepaError, match=r"corpora/\.lang-jepa cannot be written"):
        prepare(settings)
    store = CorpusStore.of(ADDRESS)
    assert store is not None
    assert not list(store.folder.glob("*/blocks"))  # refused before any work
    s3.harm = lambda one: "busy" if one.method == "PUT" and "tokens" in one.path else None
    with pytest.raises(LangJepaError, match=r"corpora/.* cannot be written: 4 tries .*reduce your request rate"):
        prepare(settings)
    assert not [name for name in _files() if name.endswith("manifest.json")]
    s3.harm = lambda one: None
    corpus, events = _prepared(settings)
    assert corpus.reused
    assert [event.stage for event in events] == ["reused", "done"]
    assert [name for name in _files() if name.endswith("manifest.json")]


@pytest.mark.parametrize("fault", ["changed", "gone", "cut"])
def test_a_damaged_corpus_is_not_taken(
    s3: Server, settings: DataSettings, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = prepare(settings).path.name
    tokens = f"texts/corpora/{name}/train-00000.tokens.npy"
    system = stores.system_of("s3")
    if fault == "changed":
        content = bytearray(system.cat_file(tokens))
        content[-5] ^= 1
        system.pipe_file(tokens, bytes(content))
    elif fault == "gone":
        system.rm_file(tokens)
    else:
        s3.harm = lambda one: "cut" if one.method == "GET" and "tokens" in one.path else None
    monkeypatch.setenv("LANG_JEPA_CACHE", str(tmp_path / "two"))
    words = {"changed": "is not what was written", "gone": "is missing", "cut": "cannot be read: 4 tries"}[fault]
    for call in (lambda: prepare(settings), lambda: own_folder(ADDRESS, name)):
        with pytest.raises(LangJepaError, match=rf"{ADDRESS}/.*/train-00000\.tokens\.npy {words}"):
            call()
    store = CorpusStore.of(ADDRESS)
    assert store is not None
    assert not (store.folder / name).exists()
    assert not [entry for entry in store.folder.iterdir() if entry.is_dir() and "partial" not in entry.name]


def test_processes_of_a_machine_copy_once(
    s3: Server, settings: DataSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = prepare(settings).path.name
    monkeypatch.setenv("LANG_JEPA_CACHE", str(tmp_path / "two"))
    s3.asked.clear()
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    children = [context.Process(target=lambda: found.put(own_folder(ADDRESS, name))) for _ in range(3)]
    for child in children:
        child.start()
    folders = {found.get() for _ in children}
    for child in children:
        child.join(10)
    (folder,) = folders
    Corpus.open(folder)
    assert len([one for one in s3.asked if one.method == "GET" and "train-00000.ids.npy" in one.path]) == 1
    assert own_folder(ADDRESS, "another-corpus") is None


def test_where_corpora_cannot_be_kept() -> None:
    for name, message in {
        "https://host/corpora": "corpora are kept in a folder, or behind s3:// or gs://",
        "hf://datasets/owner/name/corpora": "corpora are kept in a folder",
        "ftp://host/corpora": r"data\.corpus_dir: .* behind ftp:// are not read",
    }.items():
        with pytest.raises(LangJepaError, match=message):
            CorpusStore.of(name)
    with pytest.raises(ValueError, match="comes with a user"):
        DataSettings(corpus_dir="s3://me:word@bucket/corpora")
    assert CorpusStore.of("corpora") is None
