"""Muon, its groups, the schedule and the moving average."""

import math
from copy import deepcopy

import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.models.gpt import GPT
from lang_jepa.settings.gpt import GPTOptimizationSettings, GPTSettings
from lang_jepa.training.muon import StackedMuon
from lang_jepa.training.optim import WeightAverage, make_gpt_optimizers, set_gpt_rates
from lang_jepa.training.schedule import GPTSchedule

MODEL = {"num_layers": 4, "model_dim": 16, "num_heads": 2, "num_kv_heads": 1}


def settings(**sections: dict[str, object]) -> GPTSettings:
    return GPTSettings.model_validate({"model": MODEL, **sections})


def gpt(**changes: object) -> GPT:
    torch.manual_seed(0)
    return GPT(settings(model={**MODEL, **changes}).model, vocab_size=40, seq_len=8)


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_one_group_and_only_matrices_of_layers_in_muon(tied: bool) -> None:
    model, chosen = gpt(tie_embeddings=tied), GPTOptimizationSettings()
    muon, adamw = make_gpt_optimizers(model, chosen)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (kind, group["peak"])
        for kind, optimizer in (("muon", muon), ("adamw", adamw))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found.keys() == set(names.values())
    for name, place in found.items():
        if name.startswith("embedding"):
            assert place == ("adamw", chosen.embedding_lr)
        elif name.startswith("head"):
            assert place == ("adamw", chosen.head_lr)
        elif "gain" in name or "gate" in name:
            assert place == ("adamw", chosen.scalar_lr)
        else:
            assert place == ("muon", chosen.lr)


def orthogonalised(gradient: torch.Tensor, steps: int) -> torch.Tensor:
    """Newton-Schulz by singular values: each goes through s -> 3.4445 s - 4.775 s^3 + 2.0315 s^5."""
    left, values, right = torch.linalg.svd(gradient / gradient.norm(), full_matrices=False)
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ torch.diag(values) @ right


@pytest.mark.parametrize("steps", [1, 5])
def test_muon_against_newton_schulz_by_hand(steps: int) -> None:
    """Two steps with Nesterov momentum, for a wide and a tall matrix; torch iterates in bf16."""
    model = gpt()
    chosen = GPTOptimizationSettings(muon_ns_steps=steps, lr=0.1, weight_decay=0.2, muon_momentum=0.9)
    muon, _ = make_gpt_optimizers(model, chosen)
    layer = model.blocks[0]
    matrices = {layer.mlp.up.weight: 2.0, layer.mlp.down.weight: 1.0}  # sqrt(rows / columns), at least 1
    with torch.no_grad():
        layer.mlp.down.weight.normal_()
    expected = {matrix: matrix.detach().clone() for matrix in matrices}
    buffers = {matrix: torch.zeros_like(matrix) for matrix in matrices}
    for _ in range(2):
        for matrix, factor in matrices.items():
            matrix.grad = torch.randn_like(matrix)
            buffers[matrix] = 0.9 * buffers[matrix] + 0.1 * matrix.grad
            nesterov = 0.1 * matrix.grad + 0.9 * buffers[matrix]
            expected[matrix] *= 1 - 0.1 * 0.2
            expected[matrix] -= 0.1 * factor * orthogonalised(nesterov, steps)
        muon.step()
    for matrix, wanted in expected.items():
        torch.testing.assert_close(matrix.detach(), wanted, atol=4e-3, rtol=0)


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(LangJepaError, match="install torch 2"):
        make_gpt_optimizers(gpt(), GPTOptimizationSettings())


def schedule(**optimization: object) -> GPTSchedule:
    jepa = {"weight": 0.2, "start_frac": 0.25, "ramp_frac": 0.25, "end_frac": 0.9}
    model = {**MODEL, "loop_layers": [2, 1], "loop_starts": [0.5, 0.65]}
    steps = {"max_steps": 100, "warmup_steps": 4, "warmdown_steps": 20, **optimization}
    return GPTSchedule(settings(optimization=steps, jepa=jepa, model=model))


