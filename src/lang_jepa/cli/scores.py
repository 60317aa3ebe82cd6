"""The tables of an evaluation on the terminal."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.text import Text

from lang_jepa.cli.console import console, draw, plain, score_tables_of
from lang_jepa.errors import counted, visible
from lang_jepa.evaluation.conclusions import conclusions
from lang_jepa.evaluation.table import RAW, Report, Row, is_headline, shortened, shown


def score_tables(report: Report, *, title: str, everything: bool = False, asked: Collection[str] = ()) -> None:
    """Print one table for each task and split: what was scored, by which metric, with 95 % intervals.

    Args:
        report: from `lang_jepa.evaluation.tasks`.
        title: above the tables.
        everything: also show similarities that were not chosen, recall@5, the paired leads, and all rows.
        asked: names of rows that are always shown.
    """
    plain(title, style="bold")
    for (task, split), rows in groupby(sorted_rows(report, everything), key=lambda row: (row.task, row.split)):
        found = list(rows)
        kept, hidden = (found, 0) if everything else shortened(found, asked)
        draw(_one_table(kept), f"{task}, {split}")
        sizes = ", ".join(f"{count:,}" for count in sorted({row.n for row in found if row.n}))
        plain(f"n = {sizes}; ± half a 95 % interval, whose ends are in the JSON", style="dim italic")
        if any(row.name.endswith(RAW) for row in kept):
            plain("model, raw: the same predictions by plain cosine", style="dim italic")
        if hidden:
            left_out = f"{counted(hidden, 'weaker row')} left out here"
            plain(f"{left_out}: --everything shows all, the JSON has them", style="dim")
        plain(" ".join(conclusions(row for row in report.rows if (row.task, row.split) == (task, split))))


def sorted_rows(report: Report, everything: bool) -> list[Row]:
    """Return the rows to show, those of one task and split together, in the order in which they first appear."""
    shown = [row for row in report.rows if everything or is_headline(row)]
    order = list(dict.fromkeys((row.task, row.split) for row in shown))
    return sorted(shown, key=lambda row: order.index((row.task, row.split)))


def _one_table(rows: Sequence[Row]) -> Iterator[RenderableType]:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    names = list(dict.fromkeys((row.name, row.similarity) for row in rows))
    cells = {(row.name, row.similarity, row.metric): _cell(row) for row in rows}
    lines = []
    for name, similarity in names:
        shown = Text(f"{visible(name)} [{similarity}]" if similarity else visible(name))
        lines.append([shown, *(cells.get((name, similarity, metric), Text()) for metric in metrics)])
    scored = [number for number, (name, _) in enumerate(names) if name == "model"]
    return score_tables_of(["", *metrics], lines, width=console.width, strong=scored)


def _cell(row: Row) -> Text:
    half = None if row.low is None or row.high is None else (row.high - row.low) / 2
    interval = "" if half is None else f" ±{shown(row.metric, half)}"
    return Text.assemble(shown(row.metric, row.value), (interval, "dim"))
