"""An index on disk: the same however it came to be, never half of one, never of another model."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Predictable, Statistics, prepare
from lang_jepa.files.atomic import sha256
from lang_jepa.inference.index import Hit, Index
from lang_jepa.inference.index.files import JOURNAL, IndexArrays, Progress
from lang_jepa.inference.index.source import Lines, SplitDocuments
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa, write_card
from lang_jepa.inference.search import neighbours
from tiny import environment, tiny_settings

DOCUMENTS = [
    "The cat sat down. It was tired. Then it slept.",
    "A dog barked at 7 birds. It rained, and it rained.",
    " ",
    "Anna went home. Bob stayed! Who knows why? Nobody. " * 4,
    "The end came.",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights and the similarity `predictable`."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer(DOCUMENTS * 3, 330)
    settings = tiny_settings(folder)
    torch.manual_seed(0)
    jepa = build_jepa(settings, tokenizer)
    rng = np.random.default_rng(0)
    statistics = Statistics.of(
        rng.standard_normal((99, 32)),
        predictable=Predictable.of(rng.standard_normal((99, 32)), rng.standard_normal((99, 32))),
    )
    ConceptModel(jepa, tokenizer, statistics, settings, similarity="predictable").save(folder / "model")
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> ConceptModel:
    return ConceptModel.load(run)


@pytest.fixture
def source(model: ConceptModel, tmp_path: Path) -> SplitDocuments:
    rows = [json.dumps({"text": text, "id": f"d{i}"}) for i, text in enumerate(DOCUMENTS)]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows))
    changed = {"train_file": str(tmp_path / "texts.jsonl"), "limit": None}
    return SplitDocuments.open(model.settings.data.model_copy(update=changed))


def test_documents_are_split_in_the_language_of_the_training(tmp_path: Path, model: ConceptModel) -> None:
    text = "Die Fahrt kostet 5 Mio. Euro im Jahr. Er zahlt."
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": text}), encoding="utf-8")
    changed = {"train_file": str(tmp_path / "texts.jsonl"), "language": "de"}
    german = SplitDocuments.open(model.settings.data.model_copy(update=changed))
    english = SplitDocuments.open(german.settings.model_copy(update={"language": "en"}))
    assert [row.sentences for row in german.rows()] == [[text[:37], text[38:]]]
    assert [len(row.sentences) for row in english.rows()] == [3]
    assert german.fingerprint() != english.fingerprint()


def contents(folder: Path) -> dict[str, bytes]:
    """All that an index is."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_finds_what_a_full_sort_finds_with_places(model: ConceptModel, source: SplitDocuments, tmp_path: Path) -> None:
    index = Index.build(model, source, tmp_path / "index", dtype="float32", block=4)
    expected = [
        (row.id, position, text)
        for row in source.rows()
        if row.id is not None
        for position, text in enumerate(row.sentences)
    ]
    assert [index.arrays.text(i) for i in range(len(index))] == [text for *_, text in expected]
    ours = prepare(model.encode([text for *_, text in expected]), model.statistics, "predictable")
    assert np.abs(index.arrays.vectors - ours).max() < 1e-6
    context = ["The cat sat down.", "It was tired."]
    asked = {
        "concepts": (
            prepare(model.encode(["It rained."]), model.statistics, "predictable"),
            index.search(["It rained."]),
        ),
        "predictions": (
            prepare(model.predict_next([context]), model.statistics, "predictable", side="predictions"),
            index.search_after([context]),
        ),
    }
    for query, (hits,) in asked.values():
        scores = index.arrays.vectors.astype(np.float64) @ query[0].astype(np.float64)
        order = sorted(range(len(ours)), key=lambda row, scores=scores: (-scores[row], row))[:10]
        assert [(hit.document, hit.position, hit.text) for hit in hits] == [expected[row] for row in order]
        assert [hit.score for hit in hits] == pytest.approx(scores[order].tolist(), abs=1e-9)
    assert asked["concepts"][1] != asked["predictions"][1]
    assert index.info["rejected_rows"] == 1
    assert Index.open(tmp_path / "index").search(["It rained."], top_k=3) == index.search(["It rained."], top_k=3)


KILLED = """
import os, signal, sys
from pathlib import Path
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import Lines
from lang_jepa.inference.model import ConceptModel

def kill(progress):
    if progress.rows >= int(sys.argv[4]):
        files = Path(sys.argv[3]).glob("*/texts.utf8")
        newest = max(files, key=lambda file: file.stat().st_mtime)
        with newest.open("ab") as file:
            file.write(b"half a sen")  # what a kill in the middle of a block leaves
        os.kill(os.getpid(), signal.SIGKILL)

Index.build(ConceptModel.load(sys.argv[1]), Lines(Path(sys.argv[2])), sys.argv[3], block=5, on_event=kill)
"""


