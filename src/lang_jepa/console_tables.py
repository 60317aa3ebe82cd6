"""Tables that fit the terminal: figures are never cut, and the text beside them keeps a readable width.

Where a line is too narrow for all columns of figures, they are spread over several tables with the text repeated; where
it is too narrow for text beside figures, each row's text stands below them.
"""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.console import RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LEAST_TEXT = 20
"""Letters that a column of text keeps, where it has so many."""
HEADER = 12
"""Letters in a line of a column's header."""


def score_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, title: str = "", caption: str = ""
) -> Iterator[RenderableType]:
    """Names on the left, figures on the right, in as many tables as the width needs.

    Args:
        heads: of all columns, that of the names first.
        rows: cells in rich's markup, a row whose name is `model` stands out.
        width: letters in a line.
        title, caption: above and below.
    """
    # Headers are broken by hand: rich would rather squeeze out the names than break a header that must not wrap.
    heads = [escape(textwrap.fill(head, HEADER, break_on_hyphens=False)) for head in heads]
    wide = [_width([head, *cells]) for head, *cells in zip(heads, *rows, strict=True)]
    least = min(wide[0], LEAST_TEXT)
    groups = _groups(wide[1:], width - least - 4)
    if any(least + 4 + wide[column] + 3 > width for column in range(1, len(wide))):
        yield from _pairs(heads, rows, title=title, caption=caption)
        return
    for number, group in enumerate(groups, start=1):
        part = f" ({number} of {len(groups)})" if len(groups) > 1 else ""
        table = Table(title=title + part, title_justify="left", header_style="bold", caption_justify="left")
        table.add_column(heads[0], min_width=least, overflow="fold")
        for column in group:
            table.add_column(heads[column + 1], justify="right", no_wrap=True, min_width=wide[column + 1])
        for row in rows:
            examined = row[0] == "model" or row[0].startswith("model \\[")
            style = "bold green" if examined else None
            table.add_row(row[0], *(row[column + 1] for column in group), style=style)
        table.caption = caption if number == len(groups) else None
        yield table


def text_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, begins: Sequence[int] = ()
) -> Iterator[RenderableType]:
    """Figures on the left, a sentence on the right, or below where there is no room for it.

    Args:
        heads: of all columns, that of the sentence last.
        rows: cells as plain text, the sentence last.
        width: letters in a line.
        begins: rows before which a line is drawn.
    """
    wide = [_width([escape(head), *map(escape, cells)]) for head, *cells in zip(heads, *rows, strict=True)][
        :-1
    ]
    if sum(wide) + 2 * len(wide) + LEAST_TEXT <= width:
        table = Table(show_edge=False, header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for head in heads[:-1]:
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column(heads[-1], overflow="fold")
        for number, row in enumerate(rows):
            if number in begins:
                table.add_row(*("─" * size for size in wide), "─" * LEAST_TEXT)
            table.add_row(*map(escape, row))
        yield table
        return
    together = sum(wide) + 2 * (len(wide) - 1) <= width
    if together:
        yield Text(
            "  ".join(f"{head:>{size}}" for head, size in zip(heads, wide, strict=False)), style="bold"
        )
    for number, (*figures, sentence) in enumerate(rows):
        if number in begins:
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


def fact_table(facts: Sequence[tuple[str, str]], *, title: str, width: int) -> Iterator[RenderableType]:
    """Two columns: what, and how much; below each other where half a line is too short for the longest word."""
    longest = max((len(word) for fact in facts for part in fact for word in part.split()), default=0)
    if longest > max(LEAST_TEXT, (width - 7) // 2) and width < 2 * longest:
        yield Text(title, style="bold")
        for name, value in facts:
            yield Text(f"{name}: {value}", overflow="fold")
        return
    table = Table(title=escape(title), show_header=False, title_justify="left")
    for _ in range(2):
        table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(escape(name), escape(value))
    yield table


def _groups(wide: Sequence[int], room: int) -> list[list[int]]:
    """Columns that fit the room together, in order, with three letters between; at least one at a time."""
    ends, filled = [0], 0
    for column, size in enumerate(wide):
        if filled and filled + size + 3 > room:
            ends.append(column)
            filled = 0
        filled += size + 3
    return [list(range(first, last)) for first, last in pairwise([*ends, len(wide)])]


def _pairs(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str, caption: str
) -> Iterator[RenderableType]:
    """Each row as its name and, below, one figure a line."""
    yield Text.from_markup(title, style="italic")
    for name, *cells in rows:
        yield Text.from_markup(f"[bold]{name}[/]")
        for head, cell in zip(heads[1:], cells, strict=True):
            if cell:
                yield Text.from_markup(f"  {' '.join(head.split())} {cell}")
    yield Text(caption)


def _width(cells: Sequence[str]) -> int:
    """Letters of the longest line of cells in markup."""
    lines = (line for cell in cells for line in Text.from_markup(cell).plain.split("\n"))
    return max(len(line) for line in lines)
