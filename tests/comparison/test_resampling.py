"""Intervals of differences: right on simulations whose truth is known, and equal to a plain computation."""

import numpy as np
import pytest
from scipy.stats import spearmanr, ttest_rel

from lang_jepa.comparison.verdict import (
    Array,
    Difference,
    Side,
    _resampled,
    _runs,
    differences,
    seed_weights,
)
from lang_jepa.errors import LangJepaError

CLUSTERS = np.repeat(np.arange(40), 3)
HARDNESS = 2.0  # of documents: far larger than anything that is to be found


def difference(variant: Side, baseline: Side, **options: int) -> Difference:
    return differences([variant], baseline, **options)[0]


def _sides(
    generator: np.random.Generator, seeds: int, *, effect: float, by_seed: float, by_document: float
) -> tuple[Side, Side]:
    """A variant and a baseline that answer the same questions; `effect` is the true difference."""
    hard = generator.normal(0, HARDNESS, 40)[CLUSTERS]
    own = generator.normal(0, by_document, 40)[CLUSTERS] + effect

    def runs(shift: Array | float) -> list[Array]:
        noise = generator.normal(0, 0.3, (seeds, len(CLUSTERS)))
        return list(hard + shift + generator.normal(0, by_seed, (seeds, 1)) + noise)

    return Side.of(runs(own), CLUSTERS), Side.of(runs(0.0), CLUSTERS)


@pytest.mark.parametrize(("seeds", "by_seed", "by_document"), [(3, 0.3, 0.0), (5, 0.3, 0.0), (5, 0.0, 0.5)])
def test_without_a_difference_few_intervals_exclude_zero(seeds: int, by_seed: float, by_document: float) -> None:
    """300 comparisons of equals, whichever of seeds and documents varies: at most about one in twenty is wrong."""
    generator = np.random.default_rng(7)
    wrong = 0
    for number in range(300):
        sides = _sides(generator, seeds, effect=0.0, by_seed=by_seed, by_document=by_document)
        found = difference(*sides, resamples=400, seed=number)
        wrong += found.low > 0 or found.high < 0
    assert 0.005 < wrong / 300 < 0.08


def test_a_difference_is_found_and_measured() -> None:
    """Found nearly always, though documents differ forty times as much: pairing takes that out."""
    generator = np.random.default_rng(3)
    found = [
        difference(*_sides(generator, 5, effect=0.2, by_seed=0.03, by_document=0.1), resamples=400, seed=n)
        for n in range(60)
    ]
    assert sum(one.low > 0 for one in found) > 55
    assert sum(one.low < 0.2 < one.high for one in found) > 52
    assert np.mean([one.value for one in found]) == pytest.approx(0.2, abs=0.02)


def test_questions_that_differ_are_not_paired() -> None:
    generator = np.random.default_rng(1)
    variant, baseline = _sides(generator, 5, effect=0.0, by_seed=0.03, by_document=0.0)
    other = Side(variant.points, variant.values, variant.clusters, None, "other questions")
    paired, apart = (difference(one, baseline, resamples=500) for one in (variant, other))
    assert (paired.paired, apart.paired) == (True, False)
    assert apart.high - apart.low > 3 * (paired.high - paired.low)


def test_variants_resampled_together_differ_from_the_baseline_as_each_does_alone() -> None:
    """One that answers the same questions, one that answers others, one without values per question."""
    generator = np.random.default_rng(2)
    variant, baseline = _sides(generator, 4, effect=0.1, by_seed=0.1, by_document=0.2)
    other = Side(variant.points, variant.values, variant.clusters, None, "other questions")
    alone = Side(variant.points + 0.2)
    variants = [other, variant, alone, baseline]
    together = differences(variants, baseline, resamples=1500)
    assert together == [difference(one, baseline, resamples=1500) for one in variants]
    assert [one.paired for one in together] == [False, True, True, True]
    assert (together[3].value, together[3].low, together[3].high, together[3].p) == (0, 0, 0, 1)


def test_one_resample_by_hand() -> None:
    """Two runs, three documents of unequal size, drawn 2, 0 and 1 times."""
    values = [np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.0])]
    side = Side.of(values, np.array([5, 5, 8, 9]))
    table = _runs(side, np.array([[2, 0, 1]]))
    assert table.tolist() == [[(2 * 1 + 1) / 5, 0.0]]
    assert side.points.tolist() == [0.75, 0.25]


