"""Classes of one's own, named by import path: they train, resume, are swept and loaded, or are refused by name."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from comparing import Heard
from lang_jepa import ConceptModel
from lang_jepa.comparison import budget as steps
from lang_jepa.comparison.compare import compare
from lang_jepa.comparison.kind import changed, flat
from lang_jepa.comparison.plan import Plan, Variant, differing_settings
from lang_jepa.comparison.space import make_space
from lang_jepa.comparison.sweep import Sweep
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import Budget
from lang_jepa.export.export import export_run
from lang_jepa.settings.load import load_settings, read_settings
from lang_jepa.training.train import train
from tiny import assert_same_run, environment, tiny_settings, train_in_two_parts
from warm import Popen

OWN = Path(__file__).with_name("own_parts.py")
ALL = (
    "model.predictor=own_parts:Drift",
    "own_predictor.hidden=20",
    "objective.target=own_parts:Slow",
    "objective.regularizer=own_parts:Redundancy",
    "own_regularizer.power=3.0",
    "optimization.loss_fn=own_parts:Angle",
)
VIEW = ("data.view=own_parts:Halves", "own_view.share=0.4", "data.context=window", "model.predictor=linear")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with own_parts.py in it; modules and paths are as they were afterwards."""
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(OWN, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(OWN.parent)])
    for name in ("own_parts", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


@pytest.mark.parametrize("overrides", [ALL, VIEW], ids=["four axes", "a view"])
def test_they_train_resume_and_are_loaded(overrides: tuple[str, ...], tmp_path: Path) -> None:
    whole = train(tiny_settings(tmp_path / "whole", *overrides)).folder
    parts = train_in_two_parts(tiny_settings(tmp_path / "parts", *overrides), stop=3).folder
    assert_same_run(whole, parts)
    settings = read_settings(whole / "model" / "settings.yaml")
    assert settings.own_regularizer == ({"power": 3.0, "form": "mean"} if overrides is ALL else {})
    model = ConceptModel.load(whole)
    assert np.isfinite(model.encode(["It rained."])).all()
    assert model.predicts_next == (overrides is ALL)
    export_run(whole, tmp_path / "exported", "sentence-transformers")


def test_a_folder_without_its_module_says_which_is_missing_and_runs_nothing(tmp_path: Path) -> None:
    run = train(tiny_settings(tmp_path / "run", *ALL, "optimization.max_steps=2")).folder
    marker = tmp_path / "ran"
    for folder in (run, run / "model"):
        (folder / "own_parts.py").write_text(f"open({str(marker)!r}, 'w').close()\n{OWN.read_text()}")
    code = "from lang_jepa import ConceptModel; import sys; ConceptModel.load(sys.argv[1])"
    for place in (tmp_path, run, run / "model"):  # -c puts the current folder first on Python's path
        loading = Popen(
            [sys.executable, "-c", code, str(run)], cwd=place, env=environment(), stderr=subprocess.PIPE, text=True
        )
        _, errors = loading.communicate()
        assert loading.returncode == 1
        said = "there is no module 'own_parts'" if place == tmp_path else "whose files are never run"
        assert said in errors, errors
    assert not marker.exists()


def test_they_are_compared_and_swept(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", *ALL)
    assert changed(settings, own_regularizer={"power": 4.0}).own_regularizer["power"] == 4.0
    space = make_space(["own_regularizer.power=1.0:3.0", "objective.regularizer=none,own_parts:Redundancy"], settings)
    assert [one.key for one in space] == ["own_regularizer.power", "objective.regularizer"]
    plan = Sweep(settings, space, "val/retrieval/mrr", 2)
    drawn = {"own_regularizer.power": 1.5, "objective.regularizer": "own_parts:Redundancy"}
    assert flat(plan.trial_settings(drawn, tmp_path))["own_regularizer.power"] == 1.5
    without = plan.trial_settings(drawn | {"objective.regularizer": "none"}, tmp_path)
    assert without.own_regularizer == {}
    assert "own_regularizer" not in without.model_dump()


@pytest.mark.slow
def test_a_comparison_trains_and_scores_them(tmp_path: Path) -> None:
    own, without = (tiny_settings(tmp_path / "unused", *one) for one in (ALL, ALL[:2]))
    questions = Budget(queries=60, stories=12, train_stories=20, paraphrases=60)
    variants = (Variant("without", without), Variant("own", own))
    plan = Plan(variants, (0,), steps.Budget("steps", 4), ("stories",), None, questions, allow_different=False)
    compare(plan, tmp_path / "compared", Heard())
    assert (tmp_path / "compared" / "report.html").is_file()
    assert differing_settings(plan)["own_regularizer.power"] == [None, 3.0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["model.predictor=nowhere:Drift"],
            ["model.predictor=nowhere:Drift", "no module 'nowhere'", "PYTHONPATH"],
        ),
        (["model.predictor=own_parts.sub:Drift"], ["no module 'own_parts.sub'"]),
        (["model.predictor=own_parts:Drft"], ["no class 'Drft'", "did you mean 'Drift'"]),
        (
            ["model.predictor=own_parts:no_class"],
            ["is not a Predictor", "lang_jepa.models.predictors.predictor.Predictor"],
        ),
        (["model.predictor=own_parts:Redundancy"], ["is not a Predictor"]),
        (["model.predictor=own_parts:Forgotten"], ["does not implement forward"]),
        (["model.predictor=own_parts:Wide"], ["cannot be built as Wide(dim, window)", "depth"]),
        (
            ["objective.regularizer=own_parts:Loose"],
            ["Settings must be strict", "lang_jepa.settings.data.Section"],
        ),
        (["model.predictor=own parts:Drift"], ["module:Class"]),
        (["model.predictor=__main__:Drift"], ["a file of its own"]),
        (["model.predictor=broken:Drift"], ["importing broken failed with ZeroDivisionError", "line 2"]),
        (
            [*ALL, "own_regularizer.powr=2"],
            ["own_regularizer: powr: unknown setting", "did you mean 'power'"],
        ),
        ([*ALL, "own_regularizer.power=high"], ["own_regularizer: power: input should be a valid number"]),
        ([*ALL, "own_distance.x=1"], ["own_distance: Angle has no settings"]),
        (["own_regularizer.power=2"], ["no effect beside objective.regularizer=vicreg", "module:Class"]),
        (["data.view=spns"], ["input should be 'next_sentence'", "did you mean 'spans'"]),
        ([*VIEW, "data.crop=0.5"], ["data.crop=0.5 belongs to data.view=same_sentence"]),
        (["model.freeze_encoder=true", *ALL], ["objective.target=frozen"]),
    ],
)
def test_what_is_refused(overrides: list[str], words: list[str], here: Path) -> None:
    (here / "broken.py").write_text("# fails\n1 / 0\n")
    with pytest.raises(LangJepaError) as raised:
        load_settings("concepts", overrides)
    for word in words:
        assert word in str(raised.value)


def test_a_regularizer_with_weights_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", "objective.regularizer=own_parts:Weighted", "data.corpus_dir=nothing")
    with pytest.raises(LangJepaError, match=r"weights or buffers \(linear.weight, linear.bias\)"):
        train(settings)
    assert not Path("nothing").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [("optimization.loss_fn=own_parts:Whole", "Whole gave"), ("model.predictor=own_parts:Narrow", "predictor gave")],
)
def test_wrong_shapes_are_named_and_never_broadcast(override: str, words: str, tmp_path: Path) -> None:
    blind = ("data.val_fraction=0.0", "logging.best_metric=null")
    with pytest.raises(LangJepaError, match=words):
        train(tiny_settings(tmp_path / "run", override, *blind))