def test_rates_rise_stay_and_fall_to_the_end() -> None:
    plan = schedule()
    rates = [plan.rate(step, 0.0) for step in range(100)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[79:82] == pytest.approx([1.0, 1.0, 0.95])
    assert rates[-1] == pytest.approx(1 / 20)
    assert [plan.ended(step, 1e9) for step in (99, 100)] == [False, True]


def test_the_clock_ends_and_slows_a_run_that_has_a_limit() -> None:
    """50 steps in 40 of 50 seconds: 12.5 more at this speed, of a warm-down of 20."""
    plan = schedule(max_seconds=50.0)
    assert plan.rate(50, 40.0) == pytest.approx(12.5 / 20)
    assert plan.rate(50, 20.0) == 1.0
    assert plan.rate(0, 0.0) == 0.25
    assert plan.progress(50, 40.0) == pytest.approx(0.8)
    assert plan.progress(50, 10.0) == pytest.approx(0.5)
    assert [plan.ended(50, seconds) for seconds in (49.9, 50.0)] == [False, True]


def test_span_weight_and_looped_layers_follow_the_progress() -> None:
    plan = schedule()
    weights = {step: plan.span_weight(step, 0.0) for step in (0, 24, 25, 30, 50, 89, 90, 99)}
    assert weights == pytest.approx({0: 0, 24: 0, 25: 0, 30: 0.04, 50: 0.2, 89: 0.2, 90: 0, 99: 0})
    assert [plan.looped(step, 0.0) for step in (49, 50, 64, 65, 100)] == [(), (2,), (2,), (1, 2), (1, 2)]
    assert schedule(max_seconds=10.0).span_weight(0, 5.0) == pytest.approx(0.2)
    assert GPTSchedule(settings(jepa={"weight": 0.1})).span_weight(0, 0.0) == 0.1
    assert GPTSchedule(settings()).span_weight(10, 0.0) == 0.0


def test_rates_and_momentum_reach_the_groups() -> None:
    plan = schedule(muon_momentum_start=0.5, muon_momentum=0.9, muon_momentum_steps=8, lr=0.1)
    optimizers = make_gpt_optimizers(gpt(), plan.settings.optimization)
    assert set_gpt_rates(optimizers, plan, 1, 0.0) == 0.5
    (matrices,), vectors = (optimizer.param_groups for optimizer in optimizers)
    assert (matrices["lr"], matrices["momentum"]) == pytest.approx((0.05, 0.55))
    for group in vectors:
        assert group["lr"] == pytest.approx(0.5 * group["peak"])
    assert plan.momentum(100) == 0.9
    assert schedule(muon_momentum_steps=0).momentum(0) == 0.95


def test_moving_average() -> None:
    model = gpt()
    average = WeightAverage(model, 0.75)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    for one in model.parameters():
        one.data.add_(1.0)
    average.update(model)
    average.update(model)
    now = {name: one.detach().clone() for name, one in model.named_parameters()}
    with average.in_place(model):
        for name, one in model.named_parameters():
            torch.testing.assert_close(one.detach(), before[name] + 1 - 0.75**2)
    assert all(torch.equal(one, now[name]) for name, one in model.named_parameters())
    other = WeightAverage(gpt(), 0.75)
    other.load_state_dict(average.state_dict())
    assert all(torch.equal(other.state_dict()[name], one) for name, one in average.state_dict().items())
    assert math.isclose(other.decay, 0.75)


def test_muon_over_stacks_is_that_of_torch_and_takes_up_its_state() -> None:
    """Tall, wide and square matrices, one without a gradient; decay and momentum."""
    torch.manual_seed(0)
    shapes = [(8, 8), (16, 8), (8, 16), (8, 8), (4, 16), (8, 16)]
    ours, theirs = ([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.9, "ns_steps": 5, "adjust_lr_fn": "original"}
    stacked, single = StackedMuon(ours, **options), torch.optim.Muon(theirs, **options)
    for step in range(4):
        if step == 2:
            stacked.load_state_dict(deepcopy(single.state_dict()))
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        ours[3].grad = theirs[3].grad = None
        stacked.step()
        single.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=4e-3)
    assert not ours[3].any()
    assert ours[1].any()
