"""What the commands draw on the terminal: tables, a progress bar, warnings. Used by `cli` only."""

from collections.abc import Iterable, Mapping
from itertools import groupby

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from lang_jepa.evaluation.table import Report, Row, is_headline

console = Console()
errors = Console(stderr=True)

Figures = Mapping[str, float]


def facts_table(facts: Iterable[tuple[str, str]], *, title: str) -> None:
    """Two columns: what, and how much."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in facts:
        table.add_row(name, value)
    console.print(table)


def score_tables(report: Report, *, title: str, everything: bool = False) -> None:
    """One table for each task and split: who was scored, by which metric, with 95 % intervals.

    Args:
        report: of `lang_jepa.evaluation.evaluate`.
        title: above the tables.
        everything: also the similarities that were not chosen, recall@5 and the paired leads.
    """
    console.print(f"[bold]{title}[/]", highlight=False)
    for (task, split), rows in groupby(
        sorted_rows(report, everything), key=lambda row: (row.task, row.split)
    ):
        console.print(_one_table(f"{task}, {split}", list(rows)))


def sorted_rows(report: Report, everything: bool) -> list[Row]:
    """The rows to show, those of one task and split together, in the order in which they first appear."""
    shown = [row for row in report.rows if everything or is_headline(row)]
    order = list(dict.fromkeys((row.task, row.split) for row in shown))
    return sorted(shown, key=lambda row: order.index((row.task, row.split)))


def _one_table(title: str, rows: list[Row]) -> Table:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    names = list(dict.fromkeys((row.name, row.similarity) for row in rows))
    cells = {(row.name, row.similarity, row.metric): _cell(row) for row in rows}
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("")
    for metric in metrics:
        table.add_column(metric, justify="right")
    for name, similarity in names:
        shown = f"{name} \\[{similarity}]" if similarity else name
        values = [cells.get((name, similarity, metric), "") for metric in metrics]
        table.add_row(shown, *values, style="bold green" if name == "model" else None)
    counts = sorted({row.n for row in rows if row.n})
    table.caption = f"n = {', '.join(f'{count:,}' for count in counts)}; 95 % intervals in small print"
    table.caption_justify = "left"
    return table


def _cell(row: Row) -> str:
    interval = "" if row.low is None or row.high is None else f" [dim]{row.low:.3f}-{row.high:.3f}[/]"
    return f"{row.value:.3f}{interval}"


class Bar:
    """A reporter for the terminal: one progress line, a line per look at held-out data."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._rank = ""

    def begin(self, *, total: int, start: int, facts: list[tuple[str, str]]) -> None:
        """Show the facts and start the bar."""
        facts_table(facts, title="data")
        self._progress.start()
        self._task = self._progress.add_task("training", total=total, completed=start, figures="")

    def step(self, step: int, figures: Figures) -> None:
        """Move the bar."""
        if self._task is None:
            return
        text = (
            f"loss {figures['train/loss']:.4f}  cosine {figures['stats/cosine_similarity']:.3f}  {self._rank}"
            f"{figures['train/targets_per_second']:,.0f} targets/s"
        )
        self._progress.update(self._task, completed=step, figures=text)

    def look(self, step: int, figures: Figures) -> None:
        """One line of held-out figures."""
        rank, limit = (
            figures["val/embeddings/target_eff_rank"],
            figures["val/embeddings/target_eff_rank_limit"],
        )
        self._rank = f"rank {rank:.0f}/{limit:.0f}  "
        self._progress.console.print(
            f"step {step:>6}  held out: loss {figures['val/loss']:.4f}  "
            f"cosine {figures['val/semantic/avg_similarity']:.3f}  "
            f"recall@1 {figures['val/retrieval/recall@1']:.3f} among {figures['val/retrieval/candidates']:.0f}  "
            f"effective rank {rank:.0f} of {limit:.0f}  "
            f"spread {figures['val/embeddings/target_std_relative']:.2f}"
        )

    def message(self, text: str) -> None:
        """Something to know."""
        self._progress.console.print(text, highlight=False)

    def warning(self, text: str) -> None:
        """Something to act on."""
        self._progress.console.print(f"[bold yellow]warning:[/] {text}", highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self._progress.stop()
