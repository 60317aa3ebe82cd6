"""report.html: the whole comparison on one self-contained page that requests nothing."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lang_jepa.comparison.figure import as_svg, draw, draw_dose, save_png
from lang_jepa.comparison.outcome import best_rival
from lang_jepa.evaluation.table import shown
from lang_jepa.files.atomic import write_text

Report = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 1120px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { max-width: 52rem; } .sub, caption, small { color: #5c5c5c; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
table { margin: .8rem 0; }
caption { caption-side: bottom; text-align: left; padding-top: .5rem; }
th { text-align: left; border-bottom: 2px solid #c8c8c8; padding: .3rem .6rem; font-weight: 600; }
td { border-bottom: 1px solid #e6e6e6; padding: .3rem .6rem; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.group td { background: #f4f4f4; font-weight: 600; }
.better { color: #00694a; font-weight: 600; } .worse { color: #a83200; font-weight: 600; } .open { color: #5c5c5c; }
.alarm { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .5rem .9rem; margin: .5rem 0; }
code { font-size: .92em; } svg { width: 100%; height: auto; overflow: visible; } .scroll { overflow-x: auto; }
details { margin-top: 1rem; } summary { cursor: pointer; font-weight: 600; }
"""


def write_page(report: Report, path: Path) -> None:
    """Write the page, atomically.

    Args:
        report: from `lang_jepa.comparison.outcome.outcome`.
        path: of the HTML file.
    """
    parts = [
        _head(report),
        _alarms(report),
        "<h2>Verdicts</h2>",
        *(_verdict_table(report, one["name"]) for one in report["variants"][1:]),
        "<h2>Curves</h2>",
        "<p class='sub'>Held-out data; line: mean over seeds, band: lowest to highest seed. A dotted line marks the "
        "largest budget that all variants reached.</p>",
        as_svg(draw(report)),
        _equal_budget_table(report),
        *_doses(report),
        "<h2>What was equal, and what was not</h2>",
        _settings_table(report),
        _cost_table(report),
        _equal_table(report),
        "<h2>All scores</h2>",
        _score_tables(report),
        "<h2>Keep in mind</h2>",
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in report["notes"]) + "</ul>",
    ]
    title = escape(" against ".join([*_rivals(report), report["baseline"]]))
    text = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>\n<body>"
    )
    write_text(path, text + "\n".join(parts) + "\n</body></html>\n")


def write_pictures(report: Report, folder: Path) -> None:
    """Write the page's figures, atomically: `curves.png`, and a picture of each setting compared at several values.

    Args:
        report: from `lang_jepa.comparison.outcome.outcome`.
        folder: of the comparison; a setting's picture is named after it.
    """
    save_png(draw(report), folder / "curves.png")
    if report["points"]:
        for series in report["series"]:
            save_png(draw_dose(report, series), folder / f"{series['key']}.png")


def _rivals(report: Report) -> list[str]:
    return [one["name"] for one in report["variants"][1:]]


def _head(report: Report) -> str:
    counts = {call: sum(one["call"] == call for one in report["verdicts"]) for call in ("better", "worse")}
    rest = len(report["verdicts"]) - sum(counts.values())
    names = ", ".join(f"<b>{escape(name)}</b>" for name in _rivals(report))
    seeds = len(report["seeds"])
    return (
        f"<h1>{names} against {escape(report['baseline'])}</h1>"
        f"<p class='sub'>{seeds} seed{'s' * (seeds > 1)} each, {escape(report['budget'])}, "
        f"tasks: {escape(', '.join(report['tasks']))}</p>"
        f"<p>Of {len(report['verdicts'])} comparisons <span class='better'>{counts['better']} better</span>, "
        f"<span class='worse'>{counts['worse']} worse</span>, <span class='open'>{rest} undecided</span>.</p>"
    )


def _alarms(report: Report) -> str:
    """Show each kind of alarm of a variant once, with the other seeds folded below the first."""

    def text_of(variant: str, run: Mapping[str, Any]) -> str:
        return f"<b>{escape(variant)}, seed {run['seed']}</b>: {escape(run['text'])}"

    parts = []
    for one in report["alarms"]:
        first, *others = (text_of(one["variant"], run) for run in one["runs"])
        more = f"<details><summary>{len(others)} more: {escape(one['kind'])}</summary>" if others else ""
        more += "".join(f"<p>{text}</p>" for text in others) + "</details>" * bool(others)
        parts.append(f"<div class='alarm'>{first}{more}</div>")
    return "".join(parts)


def _verdict_table(report: Report, variant: str) -> str:
    """One variant against the baseline, metric by metric."""
    rows, last = [], None
    scorers = {(one["task"], one["split"], one["name"]): one["scorers"] for one in report["scores"]}
    names = [one["name"] for one in report["variants"]]
    for one in report["verdicts"]:
        if one["variant"] != variant:
            continue
        metric = one["metric"]
        group = (metric["task"], metric["split"])
        if group != last:
            rows.append(f"<tr class='group'><td colspan='7'>{escape(', '.join(group))}</td></tr>")
            last = group
        found = one["difference"]
        rival, value = best_rival(
            scorers[metric["task"], metric["split"], metric["name"]], names, lower=one["lower_is_better"]
        )
        name, css = metric["name"], one["call"] if one["call"] in ("better", "worse") else "open"
        low, high = (shown(name, found[end], sign=True) for end in ("low", "high"))
        cells = [
            *(_with_spread(name, one[f"{side}_mean"], one[f"{side}_std"]) for side in ("baseline", "variant")),
            f"{shown(name, found['value'], sign=True)} <small>[{low}, {high}]</small>",
            f"{one['p_holm']:.2g}",
            f"{shown(name, value)} <small>{escape(rival)}</small>" if rival else "",
        ]
        rows.append(
            f"<tr><td>{escape(name)}</td>"
            + "".join(f"<td class='n'>{cell}</td>" for cell in cells)
            + f"<td title='{escape(one['reason'])}'><span class='{css}'>{escape(one['call'])}</span>"
            f"{_why(one)}</td></tr>"
        )
    head = ("metric", report["baseline"], variant, "difference [95 %]", "p (Holm)", "best simple scorer", "verdict")
    return (
        f"<div class='scroll'><table><thead>{_cells('th', head, numbers=range(1, 6))}</thead><tbody>{''.join(rows)}"
        f"</tbody><caption>{_CAPTION.format(**report['rules'])}</caption></table></div>"
    )


