"""What the document tools find: sentences with their surprise, topics, continuations, repetitions."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

Against = Literal["document", "training"]


@dataclass(frozen=True, slots=True)
class SentenceFit:
    """A sentence and how it fits its position.

    Attributes:
        position: position in the document, from 0.
        sentence: the text.
        fit: cosine of the sentence with what is expected at its position; None if nothing stands beside it.
        surprise: standard deviations by which the fit is below the mean fit of shuffled sentences there: 0 fits no
            better than they do, -2 much better, above 0 worse. None without a fit, or with too few sentences to judge.
    """

    position: int
    sentence: str
    fit: float | None
    surprise: float | None


@dataclass(frozen=True, slots=True)
class Fits:
    """All sentences of a document, with how well they fit.

    Attributes:
        sentences: in order.
        used: the method in words, with its score and that of the other.
        against: whose sentences were shuffled in for the calibration.
    """

    sentences: list[SentenceFit]
    used: str
    against: Against

    def ranked(self) -> list[SentenceFit]:
        """Return the sentences with a surprise, the most surprising first."""
        known = [one for one in self.sentences if one.surprise is not None]
        return sorted(known, key=lambda one: -cast(float, one.surprise))


@dataclass(frozen=True, slots=True)
class Topics:
    """A document split into segments.

    Attributes:
        sentences: in order.
        boundaries: positions at which a new topic begins, ascending, 0 left out.
        scores: for each sentence but the first, how much of a boundary lies before it, in standard deviations above the
            document's mean.
        used: the method in words.
    """

    sentences: list[str]
    boundaries: list[int]
    scores: list[float]
    used: str

    def segments(self) -> list[list[str]]:
        """Return the sentences of each segment."""
        ends = [0, *self.boundaries, len(self.sentences)]
        return [self.sentences[begin:end] for begin, end in pairwise(ends)]


@dataclass(frozen=True, slots=True)
class Continuation:
    """A candidate, its cosine with what is expected next, and its standard deviations above the candidates' mean."""

    sentence: str
    fit: float
    lead: float


@dataclass(frozen=True, slots=True)
class Repetition:
    """A sentence, the earlier one closest to it, their cosine, and whether that counts as a repetition."""

    position: int
    sentence: str
    earlier: int
    cosine: float
    repeats: bool


@dataclass(frozen=True, slots=True)
class Study:
    """The findings of all tools, as the command shows them."""

    surprise: Fits
    outliers: Fits
    topics: Topics
    repetitions: list[Repetition]
    next: list[Continuation]
    repeated: str
    """How repetitions were found, in words."""
    speakers: list[str]
    """Who says each turn of a conversation, "" if nobody is named; empty for other texts."""
    hint: str
    """How to measure what was not measured for the model yet; empty if everything was."""
