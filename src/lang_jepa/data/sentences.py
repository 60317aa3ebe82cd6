"""Where sentences begin and end: offline rules, in time linear in the text.

Three steps. Text is cut into blocks at blank lines, list items, and lines that end early (headings). Inside a
block every mark that may end a sentence is looked at once, with the word before it and the character after it.
Spans that are too long are cut at their best boundary. No step looks back further than a fixed distance.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from lang_jepa.config import DataSettings
from lang_jepa.data.sentences_cut import cut_long
from lang_jepa.data.sentences_words import ABBREVIATIONS, BEFORE_NUMBERS, NEVER_LAST, STARTERS

Span = tuple[int, int]


class SentenceSplitter(Protocol):
    """Finds the sentences of a text."""

    def spans(self, text: str) -> list[Span]:
        """Ordered, disjoint character spans [start, end) without outer white space; only white space lies outside."""


def make_splitter(settings: DataSettings) -> SentenceSplitter:
    """The splitter that the settings name; can be pickled, and is cheap to make in a worker process.

    Raises:
        LangJepaError: `splitter=sat` without the extra `sat`.
    """
    if settings.splitter == "sat":
        from lang_jepa.data.sentences_sat import SatSplitter

        return SatSplitter(settings.max_sentence_chars, settings.splitter_device)
    return RuleSplitter(settings.max_sentence_chars)


@dataclass(frozen=True, slots=True)
class RuleSplitter:
    """Sentences by rules, for cased Latin, Greek and Cyrillic scripts, Chinese, Japanese, Arabic and Indic ones.

    Thai has no mark at the end of a sentence: its lines stay whole up to `max_chars`.
    """

    max_chars: int

    def spans(self, text: str) -> list[Span]:
        """Ordered, disjoint character spans without outer white space; only white space lies outside."""
        found: list[Span] = []
        # Where nothing is in capitals, a small letter may begin a sentence.
        uncased = text.islower()
        for start, end in _blocks(text):
            for span in _sentences(text, start, end, uncased):
                if span[1] - span[0] > self.max_chars:
                    found.extend(cut_long(text, *span, self.max_chars))
                else:
                    found.append(span)
        return found


# Blocks

_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*+")
_ITEM = re.compile(r"(?:[-*+•‣◦▪●]|\d{1,3}[.)]|\((?:\d{1,3}|[a-z])\)|[a-z]\))[ \t]")
_HEADING = re.compile(r"#{1,6}[ \t]")
_FIRST_WORD = re.compile(r"\S{1,20}")

HEADING_WIDTH = 0.75
"""A line ends early when it and the next word fill at most this share of the paragraph's longest line."""
MIN_WIDTH = 40
"""Narrower paragraphs say nothing about where lines would have been wrapped."""


def _blocks(text: str) -> Iterator[Span]:
    """Stretches that no sentence crosses, without outer white space."""
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


def _paragraph_blocks(text: str, lines: list[Span]) -> Iterator[Span]:
    """Lines without blank ones between them, joined where the line break is only a wrap."""
    if len(lines) == 1:
        yield _stripped(text, *lines[0])
        return
    width = max(end - start for start, end in lines)
    start = lines[0][0]
    for (line, end), (following, _) in pairwise(lines):
        if _line_ends_block(text, start, (line, end), following, width):
            yield _stripped(text, start, end)
            start = following
    yield _stripped(text, start, lines[-1][1])


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


def _stripped(text: str, start: int, end: int) -> Span:
    """The span without trailing white space (its start never has any)."""
    while text[end - 1].isspace():
        end -= 1
    return start, end


# Sentences inside a block

