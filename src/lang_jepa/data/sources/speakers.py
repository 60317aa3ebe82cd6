"""Who speaks in a text: what stands before the colon at the beginning of a line, "Anna: Good morning"."""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from lang_jepa.data.sources.records import LONGEST

_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Marks that messengers write around phone numbers."""
_SPACES = r"[ \t\u00a0\u202f\u3000]"
_ANY = re.compile(
    rf"[ \t\ufeff{_DIRECTIONS}]*([^\s:\uff1a][^:\uff1a\n]{{0,39}}?)[ \t]*"
    rf"(?::(?:{_SPACES}+(?=\S)|[ \t]*$)|\uff1a{_SPACES}*)"
)
_LETTER = re.compile(r"[^\W\d_]|-$")
"""A name begins with a letter; "-" is nobody's."""
_DAY = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
_TIME = rf"\d{{1,2}}[:.]\d\d(?:[:.]\d\d)?(?:{_SPACES}?[ap]\.?{_SPACES}?m\.?)?"
_STAMP = re.compile(
    rf"[ \t\ufeff{_DIRECTIONS}]*(?:\[(?:{_DAY},?{_SPACES})?{_TIME}\]|{_DAY},?{_SPACES}{_TIME}{_SPACES}-)"
    rf"(?:{_SPACES}+|$)",
    re.IGNORECASE,
)
"""When a message was sent, as messengers write it in front of the name."""
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


class Beginning(NamedTuple):
    """Where a turn begins: the name of who speaks (empty: nobody is named), and where in the line the text does."""

    name: str
    end: int


def beginning(line: str, others: Collection[str] = ()) -> Beginning | None:
    """The beginning of a turn in a line; None in a line that begins none.

    It is a name that begins with a letter, or is "-", with a colon and a text after it; or one of the others. What
    follows the date and the time that a messenger writes begins a turn in any case, "[12:31] Anna: Good morning".

    Args:
        line: of a text.
        others: further speakers, as of `other_speakers`.
    """
    stamp = _STAMP.match(line)
    found = _ANY.match(line, stamp.end() if stamp else 0)
    name = _name(found)
    if found and (stamp or name in others or (_LETTER.match(name) and found.end() < len(line))):
        return Beginning(name, found.end())
    return Beginning("", stamp.end()) if stamp else None


def names_speaker(line: str, others: Collection[str] = ()) -> bool:
    """Whether a line of a text begins a turn with a name: "Anna: Good morning". Args of `beginning`.

    One that begins with a date or a time does not say so: it may be of a log.
    """
    return not _STAMP.match(line) and begins_turn(line, others)


def begins_turn(line: str, others: Collection[str] = ()) -> bool:
    """Whether a line of a conversation begins a turn. Args of `beginning`."""
    return beginning(line.strip(), others) is not None


def other_speakers(lines: Iterable[str]) -> frozenset[str]:
    """Speakers of a text that do not begin with a letter, or whose name is alone in a line: `candidate` says so of two
    of its lines or more, or is sure of it.
    """
    counts = Counter[str]()
    for name, sure in map(candidate, lines):
        counts[name] += 2 if sure else 1
    return frozenset(name for name, count in counts.items() if name and count > 1)


def candidate(line: str) -> tuple[str, bool]:
    """What stands before the colon of a line and may be a speaker, else nothing; and whether it is one for sure.

    It may begin with a letter, be a phone number, a handle (`@ben`), a name in emphasis or brackets (`*Bot*`), one that
    begins with an emoji or with a number and letters (`2nd Support`). Times, dates, amounts, bullets, numbers of a list
    and what is quoted are none. What follows the date and the time of a messenger is one for sure.
    """
    line = line.strip()
    stamp = _STAMP.match(line)
    name = _name(_ANY.match(line, stamp.end() if stamp else 0))
    if stamp:
        return name, True
    return (name, False) if name and (_LETTER.match(name) or _OTHER.fullmatch(name) or _is_phone(name)) else ("", False)


class TurnReader:
    """Makes turns of the lines of a text that names its speakers, as they come; a line without a name continues one,
    which has `LONGEST` lines at most.

    Args:
        others: speakers that do not begin with a letter, as of `other_speakers`. One that is not known begins a turn
            from its second line on; so many are remembered.

    Attributes:
        waiting: lines of the turn that is not complete.
    """

    REMEMBERED = 10_000

    def __init__(self, others: Collection[str] = ()) -> None:
        self._turn: list[str] = []
        self._others, self._once = set(others), set[str]()

    @property
    def waiting(self) -> int:
        return len(self._turn)

    def feed(self, line: str) -> list[str]:
        """Take the next line; returns the turn that it shows to be complete, if any, in a line."""
        if not line.strip():
            return []
        self._learn(*candidate(line))
        found = self.flush() if self.begins(line) or len(self._turn) == LONGEST else []
        self._turn.append(line.strip())
        return found

    def begins(self, line: str) -> bool:
        """Whether a line begins a turn, as far as it is known by now."""
        return begins_turn(line, self._others)

    def _learn(self, name: str, sure: bool) -> None:
        if sure or name in self._once:
            self._others.add(name)
        elif len(self._once) < self.REMEMBERED:
            self._once.add(name)

    def flush(self) -> list[str]:
        """The turn that waits for a line that might continue it, if any."""
        found, self._turn = [" ".join(self._turn)] if self._turn else [], []
        return found


def _name(found: re.Match[str] | None) -> str:
    return found[1].strip(_DIRECTIONS) if found else ""


def _is_phone(name: str) -> bool:
    digits = sum(map(str.isdigit, name))
    return digits in _DIGITS and _PHONE.fullmatch(name) is not None and _DATE.fullmatch(name) is None
