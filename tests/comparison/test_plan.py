"""What is asked for is checked before anything is trained, and a folder holds one comparison only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lang_jepa.comparison.budget import Budget, Measured
from lang_jepa.comparison.compare import evaluated
from lang_jepa.comparison.kind import changed, judged_metric
from lang_jepa.comparison.plan import Plan, differing_settings, make_plan, setting_differences, settle
from lang_jepa.comparison.systems import ENCODERS
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import write_json
from lang_jepa.settings.load import load_settings

OTHER = "data: {train_file: stories, val_fraction: 0.1, tokenizer_path: trained}\nmodel: {pretrained: false}\n"


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A recipe file beside the built-in ones."""
    path = tmp_path / "recipes" / "other.yaml"
    path.parent.mkdir()
    path.write_text(OTHER)
    return str(path)


def _plan(other: str, **changes: Any) -> Plan:
    options: dict[str, Any] = {"seeds": 2, "budget": Budget("steps", 300), **changes}
    return make_plan(["concepts", other], **options)


def test_names_seeds_and_tasks(other: str) -> None:
    plan = _plan(other, overrides=["meta.seed=5"])
    assert [one.name for one in plan.variants] == ["concepts", "other"]
    assert plan.seeds == (5, 6)
    assert plan.tasks == ("stories",)


@pytest.mark.parametrize(
    ("recipes", "changes", "message"),
    [
        (["concepts"], {}, "at least two variants|needs at least two"),
        (["concepts", "concepts"], {}, "two variants are called 'concepts'"),
        (["concepts", "documents"], {"seeds": 0}, "--seeds 0"),
        (["concepts", "documents"], {"tasks": "stories,sst"}, "unknown task sst"),
        (["concepts", "documents"], {"overrides": ["data.val_fraction=0"]}, "holds nothing out"),
        (["concepts", "nonsense"], {}, "no recipe named 'nonsense'"),
        (["concepts", "documents"], {"overrides": ["model.nonsense=1"]}, "unknown setting"),
        (
            ["concepts", "documents"],
            {"overrides": ["logging.eval_freq=5"]},
            "sets logging.eval_freq by itself",
        ),
        (["concepts", "documents"], {"tasks": "decode"}, "unknown task decode"),
    ],
)
def test_mistakes_are_named(recipes: list[str], changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"seeds": 2, "budget": Budget("steps", 3), **changes}
    with pytest.raises(LangJepaError, match=message):
        make_plan(recipes, **options)


def test_a_change_for_all_must_have_an_effect_in_one(other: str) -> None:
    """`concepts` has VICReg, and `lejepa_spans` SIGReg; neither reads the rest."""
    plan = make_plan(
        ["concepts", "lejepa_spans"],
        seeds=2,
        budget=Budget("steps", 3),
        overrides=["objective.sigreg_directions=64", "data.val_fraction=0.1"],
    )
    assert [one.settings.objective.sigreg_directions for one in plan.variants] == [64, 64]
    with pytest.raises(LangJepaError, match=r"-o data\.chunk_size=64: .* has no effect beside data\.view"):
        _plan(other, overrides=["data.chunk_size=64"])


def test_runs_differ_in_seed_and_place_only(other: str, tmp_path: Path) -> None:
    plan = _plan(other)
    first, second = (plan.run_settings(plan.baseline, seed, tmp_path) for seed in plan.seeds)
    named = [line.split(":")[0] for line in setting_differences(first, second)]
    assert named == ["logging.log_dir", "meta.seed"]
    assert first.logging.log_dir == str(tmp_path / "runs" / "concepts" / "seed0")
    assert (first.optimization.max_steps, first.logging.eval_freq) == (300, 60)


def test_equal_minutes_are_unequal_steps_and_equally_many_validations(other: str, tmp_path: Path) -> None:
    plan = _plan(other, budget=Budget("minutes", 10))
    plan = plan.with_measured("concepts", Measured(0.25, 1e9)).with_measured("other", Measured(0.5, 1e9))
    runs = [plan.run_settings(one, 0, tmp_path) for one in plan.variants]
    assert [run.optimization.max_steps for run in runs] == [2400, 1200]
    assert [run.logging.eval_freq for run in runs] == [100, 50]


def test_a_run_ends_with_its_schedule(other: str, tmp_path: Path) -> None:
    """No validation chooses among weights, and a collapse is a result, whatever the recipe says."""
    plan = _plan(other, overrides=["data.val_fraction=0.1"])
    stopping = replace(plan.baseline, settings=changed(plan.baseline.settings, meta={"on_collapse": "stop"}))
    run = plan.run_settings(stopping, 0, tmp_path)
    assert (run.logging.best_metric, run.meta.on_collapse) == (None, "warn")


