"""A small search with real trials: stopped, taken up, and refused where it is another one."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from lang_jepa.comparison.compare import Silent
from lang_jepa.comparison.process import Event, Interrupted
from lang_jepa.comparison.space import parse_dimension
from lang_jepa.comparison.sweep import Sweep, sweep
from lang_jepa.errors import LangJepaError
from lang_jepa.settings import load_settings, save_settings
from lang_jepa.training.metrics import read_metrics
from tiny import tiny_settings

pytestmark = pytest.mark.slow


class StopInSecondTrial(Silent):
    """Asks the sweep to stop, once, while its second trial is at work."""

    def __init__(self) -> None:
        self.trial, self.stopped = 0, False

    def job(self, what: str, number: int, count: int) -> None:
        self.trial = number

    def event(self, what: str, event: Event) -> None:
        if self.trial == 2 and event["event"] == "begin" and not self.stopped:
            self.stopped = True
            signal.raise_signal(signal.SIGTERM)


def test_metrics_that_are_not_measured_are_refused(tmp_path: Path) -> None:
    plan = Sweep("concepts", (), (parse_dimension("model.head=none,linear"),), "train/loss", 2)
    with pytest.raises(LangJepaError, match="choose one of val/loss"):
        sweep(plan, tmp_path)


def test_a_sweep_is_taken_up_and_its_best_is_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    recipe, folder = tmp_path / "small.yaml", tmp_path / "out"
    save_settings(tiny_settings(tmp_path, "optimization.max_steps=4", "logging.eval_freq=2"), recipe)
    space = (parse_dimension("optimization.lr=1e-4:1e-2:log"), parse_dimension("model.num_layers=0:1"))
    plan = Sweep(str(recipe), ("model.dropout=0.05",), space, "val/loss", 2)
    with pytest.raises(Interrupted):
        sweep(plan, folder, StopInSecondTrial())
    found = sweep(plan, folder)
    assert (found.finished, found.stopped) == (2, 0)
    lowest = {}
    for path in (folder / "trials").glob("*/summary.json"):
        looks = [row for row in read_metrics(path.parent / "metrics.csv") if "val/loss" in row][1:]
        if looks[-1]["train/step"] == 4:
            lowest[path.parent.name] = min(row["val/loss"] for row in looks)
    assert found.value == min(lowest.values()) == lowest[str(found.trial)]
    settings = load_settings(str(recipe), found.overrides)
    assert 1e-4 <= settings.optimization.lr <= 1e-2
    with pytest.raises(LangJepaError, match="holds another sweep:\n  metric: val/loss there"):
        sweep(replace(plan, metric="val/retrieval/mrr"), folder)
