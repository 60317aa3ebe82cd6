"""Find the speakers of a text: names before a colon at the beginning of a line, "Anna: Good morning"."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from lang_jepa.data.sources.records import LONGEST

_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Direction marks that messengers put around phone numbers."""
_SPACES = r"[ \t\u00a0\u202f\u3000]"
_ANY = re.compile(
    rf"[ \t\ufeff{_DIRECTIONS}]*([^\s:\uff1a][^:\uff1a\n]{{0,39}}?)[ \t]*"
    rf"(?::(?:{_SPACES}+[{_DIRECTIONS}]*(?=\S)|[ \t]*$)|\uff1a{_SPACES}*)"
)
_LETTER = re.compile(r"[^\W\d_]|-$")
"""A name begins with a letter; "-" stands for an unnamed speaker."""
_NICK = re.compile(rf"<[ @+%&~]?([^<>\s]{{1,40}})>{_SPACES}+(?=\S)")
"""A name as in IRC chats, without a colon."""
_QUOTES = frozenset('"\u201c\u201d\u201e\u00ab\u00bb')
_DAY = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
_TIME = rf"\d{{1,2}}[:.]\d\d(?:[:.]\d\d)?(?:{_SPACES}?[ap]\.?{_SPACES}?m\.?)?"
_STAMP = re.compile(
    rf"[ \t\ufeff{_DIRECTIONS}]*"
    rf"(?:\[(?:{_DAY},?{_SPACES})?{_TIME}\]|{_DAY},?{_SPACES}(?:\w{{1,3}}{_SPACES})?{_TIME}{_SPACES}[-\u2013])"
    rf"(?:{_SPACES}+|$)",
    re.IGNORECASE,
)
"""The date and time that messengers put in front of the name."""
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
    """The beginning of a turn: the name of the speaker (empty: unnamed), and where in the line the text begins."""

    name: str
    end: int


class Speakers:
    """The speakers of a text, as far as its lines are known, and with them the rule for what begins a turn.

    A turn begins with a name that starts with a letter, or with "-", followed by a colon and text. These count as names
    only if two lines of the text begin with them: a phone number, a handle (`@ben`), a name in emphasis or brackets
    (`*Bot*`), one that begins with an emoji or with a number and letters (`2nd Support`), or a name alone on its line.
    Times, dates, amounts, bullets, list numbers and quoted text are never names.

    If a text begins with the date and time of a message, `[12:31] Anna: Good morning`, every line that has them begins
    a turn, whose speaker is named between them and a colon, or in `<>`, or is unnamed.

    Args:
        lines: of the text, in order; more can be added with `learn`.
    """

    REMEMBERED = 10_000
    """Maximum number of names remembered that were seen on one line."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._stamped: bool | None = None  # unknown before the first line
        self._names, self._once = set[str](), set[str]()
        for line in lines:
            self.learn(line)

    def known(self) -> "Speakers":
        """A copy with the same speakers, but without names seen only once."""
        found = Speakers()
        found._stamped, found._names = self._stamped, set(self._names)
        return found

    def learn(self, line: str) -> None:
        """Take a line of the text into account."""
        line = line.strip()
        if not line:
            return
        if self._stamped is None:
            self._stamped = bool(_STAMP.match(line))
        name = self._name(_ANY.match(line, self._start(line)))
        if not (_LETTER.match(name) or _OTHER.fullmatch(name) or _is_phone(name)):
            return
        if name in self._once:
            self._names.add(name)
        elif len(self._once) < self.REMEMBERED:
            self._once.add(name)

    def beginning(self, line: str) -> Beginning | None:
        """The beginning of the turn that a stripped line begins, or None if it begins none."""
        start = self._start(line)
        nick = _NICK.match(line, start) if start else None
        if nick:
            return Beginning(nick[1], nick.end())
        found = _ANY.match(line, start)
        name = self._name(found)
        alone = found is not None and found.end() == len(line)
        sure = bool(start or _LETTER.match(name)) and not alone
        if found and name and (sure or (name in self._names and not (alone and name[0].islower()))):
            return Beginning(name, found.end())
        return Beginning("", start) if start else None

    def begins(self, line: str) -> bool:
        """Whether a line begins a turn."""
        return self.beginning(line.strip()) is not None

    def names_one(self, line: str) -> bool:
        """Whether a line begins with a name; one that begins with a date or time does not, as it may be a log's."""
        return not _STAMP.match(line) and self.begins(line)

    def _start(self, line: str) -> int:
        """Where a line's content begins, after date and time."""
        stamp = _STAMP.match(line) if self._stamped else None
        return stamp.end() if stamp else 0

    @staticmethod
    def _name(found: re.Match[str] | None) -> str:
        """The name found; empty if it has a quotation mark after its first character."""
        name = found[1].strip(_DIRECTIONS) if found else ""
        return "" if _QUOTES.intersection(name[1:]) else name


def spoken(turn: str) -> Beginning:
    """The beginning of a turn that is known to begin with a speaker, whatever the name looks like."""
    stamp = _STAMP.match(turn)
    start = stamp.end() if stamp else 0
    if stamp and (found := _NICK.match(turn, start) or _ANY.match(turn, start)):
        return Beginning(found[1].strip(_DIRECTIONS), found.end())
    found = _ANY.match(turn)
    return Beginning(found[1].strip(_DIRECTIONS), found.end()) if found else Beginning("", start)


class TurnReader:
    """Combine incoming lines of a text that names its speakers into turns. A line without a name continues a turn,
    which has at most `LONGEST` lines.

    Args:
        speakers: known so far. A name that needs two lines (see `Speakers`) is recognised from its second line on.

    Attributes:
        waiting: number of lines in the incomplete turn.
    """

    def __init__(self, speakers: Speakers) -> None:
        self._turn: list[str] = []
        self._speakers = speakers.known()

    @property
    def waiting(self) -> int:
        return len(self._turn)

    def feed(self, line: str) -> list[str]:
        """Take the next line and return the turn that it completes, if any, as one line."""
        if not line.strip():
            return []
        self._speakers.learn(line)
        found = self.flush() if self.begins(line) or len(self._turn) == LONGEST else []
        self._turn.append(line.strip())
        return found

    def begins(self, line: str) -> bool:
        """Whether a line begins a turn, judging by the lines so far."""
        return self._speakers.begins(line)

    def flush(self) -> list[str]:
        """Return the turn still waiting for a continuation, if any."""
        found, self._turn = [" ".join(self._turn)] if self._turn else [], []
        return found


def _is_phone(name: str) -> bool:
    digits = sum(map(str.isdigit, name))
    return digits in _DIGITS and _PHONE.fullmatch(name) is not None and _DATE.fullmatch(name) is None
