"""A whole comparison, small: real processes, killed and taken up, and the page that comes out."""

import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from comparing import Heard, colours_of, start_comparison, stop_and_kill, until
from lang_jepa.comparison.budget import Budget
from lang_jepa.comparison.compare import compare
from lang_jepa.comparison.figure import COLOURS
from lang_jepa.comparison.plan import Plan, Variant, run_folder
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import Budget as Questions
from lang_jepa.files.atomic import read_json, write_json
from lang_jepa.settings.load import read_settings, save_settings
from lang_jepa.training.checkpoint import LAST
from tiny import assert_same_run, tiny_settings

pytestmark = pytest.mark.slow

STEPS = 10


def _plan(seeds: int) -> Plan:
    place = Path("replaced")
    options = ("model.num_layers=1", "logging.checkpoint_steps=2")
    variants = (
        Variant("with vicreg", tiny_settings(place, *options)),
        Variant("without", tiny_settings(place, *options, "objective.regularizer=none", "data.window_size=2")),
    )
    questions = Questions(queries=60, stories=12, train_stories=20, paraphrases=60)
    return Plan(
        variants,
        tuple(range(seeds)),
        Budget("steps", STEPS),
        ("stories",),
        None,
        questions,
        allow_different=False,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that nobody interrupted: two variants, two seeds."""
    folder = tmp_path_factory.mktemp("whole")
    heard = Heard()
    compare(_plan(2), folder, heard)
    assert heard.jobs == ["with vicreg, seed 0", "without, seed 0", "with vicreg, seed 1", "without, seed 1"]
    assert (
        heard.said[0] == "4 runs (2 variants x 2 seeds) of steps=10 each. The first run will tell how long they take."
    )
    ends = [said for said in heard.said if " runs done: " in said]
    assert [said.split(", in ")[0] for said in ends] == [
        f"{n} of 4 runs done: {job}" for n, job in enumerate(heard.jobs, 1)
    ]
    assert ends[0].endswith(", estimated from the first run, as if every variant took the same time")
    assert ends[2].endswith(", estimated from the 3 runs so far")
    assert "left" not in ends[3]
    return folder


def test_the_report_says_what_happened(whole: Path) -> None:
    report = read_json(whole / "report.json", what="report")
    assert [one["steps"] for one in report["variants"]] == [STEPS, STEPS]
    assert {one["call"] for one in report["verdicts"]} == {"too few seeds to judge"}
    assert {one["difference"]["paired"] for one in report["verdicts"]} == {True}
    assert min(one["difference"]["questions"] for one in report["verdicts"]) > 0
    assert list(report["settings_that_differ"]) == ["data.window_size", "objective.regularizer"]
    unequal = [one["what"] for one in report["equal"] if not one["equal"]]
    assert unequal == ["without: initial predictor weights, by seed"]  # of as many places as it reads
    assert {"oracle", "chance", "TF-IDF, last 3", "with vicreg", "without"} <= report["scores"][0]["scorers"].keys()
    steps = report["curves"]["without"][1]["steps"]
    assert steps == [float(step) for step in range(0, STEPS + 1, STEPS // 5)]
    assert list((whole / "shared").iterdir()), "what the same start has read is kept for the other variant"
    with_regularizer, without = (one["flops"] for one in report["variants"])
    assert with_regularizer > without > 0  # the covariance is a matrix product


def test_the_verdicts_follow_from_the_scores_of_the_runs(whole: Path) -> None:
    """Means and differences, recomputed from every run's own scores.json."""
    report = read_json(whole / "report.json", what="report")
    for one in report["verdicts"]:
        where = (one["metric"]["task"], one["metric"]["split"], one["metric"]["name"], "model", True)
        means = []
        for name in ("with vicreg", "without"):
            values = []
            for seed in (0, 1):
                card = read_json(run_folder(whole, name, seed) / "scores.json", what="scores")
                rows = {(r["task"], r["split"], r["metric"], r["name"], r["chosen"]): r for r in card["rows"]}
                values.append(rows[where]["value"])
            means.append(sum(values) / 2)
        assert one["baseline_mean"] == pytest.approx(means[0])
        assert one["difference"]["value"] == pytest.approx(means[1] - means[0])


def test_the_page_stands_alone(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "with vicreg" in page
    assert "without" in page
    assert page.count("<svg") == 1
    assert "objective.regularizer" in page
    assert not re.search(r"https?:|//|<script|<link|@import|src=", page)


def test_the_curves_are_a_picture_too(whole: Path) -> None:
    assert [path.name for path in whole.glob("*.png")] == ["curves.png"]
    assert set(COLOURS[:2]) <= colours_of(whole / "curves.png")


def test_alarms_of_one_kind_stand_together(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    for seed in range(2):
        path = run_folder(folder, "without", seed) / "summary.json"
        write_json(path, {**read_json(path, what="summary"), "alarms": [f"collapse of {seed}", "a later one"]})
    report = compare(_plan(2), folder, Heard())
    collapses = [one for one in report["alarms"] if one["kind"] == "collapse"]
    runs = [{"seed": seed, "text": f"collapse of {seed}"} for seed in range(2)]
    assert collapses == [{"variant": "without", "kind": "collapse", "runs": runs}]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert [page.count(text) for text in ("collapse of 0", "collapse of 1", "1 more: collapse")] == [1, 1, 1]


def test_what_is_scored_is_the_end_of_each_run(whole: Path) -> None:
    for name in ("with vicreg", "without"):
        model = read_json(run_folder(whole, name, 1) / "model" / "lang_jepa.json", what="model")
        assert (model["step"], model["best"]) == (STEPS, None)


def test_evaluating_a_run_by_hand_changes_no_verdict(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    (run_folder(folder, "without", 1) / "scores.json").write_text("{}")
    compare(_plan(2), folder, Heard())
    assert (folder / "report.json").read_bytes() == (whole / "report.json").read_bytes()


def test_a_finished_comparison_is_only_reported_again(whole: Path) -> None:
    before = (whole / "report.json").read_bytes()
    heard = Heard()
    compare(_plan(2), whole, heard)
    assert heard.jobs == heard.said == []
    assert (whole / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "lacking", "said"),
    [
        ("compared.json", "rows", r"compared.json does not hold scores .*lacks rows.*: delete .+evaluated.json, and"),
        ("evaluated.json", "scores", r"evaluated.json does not say where the scores are.*: delete .+evaluated.json"),
        ("facts.json", "corpus", r"facts.json lacks corpus, so another version wrote it: delete .+seed0, and the"),
    ],
)
def test_what_another_version_left_is_named(whole: Path, tmp_path: Path, name: str, lacking: str, said: str) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    file = run_folder(folder, "with vicreg", 0) / name
    tree = read_json(file, what="what another version left")
    del tree[lacking]
    write_json(file, tree)
    with pytest.raises(LangJepaError, match=said):
        compare(_plan(2), folder, Heard())


def test_stopped_and_killed_it_goes_on_to_the_same_result(whole: Path, tmp_path: Path) -> None:
    """SIGTERM in the first run, a kill in the second: no step is lost or made twice in what remains."""
    folder = tmp_path / "parts"
    first, second = (run_folder(folder, name, 0) for name in ("with vicreg", "without"))

    stop_and_kill(_plan(1), folder, tmp_path, first, second)
    heard = Heard()
    report = compare(_plan(1), folder, heard)
    assert heard.jobs == ["without, seed 0"]
    assert "1 done before, 1 to do." in heard.said[0]
    assert_same_run(run_folder(whole, "with vicreg", 0), first)
    assert_same_run(run_folder(whole, "without", 0), second)
    for run in (first, second):
        there = run_folder(whole, run.parent.name, 0)
        assert read_json(run / "facts.json", what="f") == read_json(there / "facts.json", what="f")
        ours, theirs = (read_json(path / "scores.json", what="scores")["rows"] for path in (run, there))
        assert ours == theirs
    assert {one["call"] for one in report["verdicts"]} == {"too few seeds to judge"}


def test_several_at_a_time_and_stopped_it_gives_the_same_result(whole: Path, tmp_path: Path) -> None:
    """Both runs at once; SIGTERM lets each of them save."""
    folder = tmp_path / "parallel"
    names = ("with vicreg", "without")
    process = start_comparison(_plan(1), folder, tmp_path, jobs=2)
    until(lambda: all((run_folder(folder, name, 0) / LAST).is_file() for name in names), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    compare(_plan(1), folder, jobs=2)
    for name in names:
        ours, theirs = run_folder(folder, name, 0), run_folder(whole, name, 0)
        assert_same_run(theirs, ours)
        assert read_json(ours / "facts.json", what="f") == read_json(theirs / "facts.json", what="f")
        assert read_json(ours / "scores.json", what="s")["rows"] == read_json(theirs / "scores.json", what="s")["rows"]


def test_a_variant_joins_and_another_leaves(whole: Path, tmp_path: Path) -> None:
    """The runs that are there are reported as they are; with fewer validations than before."""
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    plan = _plan(2)
    third = Variant("third", tiny_settings(Path("replaced"), "model.num_layers=1", "optimization.lr=1e-4"))
    heard = Heard()
    report = compare(replace(plan, variants=(plan.baseline, third)), folder, heard)
    assert heard.jobs == ["third, seed 0", "third, seed 1"]
    before = read_json(whole / "report.json", what="report")
    assert {one["variant"] for one in report["verdicts"]} == {"third"}
    assert report["curves"]["with vicreg"] == before["curves"]["with vicreg"]
    ours, theirs = (
        {point["name"]: point["variants"]["with vicreg"] for point in one["points"]} for one in (report, before)
    )
    assert ours == theirs


def test_a_run_with_other_settings_is_named(whole: Path) -> None:
    """A plan's folder in which somebody trained something else."""
    path = run_folder(whole, "without", 1) / "settings.yaml"
    settings = read_settings(path)
    other = settings.optimization.model_copy(update={"lr": 0.5})
    save_settings(settings.model_copy(update={"optimization": other}), path)
    try:
        with pytest.raises(LangJepaError, match=r"other settings.*\n  optimization.lr: 0.5 there, 0.006 now"):
            compare(_plan(2), whole)
    finally:
        save_settings(settings, path)


def test_a_mistake_in_a_run_is_reported_with_its_name(tmp_path: Path) -> None:
    """The job's own message comes through, and nothing is trained after it."""
    plan = _plan(1)
    lost = plan.baseline.settings.data.model_copy(update={"train_file": str(tmp_path / "nowhere.txt")})
    baseline = replace(plan.baseline, settings=plan.baseline.settings.model_copy(update={"data": lost}))
    with pytest.raises(LangJepaError, match=r"with vicreg, seed 0: .*nowhere.txt"):
        compare(replace(plan, variants=(baseline, plan.variants[1])), tmp_path / "out")
    assert not run_folder(tmp_path / "out", "without", 0).exists()


def test_the_first_failure_ends_the_runs_beside_it(tmp_path: Path) -> None:
    """They save, and the message says what was wrong, not that they were interrupted."""
    plan = replace(_plan(2), budget=Budget("steps", 5000))
    other = plan.variants[1]
    lost = other.settings.data.model_copy(update={"train_file": str(tmp_path / "nowhere.txt")})
    other = replace(other, settings=other.settings.model_copy(update={"data": lost}))
    heard = Heard()
    message = r"(?s)without, seed 0: .*nowhere.txt.*Without without the same command continues with the others"
    with pytest.raises(LangJepaError, match=message):
        compare(replace(plan, variants=(plan.baseline, other)), tmp_path / "two", heard, jobs=2)
    assert sorted(heard.jobs) == ["with vicreg, seed 0", "without, seed 0"]
    assert not (run_folder(tmp_path / "two", "with vicreg", 0) / "trained.json").exists()
    assert not run_folder(tmp_path / "two", "with vicreg", 1).exists()
