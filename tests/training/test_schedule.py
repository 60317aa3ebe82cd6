"""Schedules at the steps where they turn."""

import math

import pytest

from lang_jepa.settings.encoder import EncoderOptimizationSettings, ObjectiveSettings
from lang_jepa.training.schedule import Schedule, cosine


def _schedule(total: int, steps_per_epoch: int | None = None, **settings: object) -> Schedule:
    defaults = {"lr": 1e-3, "final_lr": 1e-5, "weight_decay": 0.04, "final_weight_decay": 0.4}
    momenta = {"momentum_start": 0.99, "momentum_end": 0.999}
    chosen = EncoderOptimizationSettings.model_validate({**defaults, **momenta, **settings})
    return Schedule.of(chosen, total=total, steps_per_epoch=steps_per_epoch)


def test_learning_rate_at_its_turns() -> None:
    schedule = _schedule(101, warmup_steps=10)
    assert schedule.learning_rate(0) == pytest.approx(1e-4)  # not 0: the first step must not be wasted
    assert schedule.learning_rate(4) == pytest.approx(5e-4)
    assert schedule.learning_rate(9) == pytest.approx(1e-3)
    assert schedule.learning_rate(10) == pytest.approx(1e-3)
    assert schedule.learning_rate(55) == pytest.approx((1e-3 + 1e-5) / 2)
    assert schedule.learning_rate(100) == pytest.approx(1e-5)


def test_decay_and_momentum_run_over_the_whole_run() -> None:
    schedule = _schedule(101, warmup_steps=10)
    assert [schedule.weight_decay(step) for step in (0, 50, 100)] == pytest.approx([0.04, 0.22, 0.4])
    assert [schedule.momentum(step) for step in (0, 50, 100)] == pytest.approx([0.99, 0.9945, 0.999])


def test_after_the_warm_up_everything_is_monotonous() -> None:
    schedule = _schedule(57, warmup_steps=7)
    rates = [schedule.learning_rate(step) for step in range(57)]
    assert rates[:7] == sorted(rates[:7])
    assert rates[7:] == sorted(rates[7:], reverse=True)
    momenta = [schedule.momentum(step) for step in range(57)]
    assert momenta == sorted(momenta)


@pytest.mark.parametrize(
    ("total", "steps_per_epoch", "warmup", "expected"),
    [
        (1000, 10, 2, 20),  # two epochs of ten steps
        (100, 100, 2, 10),  # two epochs would be longer than the run: a tenth of it
        (100, None, 2, 10),  # the run ends within its first epoch
        (100, 10, 0, 0),
        (1000, 100, 0.5, 50),
        (5, 5, 2, 0),
    ],
)
def test_warm_up_in_epochs(total: int, steps_per_epoch: int | None, warmup: float, expected: int) -> None:
    schedule = _schedule(total, steps_per_epoch, warmup=warmup)
    assert schedule.warmup == expected
    assert max(schedule.learning_rate(step) for step in range(total)) == pytest.approx(1e-3)


def test_warm_up_in_steps_takes_the_place_of_epochs_and_ends_within_the_run() -> None:
    assert _schedule(1000, 10, warmup=5, warmup_steps=3).warmup == 3
    assert _schedule(4, 2, warmup_steps=100).warmup == 3


def test_a_run_of_one_step_learns() -> None:
    assert _schedule(1).learning_rate(0) == pytest.approx(1e-3)


def test_values_depend_on_the_step_alone() -> None:
    """Asked in any order, by an object made anew: resuming needs no state of schedules."""
    forwards = [_schedule(30, warmup_steps=3).learning_rate(step) for step in range(30)]
    schedule = _schedule(30, warmup_steps=3)
    assert [schedule.learning_rate(step) for step in reversed(range(30))] == forwards[::-1]


def test_cosine_stays_within_its_ends() -> None:
    assert (cosine(2.0, 1.0, -0.5), cosine(2.0, 1.0, 1.5)) == (2.0, 1.0)
    assert cosine(2.0, 1.0, 0.25) == pytest.approx(1.5 + 0.5 * math.cos(math.pi / 4))


def test_regularizer_weight_falls_by_a_cosine_or_stays() -> None:
    schedule = _schedule(101)
    falling = ObjectiveSettings(regularizer_weight=0.3, final_regularizer_weight=0.1)
    values = [schedule.regularizer_weight(falling, step) for step in (0, 50, 100)]
    assert values == pytest.approx([0.3, 0.2, 0.1])
    steady = ObjectiveSettings(regularizer_weight=0.3)
    assert [schedule.regularizer_weight(steady, step) for step in (0, 100)] == [0.3, 0.3]
