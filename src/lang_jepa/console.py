"""What the commands draw on the terminal: tables, a progress bar, warnings. Used by `cli` only."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from lang_jepa.console_tables import fact_table, score_table, text_table
from lang_jepa.evaluation.table import Report, Row, is_headline, shown

if TYPE_CHECKING:
    from lang_jepa.concepts.index_files import Progress as IndexProgress

console = Console(quiet=os.environ.get("RANK", "0") != "0")
"""Standard output; silent on all but the first process of several."""

Figures = Mapping[str, float]


def plain(text: str) -> None:
    """A line as it is: no colours, no markup, never wrapped."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def facts_table(facts: Iterable[tuple[str, str]], *, title: str) -> None:
    """Two columns: what, and how much."""
    _draw(fact_table(list(facts), title=title, width=console.width))


def sentence_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, begins: Sequence[int]) -> None:
    """Figures and a sentence in each row, a line before those that begin something."""
    _draw(text_table(heads, rows, width=console.width, begins=begins))


def figures_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str) -> None:
    """A name and figures in each row."""
    _draw(score_table(heads, [[*map(escape, row)] for row in rows], width=console.width, title=escape(title)))


def _draw(parts: Iterable[RenderableType]) -> None:
    for part in parts:
        console.print(part, highlight=False)


def score_tables(report: Report, *, title: str, everything: bool = False) -> None:
    """One table for each task and split: who was scored, by which metric, with 95 % intervals.

    Args:
        report: of `lang_jepa.evaluation.evaluate`.
        title: above the tables.
        everything: also the similarities that were not chosen, recall@5 and the paired leads.
    """
    console.print(f"[bold]{escape(title)}[/]", highlight=False)
    for (task, split), rows in groupby(
        sorted_rows(report, everything), key=lambda row: (row.task, row.split)
    ):
        _draw(_one_table(f"{task}, {split}", list(rows)))


def sorted_rows(report: Report, everything: bool) -> list[Row]:
    """The rows to show, those of one task and split together, in the order in which they first appear."""
    shown = [row for row in report.rows if everything or is_headline(row)]
    order = list(dict.fromkeys((row.task, row.split) for row in shown))
    return sorted(shown, key=lambda row: order.index((row.task, row.split)))


def _one_table(title: str, rows: list[Row]) -> Iterator[RenderableType]:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    names = list(dict.fromkeys((row.name, row.similarity) for row in rows))
    cells = {(row.name, row.similarity, row.metric): _cell(row) for row in rows}
    lines = [
        [
            escape(f"{name} [{similarity}]" if similarity else name),
            *(cells.get((name, similarity, metric), "") for metric in metrics),
        ]
        for name, similarity in names
    ]
    sizes = ", ".join(f"{count:,}" for count in sorted({row.n for row in rows if row.n}))
    caption = f"n = {sizes}; ± half a 95 % interval, whose ends are in the JSON"
    return score_table(["", *metrics], lines, width=console.width, title=escape(title), caption=caption)


def _cell(row: Row) -> str:
    half = None if row.low is None or row.high is None else (row.high - row.low) / 2
    interval = "" if half is None else f" [dim]±{shown(row.metric, half)}[/]"
    return f"{shown(row.metric, row.value)}{interval}"


_COLUMNS = (
    ("step", 8, "train/step", ".0f"),
    ("loss", 9, "val/loss", ".4f"),
    ("cosine", 8, "val/semantic/avg_similarity", ".3f"),
    ("recall@1", 10, "val/retrieval/recall@1", ".3f"),
    ("mrr", 7, "val/retrieval/mrr", ".3f"),
    ("rank", 7, "val/embeddings/target_eff_rank", ".0f"),
    ("spread", 8, "val/embeddings/target_std_relative", ".2f"),
)
"""Columns of the lines about held-out data: name, width, figure and its format."""


def _progress(*columns: ProgressColumn) -> Progress:
    """A line of some columns, then figures in words and the time that is left."""
    figures = TextColumn("{task.fields[figures]}")
    return Progress(*columns, figures, TimeRemainingColumn(), console=console, refresh_per_second=4)


