"""Equal budgets are read between the validations, where the cheapest run ended."""

import numpy as np
import pytest

from lang_jepa.comparison.figure import AXES, COLOURS, Axis, Curve, draw, equal_budgets


def _curve(seconds: list[float], flops: float, values: list[float]) -> Curve:
    steps = np.array([0.0, 10.0, 20.0])[: len(values)]
    axes: dict[Axis, np.ndarray] = {"steps": steps, "seconds": np.array(seconds), "flops": steps * flops}
    return Curve(axes, {"mrr": np.array(values)})


def test_by_hand() -> None:
    """`slow` costs twice the seconds and half the FLOPs of `fast` and ends at half its steps."""
    curves = {
        "fast": [_curve([0, 1, 2], 4.0, [0.0, 0.2, 0.6]), _curve([0, 1, 2], 4.0, [0.0, 0.4, 0.8])],
        "slow": [_curve([0, 2], 2.0, [0.0, 0.5]), _curve([0, 1.5], 2.0, [0.1, 0.5])],
    }
    found = {one["axis"]: one for one in equal_budgets(curves, ["mrr"])}
    assert {axis: one["budget"] for axis, one in found.items()} == {"steps": 10, "seconds": 1.5, "flops": 20}
    fast = {axis: one["variants"]["fast"]["mean"] for axis, one in found.items()}
    assert fast == pytest.approx({"steps": 0.3, "seconds": 0.5, "flops": 0.15})
    slow = {axis: one["variants"]["slow"]["mean"] for axis, one in found.items()}
    assert slow == pytest.approx({"steps": 0.5, "seconds": (0.375 + 0.5) / 2, "flops": 0.5})
    assert found["steps"]["variants"]["fast"]["std"] == pytest.approx(0.2 / 2**0.5)


def test_every_variant_has_a_line_that_no_other_has() -> None:
    """Of more variants than there are colours."""
    curve = {"steps": [0.0, 9.0], "seconds": [0.0, 9.0], "flops": [0.0, 9.0], "val/loss": [1.0, 0.5]}
    names = [f"variant {number}" for number in range(3 * len(COLOURS) + 2)]
    report = {
        "panels": [{"metric": "val/loss", "title": "loss", "from_zero": False}],
        "curves": {name: [curve] for name in names},
        "equal_budgets": [{"axis": axis, "budget": 9.0} for axis in AXES],
    }
    for axes in draw(report).axes:
        styles = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in axes.lines}
        assert list(styles) == names
        assert len(set(styles.values())) == len(names)
