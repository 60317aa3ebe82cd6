"""The scores of a trial as HTML tables: twelve rows at most for each task, and what they say."""

from collections.abc import Sequence
from html import escape

from lang_jepa.comparison.trial.curve import bar
from lang_jepa.comparison.trial.verdict import METRIC, SEARCH
from lang_jepa.evaluation.conclusions import MODEL_NAME, conclusions
from lang_jepa.evaluation.table import Report, Row, is_headline, shortened

_WHO = (
    ("model", "the predictor that was trained on your text"),
    ("untrained", "the same predictor before its first step"),
    ("copy-forward", "predicts that the last one comes again"),
    ("model, raw", "the model by plain cosine, if another similarity was chosen for it on other documents"),
    ("recency mean", "a mean of what precedes, weighted towards the last"),
    ("ridge on means", "a linear regression from such means, solved in closed form"),
    ("nearest contexts", "what followed the most similar contexts in the training text"),
    ("TF-IDF, BM25", "shared words"),
    ("chance", "a guess"),
)


def section(report: Report, unit: str) -> str:
    """Return the tables, each below the question that was asked.

    Args:
        report: with the rows.
        unit: what is predicted.
    """
    tasks = list(dict.fromkeys((row.task, row.split) for row in report.rows))
    asked = [one for one in tasks if one[0] != SEARCH]
    body = "".join(_task(report, *one, unit) for one in asked)
    body += "".join(_search(report, *one, unit) for one in tasks if one[0] == SEARCH)
    named = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in _WHO)
    return f"{body}<details><summary>What the rows are</summary><dl class='how'>{named}</dl></details>"


def _task(report: Report, task: str, split: str, unit: str) -> str:
    rows = [row for row in report.rows if (row.task, row.split) == (task, split)]
    shown = [row for row in rows if is_headline(row) and row.metric in (METRIC, "mrr")]
    kept, hidden = shortened(shown, [row.name for row in rows if row.name.startswith("predictor over")])
    count = max(row.n for row in shown)
    more = f" {hidden} weaker ones are left out." if hidden else ""
    said = (
        f"Which {unit} of the candidates comes next? {count:,} questions about held-out text. The bar: how often the "
        f"true one is first (recall@1), with its 95 % interval.{more}"
    )
    end = " ".join(conclusions(rows))
    return f"<h3>{escape(task)}</h3><p>{escape(said)}</p>{_table(kept)}<p><small>{escape(end)}</small></p>"


def _search(report: Report, task: str, split: str, unit: str) -> str:
    rows = [row for row in report.rows if (row.task, row.split) == (task, split)]
    shown = [row for row in rows if is_headline(row)]
    said = (
        f"Plain search: the first {unit} of a document is searched for in the rest of all documents; it is a hit if "
        f"the nearest {unit} is from its own. {shown[0].n:,} searches in the whole text, training text included."
    )
    end = " ".join(conclusions(rows))
    return f"<h3>search for {escape(task)}</h3><p>{escape(said)}</p>{_table(shown)}<p><small>{escape(end)}</small></p>"


def _table(rows: Sequence[Row]) -> str:
    """A row for each scorer, the best first: a bar, and both metrics in numbers."""
    first = {row.name: row for row in rows if row.metric == METRIC}
    second = {row.name: row for row in rows if row.metric != METRIC}
    most = max((row.high or row.value) for row in first.values())
    names = sorted(first, key=lambda name: -first[name].value)
    heads = f"<tr><th>who</th><th class='bar'></th><th class='n'>{METRIC}</th>"
    heads += "<th class='n cut'>MRR</th></tr>" if second else "</tr>"
    lines = []
    for name in names:
        row, own = first[name], name == MODEL_NAME
        mrr = f"<td class='n cut'>{second[name].value:.3f}</td>" if name in second else ("<td></td>" if second else "")
        half = "" if row.low is None or row.high is None else f" <small>±{50 * (row.high - row.low):.1f}</small>"
        drawn = bar(row.value, row.low, row.high, most, own=own)
        lines.append(
            f"<tr{' class=own' if own else ''}><td>{escape(name)}</td><td class='bar'>{drawn}</td>"
            f"<td class='n'>{100 * row.value:.1f} %{half}</td>{mrr}</tr>"
        )
    return f"<div class='wide' tabindex='0'><table>{heads}{''.join(lines)}</table></div>"
