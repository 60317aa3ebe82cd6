"""What the commands print: lines, tables, warnings. Used by `cli` only."""

import json
import os
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lang_jepa.errors import counted, visible
from lang_jepa.evaluation.table import shown
from lang_jepa.training.signals import output_closed

LEAST_TEXT = 20
"""Least width of a column of text, in characters, unless the text is shorter."""
NAMES = 24
"""Least width of the names in a table of names."""
HEADER = 12
"""Characters in a line of a column's header."""


def score_tables_of(
    heads: Sequence[str], rows: Sequence[Sequence[Text]], *, width: int, strong: Collection[int] = ()
) -> Iterator[RenderableType]:
    """Lay out names on the left and metrics on the right, in as many tables as the width needs.

    Args:
        heads: of all columns, that of the names first.
        rows: cells, the name first.
        width: characters in a line.
        strong: rows that stand out.
    """
    # Headers are wrapped by hand: rich would squeeze the names rather than wrap a header that must not wrap.
    heads = [textwrap.fill(head, HEADER, break_on_hyphens=False) for head in heads]
    wide = [_width([head, *(cell.plain for cell in cells)]) for head, *cells in zip(heads, *rows, strict=True)]
    least = min(wide[0], LEAST_TEXT)
    if any(least + 4 + size + 3 > width for size in wide[1:]):
        yield Group(*_pairs(heads, rows))
        return
    for group in _groups(wide[1:], width - least - 4):
        table = Table(header_style="bold")
        table.add_column(Text(heads[0]), min_width=least, overflow="fold")
        for column in group:
            table.add_column(Text(heads[column]), justify="right", no_wrap=True, min_width=wide[column])
        for number, row in enumerate(rows):
            style = "bold green" if number in strong else None
            table.add_row(row[0], *(row[column] for column in group), style=style)
        yield table


