"""The verdict on a text: what its rows of scores say, in one or two sentences, by their intervals alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lang_jepa.evaluation.conclusions import MODEL_NAME
from lang_jepa.evaluation.table import LEAD, Report, Row

METRIC = "recall@1"
SEARCH = "a document by how it begins"
"""Task of the rows about plain search, of `lang_jepa.trial.search`."""

_COPIES = ("copy-forward", "recency mean")
_WORDS = ("TF-IDF", "BM25")
_LEARNT = "ridge"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said first.

    Attributes:
        helps: whether the predictor finds what comes next more often than everything that predicts nothing.
        headline: of the page, a few words.
        sentences: why, with numbers.
    """

    helps: bool
    headline: str
    sentences: list[str]

    def as_dict(self) -> dict[str, Any]:
        return {"helps": self.helps, "headline": self.headline, "sentences": self.sentences}


@dataclass(frozen=True, slots=True)
class _Other:
    """Somebody beside the model: its score, and what the model has more, with the ends of its interval."""

    name: str
    value: float
    lead: float
    low: float
    high: float

    def interval(self, *, turned: bool = False) -> str:
        """Of the difference, in points of a hundred."""
        ends = (-self.high, -self.low) if turned else (self.low, self.high)
        return f"[{', '.join(f'{100 * end:+.1f}' for end in ends)}]"


def verdict_of(report: Report, unit: str, *, encoder: str | None = None) -> Verdict:
    """Whether prediction helps, and whether the trained encoder is one to search with.

    Args:
        report: of a run, with the rows of `SEARCH`, if there are any.
        unit: what is predicted.
        encoder: the name of a pretrained one in the rows.
    """
    task = report.rows[0].task
    rows = [row for row in report.rows if row.task == task and row.split == report.rows[0].split and row.chosen]
    own = next(row for row in rows if row.name == MODEL_NAME and row.metric == METRIC)
    others = _others(rows)
    plain = [one for one in others if _kind(one.name) in ("copying", "words", "memory")]
    best = max(plain, key=lambda one: one.value)
    copies = [one for one in plain if _kind(one.name) == "copying"]
    ridge = max((one for one in others if _kind(one.name) == _LEARNT), key=lambda one: one.value, default=None)
    if best.low > 0:
        verdict = _ahead(own, best, max(copies, key=lambda one: one.value, default=best), ridge, unit)
    else:
        verdict = _not_ahead(own, best, ridge, unit)
    return Verdict(verdict.helps, verdict.headline, [*verdict.sentences, *search_sentence(report, encoder)])


def _others(rows: Sequence[Row]) -> list[_Other]:
    """All that the model is compared with, by the metric, question by question."""
    scores = {row.name: row.value for row in rows if row.metric == METRIC}
    leads = [row for row in rows if row.metric == f"{METRIC}: {MODEL_NAME} {LEAD}" and row.low is not None]
    return [
        _Other(row.name, scores[row.name], row.value, float(row.low or 0), float(row.high or 0))
        for row in leads
        if row.name in scores
    ]


def _kind(name: str) -> str:
    """What somebody in the table does, by the name."""
    if name.startswith(_COPIES):
        return "copying"
    if name.startswith(_WORDS):
        return "words"
    if name.startswith(("nearest context", "1-gram", "2-gram", "3-gram", "5-gram", "n-gram")) or "-gram" in name:
        return "memory" if not name.startswith(MODEL_NAME) else "model"
    return _LEARNT if name.startswith(_LEARNT) else "model"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.1f} %"


def _ahead(own: Row, best: _Other, copy: _Other, ridge: _Other | None, unit: str) -> Verdict:
    times = own.value / copy.value if copy.value else 0.0
    more = f"{times:.1f} times as often as copying" if times else "which copying never does"
    said = (
        f"On your text the predictor finds the next {unit} {more}: {_percent(own.value)} of {own.n:,} questions about "
        f"held-out text against {_percent(copy.value)} ({copy.name}; the 95 % interval of the difference is "
        f"{copy.interval()} points)."
    )
    if best.name != copy.name:
        said += f" Of all that learns nothing the best is {best.name} with {_percent(best.value)} {best.interval()}."
    if ridge is None:
        return Verdict(True, "Prediction helps here", [said])
    if ridge.high < 0:
        end = f"A ridge regression of the same vectors, solved in a second, is better still: {_percent(ridge.value)}."
        return Verdict(True, "Prediction helps here, though a simpler predictor does more", [said, end])
    if ridge.low > 0:
        return Verdict(True, "Prediction helps here", [said, f"A ridge regression finds {_percent(ridge.value)}."])
    end = f"A ridge regression of the same vectors, solved in a second, does as well ({_percent(ridge.value)})."
    return Verdict(True, "Prediction helps here, and a simple predictor does as well", [said, end])


def _not_ahead(own: Row, best: _Other, ridge: _Other | None, unit: str) -> Verdict:
    behind = best.high < 0
    how = "finds the next" if behind else "finds the next"
    end = (
        f"{best.name}, which learns nothing, does so more often ({_percent(best.value)}; by "
        f"{best.interval(turned=True)} points)"
        if behind
        else f"{best.name}, which learns nothing, in {_percent(best.value)}, and the interval of the difference, "
        f"{best.interval()} points, holds 0"
    )
    said = (
        f"Prediction does not help here: the predictor {how} {unit} in {_percent(own.value)} of {own.n:,} questions "
        f"about held-out text, and {end}."
    )
    return Verdict(False, "Prediction does not help here", [said])


def search_sentence(report: Report, encoder: str | None) -> list[str]:
    """Who finds most in a plain search, if that was measured; at most one sentence."""
    rows = [row for row in report.rows if row.task == SEARCH and not row.metric.endswith(LEAD)]
    own = next((row for row in rows if row.name == MODEL_NAME), None)
    rivals = [row for row in rows if row.name not in (MODEL_NAME, "chance")]
    if own is None or not rivals:
        return []
    best = max(rivals, key=lambda row: row.value)
    leads = {row.name: row for row in report.rows if row.task == SEARCH and row.metric.endswith(LEAD)}
    lead = leads[best.name]
    name = f"{best.name} as it is" if best.name == encoder else "TF-IDF (the words alone)"
    shares = f"{_percent(best.value)} against {_percent(own.value)} of {own.n:,} searches"
    if lead.high is not None and lead.high < 0:
        return [f"For plain search {name} is better: {shares} find their document first."]
    if lead.low is not None and lead.low > 0:
        return [f"For plain search the trained encoder is better than {name} too: {shares} the other way round."]
    return [f"For plain search the trained encoder and {name} are not to be told apart ({shares})."]
