"""Known values and closed forms of the geometry metrics."""

import math

import numpy as np
import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics import geometry


def gaussian(rows: int, dims: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed))


def test_effective_rank_counts_equal_directions() -> None:
    # Plus and minus each of 5 axes: centred already, 5 equal singular values.
    x = torch.cat([torch.eye(5), -torch.eye(5)])
    assert geometry.effective_rank(x) == pytest.approx(5.0, abs=1e-9)


def test_effective_rank_centres_first() -> None:
    # The simplex of N unit vectors spans N - 1 directions once its mean is gone.
    assert geometry.effective_rank(torch.eye(6) + 100.0) == pytest.approx(5.0, abs=1e-6)


def test_effective_rank_of_a_line_and_of_a_point() -> None:
    direction = torch.tensor([[1.0, 2.0, 3.0]])
    assert geometry.effective_rank(torch.arange(20.0)[:, None] * direction) == pytest.approx(1.0, abs=1e-6)
    assert geometry.effective_rank(torch.ones(7, 3)) == 0.0


@pytest.mark.parametrize(("rows", "dims"), [(40, 12), (12, 40)])
def test_effective_rank_equals_numpy_svd(rows: int, dims: int) -> None:
    x = gaussian(rows, dims) * torch.linspace(0.1, 3, dims)
    singular = np.linalg.svd((x - x.mean(0)).numpy().astype(np.float64), compute_uv=False)
    p = singular / singular.sum()
    p = p[p > 1e-9]
    assert geometry.effective_rank(x) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-4)


def test_first_component_share_sees_a_common_offset_unless_centred() -> None:
    x = gaussian(400, 16) + 50.0
    assert geometry.first_component_share(x) > 0.99
    assert geometry.first_component_share(x, centred=True) < 0.12
    assert geometry.first_component_share(torch.eye(8)) == pytest.approx(1 / 8)
    assert geometry.first_component_share(torch.ones(4, 3), centred=True) == 1.0


def test_mean_pairwise_cosine_equals_the_loop_and_ignores_lengths() -> None:
    x = gaussian(15, 4) + 0.5
    pairs = [torch.cosine_similarity(x[i], x[j], dim=0) for i in range(15) for j in range(15) if i != j]
    expected = float(torch.stack(pairs).mean())
    assert geometry.mean_pairwise_cosine(x) == pytest.approx(expected, abs=1e-6)
    assert geometry.mean_pairwise_cosine(x * torch.arange(1, 16)[:, None]) == pytest.approx(expected, abs=1e-6)
    assert geometry.mean_pairwise_cosine(torch.eye(5)) == pytest.approx(0.0, abs=1e-12)
    assert geometry.diversity(torch.ones(5, 3)) == pytest.approx(0.0, abs=1e-12)
    assert geometry.mean_pairwise_cosine(torch.tensor([[1.0, 0], [-3.0, 0]])) == pytest.approx(-1.0)


def test_normalized_std_is_one_on_the_sphere_for_any_width_and_zero_after_collapse() -> None:
    for dims in (8, 256):
        assert geometry.normalized_std(gaussian(3000, dims)) == pytest.approx(1.0, abs=0.01)
    assert geometry.normalized_std(torch.ones(9, 4)) == pytest.approx(0.0, abs=1e-9)


def test_off_diagonal_covariance_equals_numpy() -> None:
    x = gaussian(30, 5)
    covariance = np.cov(x.numpy(), rowvar=False)
    off = np.abs(covariance[~np.eye(5, dtype=bool)]).mean()
    assert geometry.off_diagonal_covariance_l1(x) == pytest.approx(off, rel=1e-5)
    assert geometry.off_diagonal_covariance_l1(x[:, :1]) == 0.0


def test_alignment_of_equal_orthogonal_and_opposite_pairs() -> None:
    x = gaussian(10, 6)
    assert geometry.alignment(x, 3 * x) == pytest.approx(0.0, abs=1e-9)
    assert geometry.alignment(x, -x) == pytest.approx(4.0)
    assert geometry.alignment(torch.eye(4), torch.eye(4).roll(1, 0)) == pytest.approx(2.0)


def test_uniformity_equals_the_loop_whatever_the_block() -> None:
    x = torch.nn.functional.normalize(gaussian(21, 3).double(), dim=1)
    kernel = [torch.exp(-2 * (x[i] - x[j]).square().sum()) for i in range(21) for j in range(21) if i != j]
    expected = math.log(float(torch.stack(kernel).mean()))
    for block in (1, 4, 1024):
        assert geometry.uniformity(x, block=block) == pytest.approx(expected, rel=1e-9)
    assert geometry.uniformity(torch.ones(6, 3)) == pytest.approx(0.0, abs=1e-9)
    assert geometry.uniformity(torch.eye(6)) == pytest.approx(-4.0)


def test_health_of_a_perfect_batch() -> None:
    targets = gaussian(64, 16)
    metrics = geometry.health(targets, torch.nn.functional.normalize(targets, dim=1))
    assert metrics["cosine_similarity"] == pytest.approx(1.0)
    assert metrics["hit_rate"] == 1.0
    assert metrics["norm"] == pytest.approx(1.0)
    assert metrics["count"] == 64
    assert metrics["target_eff_rank_limit"] == 16
    assert metrics["target_std_relative"] == pytest.approx(4 * metrics["target_std_mean"])
    assert metrics["raw_std"] == pytest.approx(float(targets.std(0, correction=0).mean()), rel=1e-5)
    assert 1 < metrics["target_eff_rank"] <= 16


def test_health_of_a_collapsed_batch_hits_nothing() -> None:
    metrics = geometry.health(torch.ones(10, 4), torch.ones(10, 4))
    assert metrics["cosine_similarity"] == pytest.approx(1.0)
    assert metrics["hit_rate"] == 0.0
    assert metrics["mean_pairwise_cosine"] == pytest.approx(1.0)
    assert metrics["target_eff_rank"] == 0.0
    assert metrics["diversity"] == pytest.approx(0.0, abs=1e-9)


def test_hit_rate_counts_own_targets_only() -> None:
    targets = torch.eye(4)
    swapped = targets[[1, 0, 2, 3]]
    assert geometry.health(targets, swapped)["hit_rate"] == 0.5


def test_half_precision_input_is_widened() -> None:
    x = gaussian(50, 8).bfloat16()
    assert geometry.effective_rank(x) == pytest.approx(geometry.effective_rank(x.double()), rel=1e-9)


@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(1, 4), torch.full((4, 2), float("nan"))])
def test_bad_input_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(LangJepaError):
        geometry.effective_rank(bad)


def test_shapes_that_do_not_pair_are_refused() -> None:
    with pytest.raises(LangJepaError, match="pairs"):
        geometry.alignment(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(LangJepaError, match="one prediction per target"):
        geometry.health(torch.ones(3, 2), torch.ones(4, 2))