def text_tables(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, begins: Collection[int] = ()
) -> Iterator[RenderableType]:
    """Lay out metrics on the left and a sentence on the right, or below if there is no room for it.

    Args:
        heads: of all columns, that of the sentence last.
        rows: cells, the sentence last.
        width: characters in a line.
        begins: rows before which a line is drawn.
    """
    starts = set(begins)
    wide = [_width(cells) for cells in zip(heads, *rows, strict=True)][:-1]
    if sum(wide) + 2 * len(wide) + LEAST_TEXT <= width:
        table = Table(show_edge=False, header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for head in heads[:-1]:
            table.add_column(Text(head), justify="right", no_wrap=True)
        table.add_column(Text(heads[-1]), overflow="fold")
        for number, row in enumerate(rows):
            if number in starts:
                table.add_row(*("─" * size for size in (*wide, LEAST_TEXT)))
            table.add_row(*map(Text, row))
        yield table
        return
    together = sum(wide) + 2 * (len(wide) - 1) <= width
    if together:
        yield Text("  ".join(f"{head:>{size}}" for head, size in zip(heads, wide, strict=False)), style="bold")
    for number, (*metrics, sentence) in enumerate(rows):
        if number in starts:
            yield Text("─" * min(width, LEAST_TEXT))
        if together:
            yield Text("  ".join(f"{cell:>{size}}" for cell, size in zip(metrics, wide, strict=True)))
        else:
            yield Text("\n".join(f"{head} {cell}".strip() for head, cell in zip(heads, metrics, strict=False) if cell))
        yield Padding(Text(sentence, overflow="fold"), (0, 0, 0, 2))


def info_tables(info: Sequence[tuple[str, str]], *, width: int) -> Iterator[RenderableType]:
    """Lay out names and values in two columns, or below each other if half a line cannot hold the longest word."""
    longest = max((len(word) for row in info for part in row for word in part.split()), default=0)
    if longest > max(LEAST_TEXT, (width - 7) // 2) and width < 2 * longest:
        yield Group(*(Text(f"{name}: {value}", overflow="fold") for name, value in info))
        return
    table = Table(show_header=False)
    for _ in range(2):
        table.add_column(overflow="fold")
    for name, value in info:
        table.add_row(Text(name), Text(value))
    yield table


def _groups(wide: Sequence[int], room: int) -> list[list[int]]:
    """Group columns, counted from 1, that fit into `room` with three characters between them; at least one each."""
    ends, filled = [1], 0
    for column, size in enumerate(wide, start=1):
        if filled and filled + size + 3 > room:
            ends.append(column)
            filled = 0
        filled += size + 3
    return [list(range(first, last)) for first, last in pairwise([*ends, len(wide) + 1])]


def _pairs(heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> Iterator[Text]:
    """Each row as its name and, below it, one metric per line."""
    for name, *cells in rows:
        yield Text.assemble((name.plain, "bold"))
        for head, cell in zip(heads[1:], cells, strict=True):
            if cell.plain:
                yield Text.assemble(f"  {' '.join(head.split())} ", cell)


def _width(cells: Iterable[str]) -> int:
    """Characters in the longest line of some cells."""
    return max(len(line) for cell in cells for line in cell.split("\n"))


_NO_END = 1_000_000
"""Characters in a line of a log."""


class Output(Console):
    """Standard output. Text is printed literally: brackets are not markup, and `:name:` is not an emoji.

    Lines are wrapped at the width of a terminal, and never in a file or a pipe. Of several processes only the first
    one prints, and nothing is printed once the reader is gone.
    """

    def __init__(self) -> None:
        silent = os.environ.get("RANK", "0") != "0"
        super().__init__(quiet=silent, markup=False, emoji=False, highlight=False)
        self.full = False
        """Whether standard output could not be written for a reason other than a reader that had gone."""

    @property  # type: ignore[misc]  # nobody here sets it
    def size(self) -> ConsoleDimensions:
        there = super().size
        return there if self.is_terminal else ConsoleDimensions(_NO_END, there.height)

    def _check_buffer(self) -> None:
        """A full disk behind standard output (`> FILE`) ends the output as a closed pipe does."""
        try:
            super()._check_buffer()
        except OSError:
            self.full = True
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Stop writing once the reader has read enough, as `| head` does; a run in training saves and stops."""
        self.quiet = True
        drop_output()
        output_closed()


def drop_output() -> None:
    """Discard whatever is still to be written to standard output."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


console = Output()


def aside(text: str) -> None:
    """Print a line on standard error, in the first process of several."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"{visible(text)}\n")


def plain(text: str, style: str = "", *, whole: bool = False) -> None:
    """Print a line, wrapped between words at the width of a terminal; control characters are shown, not obeyed.

    Args:
        text: to be shown.
        style: of rich.
        whole: it holds a command, which is never wrapped, so that it can be copied.
    """
    console.print(visible(text), style=style, soft_wrap=whole)


def show_json(value: object) -> None:
    """Print a value as JSON, which is then all there is on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    console.out(text.encode(errors="backslashreplace").decode(), highlight=False)  # file names may hold lone surrogates


def warn(text: str, *, sign: str = "warning") -> None:
    """Print a line that asks for action."""
    console.print(Text.assemble((f"{sign}:", "bold yellow"), f" {visible(text)}"))


def info_table(info: Iterable[tuple[str, str]], *, title: str) -> None:
    """Print names and values in two columns."""
    shown = [(visible(name), visible(value)) for name, value in info]
    draw(info_tables(shown, width=console.width), title)


def sentence_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, begins: Sequence[int]) -> None:
    """Print metrics and a sentence in each row, with a line drawn before the rows in `begins`."""
    for part in text_tables(heads, rows, width=console.width, begins=begins):
        console.print(part)


def named_table(said: Mapping[str, str]) -> None:
    """Print names, each with its description beside it, or below it if there is little room."""
    wide = max(NAMES, *map(len, said)) + 2
    for name, text in said.items():
        if console.width > 2 * wide:
            first, *others = textwrap.wrap(visible(text), console.width - wide)
            console.print(f"{name:<{wide}}{first}", *(" " * wide + line for line in others), sep="\n")
        else:
            plain(f"{name}\n  {text}")


def metrics_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str) -> None:
    """Print a name and metrics in each row."""
    shown = [[Text(visible(cell)) for cell in row] for row in rows]
    draw(score_tables_of(heads, shown, width=console.width), title)


def draw(parts: Iterable[RenderableType], title: str) -> None:
    """Print tables, each below the title, which may be longer than the table is wide."""
    tables = list(parts)
    for number, table in enumerate(tables, start=1):
        plain(title + (f" ({number} of {len(tables)})" if len(tables) > 1 else ""), style="italic")
        console.print(table)


_CALLS = {"better": "bold green", "worse": "bold red"}


def comparison_tables(report: Mapping[str, Any]) -> None:
    """Print the verdicts of a comparison, variant by variant, then its alarms and what was not equal."""
    for one in report["variants"][1:]:
        _print_verdicts(report, one["name"])
    plain(
        f"± standard deviation over seeds. Intervals over seeds, and documents where there are any; a verdict also "
        f"passes Holm's correction for {counted(report['rules']['comparisons'], 'comparison')} and exceeds the "
        "baseline's ±.",
        style="dim",
    )
    if any(one["metric"]["name"].endswith("(lower is better)") for one in report["verdicts"]):
        plain("(↓) Lower is better.", style="dim")
    if any(map(_is_close, report["verdicts"])):
        plain(
            "* The interval excludes 0, but Holm's correction or the baseline's ± does not allow a verdict; the page "
            "says which. More seeds may decide.",
            style="dim",
        )
    for alarm in report["alarms"]:
        first, *others = alarm["runs"]
        where = f"{alarm['variant']}, seed {first['seed']}"
        warn(f"{where}: {first['text']}", sign="alarm")
        if others:
            seeds = ", ".join(str(one["seed"]) for one in others)
            plain(f"       {alarm['kind']}: also in seed {seeds}, see the page")
    for line in report["allowed_differences"]:
        warn(line, sign="not on equal terms")
    steps = {one["steps"] for one in report["variants"]}
    if len(steps) > 1:
        each = ", ".join(f"{one['name']} {one['steps']:,}" for one in report["variants"])
        plain(f"steps per run: {each}")


_HEAD = ("", "baseline", "variant", "difference [95 %]", "verdict")
_WIDTHS = (11, 12, 7, 23, 19)
"""Least widths of the columns; with two spaces between them they add up to 80."""


def _print_verdicts(report: Mapping[str, Any], variant: str) -> None:
    """Print one variant's verdicts against the baseline; reasons are on the page."""
    baseline, seeds = report["baseline"], len(report["seeds"])
    title = f"{variant} against {baseline}: {seeds} seed{'s' * (seeds > 1)}, {report['budget']}"
    plain(f"\n{title}", style="bold")
    for line in verdict_lines([one for one in report["verdicts"] if one["variant"] == variant], width=console.width):
        console.print(line)


def verdict_lines(verdicts: Sequence[Mapping[str, Any]], *, width: int) -> Iterator[Text]:
    """Yield a line for each metric, below a header and the names of the tasks.

    A name that is too long is put above its numbers; if these do not fit either, each has a line of its own.

    Args:
        verdicts: of one variant, as in a report.
        width: characters in a line.
    """
    rows = [_verdict_cells(one) for one in verdicts]
    for usual in (_WIDTHS, (0,) * len(_WIDTHS)):
        columns = zip(usual, _HEAD, *rows, strict=True)
        widths = [max(least, *map(len, cells)) for least, *cells in columns]
        room = width - sum(widths[1:]) - 2 * len(widths[1:])
        if widths[0] <= room:
            break
    widths[0] = min(widths[0], room)
    narrow = widths[0] < 0
    if not narrow:
        yield from _verdict_line(_HEAD, widths, style="bold")
    for group, ones in groupby(zip(verdicts, rows, strict=True), key=lambda pair: _group(pair[0]["metric"])):
        yield Text(group, style="dim")
        for one, cells in ones:
            if narrow:
                yield from _pairs(_HEAD, [[*map(Text, cells)]])
            else:
                yield from _verdict_line(cells, widths, style=_CALLS.get(one["call"], ""))


def _group(metric: Mapping[str, str]) -> str:
    return visible(f"{metric['task']}, {metric['split']}")


def _is_close(one: Mapping[str, Any]) -> bool:
    """Whether the interval alone would have allowed a verdict."""
    return bool(one["failed"]) and not {"interval", "seeds"} & {*one["failed"]}


def _verdict_cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    name, found = one["metric"]["name"], one["difference"]
    low, high = (shown(name, found[end], sign=True) for end in ("low", "high"))
    spread = f" ±{shown(name, one['baseline_std'])}" if one["baseline_std"] else ""  # one seed has none
    return (
        visible(name.replace(" (lower is better)", " (↓)")),
        f"{shown(name, one['baseline_mean'])}{spread}",
        shown(name, one["variant_mean"]),
        f"{shown(name, found['value'], sign=True)} [{low}, {high}]",
        one["call"].removesuffix(" at this budget").removesuffix(" to judge") + " *" * _is_close(one),
    )


def _verdict_line(cells: Sequence[str], widths: Sequence[int], *, style: str) -> Iterator[Text]:
    name, *numbers, call = cells
    if len(name) > widths[0]:
        yield Text(name, style=style)
        name = ""
    shown = [f"{name:<{widths[0]}}", *(f"{one:>{wide}}" for one, wide in zip(numbers, widths[1:], strict=False)), call]
    yield Text("  ".join(shown), style=style)
