"""Operations with a backward pass by hand against their formulas, which autograd differentiates: values and gradients
in fp64, and the errors in bf16."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.models import gpt_kernels
from lang_jepa.models.gpt import GPT, CausalAttention, Rotary
from lang_jepa.models.gpt_kernels import attend, cross_entropy, rms_norm, squared_leaky_relu
from lang_jepa.settings.gpt import GPTModelSettings


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def with_gradients(function: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
    """What a function gives, and the gradient of a fixed sum of it by each tensor given."""
    made = function(*given)
    weights = torch.randn(made.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return [made, *torch.autograd.grad((made.double() * weights).sum(), given)]


def test_norm_and_activation() -> None:
    torch.manual_seed(0)
    x = random(3, 5, 16)
    torch.testing.assert_close(
        with_gradients(rms_norm, x), with_gradients(lambda x: x * (x.square().mean(-1, keepdim=True)).rsqrt(), x)
    )
    with torch.no_grad():
        zero = rms_norm(torch.zeros(2, 4))
    assert torch.equal(zero, torch.zeros(2, 4))
    for slope in (0.0, 0.3):
        torch.testing.assert_close(
            with_gradients(lambda x: squared_leaky_relu(x, slope), x),  # noqa: B023
            with_gradients(lambda x: torch.where(x > 0, x, slope * x) ** 2, x),  # noqa: B023
        )


@pytest.mark.parametrize("length", [2, 64, 100])
def test_attention_in_blocks(length: int) -> None:
    """Shared keys and values; a last block that is shorter, and one block alone."""
    torch.manual_seed(0)
    given = random(2, 4, length, 6), random(2, 2, length, 6), random(2, 2, length, 6)

    def formula(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = (one.repeat_interleave(2, dim=1) for one in (key, value))
        scores = query @ key.mT / math.sqrt(6)
        unseen = torch.ones(length, length, dtype=torch.bool).triu(1)
        return scores.masked_fill(unseen, float("-inf")).softmax(-1) @ value

    torch.testing.assert_close(with_gradients(attend, *given), with_gradients(formula, *given))


def test_attention_in_bf16_is_about_as_exact_as_that_of_torch() -> None:
    torch.manual_seed(0)
    given = [random(2, 4, 150, 16), random(2, 2, 150, 16), random(2, 2, 150, 16)]
    low = [one.detach().bfloat16().requires_grad_() for one in given]
    exact = [one.detach().double().requires_grad_() for one in low]

    def torchs(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    right = with_gradients(torchs, *exact)
    for ours, theirs, wanted in zip(with_gradients(attend, *low), with_gradients(torchs, *low), right, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - wanted).norm() < 2 * (theirs.double() - wanted).norm()


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_paired_heads_give_the_attention_of_plain_ones(fraction: float) -> None:
    """Queries and keys from one product, in another order of dimensions: the output and all gradients are the same."""
    torch.manual_seed(0)
    sizes = GPTModelSettings(model_dim=32, num_heads=4, num_kv_heads=2, rope_fraction=fraction)
    attention = CausalAttention(sizes).double()
    with torch.no_grad():
        attention.gain.normal_()
    turn, x = Rotary(8, fraction=fraction, base=100.0, length=9).at(0, 9), random(2, 9, 32)

    def output(heads: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
        given = (x, *attention.query.parameters(), *attention.key.parameters(), attention.gain)
        return with_gradients(lambda *given: attend(*heads(x, turn)), *given)

    torch.testing.assert_close(output(attention._paired), output(attention._plain))


@pytest.mark.parametrize("cap", [None, 3.0])
def test_cross_entropy_of_blocks_is_that_of_all(cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven blocks, the last of one row; scores are fp32."""
    monkeypatch.setattr(gpt_kernels, "SCORES", 2 * 11)
    torch.manual_seed(0)
    states, weight, targets = random(1, 13, 6), random(11, 6), torch.randint(11, (1, 13))

    def formula(states: Tensor, weight: Tensor) -> Tensor:
        scores = states @ weight.mT
        scores = scores if cap is None else cap * torch.tanh(scores / cap)
        return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())

    made = with_gradients(lambda s, w: cross_entropy(s, w, targets, cap), states, weight)
    for one, wanted in zip(made, with_gradients(formula, states, weight), strict=True):
        torch.testing.assert_close(one.double(), wanted, rtol=1e-5, atol=1e-6)


def test_a_compiled_model_has_the_formulas_and_the_same_numbers() -> None:
    """Eager and compiled training steps agree, also under bf16 autocast, up to rounding."""
    torch.manual_seed(0)
    sizes = GPTModelSettings(num_layers=3, model_dim=32, num_heads=4, num_kv_heads=2)
    model = GPT(sizes, vocab_size=50, seq_len=80)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(torch.randn_like(one) * 0.1)
    rows = torch.randint(50, (2, 81))

    def loss(rows: Tensor) -> Tensor:
        return model.cross_entropy(model.states(rows[:, :-1]).final, rows[:, 1:])

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for low, tolerance in ((False, 1e-5), (True, 0.05)):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            made, wanted = loss(rows), compiled(rows)
        torch.testing.assert_close(made, wanted, rtol=tolerance, atol=0)
        parameters = list(model.parameters())
        for one, other in zip(*(torch.autograd.grad(each, parameters) for each in (made, wanted)), strict=True):
            assert (one - other).norm() <= tolerance * other.norm() + 1e-7
    torch._dynamo.reset()
