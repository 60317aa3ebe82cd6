"""Stretches of text that no sentence crosses, by its lines: paragraphs, list items, headings, rows of tables.

`sentencex` knows blank lines alone; that a line is an item, a heading or a row is read here.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

Span = tuple[int, int]

_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*+")
_ITEM = re.compile(r"(?:[-*+•‣◦▪●]|\d{1,3}[.)]|\((?:\d{1,3}|[a-z])\)|[a-z]\))[ \t]")
_HEADING = re.compile(r"#{1,6}[ \t]")
_DELIMITER_ROW = re.compile(r"\|?[ \t]*:?-+:?[ \t]*\|[-:| \t]*")
_FIRST_WORD = re.compile(r"\S{1,20}")

HEADING_WIDTH = 0.75
"""A line ends early when it and the next word fill at most this share of the paragraph's longest line."""
MIN_WIDTH = 40
"""Narrower paragraphs say nothing about where lines would have been wrapped."""


def blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whole) without outer white space; a `whole` block is a table's row, which no sentence end cuts."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    lines: list[Span] = []
    for match in _BREAK.finditer(text, start, end):
        lines.append((start, match.start()))
        start = match.end()
        if _ends_paragraph(match[0]):
            yield from _paragraph_blocks(text, lines)
            lines = []
    if start < end:
        lines.append((start, end))
        yield from _paragraph_blocks(text, lines)


def _ends_paragraph(gap: str) -> bool:
    """Whether a gap that begins with a line break holds a blank line or a page break."""
    if len(gap) == 1:
        return gap in "\f\u2029"
    return gap[0] in "\f\u2029" or _BREAK.search(gap, 2 if gap.startswith("\r\n") else 1) is not None


def _paragraph_blocks(text: str, lines: list[Span]) -> Iterator[tuple[int, int, bool]]:
    """Lines without blank ones between them, joined where the line break is only a wrap."""
    width = max(end - start for start, end in lines)
    table = any(_DELIMITER_ROW.fullmatch(text, *_stripped(text, *line)) for line in lines)
    rows = [_is_row(text[start:end].rstrip(), table) for start, end in lines]
    start = lines[0][0]
    for number, ((line, end), (following, _)) in enumerate(pairwise(lines)):
        beside_row = rows[number] or rows[number + 1]
        if beside_row or _line_ends_block(text, start, (line, end), following, width):
            yield *_stripped(text, start, end), rows[number]
            start = following
    yield *_stripped(text, start, lines[-1][1]), rows[-1]


def _line_ends_block(text: str, block: int, line: Span, following: int, width: int) -> bool:
    """Whether a single line break is meant: an item or a heading is beside it, or the line ends early."""
    start, end = line
    if _ITEM.match(text, following) or _HEADING.match(text, following) or _HEADING.match(text, start):
        return True
    if text[following].islower() or text[end - 1] in ",;-–—":
        return False
    # A further line of an item is indented as a rule.
    if _ITEM.match(text, block):
        return text[following - 1] not in " \t"
    if width < MIN_WIDTH:
        return False
    word = _FIRST_WORD.match(text, following)
    return end - start + 1 + (len(word[0]) if word else 0) <= HEADING_WIDTH * width


def _is_row(line: str, table: bool) -> bool:
    """Whether a line is a row of a Markdown table; in one with a delimiter row the outer bars may be missing."""
    return (len(line) > 1 and line[0] == line[-1] == "|") or (table and "|" in line)


def _stripped(text: str, start: int, end: int) -> Span:
    """The span without trailing white space (its start never has any)."""
    while text[end - 1].isspace():
        end -= 1
    return start, end
