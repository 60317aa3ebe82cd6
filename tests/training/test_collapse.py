"""The monitor must warn of a collapse and must not warn of a run that is learning."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from lang_jepa.evaluation.metrics.geometry import health
from lang_jepa.training.collapse import Alarm, CollapseMonitor, monitor_for
from lang_jepa.training.held_out import _NAMES
from tiny import tiny_settings

Metrics = dict[str, float]


def _metrics(*, std: float, cosine: float, share: float, raw: float, rank: float, mrr: float) -> Metrics:
    return {
        "val/embeddings/target_std_relative": std,
        "val/embeddings/mean_pairwise_cosine": cosine,
        "val/embeddings/first_component_share": share,
        "val/embeddings/raw_std": raw,
        "val/embeddings/target_eff_rank": rank,
        "val/retrieval/mrr": mrr,
    }


START = _metrics(std=1.0, cosine=0.0, share=0.05, raw=1.0, rank=100.0, mrr=0.02)
DYING = _metrics(std=0.5, cosine=0.4, share=0.4, raw=0.5, rank=50.0, mrr=0.02)


def _alarms(validations: Sequence[Metrics]) -> list[int]:
    """Numbers of the validations at which a fresh monitor warns."""
    monitor = CollapseMonitor("advice")
    return [number for number, metrics in enumerate(validations) if monitor.check(number, metrics)]


def test_healthy_drift_is_quiet() -> None:
    """Metrics of the kind that good runs show: the spread narrows for a while, and retrieval improves."""
    share = [0.05, 0.2, 0.45, 0.58, 0.4, 0.3]
    cosine = [0.0, 0.15, 0.4, 0.56, 0.4, 0.3]
    std = [1.0, 0.92, 0.78, 0.66, 0.77, 0.84]
    mrr = [0.02, 0.05, 0.1, 0.2, 0.3, 0.35]
    validations = [
        _metrics(std=d, cosine=c, share=s, raw=0.7, rank=70.0, mrr=m)
        for d, c, s, m in zip(std, cosine, share, mrr, strict=True)
    ]
    assert _alarms(validations) == []


def test_many_signs_are_quiet_while_retrieval_improves() -> None:
    validations = [START] + [{**DYING, "val/retrieval/mrr": 0.03 * (i + 2)} for i in range(5)]
    assert _alarms(validations) == []


@pytest.mark.parametrize(
    "dead",
    [
        {**START, "val/embeddings/mean_pairwise_cosine": 0.95},
        {**START, "val/embeddings/target_std_relative": 0.25},
        _metrics(std=0.0, cosine=1.0, share=1.0, raw=0.0, rank=0.0, mrr=0.02),
    ],
)
def test_a_total_collapse_is_warned_of_at_once(dead: Metrics) -> None:
    assert _alarms([START, START, dead]) == [2]
    assert _alarms([START, {**dead, "val/retrieval/mrr": 0.9}]) == [1]  # whatever retrieval says


def test_a_slow_collapse_is_warned_of_at_the_second_validation() -> None:
    assert _alarms([START, START, DYING, DYING, DYING]) == [3, 4]


def test_validations_in_between_start_the_count_anew() -> None:
    assert _alarms([START, DYING, START, DYING, START]) == []


def test_a_dimensional_collapse_that_crawls_upwards_is_warned_of() -> None:
    """Metrics of a real run: without a regularizer the embeddings kept 13 of 124 directions, and the loss fell on."""
    rows = (
        (0.999, 0.001, 0.016, 1.017, 124.2, 0.026),
        (0.738, 0.316, 0.392, 3.287, 33.0, 0.040),
        (0.696, 0.305, 0.396, 3.609, 14.8, 0.045),
    )
    names = ("std", "cosine", "share", "raw", "rank", "mrr")
    assert _alarms([_metrics(**dict(zip(names, metrics, strict=True))) for metrics in rows]) == [2]


def test_two_signs_are_not_enough() -> None:
    two = {**START, "val/embeddings/raw_std": 0.4, "val/embeddings/target_eff_rank": 40.0}
    assert _alarms([START, two, two, two]) == []
    three = {**two, "val/embeddings/mean_pairwise_cosine": 0.2}
    assert _alarms([START, three, three]) == [2]


def test_an_encoder_that_begins_narrow_is_measured_against_itself() -> None:
    """Pretrained encoders may start at a mean cosine of .9: that is their start, not a collapse."""
    narrow = _metrics(std=0.3, cosine=0.91, share=0.91, raw=0.1, rank=60.0, mrr=0.1)
    assert _alarms([narrow, narrow, narrow]) == []
    assert _alarms([narrow, {**narrow, "val/embeddings/mean_pairwise_cosine": 0.97}]) == [1]


def test_a_start_that_is_collapsed_already_is_warned_of_when_nothing_is_learnt() -> None:
    constant = _metrics(std=0.22, cosine=0.95, share=0.95, raw=0.1, rank=60.0, mrr=0.025)
    assert _alarms([constant, constant, constant]) == [2]
    assert _alarms([constant, {**constant, "val/retrieval/mrr": 0.04}, {**constant, "val/retrieval/mrr": 0.06}]) == []


NAMES = ("std", "cosine", "share", "raw", "rank", "mrr")
SHARED_STORIES = [(0.817, 0.329, 0.338, 0.235, 115.2, 0.0216), (0.231, 0.946, 0.947, 0.176, 117.5, 0.0250)]
SHARED_OPENSTAX = [(0.880, 0.221, 0.236, 0.179, 117.1, 0.0230), (0.303, 0.908, 0.908, 0.166, 118.0, 0.0257)]
LITERAL_STORIES = [(0.228, 0.948, 0.948, 0.144, 58.2, mrr) for mrr in (0.0241, 0.0234, 0.0235)]
LITERAL_OPENSTAX = [(0.162, 0.973, 0.973, 0.108, 59.0, mrr) for mrr in (0.0236, 0.0239, 0.0233)]


@pytest.mark.parametrize("rows", [SHARED_STORIES, SHARED_OPENSTAX, LITERAL_STORIES, LITERAL_OPENSTAX])
def test_real_collapses_are_warned_of_within_two_validations(rows: list[tuple[float, ...]]) -> None:
    """Steps 0, 20 (and 40) of docs/experiments: a shared encoder with gradient into its targets, which was
    constant by step 20, and the original's set-up from scratch, which begins constant and stays."""
    validations = [_metrics(**dict(zip(NAMES, metrics, strict=True))) for metrics in rows]
    assert _alarms(validations) == [len(validations) - 1]


