"""Every parameter is trained, once, at its rate; and whoever is forgotten is named."""

from pathlib import Path

import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.models.encoder import build_encoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import build_predictor
from lang_jepa.settings.encoder import EncoderOptimizationSettings
from lang_jepa.training.optim import adamw, check_gradients, set_rates
from lang_jepa.training.schedule import Schedule
from tiny import tiny_settings


@pytest.fixture
def jepa(tmp_path: Path) -> Jepa:
    settings = tiny_settings(tmp_path)
    encoder = build_encoder(settings.model, vocab_size=100, pad_id=0, bos_id=1, eos_id=2)
    return Jepa(encoder, build_predictor(settings.model, window=4), reads_sentences=True)


def _schedule(settings: EncoderOptimizationSettings) -> Schedule:
    return Schedule.of(settings, total=10, steps_per_epoch=None)


def _by_name(jepa: Jepa, optimizer: torch.optim.Optimizer, key: str) -> dict[str, float]:
    """What each parameter's group says about `key`."""
    names = {id(parameter): name for name, parameter in jepa.named_parameters()}
    return {names[id(p)]: group[key] for group in optimizer.param_groups for p in group["params"]}


def test_each_parameter_is_in_exactly_one_group(jepa: Jepa) -> None:
    optimizer = adamw(
        jepa,
        jepa.encoder,
        EncoderOptimizationSettings(embedding_lr_multiplier=20.0, encoder_lr_multiplier=0.5),
    )
    members = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(members) == len(set(members))
    assert set(members) == {id(parameter) for parameter in jepa.parameters()}


def test_only_matrices_outside_of_embeddings_decay(jepa: Jepa) -> None:
    settings = EncoderOptimizationSettings(weight_decay=0.1, final_weight_decay=0.1)
    optimizer = adamw(jepa, jepa.encoder, settings)
    set_rates(optimizer, _schedule(settings), 3)
    decays = _by_name(jepa, optimizer, "weight_decay")
    assert decays["encoder.head.weight"] == decays["predictor.output.weight"] == pytest.approx(0.1)
    embeddings = [name for name in decays if "embeddings" in name and name.endswith("embeddings.weight")]
    assert len(embeddings) >= 2
    biases = [name for name in decays if name.endswith(".bias")]
    norms = [name for name in decays if "norm" in name.lower()]
    assert len(biases) > 10
    assert len(norms) > 5
    assert {decays[name] for name in embeddings + biases + norms} == {0.0}


def test_multipliers_of_encoder_and_embeddings_multiply(jepa: Jepa) -> None:
    settings = EncoderOptimizationSettings(
        lr=1e-2, warmup_steps=0, embedding_lr_multiplier=20.0, encoder_lr_multiplier=0.5
    )
    optimizer = adamw(jepa, jepa.encoder, settings)
    assert set_rates(optimizer, _schedule(settings), 0) == pytest.approx(1e-2)
    rates = _by_name(jepa, optimizer, "lr")
    for name, rate in rates.items():
        embedding = "embeddings.weight" in name
        factor = 10.0 if embedding else 0.5 if name.startswith("encoder.") else 1.0
        assert rate == pytest.approx(1e-2 * factor), name


def test_predictor_warm_up_holds_the_encoder_and_nothing_else(jepa: Jepa) -> None:
    settings = EncoderOptimizationSettings(lr=1e-2, warmup_steps=0, predictor_warmup_steps=3)
    optimizer = adamw(jepa, jepa.encoder, settings)
    for step in range(5):
        set_rates(optimizer, _schedule(settings), step)
        for name, rate in _by_name(jepa, optimizer, "lr").items():
            assert (rate == 0.0) == (step < 3 and name.startswith("encoder.")), (step, name)


def test_a_held_encoder_does_not_move_though_it_has_gradients_and_decay(jepa: Jepa) -> None:
    settings = EncoderOptimizationSettings(predictor_warmup_steps=1, weight_decay=0.5)
    optimizer = adamw(jepa, jepa.encoder, settings)
    before = {name: parameter.clone() for name, parameter in jepa.named_parameters()}
    for parameter in jepa.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_rates(optimizer, _schedule(settings), 0)
    optimizer.step()
    for name, parameter in jepa.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("encoder."), name


def test_frozen_parameters_are_left_out(jepa: Jepa) -> None:
    jepa.encoder.requires_grad_(False)
    optimizer = adamw(jepa, jepa.encoder, EncoderOptimizationSettings())
    assert set(_by_name(jepa, optimizer, "decayed")) == {
        name for name, _ in jepa.named_parameters() if name.startswith("predictor.")
    }


def test_a_parameter_without_gradient_is_named(jepa: Jepa) -> None:
    for parameter in jepa.parameters():
        parameter.grad = torch.zeros_like(parameter)  # zero is a gradient: the loss may be flat there
    check_gradients(jepa)
    jepa.predictor.output.bias.grad = None
    with pytest.raises(LangJepaError, match=r": predictor\.output\.bias$"):
        check_gradients(jepa)
