"""A whole comparison of GPTs, small: the guarantees of an encoder's, and the page of a setting that is varied."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comparing import Heard, colours_of
from lang_jepa.cli import app as cli
from lang_jepa.comparison.budget import Budget
from lang_jepa.comparison.compare import compare
from lang_jepa.comparison.figure import COLOURS
from lang_jepa.comparison.plan import Plan, Variant, make_plan, refuse_different_settings, run_folder, settle
from lang_jepa.comparison.systems import ENCODERS, GPTS
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import Budget as Questions
from lang_jepa.files.atomic import read_json, write_json
from tiny import rows_of, tiny_gpt, tiny_settings

STEPS = 10
BITS = "bits per byte (lower is better)"
QUESTIONS = Questions(queries=60, ridge_pairs=100, documents=12, held_out_documents=8, document_tokens=64)


def _plan(seeds: int, *more: str) -> Plan:
    place = Path("replaced")
    variants = tuple(
        Variant(f"jepa.weight={weight}", tiny_gpt(place, f"jepa.weight={weight}", *more)) for weight in (0, 0.5, 2.0)
    )
    return Plan(
        variants,
        tuple(range(seeds)),
        Budget("steps", STEPS),
        ("bits_per_byte", "quantised", "retrieval"),
        None,
        QUESTIONS,
        kind=GPTS,
    )


def _two(seeds: int) -> Plan:
    plan = _plan(seeds)
    return replace(plan, variants=plan.variants[:2])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that nobody interrupted: two variants, two seeds."""
    folder = tmp_path_factory.mktemp("whole")
    heard = Heard()
    compare(_two(2), folder, heard)
    names = [f"jepa.weight={weight}, seed {seed}" for seed in (0, 1) for weight in (0, 0.5)]
    assert heard.jobs == names
    return folder


@pytest.mark.slow
def test_the_report_says_what_happened(whole: Path) -> None:
    report = read_json(whole / "report.json", what="report")
    assert (report["kind"], list(report["settings_that_differ"])) == ("gpt", ["jepa.weight"])
    assert [one["what"] for one in report["equal"] if not one["equal"]] == []
    asserted = [one["what"] for one in report["equal"] if one["detail"] == "asserted"]
    assert [what.split(": ")[1].split(" (")[0].split(",")[0] for what in asserted] == [
        "corpus",
        "order of the training data",
        "initial weights",
    ]
    judged = {(one["metric"]["task"], one["metric"]["name"]) for one in report["verdicts"]}
    assert ("language model", BITS) in judged
    assert {(f"quantised, {one}", BITS) for one in ("int8", "int6")} <= judged
    assert {name for _, name in judged} == {BITS, "recall@1", "mrr"}
    shown = {(one["task"], one["name"]): one["scorers"] for one in report["scores"]}
    assert shown["quantised, int6", "bytes of the file (lower is better)"]["jepa.weight=0"]["mean"] > 1000
    assert {"5-gram", "untrained", "chance", "zlib"} <= shown["language model", BITS].keys()
    assert {one["difference"]["paired"] for one in report["verdicts"]} == {True}
    assert {one["lower_is_better"] for one in report["verdicts"] if one["metric"]["name"] == BITS} == {True}
    plain, with_spans = (one["flops"] for one in report["variants"])
    assert with_spans >= plain > 0
    assert report["series"] == [
        {"key": "jepa.weight", "values": [0, 0.5], "variants": ["jepa.weight=0", "jepa.weight=0.5"]}
    ]


@pytest.mark.slow
def test_the_verdicts_follow_from_the_scores_of_the_runs(whole: Path) -> None:
    report = read_json(whole / "report.json", what="report")
    points = {(one["task"], one["name"]): one["variants"] for one in report["points"]}
    for one in report["verdicts"]:
        where = (one["metric"]["task"], one["metric"]["split"], one["metric"]["name"], "model", True)
        means = []
        for name in ("jepa.weight=0", "jepa.weight=0.5"):
            values = []
            for seed in (0, 1):
                card = read_json(run_folder(whole, name, seed) / "scores.json", what="scores")
                rows = {(r["task"], r["split"], r["metric"], r["name"], r["chosen"]): r for r in card["rows"]}
                values.append(rows[where]["value"])
            means.append(sum(values) / 2)
            assert points[where[0], where[2]][name] == pytest.approx(values)
        assert one["baseline_mean"] == pytest.approx(means[0])
        assert one["difference"]["value"] == pytest.approx(means[1] - means[0])


