"""What the commands draw on the terminal: tables, a progress bar, warnings. Used by `cli` only."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

console = Console()
errors = Console(stderr=True)

Figures = Mapping[str, float]


def facts_table(facts: Iterable[tuple[str, str]], *, title: str) -> None:
    """Two columns: what, and how much."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in facts:
        table.add_row(name, value)
    console.print(table)


def score_table(rows: Sequence[Sequence[str]], *, title: str) -> None:
    """A table whose first row is the header; the examined model's rows stand out."""
    header, *body = rows
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in header:
        table.add_column(name, justify="right" if name in {"value", "n"} else "left")
    before: Sequence[str] = ()
    for row in body:
        if before and row[:3] != before[:3]:
            table.add_section()
        style = "bold green" if row[3].split(" [")[0] == "model" else None
        shown = ["" if before and row[: i + 1] == before[: i + 1] else cell for i, cell in enumerate(row[:3])]
        table.add_row(*shown, *row[3:], style=style)
        before = row
    console.print(table)


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
