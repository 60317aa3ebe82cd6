"""The verdicts as the terminal shows them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lang_jepa.cli.console import comparison_tables, console, verdict_lines
from lang_jepa.comparison.verdict import Difference, Metric, Side, Verdict, judge


def _judged(name: str, value: float, low: float, high: float, p: float) -> Verdict:
    """A difference against a baseline whose score has a standard deviation of 0.1 over seeds."""
    points = np.array((0.4, 0.5, 0.6))
    found = Difference(value, low, high, p, True, 100, 10)
    return judge(Metric("task", "test", name), "other", Side(points), Side(points + value), found, p, 4)


def _verdict(*verdicts: Verdict, alarms: Sequence[Mapping[str, Any]] = ()) -> str:
    report: dict[str, Any] = {
        "variants": [{"name": "base", "steps": 3}, {"name": "other", "steps": 3}],
        "baseline": "base",
        "seeds": [0, 1, 2],
        "budget": "steps=3",
        "verdicts": [asdict(one) for one in verdicts],
        "rules": {"comparisons": 4},
        "alarms": alarms,
        "allowed_differences": [],
    }
    with console.capture() as capture:
        comparison_tables(report)
    return " ".join(capture.get().split())


def test_a_clear_difference_that_another_rule_stops_is_marked() -> None:
    text = _verdict(
        _judged("wide", 0.2, -0.1, 0.5, 0.2),
        _judged("corrected", 0.2, 0.1, 0.3, 0.06),
        _judged("small", 0.05, 0.01, 0.09, 0.001),
        _judged("clear", 0.2, 0.1, 0.3, 0.001),
    )
    assert text.count("indistinguishable") == 3
    assert text.count("indistinguishable *") == 2
    assert "* The interval excludes 0, but Holm's correction or the baseline's ± does not allow a verdict" in text


def test_where_the_interval_decides_there_is_no_mark() -> None:
    assert "*" not in _verdict(_judged("wide", 0.2, -0.1, 0.5, 0.2), _judged("clear", 0.2, 0.1, 0.3, 0.001))


def test_an_alarm_of_several_seeds_is_shown_once() -> None:
    runs = [{"seed": seed, "text": f"collapse at step {seed}0: [all] the same"} for seed in (1, 2, 4)]
    alone = {
        "variant": "other",
        "kind": "too easy",
        "runs": [{"seed": 3, "text": "too easy, step 9: given away"}],
    }
    text = _verdict(alarms=[{"variant": "other", "kind": "collapse", "runs": runs}, alone])
    assert "alarm: other, seed 1: collapse at step 10: [all] the same collapse: also in seed 2, 4, see the page" in text
    assert "step 20" not in text
    assert text.endswith("alarm: other, seed 3: too easy, step 9: given away")


def test_one_seed_has_no_spread() -> None:
    points = np.array((0.5,))
    found = Difference(0.2, 0.1, 0.3, 0.001, True, 100, 10)
    alone = judge(Metric("task", "test", "one"), "other", Side(points), Side(points + 0.2), found, 0.001, 1)
    assert "one 0.500 0.700 +0.200 [+0.100, +0.300] too few seeds" in _verdict(alone)


@pytest.mark.parametrize("width", [100, 80, 72, 60, 40])
def test_verdicts_fit_the_terminal_and_lose_nothing(width: int) -> None:
    """A name beside its numbers, above them, or above one number a line."""
    names = ["bits per byte (lower is better)", "mrr"]
    verdicts = [asdict(_judged(name, 0.2, 0.1, 0.5, 0.06)) for name in names]
    terminal = Console(width=width, file=io.StringIO())
    for part in verdict_lines(verdicts, width=width):
        terminal.print(part)
    assert isinstance(terminal.file, io.StringIO)
    lines = terminal.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for said in ("bits per byte (↓)", "0.5000 ±0.1000", "+0.2000 [+0.1000, +0.5000]", "+0.200 [+0.100, +0.500]"):
        assert said in text
    assert text.count("indistinguishable *") == 2
    assert len(lines) == {100: 4, 80: 5, 72: 11, 60: 11, 40: 13}[width]
