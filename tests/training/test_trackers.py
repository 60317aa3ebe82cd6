"""TensorBoard beside the CSV: the same metrics at the same steps, of encoders and GPTs."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from lang_jepa.training.metrics import STEP, read_metrics
from lang_jepa.training.reporter import Silent
from lang_jepa.training.train import resume_settings, train
from tiny import tiny_gpt, tiny_settings

pytest.importorskip("tensorboard")


@pytest.mark.parametrize("kind", ["encoder", "gpt"])
def test_tensorboard_holds_what_the_csv_holds(kind: str, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ("logging.log_to_tensorboard=true", "optimization.max_steps=3")
    if kind == "gpt":
        folder = train(tiny_gpt(tmp_path / "run", *options)).folder
    else:
        folder = train(tiny_settings(tmp_path / "run", *options)).folder
    held = EventAccumulator(str(folder / "tensorboard"))
    held.Reload()
    rows = read_metrics(folder / "metrics.csv")
    for name in ("train/loss", "val/loss"):
        expected = [(row[STEP], pytest.approx(row[name], rel=1e-6)) for row in rows if name in row]
        assert [(event.step, event.value) for event in held.Scalars(name)] == expected


class Killed(Silent):
    """Ends the run, not cleanly, while a step is reported."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == 6:
            raise SystemExit


def test_steps_that_are_made_again_are_shown_once(tmp_path: Path) -> None:
    """Step 5 was written, and the last checkpoint is of step 4."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(SystemExit):
        train(tiny_settings(tmp_path / "run", "logging.log_to_tensorboard=true"), Killed())
    train(resume_settings(tmp_path / "run"))
    held = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    held.Reload()
    assert [event.step for event in held.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in held.Scalars("val/loss")] == [0, 3, 6]
