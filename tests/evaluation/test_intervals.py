"""Bootstrap intervals: agreement with the naive form, coverage, and what clusters do."""

import numpy as np
import pytest
import scipy.stats

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.intervals import (
    cluster_draws,
    mean_interval,
    spearman,
    spearman_interval,
    weighted_spearman,
)


def test_mean_interval_is_close_to_the_normal_one_for_independent_values() -> None:
    values = np.random.default_rng(0).standard_normal(2000) + 3
    low, high = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_coverage_over_repeated_samples() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        # 40 clusters of 5 values that share an offset; the true mean is 0.
        values = (generator.standard_normal((40, 1)) + 0.5 * generator.standard_normal((40, 5))).ravel()
        low, high = mean_interval(values, np.repeat(np.arange(40), 5), resamples=400)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 300 <= 0.985


def test_clusters_widen_the_interval_of_dependent_values() -> None:
    values = np.repeat(np.random.default_rng(2).standard_normal(30), 50)
    alone = mean_interval(values)
    clustered = mean_interval(values, np.repeat(np.arange(30), 50))
    # Fifty copies carry no news: the honest interval is about sqrt(50) times wider.
    assert 5 < (clustered.high - clustered.low) / (alone.high - alone.low) < 9


def test_sums_and_counts_equal_resampled_rows() -> None:
    generator = np.random.default_rng(3)
    values, clusters = generator.random(200), generator.integers(0, 25, 200)
    members = [values[clusters == c] for c in range(25)]
    means = [np.concatenate([members[i] for i in generator.integers(0, 25, 25)]).mean() for _ in range(4000)]
    low, high = np.percentile(means, [2.5, 97.5])
    interval = mean_interval(values, clusters, resamples=4000)
    assert interval.low == pytest.approx(low, abs=0.006)
    assert interval.high == pytest.approx(high, abs=0.006)


def test_labels_may_be_of_any_type_and_order() -> None:
    values = [0.0, 1.0, 0.0, 1.0, 1.0]
    assert mean_interval(values, ["b", "a", "b", "a", "c"]) == mean_interval(values, [1, 0, 1, 0, 2])


def test_draws_are_shared_so_nobody_can_change_them() -> None:
    draws, _ = cluster_draws(None, 7, resamples=5, seed=3)
    assert cluster_draws(list("gfedcba"), 7, resamples=5, seed=3)[0] is draws
    assert (cluster_draws(None, 7, resamples=5, seed=4)[0] != draws).any()
    with pytest.raises(ValueError, match="read-only"):
        draws[0, 0] = 1


def test_seeded() -> None:
    values = np.arange(20.0)
    assert mean_interval(values, seed=5) == mean_interval(values, seed=5)
    assert mean_interval(values, seed=5) != mean_interval(values, seed=6)


def test_spearman_equals_scipy_with_ties() -> None:
    generator = np.random.default_rng(4)
    for _ in range(20):
        x, y = generator.integers(0, 6, 50), generator.integers(0, 4, 50)
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_weighted_spearman_equals_scipy_on_repeated_rows() -> None:
    """Two columns with ties, clusters of rows, and more resamples than one block holds."""
    generator = np.random.default_rng(6)
    columns = generator.integers(0, 7, (2, 40))
    other, labels = generator.integers(0, 5, 40), np.repeat(np.arange(20), 2)
    draws = generator.multinomial(20, np.full(20, 1 / 20), size=2000)
    places = [np.unique(column, return_inverse=True)[1] for column in (*columns, other)]
    found = weighted_spearman(draws, labels, places[:2], places[2])
    assert found.shape == (2000, 2)
    for number in (0, 1, 999, 1638, 1639, 1999):
        rows = np.repeat(np.arange(40), draws[number, labels])
        expected = [scipy.stats.spearmanr(column[rows], other[rows]).statistic for column in columns]
        assert found[number] == pytest.approx(expected, abs=1e-12)


def test_weighted_spearman_of_one_distinct_value_is_undefined() -> None:
    places, labels = np.array([0, 1, 2]), np.arange(3)
    found = weighted_spearman(np.array([[3, 0, 0], [1, 1, 1]]), labels, [places, places[::-1]], places)
    assert np.isnan(found[0]).all()
    assert found[1] == pytest.approx([1.0, -1.0])


def test_spearman_interval_holds_spearman_widens_with_clusters_and_drops_undefined_resamples() -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal(300)
    y = x + generator.standard_normal(300)
    low, high = spearman_interval(x, y)
    assert low < spearman(x, y) < high
    assert 0.05 < high - low < 0.25
    copied = spearman_interval(np.repeat(x, 4), np.repeat(y, 4), np.repeat(np.arange(300), 4))
    assert copied == pytest.approx((low, high), abs=0.03)
    assert np.isfinite(spearman_interval([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])).all()
    with pytest.raises(LangJepaError, match="constant"):
        spearman_interval([1.0, 1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "clusters"),
    [([1.0, 2.0], [7, 7]), ([], None), ([1.0, float("nan")], None), ([1.0, 2.0], [1, 2, 3])],
)
def test_refusals(values: list[float], clusters: list[int] | None) -> None:
    with pytest.raises(LangJepaError):
        mean_interval(values, clusters)


def test_nothing_but_misses_or_hits_is_not_certain() -> None:
    """Wilson's interval with as many trials as clusters (20: .161); of differences, and of a mix, nothing changes."""
    clusters = np.arange(60) // 3
    assert mean_interval(np.zeros(60), clusters, shares=True) == pytest.approx((0, 0.1611), abs=1e-4)
    assert mean_interval(np.ones(60), clusters, shares=True) == pytest.approx((0.8389, 1), abs=1e-4)
    assert mean_interval(np.zeros(60), clusters) == (0, 0)
    mixed = np.arange(60) % 2
    assert mean_interval(mixed, clusters, shares=True) == mean_interval(mixed, clusters)
