"""VICReg against its plain formula, where it is zero, and what it says about collapse."""

import pytest
import torch
from torch import Tensor

from lang_jepa.objectives.regularizer import SIGReg, VICReg, make_regularizer, over_views
from lang_jepa.settings.encoder import EncoderMetaSettings, ObjectiveSettings, Settings


def rows(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def whitened(count: int, dim: int, size: float = 1.0) -> Tensor:
    """Rows with covariance size squared times the identity exactly, and some mean."""
    x = rows(count, dim)
    basis = torch.linalg.qr(x - x.mean(0)).Q
    return basis * (count - 1) ** 0.5 * size + 7.0


def plain(z: Tensor, variance: float, covariance: float) -> Tensor:
    """Equations 1 to 4 of the paper, entry by entry."""
    count, dim = z.shape
    mean = z.mean(0)
    c = sum(torch.outer(row - mean, row - mean) for row in z) / (count - 1)
    v = sum(max(0.0, 1.0 - float((c[j, j] + 1e-4).sqrt())) for j in range(dim)) / dim
    off = sum(float(c[i, j]) ** 2 for i in range(dim) for j in range(dim) if i != j) / dim
    return torch.tensor(variance * v + covariance * off)


@pytest.mark.parametrize(("variance", "covariance"), [(25.0, 1.0), (1.0, 0.0), (0.0, 1.0), (3.0, 4.0)])
@pytest.mark.parametrize(("count", "dim"), [(2, 3), (9, 4), (30, 5)])
def test_plain_formula(count: int, dim: int, variance: float, covariance: float) -> None:
    z = rows(count, dim) * torch.linspace(0.2, 2.0, dim) + 0.5 * rows(count, 1, seed=1)
    ours = VICReg(variance, covariance)(z)
    torch.testing.assert_close(ours, plain(z, variance, covariance).float(), atol=1e-5, rtol=1e-5)


def test_two_views_as_in_the_paper() -> None:
    """Variance halved as in the authors' code, covariance summed as in equation 6; SIGReg is the mean over views."""
    one, other = rows(30, 5) * 0.4, rows(30, 5, seed=1) * torch.linspace(0.1, 2.0, 5)
    (v, w), (c, d) = ([float(plain(x, *weights)) for x in (one, other)] for weights in ((1, 0), (0, 1)))
    found = over_views(VICReg(25.0, 1.0), [one, other], 0)
    assert found.item() == pytest.approx(25 * (v + w) / 2 + (c + d), rel=1e-5)
    sigreg = SIGReg(16)
    mean = (sigreg(one, 3) + sigreg(other, 3)) / 2
    assert over_views(sigreg, [one, other], 3).item() == pytest.approx(mean.item())


@pytest.mark.parametrize("size", [1.0, 3.0])
def test_zero_for_white_data(size: float) -> None:
    """Wider than one is as good as one: only too little variance costs."""
    assert VICReg()(whitened(20, 4, size)).item() == pytest.approx(0.0, abs=1e-6)


def test_known_values_of_collapse() -> None:
    # All embeddings equal: every standard deviation is sqrt(1e-4).
    assert VICReg(25.0, 1.0)(torch.full((8, 5), 3.0)).item() == pytest.approx(25.0 * 0.99)
    # One direction for all: covariances of 1 between the D = 4 dimensions, 12 of them over 4.
    line = whitened(9, 1).expand(-1, 4)
    assert VICReg(25.0, 1.0)(line).item() == pytest.approx(3.0, rel=1e-5)
    # Half of the spread that is wanted.
    half = VICReg(1.0, 1.0)(whitened(20, 4, 0.5)).item()
    assert half == pytest.approx(1.0 - (0.25 + 1e-4) ** 0.5, rel=1e-5)


def test_collapsed_embeddings_are_pushed_apart() -> None:
    """Nearly equal rows get a finite gradient that widens them."""
    z = (3.0 + 1e-3 * rows(8, 4)).float().requires_grad_()
    value = VICReg()(z)
    (gradient,) = torch.autograd.grad(value, z)
    assert torch.isfinite(gradient).all()
    spread = (z - z.mean(0)).detach()
    assert (gradient * spread).sum() < 0
    assert VICReg()(z - 0.1 * gradient) < value


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows_have_no_covariance_and_no_gradient(count: int) -> None:
    """The rest of an epoch may be one example; it must not end the run."""
    z = rows(2, 4)[:count].float().requires_grad_()
    value = VICReg()(z)
    assert value.item() == 0.0
    assert torch.equal(torch.autograd.grad(value, z)[0], torch.zeros(count, 4))


def test_mean_and_rotation_of_white_rows_do_not_matter() -> None:
    z = rows(20, 4)
    far = VICReg()(z.float() + 1000.0)
    torch.testing.assert_close(far, VICReg()(z.float()), atol=1e-2, rtol=1e-3)
    turn = torch.linalg.qr(rows(4, 4, seed=5)).Q
    torch.testing.assert_close(VICReg()(whitened(20, 4) @ turn), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_gradient_is_that_of_finite_differences() -> None:
    z, direction = rows(6, 3).float() * 0.5, rows(6, 3, seed=1).float()
    moved = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(VICReg()(moved), moved)
    slope = (VICReg()(z + 1e-2 * direction) - VICReg()(z - 1e-2 * direction)) / 2e-2
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-2)


def test_fp32_inside_autocast() -> None:
    z = rows(16, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = VICReg()(z)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, VICReg()(z))


def test_table() -> None:
    chosen = ObjectiveSettings(
        vicreg_variance=3.0, vicreg_covariance=4.0, sigreg_directions=5, sigreg_knots=4, sigreg_range=2.0
    )
    settings = Settings(objective=chosen, meta=EncoderMetaSettings(seed=8))
    assert make_regularizer(settings) is None
    made = VICReg.of(settings)
    z = rows(9, 4) * 0.3
    torch.testing.assert_close(made(z), plain(z, 3.0, 4.0).float(), atol=1e-5, rtol=1e-5)
    sketched = SIGReg.of(settings)
    assert torch.equal(sketched(z, 3), SIGReg(5, 4, 2.0, seed=8)(z, 3))
    assert sketched(z, 3) != sketched(z, 4)
