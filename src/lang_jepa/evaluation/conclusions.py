"""What the scores of one task and split say, in one or two sentences: what is better than the model, and what is not.

Only intervals decide: of the paired differences where a task has them, else whether two intervals are apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lang_jepa.evaluation.table import LEAD, RAW, Row, shown

MODEL_NAME = "model"
"""Name of the rows of what was evaluated."""
_NAMED = 3
"""Others that a sentence names."""


@dataclass(frozen=True)
class _Lead:
    """What the model has more than another one, and how sure that is; where less is better, what it has less."""

    name: str
    value: float
    low: float
    high: float
    paired: bool


def conclusions(rows: Iterable[Row]) -> list[str]:
    """Sentences about the model among its baselines, by the first metric in which they can be compared.

    Args:
        rows: of one task and split, with the paired differences (`LEAD`).

    Returns:
        One to three sentences.
    """
    some = [row for row in rows if row.chosen and row.name != MODEL_NAME + RAW]  # which is the model
    metric, leads = _paired(some)
    if not leads:
        metric, leads = _apart(some)
    if not leads:
        return ["No verdict: nothing stands beside the model here, or nothing has an interval."]
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
    """The first metric with paired differences from the model, and these."""
    end = f": {MODEL_NAME} {LEAD}"
    own = [row for row in rows if row.metric.endswith(end) and row.low is not None and row.high is not None]
    if not own:
        return "", []
    metric = own[0].metric.removesuffix(end)
    return metric, [_lead(row.name, metric, row.value, row.low, row.high) for row in own if row.metric == own[0].metric]


def _apart(rows: Sequence[Row]) -> tuple[str, list[_Lead]]:
    """The first metric of the model that others have too, and how far their intervals are apart."""
    for ours in (row for row in rows if row.name == MODEL_NAME and row.low is not None):
        others = [row for row in rows if row.metric == ours.metric and row.name != MODEL_NAME]
        if others:
            return ours.metric, [_against(ours, row) for row in others]
    return "", []


def _against(ours: Row, theirs: Row) -> _Lead:
    """Of two intervals the least and the greatest difference; a value without one is exact."""
    (low, high), (least, most) = (_ends(row) for row in (ours, theirs))
    return _lead(theirs.name, ours.metric, ours.value - theirs.value, low - most, high - least, paired=False)


def _ends(row: Row) -> tuple[float, float]:
    return (row.value, row.value) if row.low is None or row.high is None else (row.low, row.high)


def _lead(name: str, metric: str, value: float, low: float | None, high: float | None, *, paired: bool = True) -> _Lead:
    least, most = (value if end is None else end for end in (low, high))
    if "lower is better" in metric:
        value, least, most = -value, -most, -least
    return _Lead(name, value, least, most, paired)


def _by(one: _Lead, metric: str) -> str:
    """Who, and by how much more or less it has, as a positive number with its interval."""
    ends = (one.low, one.high) if one.value >= 0 else (-one.high, -one.low)
    interval = f" [{', '.join(shown(metric, end) for end in ends)}]" if one.paired else ""
    return f"{one.name} by {shown(metric, abs(one.value))}{interval}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
