"""Split texts into sentences with `sentencex` inside the blocks of a text, in linear time.

sentencex knows the abbreviations and conventions of many languages. It is applied to windows, since it takes quadratic
time per paragraph, and once more to long sentences without their quotation marks, since it treats everything between
two of them as one sentence. Only its cuts are used, so nothing can be lost. It recognises only blank lines: list items,
headings and table rows are detected here, and no sentence crosses such a block.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, get_args

from sentencex import get_sentence_boundaries

from lang_jepa.data.text.sentence_repairs import goes_on, moved, plain, without_quotes
from lang_jepa.errors import LangJepaError, optional
from lang_jepa.settings.data import DataSettings, Language

Span = tuple[int, int]

_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*+")
_ITEM = re.compile(r"(?:[-*+•‣◦▪●]|\d{1,3}[.)]|\((?:\d{1,3}|[a-z])\)|[a-z]\))[ \t]")
_HEADING = re.compile(r"#{1,6}[ \t]")
_DELIMITER_ROW = re.compile(r"\|?[ \t]*:?-+:?[ \t]*\|[-:| \t]*")
_LINE = re.compile(r"[^\n]+")
_FIRST_WORD = re.compile(r"\S{1,20}")

HEADING_WIDTH = 0.75
"""A line ends early if it and the next word fill at most this share of the paragraph's longest line."""
MIN_WIDTH = 40
"""Narrower paragraphs do not show where lines would have been wrapped."""


def blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield blocks as (start, end, whole), stripped; a `whole` block is a table row, which is not split."""
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
    """Whether a gap that begins with a line break contains a blank line or a page break."""
    if len(gap) == 1:
        return gap in "\f\u2029"
    return gap[0] in "\f\u2029" or _BREAK.search(gap, 2 if gap.startswith("\r\n") else 1) is not None


def _paragraph_blocks(text: str, lines: list[Span]) -> Iterator[tuple[int, int, bool]]:
    """The blocks of consecutive non-blank lines, which are joined where a line break is only a wrap."""
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
    """Whether a single line break is intended: a list item or heading is next to it, or the line ends early."""
    start, end = line
    if _ITEM.match(text, following) or _HEADING.match(text, following) or _HEADING.match(text, start):
        return True
    if text[following].islower() or text[end - 1] in ",;-–—":
        return False
    # Continuation lines of an item are usually indented.
    if _ITEM.match(text, block):
        return text[following - 1] not in " \t"
    if width < MIN_WIDTH:
        return False
    word = _FIRST_WORD.match(text, following)
    return end - start + 1 + (len(word[0]) if word else 0) <= HEADING_WIDTH * width


def _is_row(line: str, table: bool) -> bool:
    """Whether a line is a Markdown table row; in a table with a delimiter row the outer bars may be missing."""
    return (len(line) > 1 and line[0] == line[-1] == "|") or (table and "|" in line)


def _stripped(text: str, start: int, end: int) -> Span:
    """The span without trailing white space (it never has leading white space)."""
    while text[end - 1].isspace():
        end -= 1
    return start, end


MODEL = "sat-3l-sm"
"""SaT model: three layers, tuned for sentences."""


@dataclass
class SatSplitter:
    """Split sentences with SaT. The model is loaded at the first text, so the splitter can be sent to a process."""

    max_chars: int
    device: str = "cpu"
    _model: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise early if the extra is not installed."""
        _sat_class()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Ordered, disjoint character spans without outer white space; only white space lies outside.

        Raises:
            LangJepaError: the model's sentences do not add up to the text.
        """
        if not text.strip():
            return []
        if self._model is None:
            self._model = _sat_class()(MODEL)
            if self.device != "cpu":
                self._model.half().to(self.device)
        found: list[tuple[int, int]] = []
        for start, end in align(text, self._model.split(text)):
            found.extend(cut_long(text, start, end, self.max_chars))
        return found


def align(text: str, sentences: list[str]) -> list[tuple[int, int]]:
    """Spans of sentences in the text they were taken from; only white space around them may be missing.

    Raises:
        LangJepaError: anything else is missing or differs.
    """
    found: list[tuple[int, int]] = []
    position = 0
    for sentence in (part.strip() for part in sentences):
        if not sentence:
            continue
        start = text.find(sentence, position)
        if start < 0 or text[position:start].strip():
            raise LangJepaError(
                f"the sat splitter returned a sentence that is not next in the text: {sentence[:80]!r}. "
                "Use data.splitter=rules."
            )
        position = start + len(sentence)
        found.append((start, position))
    if text[position:].strip():
        raise LangJepaError(f"the sat splitter lost text: {text[position : position + 80]!r}. Use data.splitter=rules.")
    return found


def _sat_class() -> Any:
    return optional("wtpsplit", "sat", "data.splitter=sat needs wtpsplit, which data.splitter=rules does not").SaT


# In this order: clause marks, commas, white space. Western marks count only before white space.
_CLAUSE = re.compile(r"[;:](?=\s)|[；：;؛—]")
_COMMA = re.compile(r",(?=\s)|[，、،]")
_SPACE = re.compile(r"\s(?=\S)")

MIN_SHARE = 0.5
"""A clause mark or comma before this share of the allowed length is ignored, since it would leave a stub."""


def cut_long(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Cut text[start:end] into pieces of at most `limit` characters, in order, without outer white space.

    A piece is longer only if it is one unbreakable cluster (a letter with its combining marks, an emoji
    sequence). Takes linear time: each cut examines at most `limit` characters, and two cuts advance by as many.
    """
    while end - start > limit:
        cut = _best_cut(text, start, end, limit)
        yield _stripped(text, start, cut)
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
    # One more character for the look-ahead.
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
    # Conjoining jamo form one syllable.
    return not ("\u1100" <= left <= "\u11ff" and "\u1160" <= right <= "\u11ff")


