"""Going on with other text: the weights, the tokenizer and what a model reads are another run's; all else is new."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks.request import Budget
from lang_jepa.export.export import export_run
from lang_jepa.inference.model import ConceptModel
from lang_jepa.report import evaluate_run
from lang_jepa.report.encoder_run import save_start
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.settings.load import read_settings, save_settings
from lang_jepa.training.load import load_any
from lang_jepa.training.methods.decoder_data import corpus_for
from lang_jepa.training.train import resume_settings, train
from stopping import signal_once
from tiny import StopAt, assert_same_run, corpora, tiny_encoder, tiny_settings
from typed import Type


def test_training_begins_with_another_runs_weights(tmp_path: Path, type_in: Type) -> None:
    first = tiny_encoder(tmp_path / "first")
    texts = [f"Another text {n} is here. It has {n} birds. They sat on wall {n}. Then they left." for n in range(40)]
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    given = ("-o", f"data.train_file={tmp_path / 'texts'}", "-o", f"data.corpus_dir={corpora()}", "-o",
             "data.prepare_workers=1", "-o", "data.val_fraction=0.2", "-o", "data.batch_size=4", "-o", "data.min_length=1",
             "-o", f"logging.log_dir={tmp_path / 'second'}", "-o", "optimization.max_steps=2", "-o", "optimization.lr=1e-9",
             "-o", "optimization.final_lr=0", "-o", "data.deduplicate=none", "-o", "model.score_sample=64")  # fmt: skip
    status, out, err = type_in("train", "concepts", "--from", first, *given)
    assert status == 0
    assert "held-out recall@1 was" in " ".join((out + err).split())
    one, two = ConceptModel.load(first), ConceptModel.load(tmp_path / "second")
    assert two.tokenizer.fingerprint() == one.tokenizer.fingerprint()
    mine, theirs = one.jepa.state_dict(), two.jepa.state_dict()
    assert mine.keys() == theirs.keys()
    for name, part in mine.items():
        torch.testing.assert_close(theirs[name], part, atol=1e-4, rtol=1e-3)
    settings = read_settings(tmp_path / "second" / "settings.yaml")
    assert settings.model.embed_dim == one.settings.model.embed_dim
    assert settings.meta.start_from == str(first / "model")
    assert type_in("train", tmp_path / "second", "--resume").status == 0


def test_without_a_recipe_the_settings_of_the_other_run_hold(tmp_path: Path, type_in: Type) -> None:
    first = tiny_encoder(tmp_path / "first")
    assert type_in("train", "--from", first, "-o", "optimization.max_steps=1").status == 0
    before, after = (read_settings(tmp_path / run / "settings.yaml") for run in ("first", "first-more"))
    changed = {
        f"{section}.{name}"
        for section, values in after.model_dump().items()
        for name, value in (values.items() if isinstance(values, dict) else [(section, values)])
        if value != (before.model_dump()[section][name] if isinstance(values, dict) else before.model_dump()[section])
    }
    of_the_start = {"meta.start_from", "data.tokenizer_path", "logging.log_dir"}
    assert changed - {"recipe.recipe"} == {*of_the_start, "optimization.max_steps"}
    refused = type_in("train", "--from", first, "-o", "data.vocab_size=777")
    assert (refused.status, "data.vocab_size has no effect beside --from" in refused.err) == (2, True)
    refused = type_in("train", "dialogue", "--from", first)
    assert refused.status == 2
    assert "trained with data.units=sentences, and the recipe dialogue has data.units=turns" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("concept_decoder",), "not with a recipe of system decoder"),
        (("runs/x", "--resume"), "not with --resume"),
    ],
)
def test_where_it_means_nothing_it_is_refused(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    type_in: Type,
) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "settings.yaml").write_text("recipe: concepts\n")
    monkeypatch.chdir(tmp_path)
    code, _, err = type_in("train", *words, "--from", "run")
    assert (code, said in err) == (2, True), err


def test_a_start_that_does_not_fit_is_named(tmp_path: Path) -> None:
    first = tiny_encoder(tmp_path / "first")
    with pytest.raises(LangJepaError, match=r"uses a different tokenizer from the corpus: set data\.tokenizer_path"):
        train(tiny_settings(tmp_path / "second", f"meta.start_from={first}", "data.vocab_size=350"))
    with pytest.raises(LangJepaError, match="there is no model of an encoder"):
        train(tiny_settings(tmp_path / "third", f"meta.start_from={tmp_path}"))
    wider = (f"meta.start_from={first}", f"data.tokenizer_path={first / 'model'}", "model.num_layers=2")
    with pytest.raises(
        LangJepaError, match=r"it has model\.num_layers=1 \(here 2\)\. Use its settings \(-o model\.num_la"
    ):
        train(tiny_settings(tmp_path / "fourth", *wider))
    inside = (f"meta.start_from={first}", f"data.tokenizer_path={first / 'model'}")
    with pytest.raises(LangJepaError, match=r"which a new run would move away: set another logging\.log_dir"):
        train(tiny_settings(first, *inside))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.embed_dim=16", "model.pred_dim=16"], ["model.embed_dim=32 (here 16)", "model.pred_dim=32 (here 16)"]),
        (["model.predictor=recency_transformer"], ["model.predictor=concept_transformer (here recency_transformer)"]),
        (["model.predictor_layers=2"], ["model.predictor_layers=1 (here 2)"]),
        (["model.num_heads=4"], ["model.num_heads=2 (here 4)"]),
        (["model.architecture=roberta"], ["model.architecture=bert (here roberta)"]),
        (["data.window_size=5"], ["data.window_size=16 (here 5)"]),
        (["model.head=none"], ["model.head=whitened (here none)"]),
        (["model.head=linear", "model.dropout=0.1"], []),
    ],
)
def test_a_start_of_another_form_is_refused_before_anything_is_prepared(
    overrides: list[str], said: list[str], first: Path, tmp_path: Path, type_in: Type
) -> None:
    """With both values; what does not touch the form may differ."""
    more = (
        f"data.corpus_dir={tmp_path / 'corpora'}",
        f"logging.log_dir={tmp_path / 'run'}",
        "optimization.max_steps=1",
    )
    typed = [part for one in (*overrides, *more) for part in ("-o", one)]
    done = type_in("train", "--from", first, *typed)
    assert done.status == (2 if said else 0), done.err
    assert all(one in " ".join(done.err.split()) for one in said), done.err
    assert (tmp_path / "corpora").exists() == (tmp_path / "run").exists() == (not said)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("runs") / "first")


def test_a_run_starts_anew_from_its_own_copy_of_a_start_that_is_gone(tmp_path: Path, type_in: Type) -> None:
    origin = tiny_encoder(tmp_path / "origin")
    assert type_in("train", "--from", origin, "-o", "optimization.max_steps=1").status == 0
    run = tmp_path / "origin-more"
    before = ConceptModel.load(run)
    shutil.rmtree(origin)
    new = ("-o", f"logging.log_dir={tmp_path / 'new'}")
    done = type_in("train", run / "settings.yaml", *new)
    assert done.status == 0, done.err
    assert f"begins with {run / 'start'}" in " ".join((done.out + done.err).split())
    after = ConceptModel.load(tmp_path / "new")
    assert torch.equal(after.jepa.state_dict()["encoder.head.weight"], before.jepa.state_dict()["encoder.head.weight"])
    assert read_settings(tmp_path / "new" / "settings.yaml").meta.start_from == str(run / "start")
    named = type_in("train", run / "settings.yaml", "-o", f"meta.start_from={tmp_path / 'no'}", *new)
    assert (named.status, "there is no" in named.err) == (2, True), named.err


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_run_outlives_the_one_that_it_began_with(tmp_path: Path, pretrained: bool) -> None:
    first = tiny_encoder(tmp_path / "first")
    own = (f"meta.start_from={first / 'model'}", f"data.tokenizer_path={first / 'model'}")
    begin = (*own, f"model.pretrained={str(pretrained).lower()}")
    whole = train(tiny_settings(tmp_path / "whole", *begin)).folder
    stopped = train(tiny_settings(tmp_path / "stopped", *begin), StopAt(3)).folder
    save_settings(tiny_settings(tmp_path / "killed", *begin), tmp_path / "killed.yaml")
    command = [sys.executable, "-m", "lang_jepa.cli", "train", str(tmp_path / "killed.yaml")]
    signal_once(command, tmp_path / "killed" / "start" / "lang_jepa.json", signal.SIGKILL)
    shutil.rmtree(first)
    for number, run in enumerate((stopped, tmp_path / "killed")):
        moved = run.rename(tmp_path / f"moved-{number}")
        again = train(resume_settings(moved))
        assert (again.step, again.interrupted) == (6, False)
        assert_same_run(whole, moved)
    model = load_any(moved / "checkpoint-last.pth")
    assert model.encode(["A cat."]).shape == (1, 32)
    assert ConceptModel.load(save_start(moved)).settings.model == model.settings.model
    other = corpus_for(ConceptModel.load(moved), moved, ["data.limit=20"])
    assert other.tokenizer.fingerprint() == model.tokenizer.fingerprint()
    report, _ = evaluate_run(moved, EvaluateOptions(tasks="retrieval", budget=Budget(queries=30, ridge_pairs=40)))
    assert any(row.name == "model" for row in report.rows)
    assert export_run(moved, tmp_path / "exported", "sentence-transformers").difference < 1e-4
