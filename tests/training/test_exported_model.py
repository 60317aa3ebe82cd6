"""What a run leaves in its model directory."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_plain_view
from lang_jepa.evaluation.metrics.similarity import Predictable, Statistics
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa, load_model
from lang_jepa.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from lang_jepa.training.held_out import HeldOut
from lang_jepa.training.load import best_similarity
from lang_jepa.training.reporter import Silent
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


def test_a_similarity_of_covariances_is_chosen_only_where_these_can_be_estimated(tmp_path: Path) -> None:
    """`predictable`, fitted to the held-out sentences themselves, is the best by far, and of too few never taken."""
    settings = tiny_settings(tmp_path / "run")
    corpus = prepare(settings.data)
    jepa = build_jepa(settings, corpus.tokenizer)
    held_out = HeldOut(settings, make_plain_view(settings, corpus.validation, corpus.tokenizer), rank=0, world=1)
    found = held_out.collect(
        lambda batch: jepa(batch.contexts).predictions,
        lambda batch: jepa.encoder.embed_targets(batch.targets),
        torch.device("cpu"),
    )
    ours, theirs = (functional.normalize(one, dim=-1).numpy() for one in (found.predictions, found.targets))
    fitted = Statistics.of(theirs, predictable=Predictable.of(ours, theirs))
    enough, few = (replace(fitted, count=count) for count in (8 * 32, 8 * 32 - 1))
    assert best_similarity(held_out, jepa, enough) == "predictable"
    assert best_similarity(held_out, jepa, few) in ("raw", "centred")


@pytest.mark.parametrize("sample", [256, 255])
def test_a_run_says_which_similarities_were_not_asked(sample: int, tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def message(self, text: str) -> None:
            said.append(text)

    folder = train(tiny_settings(tmp_path / "run", f"model.score_sample={sample}"), Listening()).folder
    similarity = ConceptModel.load(folder).similarity_kind
    lines = [one for one in said if one.startswith("similarity")]
    if sample == 256:
        assert lines == []
    else:
        assert similarity in ("raw", "centred")
        assert lines == [
            f"similarity: {similarity}, of raw and centred; 255 training sentences are too few for whitened and "
            "predictable. model.embed_dim=32 needs at least 256 training sentences, 8 per dimension. Raise "
            "model.score_sample"
        ]
