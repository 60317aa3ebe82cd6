"""A loss or a gradient that is not finite stops the run before the update; the last checkpoint stays good."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.engine import Engine
from lang_jepa.training.reporter import Silent
from lang_jepa.training.train import resume_settings, train
from tiny import assert_same_run, tiny_settings

Spoil = Callable[[Engine], None]


def _bad_weight(run: Engine) -> None:
    run.method.jepa.predictor.output.weight.data[0, 0] = float("nan")


def _bad_gradient(run: Engine) -> None:
    run.method.jepa.encoder.head.weight.register_hook(lambda gradient: gradient * float("inf"))


def _bad_target(run: Engine) -> None:
    run.method.target.encoder.head.bias.data[:] = float("nan")


class Spoiler(Silent):
    """Spoils something of the run after step 3, of which the last checkpoint knows nothing."""

    def __init__(self, runs: list[Engine], spoil: Spoil) -> None:
        self.runs, self.spoil = runs, spoil

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == 3:
            self.weights = {name: tensor.clone() for name, tensor in self.runs[0].method.jepa.state_dict().items()}
            self.spoil(self.runs[0])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Every run that is made."""
    made: list[Engine] = []
    begin = Engine.begin

    def noting(self: Engine) -> None:
        made.append(self)
        begin(self)

    monkeypatch.setattr(Engine, "begin", noting)
    return made


@pytest.mark.parametrize("clip", ["1.0", "null"])
@pytest.mark.parametrize("spoil", [_bad_weight, _bad_gradient, _bad_target])
def test_the_run_stops_before_the_update(spoil: Spoil, clip: str, runs: list[Engine], tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", "logging.eval_freq=6", f"optimization.clip_grad={clip}")
    spoiler = Spoiler(runs, spoil)
    with pytest.raises(LangJepaError, match=r"step 4: .*(nan|inf).*the update was not made.*checkpoint-last\.pth"):
        train(settings, spoiler)
    after = runs[0].method.jepa.state_dict()
    spoiled = [name for name, tensor in spoiler.weights.items() if not torch.equal(after[name], tensor)]
    assert spoiled == (["predictor.output.weight"] if spoil is _bad_weight else [])
    state = load_checkpoint(tmp_path / "run" / LAST)
    assert state["step"] == 2
    tensors = [*state["model"].values(), *state["target"].values()]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def test_going_on_after_the_cause_is_gone(runs: list[Engine], tmp_path: Path) -> None:
    overrides = ("logging.eval_freq=6", "model.dropout=0.1")
    train(tiny_settings(tmp_path / "whole", *overrides))
    runs.clear()
    with pytest.raises(LangJepaError, match="the update was not made"):
        train(tiny_settings(tmp_path / "parts", *overrides), Spoiler(runs, _bad_weight))
    train(resume_settings(tmp_path / "parts"))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
