"""One recipe and several values of a setting: variants, their order, and the figure of what they come to."""

from pathlib import Path
from typing import Any

import pytest

from lang_jepa.comparison.budget import Budget
from lang_jepa.comparison.figure import draw_dose, numeric_series
from lang_jepa.comparison.plan import Plan, make_plan, parse_vary
from lang_jepa.errors import LangJepaError


def _plan(recipes: list[str], **changes: Any) -> Plan:
    return make_plan(recipes, **{"seeds": 1, "budget": Budget("steps", 3), **changes})


def test_a_variant_for_each_value() -> None:
    plan = _plan(["gpt_jepa"], vary="jepa.weight=0,1e-3,0.05", overrides=["jepa.layer=2"])
    assert [one.name for one in plan.variants] == ["jepa.weight=0", "jepa.weight=1e-3", "jepa.weight=0.05"]
    assert [one.settings.jepa.weight for one in plan.variants] == [0, 0.001, 0.05]
    assert {one.settings.jepa.layer for one in plan.variants} == {2}
    assert (plan.baseline.name, plan.kind.name) == ("jepa.weight=0", "gpt")


def test_other_recipes_join_the_variants_of_the_first() -> None:
    plan = _plan(["gpt_jepa", "gpt_jepa_public"], vary="jepa.weight=0,0.1")
    assert [one.name for one in plan.variants] == ["jepa.weight=0", "jepa.weight=0.1", "gpt_jepa_public"]
    assert plan.variants[2].settings.jepa.weight == 0.01


def test_of_an_encoder_too() -> None:
    plan = _plan(["concepts"], vary="objective.regularizer=none,vicreg")
    assert [one.settings.objective.regularizer for one in plan.variants] == ["none", "vicreg"]
    assert numeric_series(plan) == []


def test_values_may_be_lists_and_paths(tmp_path: Path) -> None:
    assert parse_vary("model.loop_starts=[0.5, 0.6], []") == ("model.loop_starts", ["[0.5, 0.6]", "[]"])
    (plan,) = [_plan(["gpt_jepa"], vary="data.train_file=a/b.txt,c.txt")]
    assert plan.baseline.name == "data.train_file=a_b.txt"
    assert plan.baseline.settings.data.train_file == "a/b.txt"


@pytest.mark.parametrize(
    ("recipes", "vary", "message"),
    [
        (["gpt_jepa"], "jepa.weight", "--vary 'jepa.weight' is not understood"),
        (["gpt_jepa"], "jepa.weight=0.1", "two values or more"),
        (["gpt_jepa"], "jepa.weight=0,,1", "is not understood"),
        (["gpt_jepa"], "weight=0,1", "is not understood"),
        (["gpt_jepa"], "jepa.wieght=0,1", "did you mean 'weight'"),
        (["gpt_jepa"], "jepa.weight=0,many", "jepa.weight"),
        (["gpt_jepa"], "jepa.weight=0.1,0,1e-1", "1e-1 is given twice"),
        (["gpt_jepa"], "meta.seed=0,1", "sets it by itself"),
        (["gpt_jepa", "concepts"], "jepa.weight=0,1", "cannot be compared"),
    ],
)
def test_mistakes_are_named(recipes: list[str], vary: str, message: str) -> None:
    with pytest.raises(LangJepaError, match=message):
        _plan(recipes, vary=vary)


def test_a_series_is_the_baseline_and_what_differs_from_it_in_that_setting_alone(tmp_path: Path) -> None:
    files = {
        "zero": "jepa: {weight: 0}",
        "large": "jepa: {weight: 0.2}",
        "small": "jepa: {weight: 0.01}",
        "late": "jepa: {weight: 0.01, start_frac: 0.5}",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(f"base: gpt_jepa\n{text}\n")
    plan = _plan([str(tmp_path / f"{name}.yaml") for name in files])
    assert numeric_series(plan) == [
        {"key": "jepa.weight", "values": [0, 0.01, 0.2], "variants": ["zero", "small", "large"]}
    ]


def test_the_figure_shows_every_seed_at_its_value() -> None:
    points = {"zero": [2.0, 2.2], "small": [1.9, 1.7]}
    report = {
        "baseline": "zero",
        "points": [{"task": "language model", "split": "validation", "name": "bits per byte", "variants": points}],
    }
    figure = draw_dose(report, {"key": "jepa.weight", "values": [0, 0.01], "variants": ["zero", "small"]})
    (axes,) = [axes for axes in figure.axes if axes.get_visible()]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.01"]
    means, *dots = (line.get_xydata().tolist() for line in axes.get_lines())
    assert means == [pytest.approx([0, 2.1]), pytest.approx([1, 1.8])]
    assert dots == [[[0, 2.0], [0, 2.2]], [[1, 1.9], [1, 1.7]]]
