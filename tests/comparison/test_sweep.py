"""A search: with real trials stopped, taken up and failing; the rest with losses that a stand-in for training gives."""

import io
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lang_jepa.cli import app as cli
from lang_jepa.comparison.compare import NoCallback
from lang_jepa.comparison.jobs import Channel, Event, Interrupted, Workers, trial_job
from lang_jepa.comparison.space import parse_dimension
from lang_jepa.comparison.sweep import IN_A_ROW, Sweep, make_sweep, sweep
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import read_json, write_json
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import build, load_settings, save_settings
from lang_jepa.training.metrics import read_metrics
from tiny import tiny_settings

RATE = "optimization.lr=1e-4:1e-2:log"
HEADS = "model.num_heads=1:4"
"""Of which 3 does not divide the width of the tiny encoder, 32."""
HEALTHY = {
    "val/embeddings/target_std_relative": 1.0,
    "val/embeddings/mean_pairwise_cosine": 0.0,
    "val/embeddings/first_component_share": 0.1,
    "val/embeddings/raw_std": 1.0,
    "val/embeddings/target_eff_rank": 20.0,
    "val/retrieval/mrr": 0.5,
    "val/loss": 1.0,
}
Judge = Callable[[Settings], list[float]]


class StopInSecondTrial(NoCallback):
    """Asks the sweep to stop, once, while its second trial is at work."""

    def __init__(self) -> None:
        self.trial, self.stopped = 0, False

    def job(self, what: str, number: int, count: int) -> None:
        self.trial = number

    def event(self, what: str, event: Event) -> None:
        if self.trial == 2 and event["event"] == "begin" and not self.stopped:
            self.stopped = True
            signal.raise_signal(signal.SIGTERM)


class Warned(NoCallback):
    """Remembers warnings, with the trial that they are of."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []

    def event(self, what: str, event: Event) -> None:
        if event["event"] == "warning":
            self.warnings.append((what, event["text"]))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[[Judge], list[Settings]]:
    """Puts a stand-in in the place of training, which validates every ten steps and gets the losses of each trial;
    the settings of the trials are gathered in the list."""
    pytest.importorskip("optuna")

    def install(judge: Judge) -> list[Settings]:
        trials: list[Settings] = []

        def run(workers: Workers, job: Mapping[str, Any], *, on_event: Callable[[Event], None], **rest: Any) -> None:
            settings = build(Settings, job["settings"], where="a job")
            trials.append(settings)
            on_event({"event": "begin", "total": 20, "start": 0})
            for number, value in enumerate(judge(settings)):
                metrics = {**HEALTHY, str(settings.logging.best_metric): value}
                on_event({"event": "validation", "step": 10 * number, "metrics": metrics})
            on_event({"event": "step", "step": 20, "loss": 1.0})

        monkeypatch.setattr(Workers, "run", run)
        return trials

    return install


def _plan(folder: Path, *space: str, metric: str = "val/loss", trials: int = 2, recipe: str = "") -> Sweep:
    settings = load_settings(recipe) if recipe else tiny_settings(folder, "optimization.max_steps=4")
    return make_sweep(settings, tuple(map(parse_dimension, space)), metric, trials)


def _states(folder: Path) -> list[str]:
    """States of all trials in Optuna's journal."""
    from optuna import load_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return [one.state.name for one in load_study(study_name="sweep", storage=storage).trials]


def _known(settings: Settings) -> list[str]:
    """Metrics that an error offers."""
    with pytest.raises(LangJepaError, match="choose one of val/loss, ") as refused:
        make_sweep(settings, (), "train/loss", 2)
    return str(refused.value).rpartition("choose one of ")[2].split(", ")


@pytest.mark.slow
def test_a_sweep_is_taken_up_and_its_best_is_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    folder = tmp_path / "out"
    settings = tiny_settings(tmp_path, "optimization.max_steps=4", "logging.eval_freq=2", "model.dropout=0.05")
    space = (parse_dimension("optimization.lr=1e-4:1e-2:log"), parse_dimension("model.num_layers=0:1"))
    plan = make_sweep(settings, space, "val/loss", 2)
    with pytest.raises(Interrupted):
        sweep(plan, folder, StopInSecondTrial())
    found = sweep(plan, folder)
    assert (found.finished, found.stopped, found.failed) == (2, 0, {})
    lowest = {}
    for path in (folder / "trials").glob("*/summary.json"):
        losses = [row for row in read_metrics(path.parent / "metrics.csv") if "val/loss" in row][1:]
        if losses[-1]["train/step"] == 4:
            lowest[path.parent.name] = min(row["val/loss"] for row in losses)
            assert set(_known(settings)) <= set(losses[-1]), "an aim that no validation measures"
    assert found.value == min(lowest.values()) == lowest[str(found.trial)]
    best = load_settings("concepts", found.overrides)
    assert 1e-4 <= best.optimization.lr <= 1e-2
    with pytest.raises(LangJepaError, match="holds another sweep:\n  metric: val/loss there"):
        sweep(replace(plan, metric="val/retrieval/mrr"), folder)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_fails_the_trial_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Callable[[Judge], list[Settings]]
) -> None:
    monkeypatch.setattr("lang_jepa.comparison.sweep.IN_A_ROW", 1)
    plan, heard = _plan(tmp_path, "optimization.lr=1e30:1e31", trials=1), Warned()
    with pytest.raises(LangJepaError, match="1 trials in a row failed, the last one because: step 2: ") as failure:
        sweep(plan, tmp_path / "out", heard)
    assert "--space" in str(failure.value)
    ((what, text),) = heard.warnings
    assert text.startswith("this trial failed: step 2: the loss is ")
    assert "RUNNING" not in _states(tmp_path / "out")
    after = trained(lambda _: [1.0, 0.5])
    assert sweep(plan, tmp_path / "out").trial == 1
    assert [f"optimization.lr={one.optimization.lr!r}" for one in after] != [what]


