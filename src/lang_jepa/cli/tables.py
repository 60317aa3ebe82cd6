"""Tables that fit the terminal: figures are never cut, and the text beside them keeps a readable width.

Where a line is too narrow for all columns of figures, they are spread over several tables with the text repeated; where
it is too narrow for text beside figures, each row's text stands below them.
"""

import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LEAST_TEXT = 20
"""Letters that a column of text keeps, where it has so many."""
HEADER = 12
"""Letters in a line of a column's header."""


def score_tables_of(
    heads: Sequence[str], rows: Sequence[Sequence[Text]], *, width: int, strong: Collection[int] = ()
) -> Iterator[RenderableType]:
    """Names on the left, figures on the right, in as many tables as the width needs.

    Args:
        heads: of all columns, that of the names first.
        rows: cells, the name first.
        width: letters in a line.
        strong: rows that stand out.
    """
    # Headers are broken by hand: rich would rather squeeze out the names than break a header that must not wrap.
    heads = [textwrap.fill(head, HEADER, break_on_hyphens=False) for head in heads]
    wide = [
        _width([head, *(cell.plain for cell in cells)]) for head, *cells in zip(heads, *rows, strict=True)
    ]
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
    """Figures on the left, a sentence on the right, or below where there is no room for it.

    Args:
        heads: of all columns, that of the sentence last.
        rows: cells, the sentence last.
        width: letters in a line.
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
        yield Text(
            "  ".join(f"{head:>{size}}" for head, size in zip(heads, wide, strict=False)), style="bold"
        )
    for number, (*figures, sentence) in enumerate(rows):
        if number in starts:
            yield Text("─" * min(width, LEAST_TEXT))
        if together:
            yield Text("  ".join(f"{cell:>{size}}" for cell, size in zip(figures, wide, strict=True)))
        else:
            yield Text(
                "\n".join(
                    f"{head} {cell}".strip() for head, cell in zip(heads, figures, strict=False) if cell
                )
            )
        yield Padding(Text(sentence, overflow="fold"), (0, 0, 0, 2))


def fact_tables(facts: Sequence[tuple[str, str]], *, width: int) -> Iterator[RenderableType]:
    """Two columns: what, and how much; below each other where half a line is too short for the longest word."""
    longest = max((len(word) for fact in facts for part in fact for word in part.split()), default=0)
    if longest > max(LEAST_TEXT, (width - 7) // 2) and width < 2 * longest:
        yield Group(*(Text(f"{name}: {value}", overflow="fold") for name, value in facts))
        return
    table = Table(show_header=False)
    for _ in range(2):
        table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(value))
    yield table


def _groups(wide: Sequence[int], room: int) -> list[list[int]]:
    """Columns, counted from 1, that fit the room together, with three letters between; at least one at a time."""
    ends, filled = [1], 0
    for column, size in enumerate(wide, start=1):
        if filled and filled + size + 3 > room:
            ends.append(column)
            filled = 0
        filled += size + 3
    return [list(range(first, last)) for first, last in pairwise([*ends, len(wide) + 1])]


def _pairs(heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> Iterator[RenderableType]:
    """Each row as its name and, below, one figure a line."""
    for name, *cells in rows:
        yield Text.assemble((name.plain, "bold"))
        for head, cell in zip(heads[1:], cells, strict=True):
            if cell.plain:
                yield Text.assemble(f"  {' '.join(head.split())} ", cell)


def _width(cells: Iterable[str]) -> int:
    """Letters of the longest line of some cells."""
    return max(len(line) for cell in cells for line in cell.split("\n"))
