"""Derive the choice of the document tools from the task `turns` if the task `document` was not requested."""

from collections.abc import Iterable

import numpy as np

from lang_jepa.evaluation.scoreboard import Candidate, Choice
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.turns import OF_LINES, TITLES

_METRIC, _TASKS = "mrr", (TITLES["same"], OF_LINES["same"])
_RULES = {"copy-forward (model)": "last sentence", "recency mean (model)": "recency mean"}
"""Baselines of the task in the space of the model, and the equivalent rules of the tools."""


def choices_of_turns(rows: Iterable[Row]) -> dict[str, Choice]:
    """Choose the rule by which `next` and `surprise` expect a turn: the best at finding the conversation's next turn.

    Args:
        rows: of an evaluation; those computed in this process have details.

    Returns:
        The choice of the tool `next`; empty if the task `turns` is not among the rows.
    """
    asked = [row for row in rows if row.task in _TASKS and row.metric == _METRIC and row.chosen]
    own = [row for row in asked if row.name == "model" and row.detail is not None]
    others = [Candidate(_RULES[row.name], row.similarity, {}, row.value) for row in asked if row.name in _RULES]
    if not own or not others:
        return {}
    (row,) = own
    assert row.detail is not None
    way = Candidate("prediction", row.similarity, {}, row.value)
    documents, baseline = len(np.unique(row.detail.clusters)), max(others, key=lambda one: one.merit)
    return {"next": Choice(f"{row.task}, MRR", False, documents, way, baseline)}
