"""What a run leaves in its model directory."""

from pathlib import Path

import pytest
import torch

from lang_jepa.inference.model_folder import load_model
from lang_jepa.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt, tiny_settings


@pytest.mark.parametrize("target", ["ema", "frozen"])
def test_the_model_is_that_of_the_best_validation_with_the_encoder_that_users_get(target: str, tmp_path: Path) -> None:
    """The target's encoder where it follows the online one, else the online one; and the online predictor."""
    folder = train(tiny_settings(tmp_path / "run", f"objective.target={target}"), StopAt(5)).folder
    state = load_checkpoint(folder / LAST)
    del state["format"]
    save_checkpoint(folder / LAST, {**state, "best": [3, 9.0]})  # which no share can be above
    train(resume_settings(folder))
    jepa, *_, card = load_model(folder / "model")
    kept, last = (load_checkpoint(folder / name) for name in (BEST, LAST))
    assert (kept["step"], card["step"], last["step"]) == (3, 3, 6)
    assert card["weights"] == ("target" if target == "ema" else "online")
    online = {name.removeprefix("encoder."): one for name, one in kept["model"].items()}
    expected = kept["target"] if target == "ema" else online
    encoder, other = jepa.encoder.state_dict(), kept["target"] if target == "frozen" else online
    assert all(torch.equal(encoder[name], expected[name]) for name in encoder)
    assert not torch.equal(encoder["head.weight"], other["head.weight"])
    predictor = jepa.predictor.state_dict()
    assert all(torch.equal(one, kept["model"][f"predictor.{name}"]) for name, one in predictor.items())
