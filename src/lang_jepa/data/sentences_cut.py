"""Cutting a span that is too long at its best boundary, never inside one visible character."""

import re
import unicodedata
from collections.abc import Iterator

# In this order: clause marks, commas, white space. A mark of the western kind counts only before white space.
_CLAUSE = re.compile(r"[;:](?=\s)|[；：;؛—]")
_COMMA = re.compile(r",(?=\s)|[，、،]")
_SPACE = re.compile(r"\s(?=\S)")

MIN_SHARE = 0.5
"""A clause mark or comma before this share of the allowed length is passed over: it would leave a stub."""


def cut_long(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Pieces of text[start:end], in order, without outer white space, each at most `limit` characters.

    A piece is longer only where it is one unbreakable cluster (a letter with its combining marks, an emoji
    sequence). Time is linear: each cut looks at most at `limit` characters and two cuts advance by as many.
    """
    while end - start > limit:
        cut = _best_cut(text, start, end, limit)
        stop = cut
        while text[stop - 1].isspace():
            stop -= 1
        yield start, stop
        while cut < end and text[cut].isspace():
            cut += 1
        start = cut
    if start < end:
        yield start, end


def _best_cut(text: str, start: int, end: int, limit: int) -> int:
    """Where the next piece of a long span ends; start < cut <= end."""
    last = start + limit
    for pattern in (_CLAUSE, _COMMA):
        cut = _last_match(pattern, text, start + int(limit * MIN_SHARE), last)
        if cut is not None and _breakable(text, start, cut):
            return cut
    if text[last].isspace():
        return last
    cut = _last_match(_SPACE, text, start, last)
    if cut is not None:
        return cut
    cut = last
    while cut > start and not _breakable(text, start, cut):
        cut -= 1
    if cut > start:
        return cut
    cut = last + 1
    while cut < end and not _breakable(text, start, cut):
        cut += 1
    return cut


def _last_match(pattern: re.Pattern[str], text: str, start: int, last: int) -> int | None:
    """End of a pattern's last match that ends in (start, last]."""
    cut = None
    # One character more, for the look-ahead.
    for match in pattern.finditer(text, start, last + 1):
        if match.end() <= last:
            cut = match.end()
    return cut


def _breakable(text: str, start: int, cut: int) -> bool:
    """Whether text may be cut before position `cut` of a piece that begins at `start`."""
    left, right = text[cut - 1], text[cut]
    if right < "\u0300" and left < "\u0300":
        return True
    if unicodedata.category(right)[0] == "M" or right in "\u200c\u200d" or left == "\u200d":
        return False
    if "\U0001f3fb" <= right <= "\U0001f3ff" or "\U000e0020" <= right <= "\U000e007f":
        return False
    if _is_flag(right) and _is_flag(left):
        return _flags_before(text, start, cut) % 2 == 0
    if "\ud800" <= left <= "\udbff" and "\udc00" <= right <= "\udfff":
        return False
    # Conjoining jamo build one syllable.
    return not ("\u1100" <= left <= "\u11ff" and "\u1160" <= right <= "\u11ff")


def _is_flag(character: str) -> bool:
    """Whether it is a regional indicator; two of them are one flag."""
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flags_before(text: str, start: int, cut: int) -> int:
    """Number of regional indicators in the run that ends at `cut`, not looking before `start`."""
    position = cut
    while position > start and _is_flag(text[position - 1]):
        position -= 1
    return cut - position
