"""The task alarm warns of tasks that prove nothing, and of them alone."""

import pytest

from lang_jepa.training.collapse import task_alarm, task_alarms


def _metrics(loss: float, shuffled: float = 1.0, mean: float = 0.9, copy: float = 0.8) -> dict[str, float]:
    return {
        "val/distance": loss,
        "val/distance_shuffled": shuffled,
        "val/distance_mean_target": mean,
        "val/distance_copy_forward": copy,
    }


@pytest.mark.parametrize(
    ("step", "metrics", "kind"),
    [
        (100, _metrics(0.049), "too easy"),
        (100, _metrics(0.05), None),  # exactly 5 % is not under it
        (101, _metrics(0.001), None),  # later a task may be solved
        (0, _metrics(0.001), None),  # before any step nothing can have been learnt or leaked into learning
        (50, _metrics(1e-9, shuffled=1e-9, mean=1e-9), None),  # a collapse: shuffled targets score the same
        (500, _metrics(0.5), None),
        (1000, _metrics(0.5), None),
        (1000, _metrics(0.95), "nothing is learnt"),  # the mean target is better
        (1000, _metrics(0.9), "nothing is learnt"),  # as good as the mean target
        (1000, _metrics(0.85, shuffled=0.84), "nothing is learnt"),  # shuffled targets are as good
        (1000, _metrics(0.85, copy=0.1), None),  # copying is no bound here: it is a baseline of the evaluation
        (999, _metrics(0.95), None),  # not the end yet
        (1000, _metrics(0.0, shuffled=0.0, mean=0.0), "nothing is learnt"),  # total collapse
    ],
)
def test_cases(step: int, metrics: dict[str, float], kind: str | None) -> None:
    alarm = task_alarm(step, 1000, metrics)
    assert (alarm.kind if alarm else None) == kind


def test_the_numbers_are_named() -> None:
    text = str(task_alarm(20, 1000, _metrics(0.02)))
    assert text.startswith("too easy, step 20")
    assert "2.0 %" in text
    assert "0.8" in text


def test_of_a_run_each_kind_once_and_rows_without_validation_are_passed_over() -> None:
    steps = [(0, 0.9), (10, 0.01), (20, 0.02), (30, 0.95)]
    rows = [{"train/step": float(step), **_metrics(loss)} for step, loss in steps]
    rows.insert(1, {"train/step": 5.0, "train/loss": 0.3})
    assert [(alarm.step, alarm.kind) for alarm in task_alarms(rows, total=30)] == [
        (10, "too easy"),
        (30, "nothing is learnt"),
    ]
