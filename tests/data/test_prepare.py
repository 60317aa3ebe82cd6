"""Preparing whole corpora: the result, its identity across processes and crashes, and what is said about it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lang_jepa.config import DataSettings
from lang_jepa.data.corpus import Corpus
from lang_jepa.data.hashes import hash_text, side
from lang_jepa.data.prepare import BlockSize, PrepareEvent, prepare
from lang_jepa.data.statistics import describe
from lang_jepa.data.tokenizer import train_tokenizer
from lang_jepa.errors import LangJepaError

SMALL = BlockSize(documents=7)


def _text(number: int, *, sentences: int = 6) -> str:
    """A text of sentences that no other number has."""
    rng = np.random.default_rng(number)
    words = ["ship", "sea", "harbour", "rain", "captain", "letter", "winter", "island"]
    parts = [" ".join(rng.choice(words, 5)) + f" number {number} {k}" for k in range(sentences)]
    return " ".join(part.capitalize() + "." for part in parts)


def _write(path: Path, texts: Iterable[str], ids: Iterable[int] | None = None) -> Path:
    rows = [
        {"id": f"row-{number}", "text": text}
        for number, text in zip(ids or range(10**6), texts, strict=False)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([_text(number) for number in range(50)], 400).save(folder)
    return folder


@pytest.fixture
def settings_for(tokenizer_folder: Path, tmp_path: Path) -> Callable[..., DataSettings]:
    """Settings over a file of texts, in a corpus folder of this test."""

    def make(texts: Iterable[str] | Path, **options: object) -> DataSettings:
        file = texts if isinstance(texts, Path) else _write(tmp_path / "texts.jsonl", texts)
        defaults = {
            "train_file": str(file),
            "tokenizer_path": str(tokenizer_folder),
            "corpus_dir": str(tmp_path / "corpora"),
            "limit": None,
            "prepare_workers": 1,
        }
        return DataSettings(**{**defaults, **options})

    return make


def _contents(folder: Path) -> dict[str, bytes]:
    """All files of a corpus by name; of the manifest, what does not depend on the clock."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    manifest = json.loads(files["manifest.json"])
    del manifest["timing"]
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def _sentences(corpus: Corpus) -> dict[str, list[str]]:
    """Sentences by document id, of both sides."""
    return {
        split.document_id(number): split.texts(range(*split.document_starts[number : number + 2]))
        for split in (corpus.train, corpus.validation)
        for number in range(split.num_documents)
    }


def test_corpus_holds_the_documents(settings_for: Callable) -> None:
    texts = [_text(number) for number in range(30)]
    corpus = prepare(settings_for(texts, val_fraction=0.3), block_size=SMALL)
    assert not corpus.reused
    expected = {
        f"row-{k}": [part + "." for part in text.rstrip(".").split(". ")] for k, text in enumerate(texts)
    }
    assert _sentences(corpus) == expected
    held = {f"row-{k}" for k, text in enumerate(texts) if side(hash_text(text), 0.3) == "validation"}
    validation = {corpus.validation.document_id(k) for k in range(corpus.validation.num_documents)}
    assert validation == held != set()
    assert AutoTokenizer.from_pretrained(str(corpus.path / "tokenizer"))("Ship.").input_ids[0] == 0


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
        assert (
            theirs(text, add_special_tokens=False).input_ids
            == corpus.train.tokens(number, number + 1).tolist()
        )
    assert corpus.manifest["statistics"]["documents_read"] == 20


def test_workers_and_blocks_change_nothing(settings_for: Callable, tmp_path: Path) -> None:
    texts = [_text(number % 33) for number in range(40)]
    settings = settings_for(texts, val_fraction=0.2, tokenizer_path="trained", vocab_size=350)
    contents = []
    for name, workers, size in [("one", 1, SMALL), ("two", 2, SMALL), ("whole", 1, BlockSize())]:
        changed = settings.model_copy(
            update={"prepare_workers": workers, "corpus_dir": str(tmp_path / name), "batch_size": 3 + workers}
        )
        corpus = prepare(changed, block_size=size)
        assert corpus.manifest["timing"]["workers"] == workers
        contents.append(_contents(corpus.path))
    assert contents[0].keys() == contents[1].keys()
    assert contents[0] == contents[1] == contents[2]


def test_several_shards_read_the_same(settings_for: Callable, tmp_path: Path) -> None:
    settings = settings_for([_text(number) for number in range(30)], val_fraction=0.2)
    whole = prepare(settings, block_size=SMALL)
    parts = prepare(
        settings.model_copy(update={"corpus_dir": str(tmp_path / "parts")}), block_size=SMALL, shard_tokens=1
    )
    assert len(parts.manifest["shards"]["train"]) == 5
    assert _sentences(parts) == _sentences(whole)
    everything = np.arange(whole.train.num_sentences + 1)
    assert parts.train.token_starts(everything).tolist() == whole.train.token_starts(everything).tolist()


KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
from lang_jepa.config import DataSettings
from lang_jepa.data.prepare import BlockSize, prepare

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
def test_killed_and_resumed(
    settings_for: Callable, tmp_path: Path, stage: str, count: int, workers: int
) -> None:
    settings = settings_for(
        [_text(number) for number in range(60)],
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
    assert [entry.name for entry in (tmp_path / "corpora").iterdir() if not entry.name.startswith(".")] == [
        target.name
    ]


def test_a_worker_that_dies_is_an_error_and_no_loss(settings_for: Callable) -> None:
    settings = settings_for([_text(number) for number in range(70)], prepare_workers=2)
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
    texts = [_text(number) for number in range(20)]
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
    _write(tmp_path / "texts.jsonl", texts[1:])
    changed = prepare(settings, progress=events.append)
    assert "changed: source" in events[0].message
    assert str(first.path) in events[0].message
    assert stages() == ["stale", "assemble", "done"]
    assert changed.path != first.path
    assert changed.train.num_documents == 19
    for option in (
        {"min_sentences": 3},
        {"max_sentence_chars": 50},
        {"val_fraction": 0.1},
        {"deduplicate": "none"},
    ):
        assert prepare(settings.model_copy(update=option)).path != changed.path


def test_another_tokenizer_is_another_corpus(settings_for: Callable, minilm: Path) -> None:
    texts = [_text(number) for number in range(10)]
    kinds = [{}, {"tokenizer_path": str(minilm)}, {"tokenizer_path": "trained", "vocab_size": 320}]
    events: list[PrepareEvent] = []
    kinds.append({**kinds[2], "vocab_size": 330})
    paths = {prepare(settings_for(texts, **kind), progress=events.append).path for kind in kinds}
    assert len(paths) == 4
    assert "stale" not in {event.stage for event in events}


def test_damaged_corpus_is_made_again(settings_for: Callable) -> None:
    settings = settings_for([_text(number) for number in range(20)])
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
    settings = settings_for([_text(number) for number in range(20)])
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
    settings = settings_for([_text(number) for number in range(20)])
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


def test_order_does_not_move_documents_between_sides(settings_for: Callable, tmp_path: Path) -> None:
    texts = [_text(number) for number in range(40)]
    order = np.random.default_rng(0).permutation(40).tolist()
    sides = []
    for name, numbers in (("a", range(40)), ("b", order), ("c", range(0, 40, 2))):
        file = _write(tmp_path / f"{name}.jsonl", [texts[k] for k in numbers], ids=numbers)
        corpus = prepare(settings_for(file, val_fraction=0.3))
        sides.append({corpus.validation.document_id(k) for k in range(corpus.validation.num_documents)})
    assert sides[0] == sides[1]
    assert sides[2] == {name for name in sides[0] if int(name.split("-")[1]) % 2 == 0}


def test_duplicates_never_reach_the_other_side(settings_for: Callable) -> None:
    originals = [_text(number) for number in range(20)]
    edited = [text.replace("number", "nr", 2) for text in originals]  # 2 of 6 sentences differ
    settings = settings_for([*originals, *originals[:5], *edited], val_fraction=0.4)
    corpus = prepare(settings, block_size=SMALL)
    statistics = corpus.manifest["statistics"]
    assert statistics["duplicates"] == {"exact duplicate": 5, "near duplicate": 20}
    assert set(_sentences(corpus)) == {f"row-{k}" for k in range(20)}
    assert statistics["overlap"] == {"all_sentences": 0.0, "long_sentences": 0.0}
    kept = prepare(settings.model_copy(update={"deduplicate": "none"}))
    assert kept.manifest["statistics"]["duplicates"] == {}
    assert kept.train.num_documents + kept.validation.num_documents == 45
    assert kept.manifest["statistics"]["overlap"]["all_sentences"] > 0.2


def _on(wanted: str, text: str) -> str:
    """`text` with an ending that puts it on the wanted side of a half-and-half split."""
    endings = (f"{text} Ending number {k} of the text." for k in range(1000))
    return next(ending for ending in endings if side(hash_text(ending), 0.5) == wanted)


def test_overlap_is_counted_and_warned_about(settings_for: Callable) -> None:
    shared = "This sentence stands on both sides. Yes."
    train = [_on("train", f"{shared} {_text(number)}") for number in range(3)]
    held = [
        _on("validation", f"this  sentence stands on BOTH sides. {_text(10)}"),
        _on("validation", f"{_text(11)} Yes."),
    ]
    events: list[PrepareEvent] = []
    corpus = prepare(settings_for([*train, *held], val_fraction=0.5, min_length=0), progress=events.append)
    sizes = (corpus.train.num_documents, corpus.validation.num_documents, corpus.validation.num_sentences)
    assert sizes == (3, 2, 16)
    # Two of 16 sentences occur in training, one of the 15 long ones.
    endings = [set(text.split("Ending ")[1:]) for text in (*train, *held)]
    common = sum(bool(ending & set.union(*endings[:3])) for ending in endings[3:])
    overlap = corpus.manifest["statistics"]["overlap"]
    assert overlap == {
        "all_sentences": pytest.approx((2 + common) / 16, abs=1e-6),
        "long_sentences": pytest.approx((1 + common) / 15, abs=1e-6),
    }
    warning = next(event.message for event in events if event.stage == "warning")
    assert warning.startswith(f"{(2 + common) / 16:.1%}")


def test_statistics_are_exact(settings_for: Callable) -> None:
    texts = [_text(number, sentences=2 + number % 5) + " ünï." * (number % 3) for number in range(40)]
    settings = settings_for(
        [*texts, "too short", texts[3], "One sentence without any end " * 5], val_fraction=0.25, min_length=20
    )
    corpus = prepare(settings, block_size=SMALL)
    statistics = corpus.manifest["statistics"]
    assert statistics["documents_read"] == 43
    assert statistics["rejected"] == {"fewer than 2 sentences": 1, "too short": 1}
    assert statistics["duplicates"] == {"exact duplicate": 1}
    kept = {
        name: [text for text in texts if side(hash_text(text), 0.25) == name]
        for name in ("train", "validation")
    }
    for name, split in (("train", corpus.train), ("validation", corpus.validation)):
        found = statistics[name]
        lengths = split.lengths(np.arange(split.num_sentences))
        assert found["documents"] == len(kept[name]) == split.num_documents
        assert found["bytes"] == sum(len(text.encode()) for text in kept[name])
        assert found["characters"] == sum(len(text) for text in kept[name])
        assert (found["sentences"], found["tokens"]) == (split.num_sentences, int(lengths.sum()))
        assert found["targets"] == {"window": split.num_sentences - split.num_documents}
        wanted = {
            f"p{p}": int(np.percentile(lengths, p, method="inverted_cdf")) for p in (5, 25, 50, 75, 95, 99)
        }
        wanted |= {"mean": round(float(lengths.mean()), 2), "max": int(lengths.max())}
        assert found["sentence_tokens"] == wanted
    rows = dict(describe(corpus))
    assert rows["documents read"] == "43"
    assert rows["  exact duplicates"] == "1"
    assert rows["train"].startswith(f"{len(kept['train'])} documents, ")
    assert rows["  rejected: too short"] == "1"


def test_no_validation(settings_for: Callable) -> None:
    events: list[PrepareEvent] = []
    texts = [_text(number) for number in range(5)]
    corpus = prepare(settings_for(texts), progress=events.append)
    assert (corpus.train.num_documents, corpus.validation.num_documents) == (5, 0)
    assert corpus.manifest["statistics"]["overlap"] == {"all_sentences": None, "long_sentences": None}
    assert corpus.manifest["statistics"]["validation"]["sentence_tokens"]["mean"] is None
    assert dict(describe(corpus))["validation"].startswith("0 documents")
    assert "warning" not in {event.stage for event in events}
    assert Corpus.open(corpus.path).validation.num_sentences == 0
    prepare(settings_for(texts, val_fraction=0.001), progress=events.append)
    assert [event.message for event in events if event.stage == "warning"] == [
        "data.val_fraction=0.001 of 5 documents held none out"
    ]


def test_nothing_to_train_on(settings_for: Callable) -> None:
    with pytest.raises(LangJepaError, match=r"fewer than 9 sentences: 4.*data\.min_sentences"):
        prepare(settings_for([_text(number) for number in range(4)], min_sentences=9))
    with pytest.raises(LangJepaError, match=r"4 held out.*data\.val_fraction"):
        prepare(settings_for([_text(number) for number in range(4)], val_fraction=0.9999999))
    with pytest.raises(LangJepaError, match="too short"):
        prepare(settings_for(["short", "too"]))


def test_large_vocabularies_use_32_bits(settings_for: Callable, tmp_path: Path) -> None:
    words = {"<unk>": 0, ".": 1, **{f"w{number}": number for number in range(2, 70_000)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(
        str(tmp_path / "large")
    )
    texts = ["W w69999 w65536 w5 w65535. W w2 w66000."]
    corpus = prepare(settings_for(texts, tokenizer_path=str(tmp_path / "large"), min_length=0))
    assert np.load(corpus.path / "train-00000.tokens.npy").dtype == np.uint32
    assert corpus.train.tokens(0, 2).tolist() == [0, 69999, 65536, 5, 65535, 1, 0, 2, 66000, 1]
    assert corpus.train.gather(np.array([1, 8]), np.array([2, 1])).tolist() == [69999, 65536, 66000]
