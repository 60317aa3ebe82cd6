"""Recognise rotated logs by name: which files form one log, and how much of each is not in the held-out tail."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, islice

from lang_jepa.data.sources.base import first_held_out
from lang_jepa.data.sources.records import LOOKED_AT, habits_of, records
from lang_jepa.data.sources.remote import AnyPath
from lang_jepa.data.sources.text_files import chunks, lines

FORMAT = 2
"""Version of the rules for grouping files into a log; it enters the fingerprint of a source."""
_LOG = re.compile(r"(.*\.log)(?:[.-](\d[\d-]*))?(?:\.gz|\.zst)?", re.IGNORECASE)
_DATE_DIGITS = 6
"""A suffix of at least this many digits is a date; a shorter one is a rotation count."""


def is_log(name: str) -> bool:
    """Whether a file is named like a log or a rotated log: `app.log`, `app.log.1`, `app.log-20260101.gz`."""
    return _LOG.fullmatch(name) is not None


def logs_of(names: Iterable[str]) -> list[list[str]]:
    """Group the names of logs with several files, oldest first: ascending dates, descending counts, the log itself.

    Args:
        names: file names relative to their folder.
    """
    found = defaultdict[str, list[tuple[tuple[int, int, str], str]]](list)
    for name in names:
        if match := _LOG.fullmatch(name):
            digits = (match[2] or "").replace("-", "")
            age = (0, 0, digits) if len(digits) >= _DATE_DIGITS else (1, -int(digits), "") if digits else (2, 0, "")
            found[match[1]].append((age, name))
    return [[name for _, name in sorted(parts)] for parts in found.values() if len(parts) > 1]


def shares_learnt(files: Mapping[str, AnyPath], val_fraction: float, *, in_records: bool) -> dict[str, float]:
    """For each file of a log with several files, the share of its lines, from the first on, that is not held out.

    The tail is that of the whole log: nothing of the older files is held out, and perhaps all of the newest ones. Each
    file is read once to count its lines.

    Args:
        files: paths by name.
        val_fraction: share of all lines that is held out.
        in_records: count records (`data.records`) instead of lines.
    """
    shares: dict[str, float] = {}
    for parts in logs_of(files):
        sizes = [_count(files[name], in_records=in_records) for name in parts]
        left = first_held_out(sum(sizes), val_fraction)
        for name, size in zip(parts, sizes, strict=True):
            shares[name] = min(left, size) / size if size else 1.0
            left -= min(left, size)
    return shares


def _count(path: AnyPath, *, in_records: bool) -> int:
    """Units of a log: lines with text, or records."""
    if not in_records:
        return sum(1 for line in lines(chunks(path)) if line.strip())
    read = (line.decode("utf-8", "replace") for line in lines(chunks(path)))
    first = list(islice(read, LOOKED_AT))
    return sum(1 for _ in records(chain(first, read), habits_of(first)))
