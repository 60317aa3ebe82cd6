"""Who speaks in a text: what stands before the colon at the beginning of a line, "Anna: Good morning"."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

_NAME = re.compile(r"[ \t]*([^\W\d_][^:\n]{0,39}?)[ \t]*:[ \t]+(?=\S)")
_ANY = re.compile(r"[ \t]*([^\s:][^:\n]{0,39}?)[ \t]*:[ \t]+(?=\S)")
_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Marks that messengers write around phone numbers."""
_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december|"
    "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
_UNITS = "am|pm|uhr|min|sec|kg|mg|ml|cm|mm|km|kb|mb|gb|px"
_LETTERS = r"[^\W\d_]{2}"
_OTHER = re.compile(
    rf"@[\w.-]*[^\W\d_][\w.-]*|~\s?[^\W\d_].*"  # a handle; a name that is not in the address book
    rf"|\*{{1,2}}[^*]*{_LETTERS}[^*]*\*{{1,2}}|_{{1,2}}[^_]*{_LETTERS}[^_]*_{{1,2}}"  # emphasis
    rf"|\[[^\]]*{_LETTERS}[^\]]*\]|\([^)]*{_LETTERS}[^)]*\)|<[^>]*{_LETTERS}[^>]*>"
    rf"|(?!\d+(?:{_UNITS})\b|\d+(?:st|nd|rd|th)(?:\sof)?\s(?:{_MONTHS})\b)\d+{_LETTERS}.*"  # 17th, 2nd Support
    r"|[\u2600-\u2712\u2719-\u2793\u2b50-\u2b55\U0001f000-\U0001fbff].*",  # emoji, no ticks and arrows
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?:[+(0]|\d+[\s./-])[\d\s().\u2011/-]*\d")
_DATE = re.compile(r"(?:\d{4}([ ./-])\d{1,2}\1\d{1,2}|\d{1,2}([ ./-])\d{1,2}\2(?:\d{4}|\d\d))(?:[ T,]+\d{1,2})?")
_DIGITS = range(7, 16)
"""Digits of a phone number."""


def beginning(line: str, others: Collection[str] = ()) -> re.Match[str] | None:
    """The speaker at the beginning of a line with the colon after it; the name alone is group 1. None without one.

    Args:
        line: of a text.
        others: speakers that do not begin with a letter, as of `other_speakers`.
    """
    found = _ANY.match(line) if others else None
    return found if found and found[1] in others else _NAME.match(line)


def names_speaker(line: str, others: Collection[str] = ()) -> bool:
    """Whether a line of a text begins a turn: "Anna: Good morning". Args of `beginning`."""
    return beginning(line.strip(), others) is not None


def other_speakers(lines: Iterable[str]) -> frozenset[str]:
    """Speakers of a text that do not begin with a letter: `candidate` says so of two of its lines or more."""
    counts = Counter(filter(None, map(candidate, lines)))
    return frozenset(name for name, count in counts.items() if count > 1)


def candidate(line: str) -> str:
    """What stands before the colon of a line and may be a speaker that does not begin with a letter; else nothing.

    It may be a phone number, a handle (`@ben`), a name in emphasis or brackets (`*Bot*`), one that begins with an emoji
    or with a number and letters (`2nd Support`). Times, dates, amounts, bullets, numbers of a list and what is quoted
    are none.
    """
    found = _ANY.match(line.strip())
    name = found[1].strip(_DIRECTIONS) if found else ""
    if not name or not (_OTHER.fullmatch(name) or _is_phone(name)):
        return ""
    return found[1] if found else ""


def _is_phone(name: str) -> bool:
    digits = sum(map(str.isdigit, name))
    return digits in _DIGITS and _PHONE.fullmatch(name) is not None and _DATE.fullmatch(name) is None
