"""The three rules, each of which must be able to stop a verdict."""

import numpy as np
import pytest

from lang_jepa.comparison.verdict import Array, Call, Difference, Metric, Side, Verdict, holm, judge, verdicts

HIGHER, LOWER = Metric("task", "test", "recall@1"), Metric("task", "dev", "alignment (lower is better)")


def _judge(
    value: float, low: float, high: float, *, p: float = 0.001, points: tuple[float, ...] = (0.4, 0.5, 0.6)
) -> Verdict:
    """A difference against a baseline whose score has a standard deviation of 0.1 over seeds."""
    baseline = Side(np.array(points))
    found = Difference(value, low, high, p, True, 100, 10)
    return judge(HIGHER, "variant", baseline, Side(np.array(points) + value), found, p, 12)


def test_all_rules_passed() -> None:
    one = _judge(0.2, 0.1, 0.3)
    assert one.call == "better"
    assert (one.baseline_mean, one.variant_mean) == (pytest.approx(0.5), pytest.approx(0.7))
    assert (one.baseline_std, one.baseline_range) == (pytest.approx(0.1), pytest.approx(0.2))
    assert _judge(-0.2, -0.3, -0.1).call == "worse"


@pytest.mark.parametrize(
    ("verdict", "failed", "rule"),
    [
        (_judge(0.2, -0.01, 0.4), "interval", "the 95 % interval holds 0"),
        (_judge(0.09, 0.05, 0.13), "spread", "not above the baseline's own spread over seeds, 0.1000"),
        (_judge(-0.09, -0.13, -0.05), "spread", "not above the baseline's own spread over seeds, 0.1000"),
        (_judge(0.2, 0.1, 0.3, p=0.06), "Holm", "p = 0.06 after Holm's correction for 12 comparisons"),
    ],
)
def test_the_failed_rule_is_named(verdict: Verdict, failed: str, rule: str) -> None:
    assert verdict.call == "indistinguishable at this budget"
    assert (verdict.failed, verdict.reason) == ((failed,), rule)


def test_two_seeds_are_too_few_whatever_they_say() -> None:
    assert _judge(0.9, 0.8, 1.0, points=(0.1, 0.1)).call == "too few seeds to judge"


def test_less_of_a_distance_is_better() -> None:
    baseline = Side(np.array([1.0, 1.01, 0.99, 1.0]))
    below, above = Side(baseline.points - 0.5), Side(baseline.points + 0.5)
    calls: dict[str, Call] = {
        one.variant: one.call for one in verdicts({LOWER: baseline}, {"below": {LOWER: below}, "above": {LOWER: above}})
    }
    assert calls == {"below": "better", "above": "worse"}


def test_holm_by_hand() -> None:
    """Sorted .005, .01, .03, .04 times 4, 3, 2, 1 gives .02, .03, .06, .04; the last may not fall below .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([]) == []


def test_only_shared_metrics_are_judged_and_all_are_counted() -> None:
    side = Side(np.zeros(3))
    found = verdicts({HIGHER: side, LOWER: side}, {"a": {HIGHER: side, LOWER: side}, "b": {HIGHER: side}})
    assert [(one.variant, one.metric) for one in found] == [("a", HIGHER), ("a", LOWER), ("b", HIGHER)]
    assert {one.comparisons for one in found} == {3}
    assert {one.call for one in found} == {"indistinguishable at this budget"}


def test_a_family_of_equals_is_rarely_judged_at_all() -> None:
    """Eight metrics of 60 comparisons of equals: about one family in twenty may hold a wrong verdict, not a third."""
    generator = np.random.default_rng(11)
    wrong = 0
    for number in range(60):
        names = [Metric("task", "test", str(index)) for index in range(8)]
        ours, theirs = ({name: Side(generator.normal(0, 1, 5)) for name in names} for _ in range(2))
        wrong += any(one.call in ("better", "worse") for one in verdicts(theirs, {"v": ours}, seed=number))
    assert wrong <= 8


def test_a_clear_gain_among_many_metrics_is_found() -> None:
    generator = np.random.default_rng(2)
    names = [Metric("task", "test", str(index)) for index in range(16)]
    theirs = {name: Side(0.5 + generator.normal(0, 0.01, 5)) for name in names}
    ours = {name: Side(side.points + generator.normal(0, 0.01, 5)) for name, side in theirs.items()}
    ours[names[3]] = Side(theirs[names[3]].points + 0.2)
    better = [one.metric for one in verdicts(theirs, {"v": ours}) if one.call == "better"]
    assert better == [names[3]]


def test_a_correlation_among_many_comparisons_can_still_be_judged() -> None:
    """One clear correlation among 60 comparisons: of 2,000 resamples none could give a p below .05 / 60."""
    generator = np.random.default_rng(0)
    gold, chance = generator.normal(size=(2, 60))

    def near(values: Array) -> Side:
        return Side.of([values + generator.normal(0, 1e-3, 60) for _ in range(5)], labels=gold)

    clear, equal = Metric("task", "test", "Spearman"), Side(np.array([0.4, 0.5, 0.6, 0.5, 0.4]))
    others = {Metric("task", "test", str(index)): equal for index in range(59)}
    first, *rest = verdicts({clear: near(chance), **others}, {"variant": {clear: near(gold), **others}})
    assert first.call == "better"
    assert {one.call for one in rest} == {"indistinguishable at this budget"}