class Bar:
    """A reporter for the terminal: one progress line, a line per look at held-out data."""

    columns: tuple[tuple[str, int, str, str], ...] = _COLUMNS

    def __init__(self) -> None:
        self._progress = _progress(TextColumn("training"), BarColumn(bar_width=16), MofNCompleteColumn())
        self._task: TaskID | None = None
        self._columns: list[tuple[str, int, str, str]] = []  # those of the first look

    def begin(self, *, total: int, start: int, facts: list[tuple[str, str]]) -> None:
        """Show the facts and start the bar."""
        facts_table(facts, title="data")
        self._progress.start()
        self._task = self._progress.add_task("training", total=total, completed=start, figures="")

    def step(self, step: int, figures: Figures) -> None:
        """Move the bar."""
        if self._task is None:
            return
        text = f"loss {figures['train/loss']:.4f}  {figures['train/targets_per_second']:,.0f} targets/s"
        self._progress.update(self._task, completed=step, figures=text)

    def look(self, step: int, figures: Figures) -> None:
        """One line of held-out figures, under a heading before the first."""
        if not self._columns:
            self._line(self._heading(figures))
            self._columns = [column for column in self.columns if column[2] in figures]
            self._line("".join(f"{name:>{width}}" for name, width, *_ in self._columns))
        self._line("".join(self._cell(figures, *column) for column in self._columns))

    def _cell(self, figures: Figures, _: str, width: int, name: str, form: str) -> str:
        """A figure, or blank space where this look did not measure it."""
        return f"{figures[name]:>{width}{form}}" if name in figures else " " * width

    def _heading(self, figures: Figures) -> str:
        candidates, limit = (
            figures["val/retrieval/candidates"],
            figures["val/embeddings/target_eff_rank_limit"],
        )
        return f"held-out data; recall@1 and mrr among {candidates:.0f} sentences, rank at most {limit:.0f}"

    def message(self, text: str) -> None:
        """Something to know."""
        self._line(text)

    def warning(self, text: str) -> None:
        """Something to act on."""
        self._progress.console.print(f"[bold yellow]warning:[/] {escape(text)}", highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self._progress.stop()

    def _line(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


class DecoderBar(Bar):
    """The same for the training of a decoder."""

    columns = (
        ("step", 8, "train/step", ".0f"),
        ("loss", 9, "val/loss", ".4f"),
        ("shuffled", 10, "val/loss_shuffled", ".4f"),
        ("predicted", 11, "val/loss_predicted", ".4f"),
        ("perplexity", 12, "val/perplexity", ".3f"),
        ("bits/byte", 11, "val/bits_per_byte", ".3f"),
        ("accuracy", 10, "val/token_accuracy", ".3f"),
    )

    def _heading(self, figures: Figures) -> str:
        return f"{figures['val/count']:.0f} held-out sentences; loss in nats per token; shuffled: of another's concept"


class GPTBar(Bar):
    """The same for the training of a GPT."""

    columns = (
        ("step", 8, "train/step", ".0f"),
        ("loss", 9, "val/loss", ".4f"),
        ("bits/byte", 11, "val/bits_per_byte", ".4f"),
        ("span loss", 11, "val/span_loss", ".4f"),
        ("no drift", 10, "val/span_loss_without_drift", ".4f"),
        ("seconds", 9, "train/seconds", ".0f"),
    )

    def _heading(self, figures: Figures) -> str:
        return (
            f"{figures['val/tokens']:,.0f} held-out tokens of {figures['val/bytes']:,.0f} bytes; loss in nats per "
            "token; no drift: span loss of states less their mean at each place"
        )


class _ShownBar:
    """One line that is there while its `with` block runs."""

    def __init__(self, *columns: ProgressColumn) -> None:
        self._progress = _progress(*columns)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._progress.stop()


class JobBar(_ShownBar):
    """A listener of a comparison: one line for each run at work, which says how far it is."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.fields[place]}"), TextColumn("{task.description}"), BarColumn(bar_width=16)
        )
        self._tasks: dict[str, TaskID] = {}

    def job(self, what: str, number: int, count: int) -> None:
        """A line begins."""
        place = f"{number}/{count}"
        self._tasks[what] = self._progress.add_task(escape(what), total=None, place=place, figures="")
        if not console.is_terminal:
            console.print(f"{place} {what}", highlight=False, markup=False, soft_wrap=True)

    def done(self, what: str) -> None:
        """The line goes."""
        self._progress.remove_task(self._tasks.pop(what))

    def event(self, what: str, event: Mapping[str, Any]) -> None:
        """The line moves; warnings stay."""
        kind, task = event["event"], self._tasks[what]
        if kind == "begin":
            self._progress.update(task, total=event["total"], completed=event["start"])
        elif kind == "evaluating":
            self._progress.update(task, total=None, figures="evaluating")
        elif kind == "step":
            self._progress.update(task, completed=event["step"], figures=f"loss {event['loss']:.4f}")
        elif kind == "measured":
            seconds = f", {event['seconds']:.3f} s" if event["seconds"] else ""
            text = f"{what}: {event['flops']:.3g} FLOPs{seconds} a step"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        elif kind == "warning":
            console.print(
                f"[bold yellow]warning:[/] {escape(what)}: {escape(event['text'])}", highlight=False
            )


class IndexBar(_ShownBar):
    """The progress of an index that is being built."""

    def __init__(self) -> None:
        super().__init__(TextColumn("indexing"), BarColumn(bar_width=16), TaskProgressColumn())
        self._task = self._progress.add_task("", total=None, figures="")
        self._told = False

    def tell(self, progress: "IndexProgress") -> None:
        """The bar moves; what is found finished is told."""
        if progress.rows and not self._told:
            console.print(f"going on after {progress.rows:,} sentences", highlight=False)
        self._told = True
        self._progress.update(
            self._task,
            total=progress.total_characters,
            completed=progress.characters,
            figures=f"{progress.rows:,} sentences of {progress.documents:,} documents",
        )


class StageBar:
    """The progress of work in stages: what is being done, and how much of it.

    It stands on standard error while its `with` block runs, if that is a terminal, so that results stay alone.
    """

    def __init__(self) -> None:
        errors = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn())
        self._progress = Progress(
            *columns, TimeRemainingColumn(), console=errors, transient=True, disable=not errors.is_terminal
        )
        self._task = self._progress.add_task("", total=None, visible=False)
        self._stage = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._progress.stop()

    def tell(self, stage: str, done: int, total: int) -> None:
        """The bar moves, or begins anew with another stage."""
        if stage != self._stage:
            self._progress.reset(self._task, total=total, description=stage, visible=True)
            self._stage = stage
        self._progress.update(self._task, completed=done)


_CALLS = {"better": "bold green", "worse": "bold red"}


def comparison_tables(report: Mapping[str, Any]) -> None:
    """The verdicts of a comparison, variant by variant, then its alarms and what was not equal."""
    for one in report["variants"][1:]:
        _print_verdicts(report, one["name"])
    console.print(
        f"± standard deviation over seeds. Intervals over seeds and documents; a verdict also passes Holm's correction "
        f"for {report['rules']['comparisons']} comparisons and exceeds the baseline's ±.",
        style="dim",
        highlight=False,
    )
    if any(map(_is_close, report["verdicts"])):
        console.print(
            "* The interval excludes 0, but Holm's correction or the baseline's ± does not allow a verdict; the page "
            "says which. More seeds may tell.",
            style="dim",
            highlight=False,
        )
    for alarm in report["alarms"]:
        first, *others = alarm["runs"]
        where = f"{alarm['variant']}, seed {first['seed']}"
        console.print(f"[bold yellow]alarm:[/] {escape(where)}: {escape(first['text'])}", highlight=False)
        if others:
            seeds = ", ".join(str(one["seed"]) for one in others)
            more = f"{alarm['kind']}: also in seed {seeds}, see the page"
            console.print(f"       {escape(more)}", highlight=False)
    for line in report["allowed_differences"]:
        console.print(f"[bold yellow]not on equal terms:[/] {escape(line)}", highlight=False)
    steps = {one["steps"] for one in report["variants"]}
    if len(steps) > 1:
        each = ", ".join(f"{one['name']} {one['steps']:,}" for one in report["variants"])
        console.print(f"steps per run: {each}", highlight=False, markup=False)


_HEAD = ("", "baseline", "variant", "difference [95 %]", "verdict")
_WIDTHS = (11, 12, 7, 23, 19)
"""Letters of the columns at least; together they fit 80."""


def _print_verdicts(report: Mapping[str, Any], variant: str) -> None:
    """One variant against the baseline; fits 80 columns where names and numbers are short. Reasons are in the page."""
    baseline, seeds = report["baseline"], len(report["seeds"])
    title = f"{variant} against {baseline}: {seeds} seed{'s' * (seeds > 1)}, {report['budget']}"
    console.print(f"\n[bold]{escape(title)}[/]", highlight=False)
    verdicts = [one for one in report["verdicts"] if one["variant"] == variant]
    lines = [_verdict_cells(one) for one in verdicts]
    columns = zip(_HEAD, *lines, strict=True)
    widths = [max([least, *map(len, cells)]) for least, cells in zip(_WIDTHS, columns, strict=True)]
    _print_line(_HEAD, widths, style="bold")
    rows = zip(verdicts, lines, strict=True)
    for group, ones in groupby(rows, key=lambda pair: _group(pair[0]["metric"])):
        console.print(escape(group), style="dim", highlight=False)
        for one, cells in ones:
            _print_line(cells, widths, style=_CALLS.get(one["call"], ""))


def _group(metric: Mapping[str, str]) -> str:
    return f"{metric['task']}, {metric['split']}"


def _is_close(one: Mapping[str, Any]) -> bool:
    """Whether the interval alone would have allowed a verdict."""
    return bool(one["failed"]) and not {"interval", "seeds"} & {*one["failed"]}


def _verdict_cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    name, found = one["metric"]["name"], one["difference"]
    low, high = (shown(name, found[end], sign=True) for end in ("low", "high"))
    spread = f" ±{shown(name, one['baseline_std'])}" if one["baseline_std"] else ""  # one seed has none
    return (
        name,
        f"{shown(name, one['baseline_mean'])}{spread}",
        shown(name, one["variant_mean"]),
        f"{shown(name, found['value'], sign=True)} [{low}, {high}]",
        one["call"].removesuffix(" at this budget").removesuffix(" to judge") + " *" * _is_close(one),
    )


def _print_line(cells: Sequence[str], widths: Sequence[int], *, style: str) -> None:
    first, *rest = (
        f"{cell:<{width}}" if number in (0, 4) else f"{cell:>{width}}"
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    console.print("  ".join([first, *rest]), style=style, highlight=False, markup=False, soft_wrap=True)