@pytest.mark.parametrize(
    ("views", "changes", "tasks", "message"),
    [
        (("next_sentence", "spans"), {}, ("retrieval",), "other: trained to predict no next sentence"),
        (("spans", "next_sentence"), {}, ("retrieval",), "concepts: trained to predict no next sentence"),
        (
            ("next_sentence", "next_sentence"),
            {"streaming": True},
            ("retrieval",),
            "a stream keeps no documents",
        ),
        (("next_sentence", "next_sentence"), {}, ("sts",), "stsb"),
        (("next_sentence", "next_sentence"), {}, ("probe",), "sst2"),
    ],
)
def test_tasks_that_could_say_nothing_are_refused_before_training(
    views: tuple[str, str], changes: dict[str, Any], tasks: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    recipe = load_settings("concepts")
    data = [recipe.data.model_copy(update={"view": view, **changes}) for view in views]
    settings = {
        name: recipe.model_copy(update={"data": one}) for name, one in zip(("concepts", "other"), data, strict=True)
    }
    with pytest.raises(LangJepaError, match=message):
        ENCODERS.check_tasks(settings, tasks, tmp_path)


def test_all_are_asked_with_the_longest_context() -> None:
    settings = [load_settings("concepts", [f"data.window_size={size}"]) for size in (4, 12, 8)]
    assert ENCODERS.window(settings) == 12


def test_what_is_in_no_budget_is_noted() -> None:
    names = ("concepts", "concept_sequence")
    notes = ENCODERS.notes({name: load_settings(name) for name in names}, {})
    assert [note for note in notes if "in no budget" in note] == [
        "concept_sequence reads its sentences once, before the first step, and caches them: that is in no budget and no "
        "cost."
    ]


def test_a_plan_survives_the_disk(other: str) -> None:
    plan = _plan(other, budget=Budget("flops", 1e12)).with_measured("other", Measured(None, 2e9))
    assert Plan.from_json(plan.to_json(), where="here") == plan


def test_what_differs_between_variants(other: str) -> None:
    differing = differing_settings(_plan(other, overrides=["model.embed_dim=48", "model.pred_dim=48"]))
    assert differing["model.head"] == ["whitened", "none"]
    assert not differing.keys() & {"model.embed_dim", "recipe", "optimization.max_steps", "meta.seed"}


def test_a_folder_is_taken_up_with_what_was_measured(other: str, tmp_path: Path) -> None:
    plan, folder = _plan(other), tmp_path / "out"
    measured = settle(plan, folder).with_measured("concepts", Measured(None, 5.0))
    (folder / "plan.json").unlink()
    assert settle(measured, folder) == measured
    assert settle(plan, folder) == measured
    more = settle(replace(plan, seeds=(0, 1, 2)), folder)
    assert (more.seeds, more.variant("concepts").measured) == ((0, 1, 2), Measured(None, 5.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": Budget("steps", 301)}, "budget: steps=300 there, steps=301 now"),
        ({"tasks": "retrieval"}, r"tasks: \('stories',\) there, \('retrieval',\) now"),
        ({"overrides": ["optimization.lr=0.1"]}, "concepts, optimization.lr: 0.006 there, 0.1 now"),
        ({"seeds": 1}, r"seeds: \[0, 1\] there, \[0\] now"),
    ],
)
def test_another_plan_in_the_folder_is_refused(
    changes: dict[str, Any], message: str, other: str, tmp_path: Path
) -> None:
    settle(_plan(other), tmp_path / "out")
    with pytest.raises(LangJepaError, match=message):
        settle(_plan(other, **changes), tmp_path / "out")


def test_variants_may_join_and_leave_but_the_baseline_stays(other: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    plan = _plan(other).with_measured("concepts", Measured(None, 5.0)).with_measured("other", Measured(None, 7.0))
    settle(plan, folder)
    options: dict[str, Any] = {"seeds": 2, "budget": Budget("steps", 300)}
    more = settle(make_plan(["concepts", "documents", other], **options), folder)
    assert [(one.name, one.measured) for one in more.variants] == [
        ("concepts", Measured(None, 5.0)),
        ("documents", None),
        ("other", Measured(None, 7.0)),
    ]
    fewer = settle(make_plan(["concepts", "documents"], **options), folder)
    assert [one.name for one in fewer.variants] == ["concepts", "documents"]
    with pytest.raises(LangJepaError, match="the baseline: concepts there, documents now"):
        settle(make_plan(["documents", "concepts"], **options), folder)


def test_a_run_is_asked_again_where_a_variant_with_a_longer_context_joins(tmp_path: Path) -> None:
    assert not evaluated(tmp_path, 8)
    write_json(tmp_path / "evaluated.json", {"window": 8})
    assert evaluated(tmp_path, 8)
    assert not evaluated(tmp_path, 16)


def test_a_folder_with_other_things_is_refused(other: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(LangJepaError, match="holds other things"):
        settle(_plan(other), tmp_path / "out")


def test_what_chooses_no_best_is_judged_by_its_held_out_loss() -> None:
    assert judged_metric(load_settings("concepts")) == ("val/retrieval/recall@1", "max")
    assert judged_metric(load_settings("concepts", ["logging.best_metric=null"])) == ("val/loss", "min")
