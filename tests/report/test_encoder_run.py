"""The card of a run: what is scored beside it, and what is shown in words."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.table import read_report
from lang_jepa.evaluation.tasks import Budget
from lang_jepa.evaluation.tasks.decode import DECODED, EVENT, FORCED
from lang_jepa.inference.model import ConceptModel, own_corpus
from lang_jepa.report import evaluate_run
from lang_jepa.report.encoder_run import _label, save_start, start_of
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.training.collapse import Alarm
from lang_jepa.training.train import train
from tiny import VIEWS, tiny_decoder, tiny_encoder, tiny_settings

BUDGET = Budget(queries=30, stories=8, train_stories=20, paraphrases=60, ridge_pairs=40)


def test_a_model_of_spans_is_scored_without_predictions(tmp_path: Path) -> None:
    """Paraphrases and, of the next sentence, only what copying gives in its space and in that of its start.

    A later evaluation of one task leaves the rows of the other where they were.
    """
    result = train(tiny_settings(tmp_path / "run", *VIEWS["spans"], "optimization.max_steps=1"))
    report, path = evaluate_run(result.folder, EvaluateOptions(tasks="stories,retrieval", budget=BUDGET))
    assert path.is_file()
    rows = {(row.task, row.name) for row in report.rows}
    asked = {name for task, name in rows if "next" in task}
    assert {"copy-forward (model)", "copy-forward (untrained)"} <= asked
    assert "model" not in asked
    assert any(name == "model" and "paraphrase" in task for task, name in rows)

    again, _ = evaluate_run(result.folder, EvaluateOptions(tasks="retrieval", budget=replace(BUDGET, queries=20)))
    kept = read_report(path)
    assert {(row.task, row.name) for row in kept.rows} == rows > {(row.task, row.name) for row in again.rows}
    assert [one["budget"]["queries"] for one in kept.settings["earlier"]] == [30]
    assert [row for row in kept.rows if row in again.rows] == again.rows


def test_the_statistics_of_the_start_are_made_once(tmp_path: Path) -> None:
    result = train(tiny_settings(tmp_path / "run", "optimization.max_steps=1"))
    first, _ = evaluate_run(result.folder, EvaluateOptions(tasks="retrieval", budget=BUDGET))
    (cached,) = result.folder.glob("untrained-*.safetensors")
    model = ConceptModel.load(result.folder)
    corpus = prepare(model.settings.data)
    made, found = (start_of(model.settings, corpus, cached=one).statistics for one in (None, result.folder))
    assert all(np.array_equal(getattr(made, name), getattr(found, name)) for name in ("mean", "whitening", "sample"))
    assert made.count == found.count
    cached.write_bytes(b"")
    with pytest.raises(LangJepaError, match=f"damaged .*{cached.name}"):
        evaluate_run(result.folder, EvaluateOptions(tasks="retrieval", budget=BUDGET))
    cached.unlink()
    again, _ = evaluate_run(result.folder, EvaluateOptions(tasks="retrieval", budget=BUDGET))
    assert again.rows == first.rows
    other = model.settings.model_copy(update={"meta": model.settings.meta.model_copy(update={"seed": 5})})
    start_of(other, corpus, cached=result.folder)
    assert len([*result.folder.glob("untrained-*.safetensors")]) == 2


def test_scores_say_that_validation_on_their_documents_chose_the_weights(tmp_path: Path) -> None:
    """Of the best model and its checkpoint; not of the last weights, nor of stories that no validation saw."""
    chosen = tiny_encoder(tmp_path / "best")
    last = train(tiny_settings(tmp_path / "last", "optimization.max_steps=2", "logging.best_metric=null")).folder

    def source(path: Path, task: str = "retrieval") -> str:
        report, where = evaluate_run(path, EvaluateOptions(tasks=task, budget=BUDGET))
        assert read_report(where).sources[task] == report.sources[task]
        return report.sources[task]

    note = "these documents also chose which weights are scored (best val/retrieval/recall@1)"
    assert note in source(chosen)
    assert note in source(chosen / "checkpoint-best.pth")
    for path in (last, chosen / "checkpoint-last.pth"):
        assert "chose which weights" not in source(path)
    assert "chose which weights" not in source(chosen, "stories")


def test_the_untrained_encoder_has_a_decoder_of_its_own(tmp_path: Path) -> None:
    """It stands in all tables of decoding once it is trained, with its own concepts and predictions."""
    run = tiny_encoder(tmp_path / "run")
    model = ConceptModel.load(run)
    start = start_of(model.settings, prepare(model.settings.data))
    assert save_start(run) == save_start(run) == run / "untrained"
    saved = ConceptModel.load(run / "untrained")
    texts = ["Anna went home.", "It rained all day."]
    np.testing.assert_allclose(saved.encode(texts), start.encode(texts), atol=1e-6)
    np.testing.assert_allclose(saved.predict_next(texts), start.predict_next(texts), atol=1e-6)
    assert not np.allclose(saved.encode(texts), model.encode(texts), atol=1e-3)

    options = ("data.predicted_share=0.5", "optimization.max_steps=60")
    train(tiny_decoder(tmp_path / "one", *options).of(run))
    budget = Budget(stories=4, train_stories=4, decoded=40)
    report, _ = evaluate_run(run, EvaluateOptions(tasks="decode", budget=budget))
    assert not any(row.name == "untrained" for row in report.rows)
    train(tiny_decoder(tmp_path / "two", *options).of(run / "untrained"))
    report, _ = evaluate_run(run, EvaluateOptions(tasks="decode", budget=budget))
    other = ConceptModel.load(run / "untrained")
    rows = {(row.task, row.metric): row for row in report.rows if row.name == "untrained"}
    assert {task for task, _ in rows} == {FORCED, DECODED, EVENT}
    documents = prepare(model.settings.data).validation
    texts = documents.texts(np.unique(np.linspace(0, documents.num_sentences - 1, 40).astype(int)))
    scores = other.score_texts(other.encode(texts), texts)
    assert abs(rows[FORCED, "token accuracy"].value - scores.right.sum() / scores.tokens.sum()) < 1e-6
    exact = np.mean([one == text for one, text in zip(other.decode(other.encode(texts)), texts, strict=True)])
    assert abs(rows[DECODED, "exact match"].value - exact) < 1e-6
    assert len(ConceptModel.load(run).imagine(["Nora lost her keys."], 2)) == 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("runs") / "run")


def _foreign(run: Path, folder: Path) -> Path:
    """A model as someone else would send it: its settings name folders of another machine."""
    model = ConceptModel.load(run)
    away = folder / "away"
    data = model.settings.data.model_copy(update={"corpus_dir": str(away), "train_file": str(away / "x.txt")})
    model.settings = model.settings.model_copy(update={"data": data})
    model.save(folder / "sent", weights="target", step=1)
    away.mkdir()
    (away / "x.txt").write_text("A text of this machine. It is not to be read.\n" * 40)
    return folder / "sent"


def test_a_foreign_model_decides_no_path_and_nothing_is_made_anew(run: Path, tmp_path: Path) -> None:
    """What is missing is named, with the rows that are left out and the way to get them; `prepared` is that way."""
    own = ConceptModel.load(run)
    corpus = Path(own.settings.data.corpus_dir) / own.card["corpus"]
    sent, away, said = _foreign(run, tmp_path), tmp_path / "away", []
    options = {"data_dir": None, "output": None, "budget": BUDGET}
    with pytest.raises(LangJepaError, match=r"is not here \(.*away.*\), and none is made .*--corpus FOLDER"):
        evaluate_run(sent, EvaluateOptions(tasks="retrieval", **options))
    with pytest.raises(LangJepaError, match=r"-o data\.train_file=DOCUMENTS"):
        train(tiny_decoder(tmp_path / "decoder").of(sent))
    model = ConceptModel.load(sent)
    assert own_corpus(model) is None
    assert "left out" not in "".join(said)
    report, _ = evaluate_run(
        sent, EvaluateOptions(tasks="retrieval", prepared=corpus, on_message=said.append, **options)
    )
    assert "untrained" in {row.name for row in report.rows}
    assert sorted(path.name for path in away.iterdir()) == ["x.txt"]
    with pytest.raises(LangJepaError, match="has other tokens than the model"):
        other = tiny_settings(tmp_path / "no", "data.vocab_size=500", f"data.corpus_dir={tmp_path / 'others'}")
        own_corpus(model, prepare(other.data).path)


def test_a_corpus_that_is_gone_leaves_its_row_out_and_says_so(run: Path, tmp_path: Path) -> None:
    sent, said = _foreign(run, tmp_path), []
    model = ConceptModel.load(sent)
    stories = model.settings.data.model_copy(update={"train_file": "stories"})
    model.settings = model.settings.model_copy(update={"data": stories})
    model.save(sent, weights="target", step=1)
    report, _ = evaluate_run(sent, EvaluateOptions(tasks="stories", budget=BUDGET, on_message=said.append))
    assert {row.name for row in report.rows} >= {"model"}
    assert not any("untrained" in row.name for row in report.rows)
    assert said[0].startswith("left out: the row 'untrained'. the corpus of this model's training is not here")
    assert "lang-jepa prepare" in said[0]


def test_a_collapse_in_training_is_told_with_the_scores(run: Path, tmp_path: Path) -> None:
    copy, said = tmp_path / "run", []
    shutil.copytree(run, copy)
    summary = json.loads((copy / "summary.json").read_text())
    options = EvaluateOptions(tasks="retrieval", budget=BUDGET, output=tmp_path / "x.json", on_message=said.append)
    evaluate_run(copy, options)
    assert not any("collapse" in line for line in said)
    summary["alarms"] = [str(Alarm(30, ("two sentences have cosine 0.94 on average",), "To cure it, start again."))]
    (copy / "summary.json").write_text(json.dumps(summary))
    evaluate_run(copy, options)
    assert "training warned of a collapse at step 30: two sentences have cosine 0.94 on average" in said


def test_options_that_no_task_reads_are_refused(run: Path, tmp_path: Path) -> None:
    options = {"output": None, "budget": BUDGET}
    with pytest.raises(LangJepaError, match="--data-dir has no effect on the tasks stories: it is for au, probe, sts"):
        evaluate_run(run, EvaluateOptions(tasks="stories", data_dir=tmp_path, **options))
    with pytest.raises(LangJepaError, match="--beside has no effect on the task decode"):
        evaluate_run(run, EvaluateOptions(tasks="decode", beside=["words"], **options))


def test_others_of_one_name_keep_their_rows() -> None:
    taken: set[str] = set()
    for name in ("a/run/model", "b/run/model", "words", "c/minilm", "d/minilm", "runs/model"):
        taken.add(_label(name, taken))
    assert taken == {"run", "b/run", "words", "minilm", "d/minilm", "runs"}
    with pytest.raises(LangJepaError, match="twice"):
        _label("words", taken)
