"""How long a comparison still takes: from what the estimate comes, and what it does not claim to know."""

from typing import Any

from lang_jepa.comparison.estimate import Estimate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _run(estimate: Estimate, clock: Clock, variant: str, seed: int, seconds: float, start: int = 0) -> str:
    estimate.begin(variant, seed)
    estimate.event(variant, seed, {"event": "begin", "start": start, "total": 100})
    clock.now += seconds
    return estimate.done(variant, seed)


def test_each_recipe_takes_its_own_time_once_it_is_known() -> None:
    clock = Clock()
    estimate = Estimate({"a": 2, "b": 2}, 1, clock)
    first = _run(estimate, clock, "a", 0, 60)
    assert first.startswith("1 of 4 runs done: a, seed 0, in 1 min. About 3 min left, until ")
    assert first.endswith("estimated from the first run, as if every variant took the same time")
    second = _run(estimate, clock, "b", 0, 100)
    assert "About 2 min 40 s left, until " in second
    assert second.endswith(", estimated from the 2 runs so far")
    assert "About 1 min 40 s left" in _run(estimate, clock, "a", 1, 60)
    assert _run(estimate, clock, "b", 1, 100) == "4 of 4 runs done: b, seed 1, in 1 min 40 s"


def test_runs_at_the_same_time_share_what_is_left() -> None:
    clock = Clock()
    assert "About 2 min left" in _run(Estimate({"a": 5}, 2, clock), clock, "a", 0, 60)
    assert "About 1 min left" in _run(Estimate({"a": 2}, 8, clock), clock, "a", 0, 60)


def test_a_run_that_had_begun_earlier_tells_nothing() -> None:
    clock = Clock()
    estimate = Estimate({"a": 3}, 1, clock)
    assert _run(estimate, clock, "a", 0, 5, start=90).endswith("so the time of the other 2 is not known yet")
    assert "About 1 min left" in _run(estimate, clock, "a", 1, 60)


def test_first_steps_are_taken_once_and_not_too_early() -> None:
    clock = Clock()
    estimate = Estimate({"a": 2}, 1, clock)

    def step(number: int, **more: Any) -> str | None:
        return estimate.event("a", 0, {"event": "step", "step": number, **more})

    estimate.begin("a", 0)
    clock.now += 100  # preparing is no training
    estimate.event("a", 0, {"event": "begin", "start": 0, "total": 600})
    clock.now += 2
    assert step(9) is None
    clock.now += 18
    said = step(100)
    assert said is not None
    assert said.startswith("a, seed 0, trains for about 2 min in all, at the pace of its first 100 steps here")
    clock.now += 20
    assert step(200) is None
