"""What is said below a table of scores follows from the intervals alone."""

from lang_jepa.evaluation.conclusions import conclusions
from lang_jepa.evaluation.table import LEAD, Row


def _row(name: str, value: float, low: float | None, high: float | None, metric: str = "recall@1", **more: bool) -> Row:
    return Row("turns", "held out", metric, name, value, low, high, 100, **more)


def _lead(name: str, value: float, low: float, high: float, metric: str = "recall@1", **more: bool) -> Row:
    return _row(name, value, low, high, f"{metric}: model {LEAD}", **more)


def test_paired_differences_decide_in_the_first_metric_that_has_them() -> None:
    rows = [
        _row("model", 0.5, 0.4, 0.6),
        _lead("TF-IDF", -0.12, -0.2, -0.05),
        _lead("last", 0.3, 0.2, 0.4),
        _lead("untrained", 0.01, -0.02, 0.04),
        _lead("mean", 0.1, 0.05, 0.15),
        _lead("mean", 0.9, 0.9, 0.9, chosen=False),
        _lead("TF-IDF", 0.5, 0.4, 0.6, "mrr"),
    ]
    assert conclusions(rows) == [
        "Better than the model in recall@1: TF-IDF by 0.120 [0.050, 0.200].",
        "In recall@1 the model is above 2 of 4 other rows; the nearest is mean by 0.100 [0.050, 0.150].",
        "Not distinguishable from the model in recall@1: untrained.",
    ]
    assert conclusions(rows[:3:2]) == [
        "In recall@1 the model is above every other row; the nearest is last by 0.300 [0.200, 0.400]."
    ]


def test_where_less_is_better_a_smaller_value_leads() -> None:
    bits = "bits per byte (lower is better)"
    assert conclusions([_lead("a", -0.2, -0.3, -0.1, bits), _lead("b", 0.2, 0.1, 0.3, bits)]) == [
        "Better than the model in bits per byte: b by 0.2000 [0.1000, 0.3000].",
        "In bits per byte the model is below (which is better) 1 of 2 other rows; the nearest is a by 0.2000 [0.1000, "
        "0.3000].",
    ]


def test_without_pairs_intervals_that_are_apart_decide() -> None:
    rows = [
        _row("model", 0.5, 0.4, 0.6),
        _row("near", 0.35, 0.3, 0.41),
        _row("far", 0.2, 0.1, 0.3),
        _row("chance", 0.01, None, None),
        _row("better", 0.8, 0.7, 0.9),
        *(_row(name, 0.9, 0.85, 0.95) for name in "abc"),
    ]
    assert conclusions(rows) == [
        "Better than the model in recall@1: a by 0.400, b by 0.400, c by 0.400 and 1 more.",
        "In recall@1 the model is above 2 of 7 other rows; the nearest is far by 0.300.",
        "Not distinguishable from the model in recall@1: near.",
    ]


def test_one_row_alone_has_no_verdict() -> None:
    (said,) = conclusions([_row("model", 0.5, 0.4, 0.6)])
    assert said.startswith("No verdict: ")
