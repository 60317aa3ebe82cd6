"""Where sentences begin and end: `sentencex` inside the blocks of a text, in time linear in the text.

sentencex knows the abbreviations and habits of many languages. It is given windows, since it is quadratic in a
paragraph; long sentences are given to it once more without their quotation marks, since it takes all between two of
them for one sentence. Of its answer only the cuts are used, so that nothing can be lost.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, get_args

from sentencex import get_sentence_boundaries

from lang_jepa.config import DataSettings, Language
from lang_jepa.data.sentences_blocks import Span, blocks
from lang_jepa.data.sentences_cut import cut_long
from lang_jepa.data.sentences_repairs import goes_on, moved, plain, without_quotes
from lang_jepa.errors import LangJepaError

LANGUAGES: tuple[str, ...] = get_args(Language)
"""Languages with rules of their own in sentencex, and their nearest relatives."""
FORMAT = 4
"""Goes up whenever a text is split differently than before: it is part of what a prepared corpus is made from."""

WINDOW = 4000
"""Characters that sentencex sees at once. Cuts in the second half are found again in the next window."""
QUOTATION = 300
"""Longer sentences, in characters, are split without regard to quotation marks and brackets."""


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
    return RuleSplitter(settings.max_sentence_chars, settings.language)


@dataclass(frozen=True, slots=True)
class RuleSplitter:
    """Sentences by the rules of one language, at most `max_chars` characters long.

    Raises:
        LangJepaError: a language that is not among LANGUAGES.
    """

    max_chars: int
    language: str = "en"

    def __post_init__(self) -> None:
        """Refuse a language that sentencex would silently treat as English."""
        if self.language not in LANGUAGES:
            raise LangJepaError(
                f"no sentence rules for language {self.language!r}: give one of {', '.join(LANGUAGES)} (for another "
                "language the one nearest to it, or en)."
            )

    def spans(self, text: str) -> list[Span]:
        """Ordered, disjoint character spans without outer white space; only white space lies outside.

        A span is longer than `max_chars` only where it is one unbreakable cluster of characters.
        """
        found: list[Span] = []
        for start, end, whole in blocks(text):
            for span in [(start, end)] if whole else self._sentences(text, start, end):
                if span[1] - span[0] > self.max_chars:
                    found.extend(cut_long(text, *span, self.max_chars))
                else:
                    found.append(span)
        return found

    def _sentences(self, text: str, start: int, end: int) -> Iterator[Span]:
        """The sentences of one block."""
        for span in self._between_cuts(text, start, end, plain):
            if span[1] - span[0] > QUOTATION:
                yield from self._between_cuts(text, *span, without_quotes)
            else:
                yield span

    def _between_cuts(
        self, text: str, start: int, end: int, prepare: Callable[[str, str], str]
    ) -> Iterator[Span]:
        """The spans between sentencex's cuts, where these are right."""
        for place in self._cuts(text, start, end, prepare):
            cut = moved(text, place, start, end) if place > start else start
            if start < cut < end and not goes_on(text, start, cut, self.language):
                stop = cut
                while text[stop - 1].isspace():
                    stop -= 1
                yield start, stop
                start = cut
        yield start, end

    def _cuts(self, text: str, start: int, end: int, prepare: Callable[[str, str], str]) -> Iterator[int]:
        """Where sentencex cuts text[start:end], in order."""
        while True:
            stop = min(start + WINDOW, end)
            found = get_sentence_boundaries(self.language, prepare(text[start:stop], self.language))
            cuts = [start + sentence["end_index"] for sentence in found]
            if stop == end:
                yield from cuts
                return
            kept = [cut for cut in cuts if cut <= start + WINDOW // 2]
            yield from kept
            # Windows that advance by less would make the time quadratic.
            far = bool(kept) and kept[-1] >= start + WINDOW // 4
            start = kept[-1] if far else start + WINDOW // 2