def test_real_metrics_of_a_constant_encoder_are_warned_of() -> None:
    """From embeddings, through the evaluation's own metrics: an encoder that forgets its input."""
    rng = torch.Generator().manual_seed(0)
    spread = torch.randn(200, 16, generator=rng)
    monitor = CollapseMonitor("advice")
    found: list[Alarm | None] = []
    for step, part in enumerate((1.0, 0.5, 0.05)):
        targets = part * spread + (1 - part) * 5
        measured = health(targets, targets)
        metrics = {name: measured[key] for key, name in _NAMES.items()} | {"val/retrieval/mrr": 0.02}
        found.append(monitor.check(step, metrics))
    assert found[:1] == [None]
    assert found[2] is not None


def test_the_alarm_says_what_was_seen_and_what_to_do() -> None:
    monitor = CollapseMonitor("Do this.")
    monitor.check(0, START)
    monitor.check(50, DYING)
    alarm = monitor.check(100, DYING)
    assert alarm is not None
    assert str(alarm).startswith("collapse at step 100: ")
    assert str(alarm).endswith("Do this.")
    assert "effective rank 100.00 -> 50.00" in str(alarm)


@pytest.mark.parametrize("cut", range(5))
def test_state_round_trip(cut: int) -> None:
    """Saved and loaded between any two validations, it warns where it would have warned."""
    validations = [START, {**START, "val/retrieval/mrr": 0.3}, DYING, {**DYING, "val/retrieval/mrr": 0.2}, DYING]
    expected = _alarms(validations)
    monitor, warned = CollapseMonitor("a"), []
    for number, metrics in enumerate(validations):
        if number == cut:
            state = monitor.state_dict()
            monitor = CollapseMonitor("a")
            monitor.load_state_dict(state)
        if monitor.check(number, metrics):
            warned.append(number)
    assert warned == expected == [3, 4]


def test_advice_names_settings_that_are_not_yet_set(tmp_path: Path) -> None:
    def advice(*overrides: str) -> str:
        return monitor_for(tiny_settings(tmp_path, "optimization.lr=3e-3", *overrides)).advice

    bare = advice("model.head=none", "objective.regularizer=none", "optimization.momentum_start=0.9")
    for setting in (
        "-o model.head=whitened",
        "-o objective.regularizer=vicreg",
        "-o optimization.momentum_start=0.99",
        "-o optimization.lr=0.001",
    ):
        assert setting in bare
    done = advice("model.head=whitened", "objective.regularizer=vicreg", "optimization.momentum_start=0.99")
    for word in ("whitened", "vicreg", "momentum"):
        assert word not in done
    assert "optimization.lr" in done
    apart = advice("optimization.loss_fn=contrastive", "model.head=whitened", "objective.regularizer=vicreg")
    assert re.findall(r"-o (\S+?)=", apart)[0] == "optimization.lr"
    assert re.findall(r"-o (\S+?)=", bare)[0] != "optimization.lr"