_CAPTION = (
    "± is the standard deviation over seeds. The interval resamples seeds and documents, the same for both sides. "
    "A verdict needs all of: an interval without 0, a difference above the baseline's ±, p below .05 after Holm's "
    "correction for {comparisons} comparisons, and at least {least_seeds} seeds."
)


def _why(one: Mapping[str, Any]) -> str:
    """The rules that were not passed, and what the interval does not cover; the numbers are in the row."""
    lines = [f"not passed: {', '.join(one['failed'])}"] if one["failed"] else []
    if not one["difference"]["questions"]:
        lines.append("no values per question: over seeds alone")
    elif not one["difference"]["paired"]:
        lines.append("the questions differ: not paired")
    return "".join(f"<br><small>{escape(line)}</small>" for line in lines)


def _doses(report: Report) -> list[str]:
    """The figure of each setting that was compared at several values."""
    if not report["points"]:
        return []
    return [
        f"<h2>Against {escape(series['key'])}</h2><p class='sub'>Dots: seeds; line: means; grey: mean of "
        f"{escape(report['baseline'])} and its standard deviation over seeds. Values are spaced equally.</p>"
        + as_svg(draw_dose(report, series))
        for series in report["series"]
    ]


def _equal_budget_table(report: Report) -> str:
    names = [one["name"] for one in report["variants"]]
    rows = [
        (
            f"{_amount(one['budget'])} {one['axis']}",
            one["metric"],
            *(_score(one["metric"], one["variants"][name]) for name in names),
        )
        for one in report["equal_budgets"]
    ]
    return _table(("at equal", "held-out metric", *names), rows, numbers=range(2, 2 + len(names)))


def _settings_table(report: Report) -> str:
    names = [one["name"] for one in report["variants"]]
    rows = [(key, *(_value(value) for value in row)) for key, row in report["settings_that_differ"].items()]
    warned = "".join(
        f"<div class='alarm'>different, and allowed: {escape(line)}</div>" for line in report["allowed_differences"]
    )
    if not rows:
        return "<p>The variants have the same settings.</p>"
    return warned + _table(("setting", *names), rows)


def _cost_table(report: Report) -> str:
    rows = [
        (one["name"], f"{one['steps']:,}", _amount(one["seconds"]), f"{one['flops']:.3g}", f"{one['parameters']:,}")
        for one in report["variants"]
    ]
    counter = report["variants"][0]["measured"]["counter"]
    table = _table(("variant, per run", "steps", "seconds", "FLOPs", "parameters"), rows, numbers=range(1, 5))
    return table + f"<p><small>FLOPs counted by {escape(counter)}.</small></p>"


def _equal_table(report: Report) -> str:
    rows = [(one["what"], "equal" if one["equal"] else "different", one["detail"]) for one in report["equal"]]
    return _table(("", "", ""), rows)


def _score_tables(report: Report) -> str:
    """Every scorer of every task, means over seeds."""
    groups = dict.fromkeys((one["task"], one["split"]) for one in report["scores"])
    parts = []
    for group in groups:
        columns = [one for one in report["scores"] if (one["task"], one["split"]) == group]
        names = list(dict.fromkeys(name for one in columns for name in one["scorers"]))
        rows = [
            (name, *(_score(one["name"], one["scorers"].get(name)) for one in columns))
            for name in sorted(names, key=lambda name: name not in report["curves"])
        ]
        table = _table(("", *(one["name"] for one in columns)), rows, numbers=range(1, len(columns) + 1))
        parts.append(f"<details><summary>{escape(', '.join(group))}</summary>{table}</details>")
    return "".join(parts)


def _score(metric: str, one: Mapping[str, float] | None) -> str:
    return "" if one is None else _with_spread(metric, one["mean"], one["std"])


def _with_spread(metric: str, mean: float, std: float) -> str:
    """A mean with its spread, unless that is 0: with one seed, or for a score that does not depend on the seed."""
    return f"{shown(metric, mean)} ± {shown(metric, std)}" if std else shown(metric, mean)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
    right = list(numbers)
    body = "".join(_cells("td", row, numbers=right) for row in rows)
    top = _cells("th", head, numbers=right)
    return f"<div class='scroll'><table><thead>{top}</thead><tbody>{body}</tbody></table></div>"


def _cells(tag: str, values: Sequence[str], *, numbers: Iterable[int] = ()) -> str:
    right = set(numbers)
    cells = (
        f"<{tag}{' class=n' if index in right else ''}>{escape(value)}</{tag}>" for index, value in enumerate(values)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if 10 <= value < 1e7 else f"{value:.3g}"


def _value(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