@pytest.mark.slow
def test_only_the_span_loss_differs_between_runs_of_a_seed(whole: Path) -> None:
    """Up to the first update the runs are one: the same loss on the same tokens."""

    def losses(weight: float, seed: int) -> list[float]:
        rows = rows_of(run_folder(whole, f"jepa.weight={weight}", seed))
        return [row["train/token_loss"] for row in rows if "train/token_loss" in row]

    plain, spans, other = losses(0, 1), losses(0.5, 1), losses(0, 0)
    assert plain[0] == spans[0] != other[0]
    assert plain[1] != spans[1]


@pytest.mark.slow
def test_the_page_shows_curves_and_values(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "Against jepa.weight" in page
    assert "5-gram" in page
    assert not re.search(r"https?:|//|<script|<link|@import|src=", page)


@pytest.mark.slow
def test_every_figure_of_the_page_is_a_picture_too(whole: Path) -> None:
    assert sorted(path.name for path in whole.glob("*.png")) == ["curves.png", "jepa.weight.png"]
    assert COLOURS[1] in colours_of(whole / "jepa.weight.png")


def test_a_plan_survives_the_disk_and_names_its_kind(tmp_path: Path) -> None:
    plan = _plan(2)
    assert Plan.from_json(plan.to_json(), where="here") == plan
    settle(plan, tmp_path / "out")
    encoders = Plan(
        tuple(Variant(f"jepa.weight={one}", tiny_settings(tmp_path)) for one in (0, 0.5, 2.0)),
        (0, 1),
        Budget("steps", STEPS),
        ("stories",),
    )
    with pytest.raises(LangJepaError, match="runs: of a GPT there, of an encoder now"):
        settle(encoders, tmp_path / "out")


def test_plans_from_before_there_were_kinds_are_read(tmp_path: Path) -> None:
    plan = make_plan(["concepts", "documents"], seeds=1, budget=Budget("steps", 3))
    tree = plan.to_json() | {"format": 1}
    del tree["kind"]
    questions = {name: value for name, value in tree["questions"].items() if "document" not in name}
    tree["questions"] = questions
    write_json(tmp_path / "out" / "plan.json", tree)
    assert settle(plan, tmp_path / "out") == plan
    assert plan.kind is ENCODERS
    tree["format"] = 3
    with pytest.raises(LangJepaError, match="has format 3; this version reads formats 1 and 2"):
        Plan.from_json(tree, where="plan.json")


@pytest.mark.parametrize(
    ("recipes", "changes", "message"),
    [
        (["gpt_jepa", "concepts"], {}, r"cannot be compared \(gpt: gpt_jepa; encoder: concepts\)"),
        (["gpt_jepa", "concept_decoder"], {}, "different systems .* cannot be compared"),
        (
            ["gpt_jepa", "gpt_jepa_public"],
            {"tasks": "stories"},
            "unknown task stories: choose from bits_per_byte",
        ),
        (["concepts", "documents"], {"tasks": "bits_per_byte"}, "unknown task bits_per_byte"),
        (["gpt_jepa", "gpt_jepa_public"], {"overrides": ["data.val_fraction=0"]}, "holds nothing out"),
        (["gpt_jepa", "gpt_jepa_public"], {"overrides": ["optimization.max_seconds=9"]}, "ends by the clock"),
    ],
)
def test_mistakes_are_named(recipes: list[str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LangJepaError, match=message):
        make_plan(recipes, **{"seeds": 2, "budget": Budget("steps", 3), **changes})


def test_unequal_terms_are_refused() -> None:
    plan = _plan(1)
    compiled = plan.variants[1].settings.meta.model_copy(update={"compile": "eager"})
    other = replace(plan.variants[1], settings=plan.variants[1].settings.model_copy(update={"meta": compiled}))
    with pytest.raises(LangJepaError, match=r"meta\.compile: 'none' in .*'eager' in"):
        refuse_different_settings(replace(plan, variants=(plan.baseline, other)))


def test_runs_differ_in_seed_and_place_only(tmp_path: Path) -> None:
    settings = _plan(2).run_settings(_plan(2).variants[1], 1, tmp_path)
    assert (settings.meta.seed, settings.jepa.weight, settings.optimization.max_steps) == (1, 0.5, STEPS)
    assert settings.logging.eval_freq == -(-STEPS // 5)  # five validations at least
    assert settings.logging.log_dir == str(tmp_path / "runs" / "jepa.weight=0.5" / "seed1")


def test_the_command_line_takes_a_varied_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    words = ["compare", "gpt_jepa", "--vary", "jepa.weight=0,0", "--budget", "steps=2", "--output", out]
    monkeypatch.setattr(sys, "argv", ["lang-jepa", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "0 is given twice" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
