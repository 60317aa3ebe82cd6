"""Where epochs end when optimizer steps are made of several batches, and what is due there."""

import numpy as np
import pytest

from lang_jepa.data.views.order import Order
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import EncoderOptimizationSettings
from lang_jepa.training.methods.encoder_data import plan_steps
from lang_jepa.training.schedule import epochs_ended, is_validation_due


def plan(batches: int, *, epochs: int, accumulation: int, limit: int | None = None) -> tuple[int, list[int]]:
    """Steps of a run whose epochs have so many batches of one example."""
    order = Order(
        count=batches,
        sizes=np.ones_like,
        world=1,
        batch_size=1,
        batch_tokens=None,
        pool_batches=4,
        seed=0,
    )
    settings = EncoderOptimizationSettings(epochs=epochs, max_steps=limit, grad_accum_steps=accumulation)
    return plan_steps(order, settings)


@pytest.mark.parametrize(
    ("batches", "epochs", "accumulation", "limit", "expected"),
    [
        (6, 3, 1, None, (18, [6, 12, 18])),
        (6, 3, 2, None, (9, [3, 6, 9])),
        (5, 3, 2, None, (7, [3, 5, 7])),  # the last of 15 batches makes no step any more
        (3, 5, 8, None, (1, [1, 1, 1, 1, 1])),
        (3, 8, 8, None, (3, [1, 1, 2, 2, 2, 3, 3, 3])),  # batches 3 6 | 9 12 15 | 18 21 24
        (3, 1, 8, 2, (2, [1, 1, 2, 2, 2])),
        (10, 1, 4, 4, (4, [3])),
    ],
)
def test_an_epoch_ends_with_the_step_that_takes_its_last_batch(
    batches: int, epochs: int, accumulation: int, limit: int | None, expected: tuple[int, list[int]]
) -> None:
    assert plan(batches, epochs=epochs, accumulation=accumulation, limit=limit) == expected


def test_fewer_batches_than_a_step_takes() -> None:
    with pytest.raises(LangJepaError, match=r"fewer batches in all than optimization\.grad_accum_steps=8"):
        plan(3, epochs=2, accumulation=8)


def test_epochs_that_end_together() -> None:
    ends = [1, 1, 2, 2, 2, 3]
    assert [list(epochs_ended(ends, step)) for step in range(5)] == [[], [1, 2], [3, 4, 5], [6], []]


def validations(total: int, ends: list[int], every: int | None = None) -> list[int]:
    return [step for step in range(1, total + 1) if is_validation_due(step, total=total, ends=ends, every=every)]


def test_validations_are_at_the_ends_of_epochs_or_ten_a_run() -> None:
    assert validations(66, [5, 11, 16, 60]) == [5, 11, 16, 60, 66]  # epochs of unequal length
    assert validations(20, [10, 20]) == list(range(2, 21, 2))
    assert validations(3, [1, 1, 2, 3]) == [1, 2, 3]
    assert validations(25, []) == [*range(2, 25, 2), 25]
    assert validations(10, [2, 4], every=4) == [4, 8, 10]