_CLOSERS = "\"'”’»›)\\]}*_¹²³⁰-⁹」』）】》〉〕］｣"
_MARKS = "\u0300-\u036f\u3099\u309a\ufe00-\ufe0f"
_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf\u200d\ufe0e\ufe0f\U000e0020-\U000e007f"
# Marks with all that belongs to them. Everything is possessive and nothing is required after the first
# character, so that a match never fails half-way and no character is looked at twice.
_END = re.compile(
    r"(?P<mark>[.!?…‼⁇⁈⁉؟۔।॥։።፧။。！？｡．]++)"
    rf"(?P<after>(?:[{_CLOSERS}{_MARKS}]|[ \xa0\u202f]»|\[\d{{1,3}}\])*+(?:[ \t]?+[{_EMOJI}]++)*+)"
    r"(?P<gap>\s*+)"
)
_WIDE = re.compile("[。！？｡．]")
_QUOTED_SPEECH = ("と", "って", "という")
_PAUSES = tuple("、，,")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_MORE_MARKS = ".!?…,;:"
_OPENERS = "\"'“‘«‹([{¿¡*_„「『（—–-"
_LETTER_AFTER = re.compile(rf"[{re.escape(_OPENERS)}\s]{{0,8}}(\w?)")
_WORD_AFTER = re.compile(rf"[{re.escape(_OPENERS)}\s]{{0,8}}([^\W\d_]+(?:['’][a-z]+)?)")
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
_MARKER = re.compile(r"\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})")
_NEXT_INITIAL = re.compile(r"[^\W\d_]\.")
WORD_REACH = 24
"""Characters looked at before a full stop to find its word."""
LONGEST_ABBREVIATION = 12
"""Longer words before a full stop are taken for whole words."""


def _sentences(text: str, start: int, end: int, uncased: bool) -> Iterator[Span]:
    """The sentences of one block."""
    for match in _END.finditer(text, start, end):
        if match.end() == end:
            break
        if _is_end(text, start, match, uncased):
            yield start, match.start("gap")
            start = match.end()
    yield start, end


def _is_end(text: str, begin: int, match: re.Match[str], uncased: bool) -> bool:
    """Whether a mark ends the sentence that began at `begin`; it is not the last of the block."""
    mark, after, gap = match.groups()
    following = match.end()
    if _WIDE.search(mark):
        speech = bool(after) and text.startswith(_QUOTED_SPEECH, following)
        return not speech and not text.startswith(_PAUSES, following)
    if not gap:
        return ("?" in mark or "!" in mark) and _CJK.match(text, following) is not None
    if text[following] in _MORE_MARKS:
        return False
    next_letter = _next_letter(text, following)
    if next_letter.islower() and not uncased:
        return False
    if mark != ".":
        # Dots that lead a sentence in belong to it.
        return match.start() > begin or mark.strip(".…") != ""
    return bool(after) or not _abbreviated(text, begin, match.start(), following, next_letter)


def _next_letter(text: str, position: int) -> str:
    """The first letter or digit at a position, past opening quotes and brackets; empty where another sign stands."""
    character = text[position]
    if character.isalnum():
        return character
    match = _LETTER_AFTER.match(text, position)
    return match[1] if match else ""


def _abbreviated(text: str, begin: int, stop: int, following: int, next_letter: str) -> bool:
    """Whether the full stop at `stop` belongs to an abbreviation, an initial or a list marker, not to the sentence."""
    before = text[max(begin, stop - WORD_REACH) : stop].rsplit(None, 1)
    if not before or text[stop - 1].isspace():
        return stop == begin
    word = before[-1].lstrip("(\"'“‘[«*_—-")
    if stop - len(before[-1]) == begin and _MARKER.fullmatch(before[-1]):
        return word != "I" or not _starts_sentence(text, following)
    if len(word) > LONGEST_ABBREVIATION:
        return False
    if word in NEVER_LAST or (next_letter.isdigit() and word in BEFORE_NUMBERS):
        return True
    if len(word) == 1 and word.isalpha():
        return _is_initial(text, word, following)
    if word in ABBREVIATIONS or _DOTTED.fullmatch(word):
        return not _starts_sentence(text, following)
    return False


def _is_initial(text: str, word: str, following: int) -> bool:
    """Whether a single letter with a full stop is an initial (J. Smith) and not the end (vitamin C. The ...)."""
    if word.islower():
        return False
    if _NEXT_INITIAL.match(text, following):
        return True
    return word != "I" and not _starts_sentence(text, following)


def _starts_sentence(text: str, position: int) -> bool:
    """Whether the next word is one that mostly begins sentences (The, It, However ...) or is no word at all."""
    match = _WORD_AFTER.match(text, position)
    return match is not None and match[1] in STARTERS
