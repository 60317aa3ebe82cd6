"""Which validation was the best."""

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.training.reporter import Best


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_the_best_validation_is_one_after_step_0_and_the_first_of_equals(mode: str, sign: int) -> None:
    best = Best("val/loss", mode)
    validations = [(0, 1), (3, 5), (6, 5), (9, 6), (12, 4)]
    found = [step for step, value in validations if best.improves(step, {"val/loss": sign * value})]
    assert found == [3, 12]
    assert best.state() == [12, sign * 4]
    again = Best("val/loss", mode)
    assert again.state() is None
    again.restore(best.state())
    assert not again.improves(15, {"val/loss": sign * 4})
    assert again.improves(15, {"val/loss": sign * 3})


def test_a_metric_that_is_not_measured() -> None:
    assert not Best(None, "max").improves(3, {"val/loss": 1.0})
    with pytest.raises(LangJepaError, match=r"best_metric 'val/lost' is not measured; choose one of val/loss"):
        Best("val/lost", "max").improves(3, {"val/loss": 1.0})
