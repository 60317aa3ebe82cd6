"""SIGReg: known values, the plain formula under autograd, and what it refuses."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.objectives.regularizer import SIGReg, _KnotSums


def rows(count: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, dim, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def plain(z: Tensor, directions: Tensor, knots: int, span: float) -> Tensor:
    """The formula with cos and sin at every knot and numpy's trapezoid rule over both halves of the axis."""
    t = torch.linspace(-span, span, 2 * knots - 1, dtype=z.dtype)
    phi = torch.exp(-t.square() / 2)
    angles = (z @ directions.T).unsqueeze(-1) * t
    errors = (angles.cos().mean(0) - phi).square() + angles.sin().mean(0).square()
    return len(z) * torch.trapezoid(phi * errors, t, dim=-1).mean()


@pytest.mark.parametrize(("count", "dim", "directions"), [(1, 3, 4), (9, 4, 5), (700, 3, 60), (40_000, 2, 3)])
@pytest.mark.parametrize(("knots", "span"), [(17, 3.0), (2, 1.0), (18, 5.0)])
def test_value_and_gradient_of_the_plain_formula(
    count: int, dim: int, directions: int, knots: int, span: float
) -> None:
    """Also where one block of projections does not hold all directions."""
    sigreg = SIGReg(directions, knots, span, seed=3)
    z = (0.7 * rows(count, dim) + 0.4).requires_grad_()
    found = []
    for value in (sigreg(z, 5), plain(z, sigreg.draw(z, 5), knots, span)):
        found.append((value, *torch.autograd.grad(3.0 * value, z)))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-9)
    assert found[0][1].norm() > 1e-3


def test_gradient_of_the_sums() -> None:
    z, directions = rows(6, 3).requires_grad_(), functional.normalize(rows(4, 3, 1), dim=1)
    assert torch.autograd.gradcheck(lambda x: _KnotSums.apply(x, directions, 3 / 16, 17), z)


def mean_over_steps(z: Tensor, steps: int = 1) -> float:
    sigreg = SIGReg(512)
    return sum(float(sigreg(z, step)) for step in range(steps)) / steps


@pytest.mark.parametrize("count", [32, 512])
def test_the_floor_of_normal_embeddings(count: int) -> None:
    """1.0525 in expectation for any N: over many draws, since directions of one draw share the same sample."""
    values = [float(SIGReg(64)(rows(count, 64, seed, torch.float32), seed)) for seed in range(300)]
    assert sum(values) / len(values) == pytest.approx(1.0525, abs=0.02)


@pytest.mark.parametrize(("std", "rate"), [(0.5, 0.1512), (2.0, 0.2361)], ids=["half the spread", "twice the spread"])
def test_known_values_of_a_wrong_spread(std: float, rate: float) -> None:
    """The bias grows with N, so its rate is read off a large sample; the floor is about 1."""
    count = 20_000
    assert mean_over_steps(std * rows(count, 16, dtype=torch.float32)) / count == pytest.approx(rate, abs=2e-3)


def test_known_values_of_collapse() -> None:
    assert mean_over_steps(torch.zeros(64, 8)) / 64 == pytest.approx(0.4020, abs=5e-5)
    # Norm 1, written by hand in one coordinate fewer, so that it is not refused: the projections vanish all the same.
    unit = functional.normalize(rows(4000, 768, dtype=torch.float32), dim=1) * 1.001
    assert mean_over_steps(unit) / 4000 == pytest.approx(0.4000, abs=5e-4)


def test_single_precision_is_enough() -> None:
    """The recurrence over 16 knots, also where projections are far out; bfloat16 input is computed in fp32."""
    z = 6.0 * rows(300, 16)
    sigreg = SIGReg(100)
    directions = sigreg.draw(z.float(), 0).double()
    assert float(sigreg(z.float())) == pytest.approx(float(plain(z, directions, 17, 3.0)), rel=1e-5)
    half = z.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sigreg(half), sigreg(half.float()))


def test_directions_are_a_function_of_seed_and_step() -> None:
    z = rows(20, 6, dtype=torch.float32)
    sigreg = SIGReg(30, seed=1)
    state = torch.get_rng_state()
    drawn = sigreg.draw(z, 7)
    assert torch.equal(torch.get_rng_state(), state), "dropout's generator is left alone"
    assert torch.equal(drawn, SIGReg(30, seed=1).draw(rows(3, 6, 9, torch.float32), 7))
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(30))
    for other in (sigreg.draw(z, 8), SIGReg(30, seed=2).draw(z, 7)):
        assert float((drawn - other).abs().min(dim=1).values.max()) > 1e-3


def test_normalised_embeddings_are_refused() -> None:
    unit = functional.normalize(rows(8, 4), dim=1)
    with pytest.raises(LangJepaError, match="L2-normalised"):
        SIGReg()(unit)
    SIGReg()(unit * torch.linspace(1.0, 1.1, 8).unsqueeze(1))  # one norm of 1 is no proof
    SIGReg()(unit[:7])
    SIGReg()(torch.ones(9, 1))


def test_it_drives_embeddings_to_a_standard_normal() -> None:
    """Plain gradient descent from a narrow, shifted, correlated cloud."""
    z = (0.2 * rows(400, 4) @ rows(4, 4, 1) + 1.0).requires_grad_()
    sigreg = SIGReg(64)
    optimizer = torch.optim.Adam([z], lr=0.03)
    for step in range(400):
        optimizer.zero_grad()
        sigreg(z, step).backward()
        optimizer.step()
    assert z.detach().mean(0).abs().max() < 0.1
    torch.testing.assert_close(torch.cov(z.detach().T), torch.eye(4).double(), atol=0.15, rtol=0)
