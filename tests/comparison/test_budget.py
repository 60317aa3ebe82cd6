"""Budgets become steps, and FLOPs are those that a pencil finds."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from lang_jepa.comparison.budget import (
    Budget,
    Measured,
    _batches,
    _cpu_attention,
    _run,
    count_flops,
    measure,
    parse_budget,
    steps_for,
)
from lang_jepa.errors import LangJepaError
from lang_jepa.models.packing import Packing
from tiny import MODES, tiny_settings


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("steps=2000", Budget("steps", 2000)),
        ("steps=2_000", Budget("steps", 2000)),
        ("minutes=0.5", Budget("minutes", 0.5)),
        ("flops=1e15", Budget("flops", 1e15)),
    ],
)
def test_budgets_are_read(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["", "2000", "hours=2", "steps=", "steps=0", "steps=-1", "minutes=nan", "flops=inf", "steps=ten"]
)
def test_unknown_budgets_are_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(LangJepaError, match="give steps=2000, minutes=10 or flops=1e15"):
        parse_budget(text)


def test_half_a_step_is_refused() -> None:
    with pytest.raises(LangJepaError, match="steps are whole"):
        parse_budget("steps=1.5")


def test_budgets_become_steps() -> None:
    measured = Measured(seconds=0.25, flops=2e9)
    assert steps_for(Budget("steps", 7), None) == 7
    assert steps_for(Budget("minutes", 10), measured) == 2400
    assert steps_for(Budget("minutes", 0.0207), measured) == 4  # 1.242 s are four whole steps
    assert steps_for(Budget("flops", 1e12), measured) == 500
    with pytest.raises(LangJepaError, match="less than one step"):
        steps_for(Budget("flops", 1e9), measured)


def test_the_fused_attention_of_a_cpu_is_counted() -> None:
    """4 B H L^2 C forward; backward computes the scores again and has four more products: 10 B H L^2 C."""
    query, key, value = (torch.randn(2, 3, 8, 16, requires_grad=True) for _ in range(3))
    with FlopCounterMode(display=False, custom_mapping=_cpu_attention()) as counter:
        out = functional.scaled_dot_product_attention(query, key, value)
        forward = counter.get_total_flops()
        out.sum().backward()
    assert forward == 4 * 2 * 3 * 8 * 8 * 16
    assert counter.get_total_flops() - forward == 10 * 2 * 3 * 8 * 8 * 16


@pytest.mark.parametrize("mode", ["concepts", "window"])
def test_one_more_layer_costs_what_a_pencil_says(mode: str, tmp_path: Path) -> None:
    """A BERT layer forward: 2 T (4 D^2 + 8 D^2) for its matrices and 4 L^2 D for attention over L slots.

    Contexts are passed forward and backward (matrices 3 times, attention 3.5 times), targets forward only.
    """
    options = (*MODES[mode], "model.mlp_ratio=4", "optimization.grad_accum_steps=1")
    counted = []
    for layers in (1, 2):
        run = _run(
            tiny_settings(tmp_path / str(layers), *options, f"model.num_layers={layers}"),
            tmp_path / f"run{layers}",
        )
        counted.append(count_flops(run, 1))
        run.finish()
    run = _run(tiny_settings(tmp_path / "pencil", *options), tmp_path / "pencil")
    (batch,) = _batches(run)
    run.finish()
    width, expected = 32, 0.0
    for sequences, linear, attention in ((batch.contexts.sequences, 3, 3.5), (batch.targets.sequences, 1, 1)):
        slots = sum(group.count * group.length**2 for group in Packing.plan(sequences).groups)
        expected += linear * 24 * len(sequences.tokens) * width**2 + attention * 4 * slots * width
    assert counted[1] - counted[0] == expected


def test_a_measurement_is_of_real_steps_and_repeats(tmp_path: Path) -> None:
    """FLOPs of the run's own first batches; seconds only where they are needed; nothing is left in the run's folder."""
    settings = tiny_settings(tmp_path / "run", "model.num_layers=1")
    found = measure(settings, tmp_path / "scratch", timed=True)
    run = _run(settings, tmp_path / "again")
    assert found.flops == count_flops(run, 8) > 0
    run.finish()
    assert found.seconds is not None
    assert 0 < found.seconds < 10
    assert measure(settings, tmp_path / "scratch", timed=False) == Measured(None, found.flops)
    assert not (tmp_path / "run").exists()
