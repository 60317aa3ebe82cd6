"""Distances as mathematics: known values, invariances, and how the two are related; and the running centre."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.objectives.distance import (
    DISTANCES,
    MSE,
    Centre,
    Contrastive,
    Cosine,
    SmoothL1,
)
from lang_jepa.settings.load import load_settings

smooth_l1, cosine, mse, contrastive = SmoothL1(), Cosine(), MSE(), Contrastive()
TEMPERATURE, NEAR = 0.1, 8
NAMES = sorted(DISTANCES.keys() - {"contrastive"})
"""Those that look at one pair at a time."""
OF_DIRECTIONS = ["cosine", "smooth_l1"]


def vectors(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def pair(dim: int, angle: float) -> tuple[Tensor, Tensor]:
    """Two vectors of unequal length with an angle between them, spread over all dimensions."""
    first, other = torch.linalg.qr(vectors(dim, 2, seed=3).double()).Q.T
    return 2.0 * first[None], 0.3 * (math.cos(angle) * first + math.sin(angle) * other)[None]


@pytest.mark.parametrize("name", OF_DIRECTIONS)
def test_equal_directions_are_at_zero(name: str) -> None:
    x = vectors(5, 8)
    distance = DISTANCES[name]()(x, x * torch.tensor([0.1, 1, 2, 30, 1e4])[:, None])
    assert distance.shape == (5,)
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, torch.zeros(5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dim", [1, 2, 4, 16, 768])
def test_smooth_l1_of_one_hot_vectors(dim: int) -> None:
    """The linear part is reached: sqrt(D) away in two dimensions, or 2 sqrt(D) in one."""
    one = torch.eye(dim)[:1]
    assert smooth_l1(one, -3 * one).item() == pytest.approx((2 * dim**0.5 - 0.5) / dim)
    if dim > 1:
        other = torch.eye(dim)[1:2]
        assert smooth_l1(one, other).item() == pytest.approx(2 * (dim**0.5 - 0.5) / dim)


def test_smooth_l1_between_its_parts() -> None:
    """Of two dimensions one differs by less than 1 and one by more: half a square and a line."""
    ours, theirs = pair(2, 1.0)
    ours, theirs = torch.tensor([[1.0, 1.0]]), torch.tensor([[7.0, 1.0]])
    theirs_unit = [7 / 50**0.5 * 2**0.5, 1 / 50**0.5 * 2**0.5]
    expected = (0.5 * (theirs_unit[0] - 1) ** 2 + 0.5 * (1 - theirs_unit[1]) ** 2) / 2
    assert smooth_l1(ours, theirs).item() == pytest.approx(expected)
    theirs = torch.tensor([[7.0, -1.0]])
    expected = (0.5 * (theirs_unit[0] - 1) ** 2 + (1 + theirs_unit[1] - 0.5)) / 2
    assert smooth_l1(ours, theirs).item() == pytest.approx(expected)


@pytest.mark.parametrize("dim", [4, 64, 768])
@pytest.mark.parametrize("angle", [0.01, 0.1, 0.25])
def test_smooth_l1_is_the_cosine_distance_for_small_differences(dim: int, angle: float) -> None:
    """For unit-RMS vectors with all differences below 1, whatever the dimension."""
    ours, theirs = pair(dim, angle)
    units = [functional.normalize(x, dim=-1) * dim**0.5 for x in (ours, theirs)]
    assert (units[0] - units[1]).abs().max() < 1
    assert smooth_l1(ours, theirs).item() == pytest.approx(1 - math.cos(angle), rel=1e-3)
    assert cosine(ours, theirs).item() == pytest.approx(1 - math.cos(angle), rel=1e-2)


def test_smooth_l1_is_below_the_cosine_distance_for_large_ones() -> None:
    ours, theirs = vectors(20, 64), vectors(20, 64, seed=1)
    assert (smooth_l1(ours, theirs) < cosine(ours, theirs) - 0.05).all()


@pytest.mark.parametrize("angle", [0.0, 0.5, math.pi / 2, 2.0, math.pi])
def test_cosine_is_one_minus_the_cosine(angle: float) -> None:
    assert cosine(*pair(16, angle)).item() == pytest.approx(1 - math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("name", OF_DIRECTIONS)
@hypothesis_settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_lengths_do_not_matter(name: str, ours: float, theirs: float, seed: int) -> None:
    """So that a predictor cannot lower its loss by shrinking."""
    x, y = vectors(3, 8, seed), vectors(3, 8, seed + 100)
    torch.testing.assert_close(DISTANCES[name]()(ours * x, theirs * y), DISTANCES[name]()(x, y), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OF_DIRECTIONS)
def test_gradient_is_at_right_angles_to_the_prediction(name: str) -> None:
    x = vectors(4, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(DISTANCES[name]()(x, vectors(4, 8, seed=1)).sum(), x)
    assert gradient.norm(dim=1).min() > 1e-3
    torch.testing.assert_close((gradient * x).sum(1), torch.zeros(4), atol=1e-6, rtol=0)


def test_mse_compares_lengths_too() -> None:
    assert mse(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]])).item() == pytest.approx((9 + 16) / 2)
    assert float(mse(vectors(500, 64), vectors(500, 64, seed=1)).mean()) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_one_value_for_each_row_in_fp32(name: str) -> None:
    x, y = vectors(4, 8), vectors(4, 8, seed=1)
    rows = torch.cat([DISTANCES[name]()(x[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(DISTANCES[name]()(x, y), rows)
    assert DISTANCES[name]()(x.bfloat16(), y.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(DISTANCES[name]()(x, y), DISTANCES[name]()(y, x))


def test_the_two_distances_do_not_coincide() -> None:
    """An option that orders and weighs errors like another would be none."""
    x, y = vectors(50, 32), vectors(50, 32, seed=1)
    ratio = smooth_l1(x, y) / cosine(x, y)
    assert ratio.max() / ratio.min() > 1.05


def test_centre_starts_at_the_first_mean_and_then_moves() -> None:
    centre = Centre(2, momentum=0.9)
    assert torch.equal(centre.apply(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))
    centre.update(torch.tensor([4.0, 2.0]), 2)
    torch.testing.assert_close(centre.mean, torch.tensor([2.0, 1.0]))
    centre.update(torch.tensor([0.0, 5.0]), 5)
    torch.testing.assert_close(centre.mean, torch.tensor([1.8, 1.0]))
    torch.testing.assert_close(centre.apply(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6 - 1.8, 0.8 - 1.0]]))


def test_centre_goes_on_after_saving() -> None:
    centre, again = Centre(3, momentum=0.99), Centre(3, momentum=0.99)
    centre.update(torch.ones(3), 1)
    again.load_state_dict(centre.state_dict())
    for one in (centre, again):
        one.update(torch.tensor([0.0, 1.0, 2.0]), 1)
    assert torch.equal(centre.mean, again.mean)
    torch.testing.assert_close(again.mean, torch.tensor([0.99, 1.0, 1.01]))


def test_centre_is_not_taken_for_started_when_it_is_not() -> None:
    fresh = Centre(1)
    fresh.load_state_dict(Centre(1).state_dict())
    fresh.update(torch.tensor([8.0]), 2)
    assert fresh.mean.item() == 4.0


def test_contrastive_is_the_cross_entropy_of_finding_the_own_target() -> None:
    x, y = of_unit_rms(vectors(5, 8)), vectors(5, 8, seed=1)
    cosines = functional.cosine_similarity(x[:, None], y[None], dim=-1) / TEMPERATURE
    expected = torch.tensor(
        [-math.log(math.exp(row[i]) / sum(map(math.exp, row))) for i, row in enumerate(cosines.tolist())]
    )
    torch.testing.assert_close(contrastive(x, y), expected)
    torch.testing.assert_close(contrastive(x, 0.1 * y), expected)
    assert contrastive(x.bfloat16(), y.bfloat16()).dtype == torch.float32


def of_unit_rms(x: torch.Tensor) -> torch.Tensor:
    return functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5


def test_contrastive_takes_the_length_of_a_prediction_for_how_sure_it_is() -> None:
    """A wrong prediction costs less when it is short, a right one when it is long; one of length 0 is a guess."""
    targets, right = torch.eye(4), 2 * torch.eye(4)
    wrong = right.roll(1, 0)
    assert (contrastive(0.1 * wrong, targets) < contrastive(wrong, targets)).all()
    assert (contrastive(0.1 * right, targets) > contrastive(right, targets)).all()
    assert contrastive(0 * right, targets).tolist() == pytest.approx([math.log(4)] * 4)


def test_contrastive_known_values() -> None:
    one_hot = torch.eye(4)
    right = math.log(1 + 3 * math.exp(-1 / TEMPERATURE))
    assert contrastive(2 * one_hot, one_hot).tolist() == pytest.approx([right] * 4, abs=1e-6)
    assert contrastive(one_hot[:1], one_hot[:1]).item() == 0.0  # nothing else to be taken for it
    lost = contrastive(torch.ones(4, 4), one_hot)  # as near to all of them
    assert lost.tolist() == pytest.approx([math.log(4)] * 4)


def test_contrastive_leaves_out_what_stands_near() -> None:
    """Sentences of the context, and the same sentence asked for again, are no wrong answers; far ones are."""
    x, y = of_unit_rms(vectors(4, 8)), vectors(4, 8, seed=1)
    positions = torch.tensor([100, 100 + NEAR, 100 + NEAR + 1, 100])
    cosines = functional.cosine_similarity(x[:, None], y[None], dim=-1) / TEMPERATURE
    rivals = [[0, 2], [1], [0, 2, 3], [2, 3]]  # the own one and those farther away than NEAR
    expected = [
        -float(torch.log_softmax(cosines[row, kept], dim=-1)[kept.index(row)]) for row, kept in enumerate(rivals)
    ]
    assert contrastive(x, y, positions).tolist() == pytest.approx(expected, abs=1e-5)
    assert contrastive(x, y, positions).tolist() != pytest.approx(contrastive(x, y).tolist(), abs=1e-2)


def test_contrastive_by_its_settings() -> None:
    """A lower temperature and a nearer text are other wrong answers; a target of the same text never is one."""
    x, y = of_unit_rms(vectors(4, 8)), vectors(4, 8, seed=1)
    texts = torch.tensor([7, 8, 9, 7])
    one = Contrastive(temperature=0.5, near=0)
    cosines = functional.cosine_similarity(x[:, None], y[None], dim=-1) / 0.5
    rivals = [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3]]
    expected = [
        -float(torch.log_softmax(cosines[row, kept], dim=-1)[kept.index(row)]) for row, kept in enumerate(rivals)
    ]
    assert one(x, y, torch.arange(4), texts).tolist() == pytest.approx(expected, abs=1e-5)
    settings = load_settings("concepts", ["optimization.loss_fn=contrastive", "objective.contrastive_near=0",
                                          "objective.contrastive_temperature=0.5", "objective.center_targets=false"])  # fmt: skip
    made = Contrastive.of(settings)
    assert (made.temperature, made.near) == (0.5, 0)
    with pytest.raises(
        LangJepaError, match=r"objective\.contrastive_near has no effect beside optimization\.loss_fn=co"
    ):
        load_settings("concepts", ["objective.contrastive_near=0"])


def test_contrastive_of_a_collapsed_encoder_is_a_guess() -> None:
    """Equal vectors of different texts stay wrong targets: a collapse must cost log N, and not nothing."""
    same, texts = torch.ones(5, 8), torch.tensor([1, 2, 3, 3, 3])
    assert contrastive(same, same).tolist() == pytest.approx([math.log(5)] * 5)
    expected = [math.log(5), math.log(5), *[math.log(3)] * 3]
    assert contrastive(same, same, None, texts).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["objective.contrastive_near=17"], r"contrastive_near=17 exceeds the size of a context or passage \(16\)"),
        (["objective.contrastive_near=15", "data.batch_size=1"], "has no wrong targets where a batch holds one"),
    ],
)
def test_settings_that_leave_no_wrong_targets_are_refused(overrides: list[str], said: str) -> None:
    given = ["optimization.loss_fn=contrastive", "objective.center_targets=false", "data.passage_size=16"]
    assert load_settings("concepts", [*given, "objective.contrastive_near=16", "data.batch_size=2"])
    assert load_settings("concepts", [*given, "objective.contrastive_near=14", "data.batch_size=1"])
    with pytest.raises(LangJepaError, match=said):
        load_settings("concepts", [*given, *overrides])
