"""The span loss as mathematics: its identity, known values, drifts, invariances, gradients."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from lang_jepa.data.tokens.token_stream import POSITIONS, Form
from lang_jepa.objectives.gpt_losses import (
    FORMS,
    partition,
    pick,
    span_loss,
    span_losses,
    triple,
    without_drift,
)
from lang_jepa.settings.gpt import SpanSettings

PARTITION = torch.tensor([[[0, 2, 5, 9]], [[1, 1, 3, 8]]])
TRIPLE = torch.tensor([[[0, 2, 5]], [[1, 4, 8]]])
BOTH = [("partition", PARTITION), ("triple", TRIPLE)]


def states(seed: int = 0) -> Tensor:
    return torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def test_the_tables_agree() -> None:
    assert set(FORMS) == set(POSITIONS) == set(get_args(Form))
    assert set(FORMS) == set(get_args(SpanSettings.model_fields["form"].annotation))


def test_context_and_patch_make_the_whole_way() -> None:
    h = states()
    context, patch = partition(pick(h, PARTITION))
    torch.testing.assert_close((context + patch)[0, 0], h[0, 9] - h[0, 0])
    torch.testing.assert_close((context + patch)[1, 0], h[1, 8] - h[1, 1])
    torch.testing.assert_close(patch[0, 0], h[0, 5] - h[0, 2])
    later, earlier = triple(pick(h, TRIPLE))
    torch.testing.assert_close((later + earlier)[0, 0], h[0, 5] - h[0, 0])
    torch.testing.assert_close(earlier[1, 0], h[1, 4] - h[1, 1])


def test_known_values() -> None:
    """A path with a right angle: 1; one that goes on straight: 0; one that comes back: 2."""
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0], [2.0, 3.0]])[None]
    back = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [1.0, 0.0]])[None]
    right = torch.tensor([[[0, 1, 2, 3]]])
    assert float(span_loss(path, right, "partition")) == pytest.approx(1.0)  # context (2, 0), patch (0, 3)
    assert float(span_loss(back, torch.tensor([[[0, 2, 3]]]), "triple")) == pytest.approx(2.0)
    assert float(span_loss(back, torch.tensor([[[0, 1, 2]]]), "triple")) == pytest.approx(0.0, abs=1e-6)
    diagonal = torch.tensor([[[0, 1, 3]]])  # steps (1, 0) and (1, 3)
    assert float(span_loss(path, diagonal, "triple")) == pytest.approx(1 - 1 / 10**0.5)


@pytest.mark.parametrize(("form", "places"), BOTH)
def test_a_drift_alone_costs_nothing(form: str, places: Tensor) -> None:
    drift = torch.arange(10.0)[None, :, None] * torch.randn(2, 1, 6) + torch.randn(2, 1, 6)
    assert float(span_loss(drift, places, form)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("form", "places"), BOTH)
def test_a_common_drift_is_taken_out(form: str, places: Tensor) -> None:
    """However strong: what is left are the losses of the states without it."""
    plain = states()
    plain = plain - plain.mean(0)
    drift = 1000 * torch.arange(10.0)[:, None] * torch.ones(6)
    picked = pick(plain + drift, places)
    assert float(span_losses(picked, places, form).max()) < 1e-4
    left = span_losses(without_drift(picked, places, (plain + drift).mean(0)), places, form)
    torch.testing.assert_close(left, span_losses(pick(plain, places), places, form), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("form", "places"), BOTH)
def test_shifts_scales_and_rotations_change_nothing(form: str, places: Tensor) -> None:
    h, rotation = states(), torch.linalg.qr(torch.randn(6, 6))[0]
    torch.testing.assert_close(span_loss(h, places, form), span_loss(3 * h @ rotation + 5, places, form))


@pytest.mark.parametrize(("form", "places"), BOTH)
def test_a_span_that_is_not_there_is_zero_and_has_no_gradient(form: str, places: Tensor) -> None:
    h = states().requires_grad_()
    missing = places.clone()
    missing[1] = -1
    one = span_losses(pick(h, missing), missing, form)
    assert one[1, 0].item() == 0.0
    torch.testing.assert_close(span_loss(h, missing, form), one[0, 0] / 2)
    (gradient,) = torch.autograd.grad(one.sum(), h)
    assert float(gradient[1].abs().max()) == 0.0
    touched = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert touched == places[0, 0].tolist(), "only the states at its places are pulled"


def test_low_precision_states_are_compared_in_full() -> None:
    h = states().bfloat16()
    assert pick(h, PARTITION).dtype == torch.float32
    torch.testing.assert_close(span_loss(h, PARTITION, "partition"), span_loss(h.float(), PARTITION, "partition"))
