"""The scores of a trial as HTML: a table for each task and what it says, and the curve of the training, as SVG."""

from collections.abc import Mapping, Sequence
from html import escape

from lang_jepa.comparison.trial.verdict import METRIC, SEARCH
from lang_jepa.evaluation.conclusions import MODEL_NAME, conclusions
from lang_jepa.evaluation.table import Report, Row, is_headline, shortened
from lang_jepa.training.metrics import STEP

RECALL = "val/retrieval/recall@1"
_WIDE, _HIGH, _LEFT, _LOW = 640, 220, 52, 34
"""Size of the curve, and the space for labels to its left and below it, in pixels."""
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
    tasks = dict.fromkeys((row.task, row.split) for row in report.rows)
    body = "".join(_task(report, *one, unit) for one in sorted(tasks, key=lambda one: one[0] == SEARCH))
    named = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in _WHO)
    return f"{body}<details><summary>What the rows are</summary><dl class='how'>{named}</dl></details>"


def _task(report: Report, task: str, split: str, unit: str) -> str:
    rows = [row for row in report.rows if (row.task, row.split) == (task, split)]
    shown = [row for row in rows if is_headline(row) and row.metric in (METRIC, "mrr")]
    count = f"{max(row.n for row in shown):,}"
    if task == SEARCH:
        title = f"search for {task}"
        said = (
            f"Plain search: the first {unit} of a document is searched for in the rest of all documents; it is a hit "
            f"if the nearest {unit} is from its own. {count} searches in the whole text, training text included."
        )
    else:
        title = task
        shown, hidden = shortened(shown, [row.name for row in rows if row.name.startswith("predictor over")])
        said = (
            f"Which {unit} of the candidates comes next? {count} questions about held-out text. The bar: how often the "
            "true one is first (recall@1), with its 95 % interval."
        )
        said += f" {hidden} weaker ones are left out." if hidden else ""
    end = " ".join(conclusions(rows))
    return f"<h3>{escape(title)}</h3><p>{escape(said)}</p>{_table(shown)}<p><small>{escape(end)}</small></p>"


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


def bar(value: float, low: float | None, high: float | None, most: float, *, own: bool) -> str:
    """Draw a score as a bar, with a line from one end of its interval to the other.

    Args:
        value, low, high: from 0 to 1. most: the value at full width.
        own: whether it is the model's.
    """
    scale = 100 / max(most, 1e-9)
    colour = "var(--own)" if own else "var(--other)"
    parts = [f'<rect x="0" y="4" width="{max(0.4, value * scale):.2f}" height="14" rx="1" fill="{colour}"/>']
    if low is not None and high is not None:
        line = 'stroke="currentColor" vector-effect="non-scaling-stroke" stroke-width="1.5"'
        parts.append(f'<path d="M{low * scale:.2f} 11H{high * scale:.2f}" {line}/>')
        parts += [f'<path d="M{end * scale:.2f} 7V15" {line}/>' for end in (low, high)]
    return f'<svg viewBox="0 0 100 22" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def curve(rows: Sequence[Mapping[str, float]], kept: int | None) -> str:
    """Draw held-out recall@1 over the steps of a training; empty if it was validated fewer than twice.

    Args:
        rows: of metrics.csv.
        kept: the step whose weights became the model (None: the last one).
    """
    points = [(row[STEP], row[RECALL]) for row in rows if RECALL in row]
    if len(points) < 2:
        return ""
    last, most = max(step for step, _ in points), max(0.01, *(value for _, value in points)) * 1.1

    def at(step: float, value: float) -> tuple[float, float]:
        return (
            _LEFT + step / max(last, 1) * (_WIDE - _LEFT - 16),
            (_HIGH - _LOW) - value / most * (_HIGH - _LOW - 14),
        )

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
    ticks = [most / 1.1 * share for share in (0, 0.5, 1)]
    grid = "".join(
        f'<path d="M{_LEFT} {at(0, value)[1]:.1f}H{_WIDE - 16}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 8}" y="{at(0, value)[1] + 4:.1f}" text-anchor="end">{100 * value:.1f} %</text>'
        for value in ticks
    )
    steps = "".join(
        f'<text x="{at(step, 0)[0]:.1f}" y="{_HIGH - 14}" text-anchor="middle">{step:,.0f}</text>'
        for step in (0, last / 2, last)
    )
    chosen = [point for point in points if point[0] == (last if kept is None else kept)]
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="var(--own)" stroke="var(--paper)" stroke-width="2"/>'
        for x, y in (at(*point) for point in chosen[-1:])
    )
    said = ", ".join(f"step {step:.0f}: {100 * value:.1f} %" for step, value in points)
    return (
        f'<svg class="curve" viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{escape(said)}">{grid}{steps}'
        f'<polyline points="{line}" fill="none" stroke="var(--own)" stroke-width="2"/>{dots}</svg>'
    )
