"""The command `document`, and how what `evaluate --tasks document` measures decides what it uses."""

import hashlib
import io
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.cli import app as cli
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.scoreboard import FILE, choices_from
from lang_jepa.evaluation.tasks.document import document_rows
from lang_jepa.evaluation.tasks.request import Budget, Grouped
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import CARD, write_card
from lang_jepa.report import evaluate_run
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.stories import generate
from lang_jepa.training.train import train
from tiny import tiny_settings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(tiny_settings(folder, "optimization.max_steps=2", "data.limit=300")).folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    stories = list(generate(2, 11, "heldout"))
    path = tmp_path / "text.txt"
    path.write_text(" ".join(story.text for story in stories))
    return path


def call(*words: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lang-jepa", "document", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code


def test_table_json_and_picture(
    run: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call(run, text, "--candidate", "Nora smiled.", monkeypatch=monkeypatch)
    shown = capsys.readouterr().out
    assert "surprise by" in shown
    assert shown.startswith("high is surprising; 0 fits as well as a shuffled sentence, below 0 fits better\n")
    assert "repetitions by     centred cosine of 0.85 or more (not measured)" in shown
    assert shown.count("(not measured)") == 4
    assert shown.count("what was not measured yet for this model: lang-jepa evaluate") == 1
    assert "Nora smiled." in shown
    call(run, text, "--json", "--segments", 3, "--plot", tmp_path / "p.png", monkeypatch=monkeypatch)
    found = json.loads(capsys.readouterr().out)
    model = ConceptModel.load(run)
    fits = model.surprise(text.read_text())
    assert [one["sentence"] for one in found["surprise"]["sentences"]] == [one.sentence for one in fits.sentences]
    assert found["surprise"]["sentences"][4]["surprise"] == pytest.approx(fits.sentences[4].surprise)
    assert len(found["topics"]["boundaries"]) == 2
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_what_was_measured_is_kept_with_the_model(
    run: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report, _ = evaluate_run(
        run, EvaluateOptions(tasks="document", output=run / "d.json", budget=Budget(continuations=120))
    )
    assert set(report.tools) == {"segment", "outliers", "next", "redundant"}
    assert {"model", "recency mean (untrained)", "chance"} <= {row.name for row in report.rows}
    model = ConceptModel.load(run)
    assert set(model.choices) == set(report.tools)
    used = model.choices["next"].used
    call(run, text, monkeypatch=monkeypatch)
    assert f"{used.rule} [{used.similarity}]: continuation, same document, MRR {used.merit:.3f}" in " ".join(
        capsys.readouterr().out.split()
    )
    # A decoder that joins the model has no part in it.
    card_file = run / "model" / CARD
    card = json.loads(card_file.read_text())
    (run / "model" / "decoder.safetensors").write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    write_card(card_file, card, card["sha256"] | {"decoder.safetensors": digest})
    assert set(ConceptModel.load(run).choices) == set(report.tools)
    write_card(card_file, card, card["sha256"])
    # Measured with other weights, it is refused.
    kept = json.loads((run / "model" / FILE).read_text())
    (run / "model" / FILE).write_text(json.dumps(kept | {"model": "other"}))
    monkeypatch.setattr(sys, "argv", ["lang-jepa", "document", str(run), str(text)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "measured with other weights" in capsys.readouterr().err
    (run / "model" / FILE).unlink()


def test_other_documents_report_and_the_held_out_ones_choose(run: Path, tmp_path: Path) -> None:
    """The figures of the task on a file equal those of the same documents put in by hand."""
    stories = list(generate(48, 5, "heldout"))
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"id": s.id, "text": s.text}) + "\n" for s in stories))
    budget = Budget(continuations=150)
    options = {"tasks": "document", "data_dir": None, "output": tmp_path / "d.json", "budget": budget}
    report, _ = evaluate_run(run, EvaluateOptions(documents=str(file), **options))
    model = ConceptModel.load(run)
    held = Corpus.open(Path(model.settings.data.corpus_dir) / model.card["corpus"]).validation
    assert report.sources["document"].startswith(f"48 reported and {held.num_documents} choosing documents")
    starts = held.document_starts
    choosing = [held.texts(np.arange(a, b)) for a, b in pairwise(starts)]
    reported = [[sentence.text for sentence in story.sentences] for story in stories]
    by_hand = Grouped(choosing + reported, [""] * (len(choosing) + 48), [True] * len(choosing) + [False] * 48)
    rows, _, tools = document_rows({"model": model}, by_hand, window_size=model.settings.data.window_size, queries=150)
    mine = [row for row in rows if row.name == "model" and "minus" not in row.metric]
    assert len(mine) > 5
    assert [report.value(row.task, row.split, row.metric, "model") for row in mine] == pytest.approx(
        [row.value for row in mine], abs=1e-3
    )
    kept = choices_from(report.tools)
    assert kept.keys() - tools.keys() == {"redundant"}, "by hand no pairs were given"
    for tool, choice in tools.items():
        assert kept[tool].used.merit == pytest.approx(choice.used.merit, abs=1e-3)
        assert kept[tool].documents == choice.documents
    (run / "model" / FILE).unlink()
    with pytest.raises(
        LangJepaError, match="belongs to the tasks turns, replies, anomalies, document, search and passages"
    ):
        evaluate_run(run, EvaluateOptions(documents=str(file), **(options | {"tasks": "retrieval"})))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "A cat sat. It slept.", "--using", "magic"], "--using is best"),
        (["--text", "A cat sat.", "--against", "nothing"], "--against is document or training"),
        (["--text", " "], "holds no text"),
        ([], "nothing to read, standard input is empty: give a FILE or --text"),
        (["nowhere.txt"], "nowhere.txt cannot be read"),
        (["nowhere.txt", "--text", "A cat."], "not both"),
    ],
)
def test_mistakes(
    words: list[str],
    message: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["lang-jepa", "document", str(run), *words])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err
