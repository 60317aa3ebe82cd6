"""Sessions that are interleaved in one file, and the tail of a file and of rotated ones: nothing is learnt from after it."""

import gzip
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources.base import Document
from lang_jepa.data.sources.rotated import is_log, logs_of, shares_learnt
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.load import load_settings
from lang_jepa.training.methods.encoder_data import CorpusData, StreamData
from tiny import tiny_settings

LINES = ["[1] open", "[2] open", "start", "[1] read", "[2] read", "[1] shut", "stop"]
SESSION = r"^\[(\d+)\]"
TAIL = ("data.units=lines", "data.val_split=tail", "data.val_fraction=0.25", "data.min_length=1",
        "data.deduplicate=none", "data.limit=null")  # fmt: skip


def _settings(path: Path, **changes: Any) -> DataSettings:
    chosen = {"train_file": str(path), "units": "lines", "min_length": 0, "limit": None, "session": SESSION}
    return DataSettings(**{**chosen, **changes})


def test_lines_of_a_session_are_a_document_and_the_others_another(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("\n".join(LINES))
    source = open_source(_settings(tmp_path))
    found = list(source.documents(Counter()))
    assert [(one.id, one.text.split("\n")) for one in found] == [
        ("app.log:0#1", ["[1] open", "[1] read", "[1] shut"]),
        ("app.log:0#2", ["[2] open", "[2] read"]),
        ("app.log:0", ["start", "stop"]),
    ]
    assert [one.learnt for one in found] == [None] * 3
    assert list(source.rows(1)) == found[1:]
    assert [one.id for one in open_source(_settings(tmp_path, limit=2)).rows()] == ["app.log:0#1", "app.log:0#2"]
    others = [_settings(tmp_path, session=None), _settings(tmp_path, session=r"\[(\d)\]")]
    assert len({open_source(one).fingerprint() for one in (source.settings, *others)}) == 3


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.floats(0.05, 0.9))
def test_no_line_is_learnt_from_after_a_held_out_one(tmp_path_factory: Any, names: list[int], share: float) -> None:
    path = tmp_path_factory.mktemp("logs") / "app.log"
    path.write_text("\n".join(f"[{name}] {number}" for number, name in enumerate(names)))
    learnt, held = [], []
    for one in open_source(_settings(path, val_split="tail", val_fraction=share)).documents(Counter()):
        numbers = [int(line.split()[1]) for line in one.text.split("\n")]
        assert one.learnt is not None
        learnt += numbers[: one.learnt]
        held += numbers[one.learnt :]
    assert sorted(learnt + held) == list(range(len(names)))
    assert max(learnt, default=-1) < min(held)


