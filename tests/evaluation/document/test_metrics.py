"""Pk, WindowDiff and AUC against values worked out by hand and against plain loops."""

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.segmentation import auc, half_segment, pk, window_diff


def test_half_segment() -> None:
    assert half_segment([5], 10) == 3  # two segments of 5: 2.5, rounded half up
    assert half_segment([], 10) == 5
    assert half_segment([1], 2) == 1


def test_by_hand() -> None:
    """Ten sentences, truth 5, found 6, k = 3: the seven windows hold gaps 1-3, 2-4, 3-5, 4-6, 5-7, 6-8, 7-9.

    Truth has a boundary in 3-5, 4-6, 5-7 and the found one in 4-6, 5-7, 6-8: they differ in two of seven.
    """
    assert pk([5], [6], 10) == pytest.approx(2 / 7)
    assert window_diff([5], [6], 10) == pytest.approx(2 / 7)


def test_where_the_two_differ() -> None:
    """A second boundary beside the true one: Pk sees it only where the true one is out of sight, WindowDiff always."""
    # k = 3, found 5 and 6: in 3-5 and 6-8 one boundary is found, in 4-6 and 5-7 two.
    assert pk([5], [5, 6], 10) == pytest.approx(1 / 7)
    assert window_diff([5], [5, 6], 10) == pytest.approx(3 / 7)


def test_ends_of_the_scale() -> None:
    assert pk([3, 6], [3, 6], 9) == window_diff([3, 6], [3, 6], 9) == 0
    everywhere = list(range(1, 9))
    assert window_diff([], everywhere, 9) == pk([], everywhere, 9) == 1
    assert pk([], [], 9) == 0


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = 30
    true, found = (np.sort(generator.choice(np.arange(1, count), 5, replace=False)) for _ in range(2))
    k = half_segment(true, count)
    segment = [[int((ones <= i).sum()) for i in range(count)] for ones in (true, found)]
    pairs = [(i, i + k) for i in range(count - k)]
    differ = [(segment[0][a] == segment[0][b]) != (segment[1][a] == segment[1][b]) for a, b in pairs]
    counts = [segment[0][b] - segment[0][a] != segment[1][b] - segment[1][a] for a, b in pairs]
    assert pk(true, found, count) == pytest.approx(np.mean(differ))
    assert window_diff(true, found, count) == pytest.approx(np.mean(counts))


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(LangJepaError, match="from 1 to 9"):
        pk([0], [5], 10)
    with pytest.raises(LangJepaError, match="from 1 to 9"):
        window_diff([5], [10], 10)
    with pytest.raises(LangJepaError, match="at least two sentences"):
        pk([], [], 1)


def test_auc() -> None:
    assert auc([1, 2, 3, 4], [False, False, True, True]) == 1
    assert auc([4, 3, 2, 1], [False, False, True, True]) == 0
    assert auc([1, 3, 2, 4], [False, True, False, True]) == 1
    assert auc([0, 0, 0], [True, False, False]) == 0.5  # ties count half
    assert auc([2, 1, 3, 2], [True, False, False, False]) == pytest.approx(0.5)
    with pytest.raises(LangJepaError, match="at least one positive and one negative"):
        auc([1, 2], [True, True])
    with pytest.raises(LangJepaError, match="no NaN"):
        auc([1, float("nan")], [True, False])
