"""The verdict on a text: what its scores say, in a few sentences, judged by their intervals alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lang_jepa.evaluation.conclusions import MODEL_NAME
from lang_jepa.evaluation.table import LEAD, Report, Row

METRIC = "recall@1"
SEARCH = "a document by how it begins"
"""Task of the rows about plain search, from `lang_jepa.comparison.trial.spaces`."""
_WORTH = 0.1
"""Plain search is mentioned if at least one scorer gets this share of the searches right."""
_KINDS = {
    "copy-forward": "copying",
    "recency mean": "copying",
    "TF-IDF": "words",
    "BM25": "words",
    "ridge": "simple",
    "nearest contexts": "simple",
    "untrained": "start",
    "pretrained start": "start",
}
"""What a scorer in a table does, by how its name begins."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a text, which the page shows first.

    Attributes:
        helps: whether the predictor finds what comes next more often than anything that predicts nothing.
        headline: of the page, a few words.
        sentences: why, with numbers.
    """

    helps: bool
    headline: str
    sentences: list[str]


@dataclass(frozen=True, slots=True)
class Rival:
    """A scorer that the model is compared with.

    Attributes:
        name: in the rows. value: its score.
        low, high: ends of the 95 % interval of the model's lead, question by question.
    """

    name: str
    value: float
    low: float
    high: float

    @property
    def kind(self) -> str:
        """`copying`, `words` (both predict nothing), `simple` (predictors without a network), `start` or `other`."""
        if "-gram" in self.name and MODEL_NAME not in self.name:
            return "simple"
        return next((kind for begin, kind in _KINDS.items() if self.name.startswith(begin)), "other")

    def points(self, *, turned: bool = False) -> str:
        """Return the interval in percentage points; `turned`: of its lead over the model."""
        ends = (-self.high, -self.low) if turned else (self.low, self.high)
        return f"[{', '.join(f'{100 * end:+.1f}' for end in ends)}]"


def verdict_of(report: Report, unit: str, *, over: Report | None = None, encoder: str | None = None) -> Verdict:
    """Judge whether prediction helps, and whether the trained encoder is worth searching with.

    Args:
        report: of a run from scratch, with the rows of `SEARCH`, if there are any.
        unit: what is predicted.
        over: of a run over a pretrained encoder; the verdict is about that run if it finds more.
        encoder: the pretrained encoder's name in the rows.
    """
    own, rivals = rivals_of(report)
    name = "the predictor"
    if over is not None and rivals_of(over)[0].value > own.value:
        own, rivals = rivals_of(over)
        name = f"a predictor over {encoder}"
    plain = [one for one in rivals if one.kind in ("copying", "words")]
    best = max(plain, key=lambda one: one.value)
    verdict = _ahead(name, own, best, plain, rivals, unit) if best.low > 0 else _not_ahead(name, own, best, unit)
    return Verdict(verdict.helps, verdict.headline, [*verdict.sentences, *search_sentence(report, encoder)])


def rivals_of(report: Report) -> tuple[Row, list[Rival]]:
    """Return the model's row in the first task of a report, and the scorers that it is compared with there."""
    first = report.rows[0]
    rows = [row for row in report.rows if (row.task, row.split) == (first.task, first.split) and row.chosen]
    own = next(row for row in rows if row.name == MODEL_NAME and row.metric == METRIC)
    scores = {row.name: row.value for row in rows if row.metric == METRIC}
    leads = [row for row in rows if row.metric == f"{METRIC}: {MODEL_NAME} {LEAD}" and row.name in scores]
    found = [
        Rival(row.name, scores[row.name], row.low, row.high)
        for row in leads
        if row.low is not None and row.high is not None
    ]
    return own, found


def short_name(encoder: str) -> str:
    """Return an encoder's name in tables: the last part of its path, or the folder above if that is `model`."""
    path = Path(encoder)
    return path.resolve().parent.name if path.name == "model" else path.name


def percent(value: float) -> str:
    """Format a share as a percentage."""
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.1f} %"


def _said(rival: Rival, *, begins: bool = False) -> str:
    """Describe a rival to a newcomer, with its name in the rows; `begins`: the description begins a sentence."""
    what = {"copying": "copying", "words": "comparing words"}.get(rival.kind)
    if what is None:
        regression = rival.name.startswith("ridge")
        what = "a linear regression" if regression else "a look at what followed in similar places"
        what = "counting which line follows which" if "-gram" in rival.name else what
    return f"{what[:1].upper() + what[1:] if begins else what} ({rival.name})"


