"""Candidates beside each other: settings are chosen on some questions, leads are paired on the others."""

import numpy as np
import pytest

from lang_jepa.evaluation.scoreboard import Option, Scoreboard, TooFew, interleaved
from lang_jepa.evaluation.table import LEAD

CHOOSING = np.array([True, True, False, False, False])
CLUSTERS = np.array([0, 1, 2, 3, 3])


def board(**more: object) -> Scoreboard:
    return Scoreboard("task", "test", "hits", CLUSTERS, ["items"], CHOOSING, **more)  # type: ignore[arg-type]


def option(*hits: float, rule: str = "", **more: object) -> Option:
    return Option({"hits": np.array(hits, dtype=float)}, rule=rule, **more)  # type: ignore[arg-type]


def test_the_setting_is_chosen_on_some_and_reported_on_the_others() -> None:
    good, tempting = option(1, 1, 0, 0, 1, setting={"k": 1}), option(0, 1, 1, 1, 1, setting={"k": 2})
    found = board(about="5 questions")
    found.add("model", [tempting, good], every=True)
    found.add("other", [option(0, 0, 1, 0, 0)])
    found.add_analytic("chance", {"hits": np.array([9.0, 9.0, 0.5, 0.5, 0.2])})
    rows = {(row.name, row.metric, row.note): row for row in found.rows}
    chosen, unchosen = (rows["model", "hits", f"5 questions; k {k}"] for k in (1, 2))
    assert (chosen.value, chosen.chosen, chosen.n) == (pytest.approx(1 / 3), True, 3)
    assert (unchosen.value, unchosen.chosen, unchosen.detail) == (1.0, False, None)
    assert chosen.detail is not None
    assert chosen.detail.values.tolist() == [0, 0, 1]
    assert chosen.detail.clusters.tolist() == [2, 3, 3]
    lead = rows["other", f"hits: model {LEAD}", "paired"]
    assert (lead.value, lead.low is not None) == (0.0, True)
    chance = rows["chance", "hits", ""]
    assert (chance.value, chance.low, chance.n) == (pytest.approx(0.4), None, 3)
    assert found.chosen["model"] is good


@pytest.mark.parametrize(("lower", "used"), [(False, "prediction"), (True, "mean")])
def test_tools_use_the_better_of_the_evaluated_models_own_ways(lower: bool, used: str) -> None:
    found = board(lower=lower)
    found.add("model", [option(1, 1, 0, 0, 0, rule="prediction", predicts=True)], own=True)
    found.add("mean (model)", [option(0, 1, 1, 1, 1, rule="mean")], own=True)
    found.add("another", [option(*([0.0] * 5 if lower else [2.0] * 5), rule="another")])
    choice = found.choice()
    assert (choice.used.rule, choice.baseline.rule, choice.documents) == (used, "mean", 2)
    assert choice.metric == "task, hits"
    assert choice.describe().startswith(f"{used} []: task, hits {0.5 if lower else 1.0:.3f} on 2 documents (")


def test_nothing_to_choose_on_or_to_report_is_refused() -> None:
    for choosing in (np.zeros(5, dtype=bool), np.array([True, True, True, False, False])):
        with pytest.raises(TooFew, match="task: too few documents"):
            Scoreboard("task", "test", "hits", CLUSTERS, [], choosing)
    everything = Scoreboard("task", "test", "hits", CLUSTERS, [])
    everything.add("model", [option(1, 1, 1, 1, 0)])
    assert everything.rows[0].value == pytest.approx(0.8)


def test_boards_of_the_same_candidates_are_read_candidate_by_candidate() -> None:
    one, other = board(), Scoreboard("next", "test", "hits", CLUSTERS, [], CHOOSING, leads=())
    for each in (one, other):
        each.add("model", [option(1, 1, 1, 1, 1)])
        each.add("other", [option(0, 0, 0, 0, 0)])
    assert [(row.name, row.task) for row in interleaved([one, other])] == [
        ("model", "task"), ("model", "next"), ("other", "task"), ("other", "task"), ("other", "next"),
    ]  # fmt: skip