def test_killed_and_resumed_with_the_old_index_intact(run: Path, model: ConceptModel, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("It was old.\nIt was grey.\n")
    (tmp_path / "new.txt").write_text("".join(f"Line {i} has the cat {i * i}.\n" for i in range(23)))
    folder = tmp_path / "index"
    old = contents(Index.build(model, Lines(tmp_path / "old.txt"), folder).folder)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, run, tmp_path / "new.txt", folder, "10"],
        env=environment({"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}),
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert old.items() <= contents(folder).items()
    assert Index.open(folder).search(["It was grey."], top_k=1)[0][0].text == "It was grey."

    events: list[Progress] = []
    resumed = Index.build(model, Lines(tmp_path / "new.txt"), folder, block=5, on_event=events.append)
    assert events[0].rows == 10
    assert events[-1].characters == events[-1].total_characters
    clean = Index.build(model, Lines(tmp_path / "new.txt"), tmp_path / "clean", block=5)
    assert contents(resumed.folder) == contents(clean.folder)
    assert resumed.nearest(model.encode(["Line 7 has the cat 49."]), top_k=1)[0][0].document == "new.txt:8"

    before = {name: (folder / name).stat().st_mtime_ns for name in contents(folder)}
    Index.build(model, Lines(tmp_path / "new.txt"), folder, block=5)
    assert before == {name: (folder / name).stat().st_mtime_ns for name in contents(folder)}, "built twice"


def test_another_model_is_refused_by_name(run: Path, model: ConceptModel, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("It was old.\n")
    Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index")
    other = ConceptModel.load(run)
    with torch.no_grad():
        next(other.jepa.encoder.parameters()).add_(0.01)
    other.save(tmp_path / "other")
    with pytest.raises(LangJepaError) as refused:
        Index.open(tmp_path / "index", ConceptModel.load(tmp_path / "other"))
    assert str(run / "model") in str(refused.value)
    assert str(tmp_path / "other") in str(refused.value)
    shutil.copytree(run / "model", tmp_path / "moved")
    assert len(Index.open(tmp_path / "index", ConceptModel.load(tmp_path / "moved"))) == 1
    with pytest.raises(LangJepaError, match="save the model"):
        Index.build(
            ConceptModel(model.jepa, model.tokenizer, None, model.settings),
            Lines(tmp_path / "lines.txt"),
            tmp_path / "x",
        )


def empty(folder: Path) -> Path:
    (folder / "nothing.txt").write_text("\n  \n")
    return folder / "nothing.txt"


def latin(folder: Path) -> Path:
    (folder / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    return folder / "latin.txt"


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (empty, "there is no sentence to index"),
        (latin, "not UTF-8"),
        (lambda folder: folder / "none", "cannot be read"),
    ],
)
def test_nothing_to_index(corpus: Callable[[Path], Path], message: str, model: ConceptModel, tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=message):
        Index.build(model, Lines(corpus(tmp_path)), tmp_path / "index")
    with pytest.raises(LangJepaError, match="no finished index"):
        Index.open(tmp_path / "index")


def test_bad_queries_and_damage_are_errors(model: ConceptModel, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("It was old.\nIt was new.\n")
    with pytest.raises(LangJepaError, match="not empty and is not an index"):
        Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path)
    index = Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index")
    with pytest.raises(LangJepaError, match="has no token"):
        index.search([""])
    with pytest.raises(LangJepaError, match="NaN"):
        index.nearest(np.full((1, model.dim), np.nan, dtype=np.float32), top_k=1)
    for path in sorted(set((tmp_path / "index").rglob("*")) - set((tmp_path / "index").glob(".lock"))):
        if path.is_file() and path.name != JOURNAL:
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 4]))  # one bit
            with pytest.raises(LangJepaError, match="damaged"):
                Index.open(tmp_path / "index", model)
            path.write_bytes(content)
    Index.open(tmp_path / "index", model)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("text_ends.npy", lambda ends: ends[::-1], "entry 1 is"),
        ("text_ends.npy", lambda ends: ends + 1, "its last string ends elsewhere"),
        ("text_ends.npy", lambda ends: ends.astype(np.float64), "it is float64"),
        ("vectors.npy", lambda rows: rows * np.float16(np.nan), "holds NaN or infinity"),
        ("vectors.npy", lambda rows: rows[:1], "there are 1 sentences"),
        ("vectors.npy", lambda rows: np.asfortranarray(rows), "not one array"),
        ("documents.npy", lambda numbers: numbers + 7, "but must lie in 0 to 1"),
        ("positions.npy", lambda numbers: numbers - 9, "range from -9"),
        ("id_ends.npy", lambda ends: ends * -1, "ends at -"),
    ],
)
def test_an_index_that_someone_crafted_is_refused(
    name: str, change: Any, said: str, model: ConceptModel, tmp_path: Path
) -> None:
    """With hashes that are right."""
    (tmp_path / "lines.txt").write_text("It was old.\nIt was new.\n")
    Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index")
    path = next((tmp_path / "index").glob(f"*/{name}"))
    np.save(path, change(np.load(path)))
    manifest = tmp_path / "index" / "index.json"
    info = json.loads(manifest.read_text())
    write_card(manifest, info, info["sha256"] | {f"{path.parent.name}/{name}": sha256(path)})
    with pytest.raises(LangJepaError, match=said):
        Index.open(tmp_path / "index", model)