def test_settings_that_do_not_fit_fail_their_trials_only(
    tmp_path: Path, trained: Callable[[Judge], list[Settings]]
) -> None:
    trials = trained(lambda settings: [1.0, 1 / settings.model.num_heads])
    heard, plan = Warned(), _plan(tmp_path, HEADS, trials=16)
    found = sweep(plan, tmp_path / "out", heard)  # longer than Optuna's random start of ten trials
    assert found.finished + found.stopped == len(trials) == 16
    assert (found.overrides, found.value) == (("model.num_heads=4",), 0.25)
    ((reason, numbers),) = found.failed.items()
    assert reason.endswith("model.num_heads (3) must divide model.embed_dim (32).")
    assert "\n" not in reason
    assert heard.warnings == [("model.num_heads=3", f"this trial failed: {reason}")] * len(numbers)
    again = sweep(replace(plan, trials=17), tmp_path / "out")
    assert (again.finished + again.stopped, len(trials)) == (17, 17)
    assert again.failed[reason][: len(numbers)] == numbers


def test_a_sweep_whose_trials_all_fail_ends_and_goes_on_once_that_is_mended(
    tmp_path: Path, trained: Callable[[Judge], list[Settings]]
) -> None:
    full = True

    def judge(settings: Settings) -> list[float]:
        if full:
            raise LangJepaError("the disk is full:\n  nothing was written\n  free some space")
        return [1.0, 0.5]

    trials, plan = trained(judge), _plan(tmp_path, RATE)
    with pytest.raises(LangJepaError, match=f"{IN_A_ROW} trials in a row failed") as failure:
        sweep(plan, tmp_path / "out")
    assert "the last one because: the disk is full: free some space\n" in str(failure.value)
    full = False
    found = sweep(plan, tmp_path / "out")
    assert (found.finished, found.failed) == (
        2,
        {"the disk is full: free some space": tuple(range(IN_A_ROW))},
    )
    assert len({one.optimization.lr for one in trials}) == IN_A_ROW + 2, "a trial that failed was repeated"


@pytest.mark.parametrize(("losses", "reason"), [([], "too little is held out"), ([1.0, float("nan")], "is nan")])
def test_trials_that_measure_nothing_fail(
    tmp_path: Path, trained: Callable[[Judge], list[Settings]], losses: list[float], reason: str
) -> None:
    trained(lambda _: losses)
    with pytest.raises(LangJepaError, match=reason):
        sweep(_plan(tmp_path, RATE), tmp_path / "out")


def test_a_recipe_that_holds_nothing_out_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"holds nothing out.*-o data.val_fraction=0.05"):
        make_sweep(tiny_settings(tmp_path, "data.val_fraction=0"), (), "val/loss", 2)


def test_metrics_that_runs_do_not_measure_are_refused(tmp_path: Path) -> None:
    plain, spans = tiny_settings(tmp_path, "objective.regularizer=none"), load_settings("lejepa_spans")
    assert "val/regularizer" not in _known(plain)
    assert "val/regularizer" in _known(spans)
    for metric in (
        "val/regularizer",
        "val/sigreg_loss",
        "val/pred_loss",
        "val/count",
        "val/distance_shuffled",
    ):
        with pytest.raises(LangJepaError, match=f"'{metric}'.*choose one of val/loss, "):
            make_sweep(plain, (), metric, 2)
    for metric, own in {"val/pred_loss": "val/distance", "val/sigreg_loss": "val/regularizer"}.items():
        plan = make_sweep(spans, (), metric, 2)
        assert (plan.metric, plan.direction) == (own, "minimize")
        assert plan.trial_settings({}, tmp_path).logging.best_metric == own


def test_a_regularizer_that_only_some_trials_have_may_be_asked_for(tmp_path: Path) -> None:
    plan = _plan(tmp_path, "objective.regularizer=none,vicreg", metric="val/regularizer")
    drawn = {"objective.regularizer": "vicreg"}
    assert plan.trial_settings(drawn, tmp_path).objective.regularizer == "vicreg"
    with pytest.raises(LangJepaError, match="choose one of val/loss"):
        plan.trial_settings({"objective.regularizer": "none"}, tmp_path)


