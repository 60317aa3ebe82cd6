"""Preparing whole corpora: the result, its identity across processes and crashes, and what is said about it."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from texts import SMALL, sentences_of, text_of, write_rows
from transformers import AutoTokenizer

from lang_jepa.data.corpus import prepare as preparation
from lang_jepa.data.corpus import shard_tasks
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.deduplicate import hash_text, side
from lang_jepa.data.corpus.prepare import BlockSize, PrepareEvent, prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings


def _contents(folder: Path) -> dict[str, bytes]:
    """All files of a corpus by name; of the manifest, what does not depend on the clock."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    manifest = json.loads(files["manifest.json"])
    del manifest["timing"]
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def test_corpus_holds_the_documents(settings_for: Callable) -> None:
    texts = [text_of(number) for number in range(30)]
    corpus = prepare(settings_for(texts, val_fraction=0.3), block_size=SMALL)
    assert not corpus.reused
    expected = {f"row-{k}": [part + "." for part in text.rstrip(".").split(". ")] for k, text in enumerate(texts)}
    assert sentences_of(corpus) == expected
    held = {f"row-{k}" for k, text in enumerate(texts) if side(hash_text(text), 0.3) == "validation"}
    validation = {corpus.validation.document_id(k) for k in range(corpus.validation.num_documents)}
    assert validation == held != set()
    assert AutoTokenizer.from_pretrained(str(corpus.path / "tokenizer"))("Ship.").input_ids[0] == 0


@pytest.mark.parametrize("kind", ["trained", "given"])
def test_special_tokens_in_documents_are_text(kind: str, settings_for: Callable) -> None:
    """As on a page about markup: sentences come back whole, and no special token is among the tokens."""
    texts = [f"{text_of(k)} The <mask> of page {k}. It ends with </s> here. <s>Gone</s> <pad>." for k in range(20)]
    trained = {"tokenizer_path": "trained", "vocab_size": 400}
    corpus = prepare(settings_for(texts, **(trained if kind == "trained" else {})))
    split, tokenizer = corpus.train, corpus.tokenizer
    for k, text in enumerate(texts):
        assert " ".join(split.texts(range(*split.document_starts[k : k + 2]))) == text
    special = {tokenizer.special_id(role) for role in tokenizer.specials}
    assert special == {0, 1, 2, 3}
    assert not special & set(split.tokens(0, int(split.document_starts[1])).tolist())


def test_real_text_and_a_pretrained_tokenizer(shared_data: Path, minilm: Path, tmp_path: Path) -> None:
    settings = DataSettings(
        train_file=str(shared_data / "openstax.parquet"),
        tokenizer_path=str(minilm),
        corpus_dir=str(tmp_path),
        limit=20,
        val_fraction=0.2,
        prepare_workers=1,
    )
    corpus = prepare(settings)
    theirs = AutoTokenizer.from_pretrained(str(minilm))
    sentences = corpus.train.texts(range(200))
    for number, text in enumerate(sentences):
        # WordPiece text is lower case without accents, but reading it again gives the same tokens.
        assert theirs(text, add_special_tokens=False).input_ids == corpus.train.tokens(number, number + 1).tolist()
    assert corpus.manifest["statistics"]["documents_read"] == 20


@pytest.mark.parametrize("shard_tokens", [2**28, 40])
def test_workers_and_blocks_change_nothing(settings_for: Callable, tmp_path: Path, shard_tokens: int) -> None:
    texts = [text_of(number % 33) for number in range(40)]
    settings = settings_for(texts, val_fraction=0.2, tokenizer_path="trained", vocab_size=350)
    contents = []
    for name, workers, size in [("one", 1, SMALL), ("two", 2, SMALL), ("whole", 1, BlockSize())]:
        changed = settings.model_copy(
            update={"prepare_workers": workers, "corpus_dir": str(tmp_path / name), "batch_size": 3 + workers}
        )
        corpus = prepare(changed, block_size=size, shard_tokens=shard_tokens)
        assert (len(corpus.manifest["shards"]["train"]) > 2) is (shard_tokens == 40)
        assert corpus.manifest["timing"]["workers"] == workers
        contents.append(_contents(corpus.path))
    assert contents[0].keys() == contents[1].keys()
    assert contents[0] == contents[1] == contents[2]


def test_several_shards_read_the_same(settings_for: Callable, tmp_path: Path) -> None:
    settings = settings_for([text_of(number) for number in range(30)], val_fraction=0.2)
    whole = prepare(settings, block_size=SMALL)
    parts = prepare(
        settings.model_copy(update={"corpus_dir": str(tmp_path / "parts")}), block_size=SMALL, shard_tokens=1
    )
    assert len(parts.manifest["shards"]["train"]) == whole.train.num_documents
    assert sentences_of(parts) == sentences_of(whole)
    everything = np.arange(whole.train.num_sentences + 1)
    assert parts.train.token_starts(everything).tolist() == whole.train.token_starts(everything).tolist()


KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
from texts import SMALL, sentences_of, text_of, write_rows

from lang_jepa.settings.data import DataSettings
from lang_jepa.data.corpus.prepare import BlockSize, prepare

def kill(event):
    if event.stage == sys.argv[2]:
        seen.append(event)
        if len(seen) == int(sys.argv[3]):
            Path(sys.argv[4]).write_text(" ".join(str(p.pid) for p in multiprocessing.active_children()))
            os.kill(os.getpid(), signal.SIGKILL)

seen = []
if __name__ == "__main__":
    prepare(DataSettings.model_validate_json(sys.argv[1]), progress=kill, block_size=BlockSize(documents=7))
"""


def _alive(pid: int) -> bool:
    """Whether a process runs (one that ended but was not waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("stage", "count", "workers"), [("block", 2, 2), ("assemble", 1, 1)])
def test_killed_and_resumed(settings_for: Callable, tmp_path: Path, stage: str, count: int, workers: int) -> None:
    settings = settings_for(
        [text_of(number) for number in range(60)],
        val_fraction=0.2,
        tokenizer_path="trained",
        vocab_size=350,
        prepare_workers=workers,
    )
    alone = settings.model_copy(update={"prepare_workers": 1})
    clean = prepare(alone.model_copy(update={"corpus_dir": str(tmp_path / "clean")}), block_size=SMALL)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, script, settings.model_dump_json(), stage, str(count), tmp_path / "pids"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    killed = subprocess.run(command, env=environment, check=False, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    children = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(children) == (workers if workers > 1 else 0)
    deadline = time.monotonic() + 20
    while any(map(_alive, children)):
        assert time.monotonic() < deadline, "worker processes outlive a killed parent"
        time.sleep(0.05)
    target = tmp_path / "corpora" / clean.path.name
    assert not target.exists()

    events: list[PrepareEvent] = []
    resumed = prepare(alone, progress=events.append, block_size=SMALL)
    assert resumed.manifest["timing"]["blocks_reused"] >= count
    assert "resumed" in {event.stage for event in events}
    assert "tokenizer" not in {event.stage for event in events}  # learnt before the kill
    assert _contents(resumed.path) == _contents(clean.path)
    assert [entry.name for entry in (tmp_path / "corpora").iterdir() if not entry.name.startswith(".")] == [target.name]


def test_a_worker_that_dies_is_an_error_and_no_loss(settings_for: Callable) -> None:
    settings = settings_for([text_of(number) for number in range(70)], prepare_workers=2)
    victims: list[int] = []

    def kill_one(event: PrepareEvent) -> None:
        if event.stage == "block" and not victims:
            victims.append(multiprocessing.active_children()[0].pid)
            os.kill(victims[0], signal.SIGKILL)
            time.sleep(0.5)  # the pool notices in the meantime

    with pytest.raises(LangJepaError, match="process that prepared documents died"):
        prepare(settings, progress=kill_one, block_size=SMALL)
    corpus = prepare(settings.model_copy(update={"prepare_workers": 1}), block_size=SMALL)
    assert corpus.manifest["timing"]["blocks_reused"] >= 1
    assert corpus.train.num_documents == 70


def test_reuse_and_rebuild_are_said(settings_for: Callable, tmp_path: Path) -> None:
    texts = [text_of(number) for number in range(20)]
    settings = settings_for(texts)
    events: list[PrepareEvent] = []

    def stages() -> list[str]:
        found = [event.stage for event in events if event.stage != "block"]
        events.clear()
        return found

    first = prepare(settings, progress=events.append)
    assert stages() == ["assemble", "done"]
    again = prepare(settings.model_copy(update={"batch_size": 7, "window_size": 2}), progress=events.append)
    assert (again.path, again.reused, stages()) == (first.path, True, ["reused"])
    write_rows(tmp_path / "texts.jsonl", texts[1:])
    changed = prepare(settings, progress=events.append)
    assert "is out of date (changed: the files)" in events[0].message
    assert str(first.path) in events[0].message
    assert stages() == ["stale", "assemble", "done"]
    assert changed.path != first.path
    assert changed.train.num_documents == 19
    for option in (
        {"min_sentences": 3},
        {"max_sentence_chars": 50},
        {"language": "de"},
        {"val_fraction": 0.1},
        {"deduplicate": "none"},
    ):
        assert prepare(settings.model_copy(update=option)).path != changed.path


def test_a_setting_by_which_a_source_is_read_is_named(tmp_path: Path, settings_for: Callable) -> None:
    """The old corpus is not out of date: it is of other settings."""
    (tmp_path / "app.log").write_text("".join(f"[{n % 2}] step {n} of the nightly export job\n" for n in range(40)))
    more = {"train_file": str(tmp_path / "app.log"), "units": "lines", "min_length": 1, "min_sentences": 1}
    settings = settings_for([], **more)
    events: list[PrepareEvent] = []
    first = prepare(settings)
    prepare(settings.model_copy(update={"session": r"\[(\d)\]"}), progress=events.append)
    assert [event.message for event in events if event.stage == "stale"] == [
        f"{first.path} was prepared with other settings (data.session); it stays, and another corpus is prepared"
    ]


def test_another_tokenizer_is_another_corpus(settings_for: Callable, minilm: Path) -> None:
    texts = [text_of(number) for number in range(10)]
    kinds = [{}, {"tokenizer_path": str(minilm)}, {"tokenizer_path": "trained", "vocab_size": 320}]
    events: list[PrepareEvent] = []
    kinds.append({**kinds[2], "vocab_size": 330})
    paths = {prepare(settings_for(texts, **kind), progress=events.append).path for kind in kinds}
    assert len(paths) == 4
    assert "stale" not in {event.stage for event in events}


def test_damaged_corpus_is_made_again(settings_for: Callable) -> None:
    settings = settings_for([text_of(number) for number in range(20)])
    corpus = prepare(settings)
    wanted = _contents(corpus.path)
    (corpus.path / "train-00000.tokens.npy").write_bytes(b"damaged")
    events: list[PrepareEvent] = []
    again = prepare(settings, progress=events.append)
    assert events[0].stage == "stale"
    assert "train-00000.tokens.npy" in events[0].message
    assert not again.reused
    assert _contents(again.path) == wanted


def test_a_block_of_other_documents_is_not_reused(settings_for: Callable) -> None:
    settings = settings_for([text_of(number) for number in range(20)])
    corpus = prepare(settings, block_size=SMALL)
    wanted = _contents(corpus.path)
    partial = corpus.path.with_name(corpus.path.name + ".partial")
    for file in corpus.path.rglob("*"):
        if file.is_file():
            file.unlink()
    (corpus.path / "tokenizer").rmdir()
    corpus.path.rmdir()

    def stop(event: PrepareEvent) -> None:
        if event.stage == "assemble":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(settings, progress=stop, block_size=BlockSize(documents=9))
    assert len(list((partial / "blocks").iterdir())) == 3
    again = prepare(settings, block_size=SMALL)
    assert _contents(again.path) == wanted


def test_two_at_once_prepare_once(settings_for: Callable) -> None:
    settings = settings_for([text_of(number) for number in range(20)])
    stages: list[str] = []
    threads = [
        threading.Thread(
            target=prepare, args=(settings,), kwargs={"progress": lambda event: stages.append(event.stage)}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stage for stage in stages if stage in ("done", "reused", "stale")) == [
        "done",
        "reused",
        "reused",
    ]


@pytest.mark.parametrize("step", ["assemble", "checksums", "_publish"])
def test_an_error_at_the_end_loses_nothing(
    settings_for: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Shards that are written stay, wherever their files lie by then, and the corpus is the same byte for byte."""
    settings = settings_for([text_of(number) for number in range(60)], val_fraction=0.2)
    clean = prepare(settings.model_copy(update={"corpus_dir": str(tmp_path / "clean")}), shard_tokens=2000)
    assert len(clean.manifest["shards"]["train"]) > 1
    owner = preparation._Job if step == "_publish" else preparation

    def stop(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings, shard_tokens=2000)
    with monkeypatch.context() as patch:
        patch.setattr(shard_tasks.WriteShards, "_write", stop)
        patch.setattr(shard_tasks, "decide", stop)
        assert _contents(prepare(settings, shard_tokens=2000).path) == _contents(clean.path)
    assert Corpus.open(tmp_path / "corpora" / clean.path.name).train.num_tokens == clean.train.num_tokens


def test_what_a_kill_leaves_when_the_corpus_is_there_is_no_work_that_is_done(
    settings_for: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corpus has its name, the work folder is not removed yet; then somebody deletes the corpus."""
    settings = settings_for([text_of(number) for number in range(60)], val_fraction=0.2)
    remove = shutil.rmtree

    def stop(path: Path, *given: object, **named: object) -> None:
        if Path(path).name.endswith(".partial"):
            raise KeyboardInterrupt
        remove(path, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(preparation.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings, shard_tokens=2000)
    (made,) = (path for path in Path(settings.corpus_dir).iterdir() if (path / "manifest.json").is_file())
    before = _contents(made)
    remove(made)
    assert _contents(prepare(settings, shard_tokens=2000).path) == before


def test_shards_of_another_size_are_written_anew(settings_for: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for([text_of(number) for number in range(60)], val_fraction=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(preparation._Job, "_publish", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(settings, shard_tokens=500)
    corpus = prepare(settings, shard_tokens=2000)
    found = {path.name for path in corpus.path.glob("*.tokens.npy")}
    shards = corpus.manifest["shards"]
    assert found == {f"{side}-{n:05d}.tokens.npy" for side in shards for n in range(len(shards[side]))}