def _ahead(name: str, own: Row, best: Rival, plain: Sequence[Rival], rivals: Sequence[Rival], unit: str) -> Verdict:
    """The verdict if the predictor finds more than anything that predicts nothing."""
    copy = max((one for one in plain if one.kind == "copying"), key=lambda one: one.value, default=best)
    times = f"{own.value / copy.value:.1f} times as often as copying" if copy.value else "which copying never does"
    said = (
        f"On your text {name} finds the next {unit} {times}: in {percent(own.value)} of {own.n:,} questions about "
        f"held-out text, against {percent(copy.value)} (95 % interval of the difference: {copy.points()} points)."
    )
    if best.name != copy.name:
        said += f" The best without prediction is {_said(best)} with {percent(best.value)}."
    sentences = [said]
    simple = max((one for one in rivals if one.kind == "simple"), key=lambda one: one.value, default=None)
    start = max((one for one in rivals if one.kind == "start"), key=lambda one: one.value, default=None)
    headline = "Prediction helps here"
    if simple is not None and simple.high < 0:
        headline += ", by a simpler predictor"
        sentences.append(
            f"A simpler predictor finds still more, {_said(simple)}: {percent(simple.value)}, by "
            f"{simple.points(turned=True)} points."
        )
    elif simple is not None and simple.low <= 0:
        headline += ", and a simple predictor is enough"
        sentences.append(
            f"{_said(simple, begins=True)}, a simpler predictor, cannot be told apart from it: {percent(simple.value)}."
        )
    if start is not None and start.high < 0:
        sentences.append(f"Training made it worse: before its first step it finds {percent(start.value)}.")
    elif start is not None and start.low <= 0:
        sentences.append(
            f"Training made no measurable difference: before its first step it finds {percent(start.value)}."
        )
    elif start is not None:
        sentences.append(f"Before its first training step it finds {percent(start.value)}.")
    return Verdict(True, headline, sentences)


def _not_ahead(name: str, own: Row, best: Rival, unit: str) -> Verdict:
    """The verdict if something that predicts nothing finds as much, or more."""
    said = (
        f"On your text {name} finds the next {unit} in {percent(own.value)} of {own.n:,} questions about held-out text"
    )
    if best.high < 0:
        said += (
            f", and {_said(best)} does so more often: in {percent(best.value)} (95 % interval of the difference: "
            f"{best.points(turned=True)} points)."
        )
    else:
        said += (
            f", {_said(best)} in {percent(best.value)}. The 95 % interval of the difference, {best.points()} points, "
            "holds 0."
        )
    return Verdict(False, "Prediction does not help here", [said])


def search_sentence(report: Report, encoder: str | None) -> list[str]:
    """Say what finds most in a plain search, if that was measured and is worth mentioning; at most one sentence."""
    rows = [row for row in report.rows if row.task == SEARCH and not row.metric.endswith(LEAD)]
    own = next((row for row in rows if row.name == MODEL_NAME), None)
    rivals = [row for row in rows if row.name != MODEL_NAME]
    if own is None or not rivals or max(row.value for row in rows) < _WORTH:
        return []
    best = max(rivals, key=lambda row: row.value)
    lead = next(
        row for row in report.rows if row.task == SEARCH and row.metric.endswith(LEAD) and row.name == best.name
    )
    name = f"{best.name} as it is" if best.name == encoder else "the words alone (TF-IDF)"
    if lead.high is not None and lead.high < 0:
        return [
            f"For plain search take {name}: {percent(best.value)} of {own.n:,} searches find their document first, "
            f"against {percent(own.value)} with the encoder that was trained here."
        ]
    if lead.low is not None and lead.low > 0:
        return [
            f"For plain search, in text that it was trained on, the trained encoder is better: {percent(own.value)} of "
            f"{own.n:,} searches find their document first, against {percent(best.value)} with {name}."
        ]
    return [
        f"For plain search the trained encoder and {name} cannot be told apart: {percent(own.value)} and "
        f"{percent(best.value)} of {own.n:,} searches find their document first."
    ]
