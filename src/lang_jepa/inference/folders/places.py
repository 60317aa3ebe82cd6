"""Find where units of a document stand in its file, as `path:line`; no place is guessed."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from lang_jepa.data.sources import formats
from lang_jepa.data.sources.read_json import first_values
from lang_jepa.data.sources.text_files import NotText, chunks, decode, lines

_BLANK = re.compile(r"\n[ \t\r]*\n")

Lines = list[int | None]
"""The line of each unit, from 1; None if it was not found beyond doubt."""


def lines_of(raw: str, units: Sequence[str]) -> Lines:
    """Return the line of a file on which each unit of its document begins.

    Units that follow each other with only white space in between are found exactly. If a reader has left something out
    (markup, names of speakers), a unit is placed only if its words occur as often in the file as in the document.

    Args:
        raw: text of the file.
        units: all units of the document, in order.
    """
    starts: Sequence[int | None] = _consecutive(raw, units) or _counted(raw, units)
    ends = [found.start() for found in re.finditer("\n", raw)]
    return [None if start is None else bisect_left(ends, start) + 1 for start in starts]


def lines_in_order(raw: str, units: Sequence[str]) -> Lines:
    """Do the same in one pass for units that are lines or records, which begin with their first line."""
    found, number, every = list[int | None](), 0, [line.strip() for line in raw.split("\n")]
    for unit in units:
        at = number
        while at < len(every) and not (every[at] and unit.startswith(every[at])):
            at += 1
        found.append(at + 1 if at < len(every) else None)
        number = at + 1 if at < len(every) else number
    return found


def _consecutive(raw: str, units: Sequence[str]) -> list[int]:
    """Return the offsets of the units; empty if something stands between two of them."""
    starts, end = [], 0
    for unit in units:
        start = raw.find(unit, end)
        if start < 0 or raw[end:start].strip():
            return []
        starts.append(start)
        end = start + len(unit)
    return starts


def _counted(raw: str, units: Sequence[str]) -> list[int | None]:
    """Return the offsets of the units that occur as often in the file, ignoring white space, as among the units."""
    pieces = [(found.start(), found[0]) for found in re.finditer(r"\S+", raw)]
    plain = " ".join(piece for _, piece in pieces)
    offsets = list(accumulate((len(piece) + 1 for _, piece in pieces), initial=0))  # of each piece in `plain`
    normal = [" ".join(unit.split()) for unit in units]
    times = Counter(normal)
    found = {unit: at if len(at) == times[unit] else [] for unit, at in _occurrences(plain, times).items()}
    nth: Counter[str] = Counter()
    placed = list[tuple[int, int]]()  # number of the unit, and where it begins in `plain`
    for number, unit in enumerate(normal):
        if found[unit]:
            placed.append((number, found[unit][nth[unit]]))
            nth[unit] += 1
    starts: list[int | None] = [None] * len(units)
    for number, start in _in_order(placed, [len(unit) for unit in normal]):
        piece = bisect_right(offsets, start) - 1
        starts[number] = pieces[piece][0] + start - offsets[piece]
    return starts


_HEADS = (64, 32, 16, 8, 4)
"""Numbers of first characters by which units are looked up."""


def _occurrences(text: str, units: Iterable[str]) -> dict[str, list[int]]:
    """Return the offsets of each unit in a text, without overlaps, in a few passes however many units there are."""
    found = {unit: list[int]() for unit in units}
    heads: dict[int, dict[str, list[str]]] = {}
    for unit in filter(None, found):
        size = next((one for one in _HEADS if one <= len(unit)), len(unit))
        heads.setdefault(size, {}).setdefault(unit[:size], []).append(unit)
    for size, known in heads.items():
        for at in range(len(text) - size + 1):
            for unit in known.get(text[at : at + size], ()):
                own = found[unit]
                if text.startswith(unit, at) and not (own and at < own[-1] + len(unit)):
                    own.append(at)
    return found


def _in_order(placed: list[tuple[int, int]], lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Keep units that follow each other; of two that do not, keep the longer, which is less often found by chance."""
    kept = list[tuple[int, int]]()
    for number, start in placed:
        while kept and start < kept[-1][1] + lengths[kept[-1][0]] and lengths[number] > lengths[kept[-1][0]]:
            kept.pop()
        if not kept or start >= kept[-1][1] + lengths[kept[-1][0]]:
            kept.append((number, start))
    return kept


def raw_text(path: Path) -> str | None:
    """Return the text of a file that is one document; None if it is gone, is no text, or holds many documents."""
    if not path.is_file():
        return None
    kind = formats.kind_of_named(path) or formats.TEXT  # a log may have any name
    if kind.prose is None or kind.name in ("PDF", "Word"):
        return None
    try:
        return decode(b"".join(chunks(path)))
    except NotText:
        return None


def row_lines(path: Path) -> list[int]:
    """Return the line of each row of a file of JSON lines, from 1; empty for any other file."""
    kind = formats.kind_of_named(path) if path.is_file() else None
    if kind is not formats.JSON or first_values(path)[0] != "lines":
        return []
    return [number for number, line in enumerate(lines(chunks(path)), start=1) if line.strip()]


def file_of(name: str, root: Path) -> tuple[Path, int] | None:
    """Return the file and the row that a document's id, `file:row`, names below a folder; None if there is no such file
    or the name leads out of the folder.
    """
    file, _, row = name.rpartition(":")
    if not file or not row.isdecimal() or Path(file).is_absolute() or ".." in Path(file).parts:
        return None
    path = root / file
    return (path, int(row)) if path.is_file() else None


def paragraph_at(raw: str, line: int) -> str:
    """Return the paragraph of a text around a line (from 1): what stands between two blank lines."""
    begin = 0
    for _ in range(line - 1):
        begin = raw.index("\n", begin) + 1
    first = max((found.end() for found in _BLANK.finditer(raw, 0, begin)), default=0)
    after = _BLANK.search(raw, begin)
    return raw[first : after.start() if after else len(raw)].strip()
