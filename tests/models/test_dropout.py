"""Cheap dropout: the rate, the mean, the gradient and where its randomness comes from."""

import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lang_jepa.models.dropout import FastDropout, fast_dropout, replace_dropout

COUNT = 200_001  # no multiple of four, the number of elements that one draw decides


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_rate_is_within_three_sigma_and_survivors_are_scaled(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(1)
    out = fast_dropout(torch.ones(COUNT, dtype=dtype), p)
    dropped = (out == 0).double().mean().item()
    assert abs(dropped - p) < 3 * math.sqrt(p * (1 - p) / COUNT)
    scaled = torch.tensor(65536 / (65536 - round(p * 65536)), dtype=dtype)
    assert torch.equal(out[out != 0].unique(), scaled.unsqueeze(0))


def test_every_lane_of_a_draw_has_the_rate() -> None:
    """A 64-bit draw without its sign bit would never drop, or always halve, every fourth element."""
    torch.manual_seed(2)
    dropped = (fast_dropout(torch.ones(400_000), 0.5) == 0).view(-1, 4).double().mean(0)
    assert (dropped - 0.5).abs().max() < 4 * 0.5 / math.sqrt(100_000)


def test_mean_is_kept() -> None:
    torch.manual_seed(3)
    x = torch.randn(64, dtype=torch.float64)
    mean = torch.stack([fast_dropout(x, 0.3) for _ in range(4000)]).mean(0)
    sigma = x.abs() * math.sqrt(0.3 / 0.7 / 4000)
    assert ((mean - x).abs() < 4.5 * sigma).all()


def test_rates_below_one_in_65536_are_none_and_above_all_but_one_are_refused() -> None:
    torch.manual_seed(4)
    x = torch.ones(1_000_000)
    assert fast_dropout(x, 1e-6) is x  # rounds to nothing
    with pytest.raises(ValueError, match="rounds to 1"):
        fast_dropout(x, 0.999999)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_passes_exactly_where_the_value_passed(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    x = torch.randn(37, 11, dtype=dtype, requires_grad=True)
    out = fast_dropout(x, 0.4)
    weight = torch.randn_like(out)
    out.backward(weight)
    factor = 65536 / (65536 - round(0.4 * 65536))
    assert torch.equal(x.grad, torch.where(out == 0, 0, (weight.float() * factor).to(dtype)))


def test_strided_input_gives_the_mask_of_its_copy() -> None:
    x = torch.randn(9, 14).bfloat16()
    torch.manual_seed(6)
    strided = fast_dropout(x.t(), 0.5)
    torch.manual_seed(6)
    assert torch.equal(strided, fast_dropout(x.t().contiguous(), 0.5))


def test_masks_follow_torch_s_generator() -> None:
    x = torch.ones(1000)
    torch.manual_seed(7)
    first, second = fast_dropout(x, 0.5), fast_dropout(x, 0.5)
    assert not torch.equal(first, second)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert torch.equal(fast_dropout(x, 0.5), first)
    torch.set_rng_state(state)
    assert torch.equal(fast_dropout(x, 0.5), first)


def test_checkpointed_recomputation_repeats_the_mask() -> None:
    layer, x = FastDropout(0.5), torch.ones(1000, requires_grad=True)
    torch.manual_seed(8)
    out = checkpoint(lambda value: layer(value).square(), x, use_reentrant=False)
    torch.rand(17)  # the generator moves on between the passes
    out.sum().backward()
    assert torch.equal(x.grad, 2 * out.detach())  # d(m^2 x^2)/dx at x = 1


def test_eval_mode_and_rate_zero_do_nothing() -> None:
    x = torch.randn(5)
    assert FastDropout(0.5).eval()(x) is x
    assert FastDropout(0.0)(x) is x


def test_replace_dropout_reaches_nested_modules_and_keeps_rate_and_mode() -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.25))
    model = nn.ModuleDict({"a": inner, "b": nn.Dropout(0.75).eval()})
    replace_dropout(model)
    assert not any(type(module) is nn.Dropout for module in model.modules())
    assert (inner[1].p, inner[1].training) == (0.25, True)
    assert (model["b"].p, model["b"].training) == (0.75, False)
