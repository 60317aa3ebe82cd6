"""Summarise the scores of one task and split in sentences: what is better than the model, and what is not.

Only intervals decide: those of paired differences if a task has them, else whether two intervals are disjoint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lang_jepa.evaluation.table import LEAD, RAW, Row, shown

MODEL_NAME = "model"
"""Name of the evaluated model's rows."""
_NAMED = 3
"""Most other rows that a sentence names."""


@dataclass(frozen=True)
class _Lead:
    """The model's lead over another row, with its interval; signed so that a positive lead is always better."""

    name: str
    value: float
    low: float
    high: float
    paired: bool


def conclusions(rows: Iterable[Row]) -> list[str]:
    """Compare the model with its baselines in words, by the first metric that allows it.

    Args:
        rows: rows of one task and split, with the paired differences (`LEAD`).

    Returns:
        One to three sentences.
    """
    some = [row for row in rows if row.chosen and row.name != MODEL_NAME + RAW]  # the latter is the model too
    metric, leads = _paired(some)
    if not leads:
        metric, leads = _apart(some)
    if not leads:
        return ["No verdict: there is nothing to compare the model with, or nothing has an interval."]
    lower = "lower is better" in metric
    name = metric.replace(" (lower is better)", "")
    above = [one for one in leads if one.low > 0]
    below = sorted((one for one in leads if one.high < 0), key=lambda one: one.value)
    level = [one.name for one in leads if one.low <= 0 <= one.high]
    found = []
    if below:
        found.append(f"Better than the model in {name}: {_listed([_by(one, metric) for one in below])}.")
    if above:
        least = min(above, key=lambda one: one.value)
        which = "every other row" if len(above) == len(leads) else f"{len(above)} of {len(leads)} other rows"
        better = "below (which is better)" if lower else "above"
        found.append(f"In {name} the model is {better} {which}; the nearest is {_by(least, metric)}.")
    if level:
        found.append(f"Not distinguishable from the model in {name}: {_listed(level)}.")
    return found


def _paired(rows: Sequence[Row]) -> tuple[str, list[_Lead]]:
    """Return the first metric with paired differences from the model, and these differences."""
    end = f": {MODEL_NAME} {LEAD}"
    own = [row for row in rows if row.metric.endswith(end) and row.low is not None]
    if not own:
        return "", []
    metric = own[0].metric.removesuffix(end)
    first = [row for row in own if row.metric == own[0].metric]
    return metric, [_lead(row.name, metric, row.value, *_ends(row), paired=True) for row in first]


def _apart(rows: Sequence[Row]) -> tuple[str, list[_Lead]]:
    """Return the first metric of the model that others have too, and the least and greatest difference of intervals."""
    for ours in (row for row in rows if row.name == MODEL_NAME and row.low is not None):
        others = [row for row in rows if row.metric == ours.metric and row.name != MODEL_NAME]
        if others:
            leads = []
            for row in others:
                (low, high), (least, most) = _ends(ours), _ends(row)
                ends = low - most, high - least
                leads.append(_lead(row.name, ours.metric, ours.value - row.value, *ends, paired=False))
            return ours.metric, leads
    return "", []


def _ends(row: Row) -> tuple[float, float]:
    """Return a row's interval; a value without one is exact."""
    return (row.value, row.value) if row.low is None or row.high is None else (row.low, row.high)


def _lead(name: str, metric: str, value: float, low: float, high: float, *, paired: bool) -> _Lead:
    if "lower is better" in metric:
        value, low, high = -value, -high, -low
    return _Lead(name, value, low, high, paired)


def _by(one: _Lead, metric: str) -> str:
    """Describe a lead: the other row's name and the absolute difference, with its interval if paired."""
    ends = (one.low, one.high) if one.value >= 0 else (-one.high, -one.low)
    interval = f" [{', '.join(shown(metric, end) for end in ends)}]" if one.paired else ""
    return f"{one.name} by {shown(metric, abs(one.value))}{interval}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