@pytest.mark.parametrize("metric", ["val/embeddings/mean_pairwise_cosine", "val/embeddings/diversity"])
def test_the_best_trial_is_not_the_one_that_is_nearest_to_a_collapse(
    tmp_path: Path, trained: Callable[[Judge], list[Settings]], metric: str
) -> None:
    narrow = {"linear": 0.6, "whitened": 0.1}
    sign = 1 if metric.endswith("cosine") else -1

    def judge(settings: Settings) -> list[float]:
        return [sign * 0.3, sign * narrow[settings.model.head]]

    trials = trained(judge)
    found = sweep(_plan(tmp_path, "model.head=linear,whitened", metric=metric, trials=6), tmp_path / "out")
    assert {one.model.head for one in trials} == {"linear", "whitened"}
    assert found.overrides == ("model.head=whitened",)
    assert {one.logging.best_mode for one in trials} == {"min" if sign == 1 else "max"}


def test_trials_that_start_best_are_stopped_early_too(
    tmp_path: Path, trained: Callable[[Judge], list[Settings]]
) -> None:
    trials: list[Settings] = []
    trials = trained(lambda _: [0.9, 0.5, 0.4] if len(trials) < 6 else [0.9, 0.1, 0.8])
    found = sweep(_plan(tmp_path, RATE, metric="val/retrieval/recall@1", trials=6), tmp_path / "out")
    assert (found.finished, found.stopped, found.value) == (5, 1, 0.5)


def test_a_recipe_that_was_edited_is_another_sweep(tmp_path: Path, trained: Callable[[Judge], list[Settings]]) -> None:
    trained(lambda _: [1.0, 0.5])
    recipe, folder = tmp_path / "small.yaml", tmp_path / "out"
    save_settings(tiny_settings(tmp_path), recipe)
    sweep(_plan(tmp_path, RATE, recipe=str(recipe)), folder)
    save_settings(tiny_settings(tmp_path, "optimization.lr=1", "logging.best_metric=null"), recipe)
    assert sweep(_plan(tmp_path, RATE, recipe=str(recipe), trials=3), folder).finished == 3, "these are drawn"
    save_settings(tiny_settings(tmp_path, "model.dropout=0.3"), recipe)
    with pytest.raises(LangJepaError, match=r"holds another sweep:\n  model.dropout: 0.0 there, 0.3 now\nGive"):
        sweep(_plan(tmp_path, RATE, recipe=str(recipe)), folder)


def test_the_folder_of_an_older_version_is_refused(tmp_path: Path, trained: Callable[[Judge], list[Settings]]) -> None:
    trained(lambda _: [1.0, 0.5])
    folder = tmp_path / "out"
    old = {"recipe": "small.yaml", "overrides": [], "space": [], "metric": "val/loss", "trials": 2}
    write_json(folder / "sweep.json", old)
    with pytest.raises(LangJepaError, match="has format 1, and this version resumes format 2 only: give"):
        sweep(_plan(tmp_path, RATE), folder)
    assert read_json(folder / "sweep.json", what="it") == old


def test_the_command_line_says_what_is_better_and_what_failed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trained: Callable[[Judge], list[Settings]],
) -> None:
    trained(lambda settings: [1.0, 1 / settings.model.num_heads])
    recipe, out = tmp_path / "small.yaml", str(tmp_path / "out")
    save_settings(tiny_settings(tmp_path), recipe)
    words = [
        "sweep",
        str(recipe),
        "--metric",
        "val/loss",
        "--space",
        HEADS,
        "--trials",
        "12",
        "--output",
        out,
    ]
    monkeypatch.setattr(sys, "argv", ["lang-jepa", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert not ended.value.code
    assert lines[0] == "searching for the best val/loss (lower is better)"
    (failed,) = [line for line in lines if line.startswith("failed, trial ")]
    assert failed.endswith(" model.num_heads (3) must divide model.embed_dim (32).")
    count = failed.split(":")[0].count(",")
    assert any(line.endswith(f" stopped early, {count} failed") for line in lines)
    assert any(line.endswith(": val/loss (lower is better) 0.2500") for line in lines)


def test_a_folder_that_holds_something_else_is_not_removed(tmp_path: Path) -> None:
    """In the place of a trial, without a checkpoint; what a run leaves that was stopped early goes."""
    folder = tmp_path / "trial"
    settings = tiny_settings(folder, "optimization.max_steps=1")
    folder.mkdir()
    save_settings(settings, folder / "settings.yaml")
    (folder / "thesis.txt").write_text("mine")
    job = {"kind": "encoder", "settings": settings.model_dump(), "allow_different": False}
    channel = Channel(io.StringIO())
    with pytest.raises(LangJepaError, match=r"thesis.txt in it is not part of a run that was stopped"):
        trial_job(job, channel)
    assert (folder / "thesis.txt").read_text() == "mine"
    (folder / "thesis.txt").unlink()
    assert trial_job(job, channel) == 0