def _is_flag(character: str) -> bool:
    """Whether a character is a regional indicator; two of them make one flag."""
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flags_before(text: str, start: int, cut: int) -> int:
    """Number of regional indicators in the run that ends at `cut`, not looking before `start`."""
    position = cut
    while position > start and _is_flag(text[position - 1]):
        position -= 1
    return cut - position


LANGUAGES: tuple[str, ...] = get_args(Language)
"""Languages with their own rules in sentencex, and their closest relatives."""
FORMAT = 4
"""Raise it whenever a text would be split differently; it is part of a corpus' identity."""

WINDOW = 4000
"""Characters that sentencex sees at a time. Cuts in the second half are found again in the next window."""
QUOTATION = 300
"""Sentences with more characters are split again, ignoring quotation marks and brackets."""


class SentenceSplitter(Protocol):
    """Find the sentences of a text."""

    def spans(self, text: str) -> list[Span]:
        """Ordered, disjoint character spans [start, end) without outer white space; only white space lies outside."""


def split_text(text: str, splitter: SentenceSplitter) -> list[str]:
    """The sentences of a text."""
    pieces = (text[start:end].strip() for start, end in splitter.spans(text))
    return [piece for piece in pieces if piece]


def make_splitter(settings: DataSettings) -> SentenceSplitter:
    """Make the splitter named by the settings; it can be pickled and is cheap to create in a worker process.

    Raises:
        LangJepaError: `splitter=sat` without the extra `sat` installed.
    """
    if settings.units != "sentences":
        return LineSplitter()  # turns are lines by now
    if settings.splitter == "sat":
        return SatSplitter(settings.max_sentence_chars, settings.splitter_device)
    return RuleSplitter(settings.max_sentence_chars, settings.language)


@dataclass(frozen=True, slots=True)
class LineSplitter:
    """Split a text into its non-blank lines, without outer white space."""

    def spans(self, text: str) -> list[Span]:
        """Ordered, disjoint character spans without outer white space; only white space lies outside."""
        lines = ((match.start(), match[0]) for match in _LINE.finditer(text))
        starts = ((begin + len(line) - len(line.lstrip()), line.strip()) for begin, line in lines)
        return [(start, start + len(line)) for start, line in starts if line]


@dataclass(frozen=True, slots=True)
class RuleSplitter:
    """Split sentences by the rules of one language, at most `max_chars` characters long.

    Raises:
        LangJepaError: the language is not one of LANGUAGES.
    """

    max_chars: int
    language: str = "en"

    def __post_init__(self) -> None:
        """Reject a language that sentencex would silently treat as English."""
        if self.language not in LANGUAGES:
            raise LangJepaError(
                f"no sentence rules for language {self.language!r}: give one of {', '.join(LANGUAGES)} (for another "
                "language the one nearest to it, or en)."
            )

    def spans(self, text: str) -> list[Span]:
        """Ordered, disjoint character spans without outer white space; only white space lies outside.

        A span is longer than `max_chars` only if it is one unbreakable cluster of characters.
        """
        found: list[Span] = []
        for start, end, whole in blocks(text):
            for span in [(start, end)] if whole else self._sentences(text, start, end):
                found.extend(cut_long(text, *span, self.max_chars))
        return found

    def _sentences(self, text: str, start: int, end: int) -> Iterator[Span]:
        for span in self._between_cuts(text, start, end, plain):
            if span[1] - span[0] > QUOTATION:
                yield from self._between_cuts(text, *span, without_quotes)
            else:
                yield span

    def _between_cuts(self, text: str, start: int, end: int, prepare: Callable[[str, str], str]) -> Iterator[Span]:
        """Yield the spans between sentencex's cuts, ignoring wrong ones."""
        for found in self._cuts(text, start, end, prepare):
            cut = moved(text, found, start, end) if found > start else start
            if start < cut < end and not goes_on(text, start, cut, self.language):
                yield _stripped(text, start, cut)
                start = cut
        yield start, end

    def _cuts(self, text: str, start: int, end: int, prepare: Callable[[str, str], str]) -> Iterator[int]:
        while True:
            stop = min(start + WINDOW, end)
            found = get_sentence_boundaries(self.language, prepare(text[start:stop], self.language))
            cuts = [start + sentence["end_index"] for sentence in found]
            if stop == end:
                yield from cuts
                return
            kept = [cut for cut in cuts if cut <= start + WINDOW // 2]
            yield from kept
            # Advancing by less would make the time quadratic.
            far = bool(kept) and kept[-1] >= start + WINDOW // 4
            start = kept[-1] if far else start + WINDOW // 2