def test_correlations_are_scipys_on_the_repeated_pairs() -> None:
    generator = np.random.default_rng(0)
    values, labels = generator.integers(0, 5, (2, 30)).astype(float), generator.integers(0, 4, 30) / 1.0
    side = Side.of(list(values), None, labels)
    draws = generator.multinomial(30, np.full(30, 1 / 30), size=4)
    for row, draw in zip(_runs(side, draws), draws, strict=True):
        rows = np.repeat(np.arange(30), draw)
        expected = [spearmanr(run[rows], labels[rows]).statistic for run in values]
        assert row.tolist() == pytest.approx(expected, abs=1e-12)
    assert side.points.tolist() == pytest.approx([spearmanr(run, labels).statistic for run in values])


def test_resamples_are_centred_on_the_score() -> None:
    """Also with few seeds, whose weights vary much."""
    generator = np.random.default_rng(0)
    side, _ = _sides(generator, 4, effect=0.0, by_seed=0.5, by_document=0.0)
    (resampled,) = _resampled([side], 4000, np.random.default_rng(0))
    assert resampled.mean() == pytest.approx(side.points.mean(), abs=0.05)
    ones = Side.of([np.ones(6)] * 4)
    assert _resampled([ones], 50, np.random.default_rng(0))[0] == pytest.approx(np.ones(50))


def test_equal_runs_differ_by_nothing() -> None:
    side = Side.of([np.array([0.0, 1.0, 1.0])] * 3)
    found = difference(side, side)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_scores_of_seeds_alone_have_students_interval(seeds: int) -> None:
    """Interval and p-value are those of the paired t test, which knows how little a few seeds tell."""
    generator = np.random.default_rng(seeds)
    ours, theirs = generator.normal(0.1, 0.1, seeds), generator.normal(0.0, 0.1, seeds)
    found = difference(Side(ours), Side(theirs), resamples=200_000)
    test = ttest_rel(ours, theirs)
    expected = test.confidence_interval(0.95)
    width = expected.high - expected.low
    assert (found.questions, found.clusters) == (0, 0)
    assert found.low == pytest.approx(expected.low, abs=0.02 * width)
    assert found.high == pytest.approx(expected.high, abs=0.02 * width)
    assert found.p == pytest.approx(test.pvalue, rel=0.1)


def test_weights_sum_to_one() -> None:
    assert seed_weights(5, 50, np.random.default_rng(0)).sum(1) == pytest.approx(np.ones(50))
    assert seed_weights(1, 3, np.random.default_rng(0)).tolist() == [[1.0]] * 3


def test_bad_input_is_refused() -> None:
    with pytest.raises(LangJepaError, match="seeds must be paired"):
        difference(Side(np.zeros(2)), Side(np.zeros(3)))
    with pytest.raises(LangJepaError, match="NaN"):
        difference(Side(np.array([np.nan, 0.0])), Side(np.zeros(2)))


def test_a_ratio_resamples_what_is_above_with_what_is_below() -> None:
    """Bits over bytes: the metric is a sum over a sum, and so is each resample, by the same documents."""
    generator = np.random.default_rng(5)
    sizes = generator.integers(10, 1000, 30).astype(float)
    rates = generator.normal(2.0, 0.5, 30)
    bits = [sizes * rates, sizes * (rates + 0.1)]
    side = Side.of(bits, sizes=sizes)
    assert side.points == pytest.approx([float(one.sum() / sizes.sum()) for one in bits])
    draws = generator.multinomial(30, np.full(30, 1 / 30), size=4)
    expected = [[(draw * one).sum() / (draw * sizes).sum() for one in bits] for draw in draws]
    assert _runs(side, draws) == pytest.approx(np.array(expected))


def test_equal_rates_differ_by_nothing_however_long_documents_are() -> None:
    """Two models that need .1 bits a byte more and less in every document: no doubt is left, at any size."""
    sizes = np.array([10.0, 10.0, 10_000.0])
    better, worse = (Side.of([sizes * rate] * 3, sizes=sizes) for rate in (1.9, 2.0))
    found = difference(better, worse, resamples=500)
    assert (found.value, found.low, found.high) == pytest.approx((-0.1, -0.1, -0.1))
