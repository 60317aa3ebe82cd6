"""Budgets become steps, and FLOPs are those that a pencil finds."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from lang_jepa.comparison.budget import (
    Budget,
    Measured,
    _cpu_attention,
    count_flops,
    measure,
    parse_budget,
    per_step,
    steps_for,
)
from lang_jepa.comparison.systems import ENCODERS, GPTS
from lang_jepa.errors import LangJepaError
from lang_jepa.models.packing import Packing
from lang_jepa.settings.gpt import GPTSettings
from tiny import MODES, tiny_gpt, tiny_settings


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
        engine = ENCODERS.start(
            tiny_settings(tmp_path / str(layers), *options, f"model.num_layers={layers}"),
            tmp_path / f"run{layers}",
            steps=1,
        )
        counted.append(count_flops(engine, 1))
        engine.close()
    engine = ENCODERS.start(tiny_settings(tmp_path / "pencil", *options), tmp_path / "pencil", steps=1)
    (batch,) = engine._next_batches()
    engine.close()
    width, expected = 32, 0.0
    for sequences, linear, attention in ((batch.contexts.sequences, 3, 3.5), (batch.targets.sequences, 1, 1)):
        slots = sum(group.count * group.length**2 for group in Packing.plan(sequences).groups)
        expected += linear * 24 * len(sequences.tokens) * width**2 + attention * 4 * slots * width
    assert counted[1] - counted[0] == expected


def test_a_measurement_is_of_real_steps_and_repeats(tmp_path: Path) -> None:
    """FLOPs of the run's own first batches; seconds only where they are needed; nothing is left in the run's folder."""
    settings = tiny_settings(tmp_path / "run", "model.num_layers=1")
    found = measure(ENCODERS, settings, tmp_path / "scratch", timed=True)
    engine = ENCODERS.start(settings, tmp_path / "again", steps=8)
    assert found.flops == count_flops(engine, 8) > 0
    engine.close()
    assert found.seconds is not None
    assert 0 < found.seconds < 10
    assert measure(ENCODERS, settings, tmp_path / "scratch", timed=False) == Measured(None, found.flops)
    assert not (tmp_path / "run").exists()


def _gpt_flops(settings: GPTSettings, scratch: Path, steps: int = 1) -> float:
    engine = GPTS.start(settings, scratch, steps=steps)
    counted = count_flops(engine, steps)
    engine.close()
    return counted


def test_one_more_layer_of_a_gpt_costs_what_a_pencil_says(tmp_path: Path) -> None:
    """Matrices 3 x 2 T D^2 (2 + 2 K / H + 2 M); attention, counted in full, 3.5 x 4 T L D; and Muon's iterations."""
    tiny = ("jepa.weight=0", "model.skips=false")
    one, two = (
        _gpt_flops(tiny_gpt(tmp_path, *tiny, f"model.num_layers={layers}"), tmp_path / f"run{layers}")
        for layers in (1, 2)
    )
    tokens, length, width, kv_share, hidden = 256, 32, 32, 1 / 2, 4
    matrices = 3 * 2 * tokens * width**2 * (2 + 2 * kv_share + 2 * hidden)
    muon = 2 * (_muon(width, width) + _muon(16, width) + _muon(width, 4 * width))
    assert two - one == matrices + 3.5 * 4 * tokens * length * width + muon


def _muon(rows: int, columns: int) -> int:
    """Five iterations over a matrix with so many rows at most: X X', its square, and a product with X."""
    return 5 * (2 * rows**2 * columns + 2 * rows**3 + 2 * rows**2 * columns)


def test_what_begins_later_has_its_share_of_the_measured_steps(tmp_path: Path) -> None:
    """A layer that is looped from half of training on costs half of what it costs from the beginning."""
    looped = ("jepa.weight=0", "model.loop_layers=[1]")
    never, half, always = (
        _gpt_flops(tiny_gpt(tmp_path, *looped, f"model.loop_starts=[{start}]"), tmp_path / f"run{start}", 4)
        for start in (1.0, 0.5, 0.0)
    )
    assert half - never == (always - never) / 2 > 0


def test_seconds_are_medians_of_equal_work() -> None:
    """Of six steps two do other work and take 10 s; the first of all is slow by chance and does not count."""
    assert per_step({"plain": [50.0, 1.0, 1.0, 1.0], "looped": [10.0, 10.0]}) == (4 * 1.0 + 2 * 10.0) / 6