@pytest.mark.parametrize(
    ("pattern", "said"), [("blk", "has 0 groups"), ("(a)(b)", "has 2 groups"), ("(a*)", "the empty string")]
)
def test_a_session_needs_one_group(pattern: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DataSettings(units="lines", session=pattern)


def test_a_session_that_never_ends_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("a" * 60 + "!")
    with pytest.raises(LangJepaError, match=r"data\.session: .* takes more than 1 s"):
        list(open_source(_settings(tmp_path, session="((?:a|aa)+)$")).rows())


@pytest.mark.parametrize("name", ["session=(x)", "records=true"])
def test_sessions_and_records_are_of_lines(name: str) -> None:
    with pytest.raises(LangJepaError, match=r"it is for data\.units=lines"):
        load_settings("documents", [f"data.{name}"])


def _texts(split: CorpusSplit) -> dict[str, list[str]]:
    starts = split.document_starts
    return {split.document_id(n): split.texts(range(starts[n], starts[n + 1])) for n in range(split.num_documents)}


def _corpus(folder: Path, *overrides: str) -> Corpus:
    return prepare(tiny_settings(folder / "run", f"data.train_file={folder / 'logs'}", *TAIL, *overrides).data)


def test_sessions_are_cut_where_their_file_is(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    lines = [f"[{n % 2}] step {n}" for n in range(28)] + ["[2] late", "[2] later", "[3] a", "[0] end"]
    (tmp_path / "logs" / "app.log").write_text("\n".join(lines))
    corpus = _corpus(tmp_path, f"data.session={SESSION}")
    learnt, held = _texts(corpus.train), _texts(corpus.validation)
    assert {name: len(texts) for name, texts in learnt.items()} == {"app.log:0#0": 12, "app.log:0#1": 12}
    assert held["app.log:0#0~12"] == ["[0] step 24", "[0] step 26", "[0] end"]
    assert held["app.log:0#2"] == ["[2] late", "[2] later"]
    assert corpus.manifest["statistics"]["rejected"] == {"fewer than 2 sentences": 1}


@pytest.mark.parametrize(
    ("name", "log"),
    [("app.log", True), ("APP.LOG.1", True), ("app.log.2.gz", True), ("app.log-20260101", True), ("app.log.bak", False),
     ("log.txt", False), ("app.log.2026-01-01.zst", True)],
)  # fmt: skip
def test_logs_are_known_by_name(name: str, log: bool) -> None:
    assert is_log(name) == log


def test_rotated_files_are_one_log_oldest_first() -> None:
    names = ["a/app.log", "a/app.log.1", "a/app.log.10.gz", "a/app.log.2", "b/app.log", "x.log-20251231", "x.log",
             "x.log-20260101.gz", "x.txt"]  # fmt: skip
    assert logs_of(names) == [
        ["a/app.log.10.gz", "a/app.log.2", "a/app.log.1", "a/app.log"],
        ["x.log-20251231", "x.log-20260101.gz", "x.log"],
    ]


def test_the_tail_of_rotated_files_is_that_of_the_log(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    steps = [f"step {n}" for n in range(40)]
    (logs / "app.log.2.gz").write_bytes(gzip.compress("\n".join(steps[:16]).encode()))
    (logs / "app.log.1").write_text("\n\n".join(steps[16:36]))
    (logs / "app.log").write_text("\n".join(steps[36:]))
    (logs / "b.log").write_text("\n".join(f"other {n}" for n in range(8)))
    corpus = _corpus(tmp_path)
    assert _texts(corpus.train) == {
        "app.log.1:0": steps[16:30], "app.log.2.gz:0": steps[:16], "b.log:0": [f"other {n}" for n in range(6)],
    }  # fmt: skip
    assert _texts(corpus.validation) == {
        "app.log:0": steps[36:], "app.log.1:0~14": steps[30:36], "b.log:0~6": ["other 6", "other 7"],
    }  # fmt: skip
    found = open_source(
        tiny_settings(tmp_path / "run", f"data.train_file={logs}", *TAIL, f"data.session={SESSION}").data
    )
    assert {one.id: one.learnt for one in found.rows() if isinstance(one, Document)} == {
        "app.log:0": 0, "app.log.1:0": 14, "app.log.2.gz:0": 16, "b.log:0": 6,
    }  # fmt: skip


def _one_log(folder: Path, lines: int) -> Path:
    path = folder / "app.log"
    path.write_text("\n".join(f"{n} {'started' if n % 3 else 'stopped'} job {n % 7} well" for n in range(lines)))
    return path


def test_the_tail_of_one_file_is_measured(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", f"data.train_file={_one_log(tmp_path, 200)}", *TAIL)
    data = CorpusData(settings, prepare(settings.data), rank=0, world=1)
    assert data.held_out is not None
    found = data.held_out.measure(_vectors, _vectors, torch.device("cpu")).metrics
    assert found["val/retrieval/recall@1"] == 1.0
    assert found["val/retrieval/candidates"] > 30
    documents = data.held_out.collect(_vectors, _vectors, torch.device("cpu")).documents
    assert documents.unique().tolist() == list(range(8))


def _vectors(batch: Any) -> Any:
    """An embedding for each asked sentence that no other has."""
    return torch.nn.functional.one_hot(batch.sentence_ids, 64).float()


@pytest.mark.parametrize(("lines", "said"), [(2, "too little to learn anything from"), (12, "the tail of .* too few")])
def test_a_short_log_says_what_is_missing(tmp_path: Path, lines: int, said: str) -> None:
    settings = tiny_settings(tmp_path / "run", f"data.train_file={_one_log(tmp_path, lines)}", *TAIL)
    corpus = prepare(settings.data)
    if lines == 2:
        with pytest.raises(LangJepaError, match=said):
            CorpusData(settings, corpus, rank=0, world=1)
    else:
        data = CorpusData(settings, corpus, rank=0, world=1)
        assert data.held_out is None
        assert re.search(said, data.why_nothing_held_out())


def test_a_stream_holds_the_tail_out_too(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in "ab":
        (tmp_path / "logs" / f"{name}.log").write_text("\n".join(f"{name} step {n}" for n in range(80)))
    kept = (one for one in TAIL if "limit" not in one and "deduplicate" not in one)
    stream = ("data.streaming=true", "optimization.max_steps=2")
    settings = tiny_settings(tmp_path / "run", f"data.train_file={tmp_path / 'logs'}", *kept, *stream)
    data = StreamData(settings, rank=0, world=1)
    blocks = [split for part in data.blocks.source.parts(1) for _, split in data.blocks.read(part, 0) if split]
    learnt = [text for split in blocks for texts in _texts(split).values() for text in texts]
    assert learnt == [f"{name} step {n}" for name in "ab" for n in range(60)]
    assert data.held_out is not None
    held = _texts(data.held_out.view.split)
    assert held == {f"{name}.log:0~60": [f"{name} step {n}" for n in range(60, 80)] for name in "ab"}


def test_the_tail_of_rotated_logs_counts_records(tmp_path: Path) -> None:
    """Traces of ten lines in the older file are one unit each, as they are in the corpus."""
    trace = "\n".join(["2026-01-01 10:00:00 failed", *(f"\tat a.b{n}" for n in range(9))])
    paths = {"app.log.1": tmp_path / "app.log.1", "app.log": tmp_path / "app.log"}
    paths["app.log.1"].write_text("\n".join([trace] * 10))
    paths["app.log"].write_text("\n".join(f"2026-01-01 11:00:00 line {n}" for n in range(50)))
    assert shares_learnt(paths, 0.3, in_records=True) == {"app.log.1": 1.0, "app.log": 32 / 50}
    assert shares_learnt(paths, 0.3, in_records=False) == {"app.log.1": 1.0, "app.log": 5 / 50}


def test_which_files_are_one_log() -> None:
    """Dates of any length in order of time; another case is another log."""
    names = ["app.log", "App.log", "app.log.2026-02-03", "app.log.2026-01-02-13"]
    assert logs_of(names) == [["app.log.2026-01-02-13", "app.log.2026-02-03", "app.log"]]


def test_an_expression_that_matches_no_line_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("\n".join(LINES * 20))
    given = (f"data.train_file={path}", f"data.corpus_dir={tmp_path / 'corpora'}", r"data.session=(blk_\d+)")
    settings = tiny_settings(tmp_path / "run", *given, *TAIL)
    said = r"data\.session=\(blk_\\d\+\) matches no line of .*a\.log, .* The first line is: \[1\] open"
    with pytest.raises(LangJepaError, match=said):
        prepare(settings.data)
    assert not list((tmp_path / "corpora").glob("[!.]*"))
    assert open_source(_settings(path)).complaint() is None
    path.write_text("\n".join([*LINES[:2] * 20, "blk_1 x"]))  # one match is enough
    assert open_source(settings.data).complaint() is None
    path.write_text("")
    assert open_source(settings.data).complaint() is None


def test_of_a_stream_that_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in "ab":
        (tmp_path / "logs" / f"{name}.log").write_text("\n".join(f"{name} step {n}" for n in range(80)))
    kept = (one for one in TAIL if "limit" not in one and "deduplicate" not in one)
    stream = ("data.streaming=true", "optimization.max_steps=2", r"data.session=^(\w) no")
    settings = tiny_settings(tmp_path / "run", f"data.train_file={tmp_path / 'logs'}", *kept, *stream)
    said = StreamData(settings, rank=0, world=1).complaint
    assert said is not None
    assert "matches no line of the first rows of folder" in said