def test_only_what_was_made_is_removed(model: ConceptModel, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for text in ("It was old.\n", "It was new.\n", "It rained.\n"):
        (tmp_path / "lines.txt").write_text(text)
        Index.build(model, Lines(tmp_path / "lines.txt"), folder)
        assert len(list(folder.glob("*/vectors.npy"))) == 1, "the older one went"
        (folder / "mine").mkdir(exist_ok=True)
        (folder / "mine" / "notes.txt").write_text("mine")
        (folder / "0123456789abcdef").mkdir(exist_ok=True)
        (folder / "0123456789abcdef" / "notes.txt").write_text("mine")
    assert (folder / "mine" / "notes.txt").is_file()
    assert (folder / "0123456789abcdef" / "notes.txt").is_file()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".lock").touch()
    (tmp_path / "other" / "notes").mkdir()
    with pytest.raises(LangJepaError, match="not empty and is not an index"):
        Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "other")
    assert (tmp_path / "other" / "notes").is_dir()


def test_an_index_that_is_replaced_while_it_is_opened_is_opened_anew(
    model: ConceptModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lines = tmp_path / "index", tmp_path / "lines.txt"
    lines.write_text("It was old.\n")
    Index.build(model, Lines(lines), folder)
    lines.write_text("It was new.\n")
    real, replaced = IndexArrays.open, list[str]()

    def replacing(generation: Path) -> IndexArrays:
        if not replaced:
            replaced.append("once")
            Index.build(model, Lines(lines), folder)
        return real(generation)

    monkeypatch.setattr(IndexArrays, "open", replacing)
    assert Index.open(folder, model).arrays.text(0) == "It was new."


def test_sentences_and_their_index_give_the_same(model: ConceptModel, tmp_path: Path) -> None:
    texts = ["The cat sat.", "A dog barked.", "It rained."]
    (tmp_path / "lines.txt").write_text("The cat sat.\n\nA dog barked.\nIt rained.\n")
    index = Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index")
    asked = model.encode(["A dog barked.", "Rain."])
    encoded_now, stored = neighbours(model, asked, texts, top_k=2), index.nearest(asked, top_k=2)
    for one, other in zip(encoded_now, stored, strict=True):
        assert [text for _, text in one] == [hit.text for hit in other]
        assert [score for score, _ in one] == pytest.approx([hit.score for hit in other], abs=1e-3)
    assert encoded_now[0][0][1] == "A dog barked."


def test_approximate_joins_a_finished_index(model: ConceptModel, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    (tmp_path / "lines.txt").write_text("".join(f"The cat saw {i} dogs at {i % 7}.\n" for i in range(200)))
    plain = Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index")
    assert not plain.approximate
    index = Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index", approximate=True)
    assert index.info["approximate"]["recall@10"] >= 0.95
    best: Hit = index.search(["The cat saw 3 dogs at 3."])[0][0]
    assert best == index.search(["The cat saw 3 dogs at 3."], exact=True)[0][0]
    assert best.text == "The cat saw 3 dogs at 3."


@pytest.mark.parametrize(
    ("begin", "content", "when"),
    [
        (0, b"IxF2", "before faiss reads it"),
        (4, b"\x07", "before faiss reads it"),
        (8, b"\x07", "before faiss reads it"),
        (36, b"\xff\xff\xff\xff", "as it is read"),
        (-300, b"\x7f" * 300, "as it is searched"),
    ],
)
def test_an_approximate_index_that_someone_crafted_is_refused_by_name(
    begin: int, content: bytes, when: str, model: ConceptModel, tmp_path: Path
) -> None:
    pytest.importorskip("faiss")
    (tmp_path / "lines.txt").write_text("".join(f"The cat saw {i} dogs at {i % 7}.\n" for i in range(100)))
    Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index", approximate=True)
    path = next((tmp_path / "index").glob("*/approximate.faiss"))
    damaged = bytearray(path.read_bytes())
    begin %= len(damaged)
    damaged[begin : begin + len(content)] = content
    path.write_bytes(damaged)
    with pytest.raises(LangJepaError, match=r"approximate.faiss is damaged or was replaced"):
        Index.open(tmp_path / "index", model)
    manifest = tmp_path / "index" / "index.json"
    info = json.loads(manifest.read_text())
    write_card(manifest, info, info["sha256"] | {f"{path.parent.name}/{path.name}": sha256(path)})
    index = Index.open(tmp_path / "index", model)
    with pytest.raises(LangJepaError, match=r"approximate.faiss is missing or damaged"):
        index.search(["The cat saw 3 dogs at 3."])
    assert index.search(["The cat saw 3 dogs at 3."], exact=True)[0][0].text == "The cat saw 3 dogs at 3."
