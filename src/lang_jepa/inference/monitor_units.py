"""What a monitor says of a unit, and how the first units of sessions are judged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.rarity import SCORES, Usual, Values, least_rate, threshold
from lang_jepa.inference.events import Over

FIRST = [SCORES.index("novelty"), SCORES.index("n-gram")]
"""Columns of `SCORES` that need nothing before a unit: they are added up for the first unit of a session."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its scores.

    Attributes:
        index: of the unit, from 0 on since the monitor began.
        text: of it.
        surprise, novelty, ngram, repetition: shares of usual units that have less.
        score: the sum of the rarities (-ln of the shares that have as much) of those that decide.
        threshold: of that sum.
        first: whether it is the first of its session and judged as such, by `FIRST` in the place of those that decide.
        expected: the known units that were likeliest in its place, best first; of alarms alone.
        severe: whether it is a line at a severe level of a kind that was not known, and an alarm for that alone.
        alarm: whether the score is above the threshold, or the unit is severe or stuck, and no unit was an alarm before
            it in its run of equal units.
        stuck: whether it came so often in a row that it is an alarm for that alone.
        times: how often it came in a row in its course, itself counted.
        event: index of the alarm that it is, or that it repeats (None: of none).
        over: the event that ended with it, which is the next other unit of that course.
    """

    index: int
    text: str
    surprise: float
    novelty: float
    ngram: float
    repetition: float
    score: float
    threshold: float
    first: bool
    expected: tuple[str, ...]
    severe: bool
    alarm: bool
    stuck: bool
    times: int
    event: int | None
    over: Over | None


class FirstUnits:
    """Judges units that have none before them in their session, which surprise cannot.

    They are compared with the usual units that are the first of theirs. Where these are too few to set a threshold at
    the rate, they are compared with all usual units, as if each of them were a first one, and the threshold is above
    those few too.

    Args:
        scores: novelty and n-gram of usual units, as if each of them were a first one, float64 [n, 2].
        first: which of them are, [n]; one at least.
        rate: share of first units that may be false alarms; 0: none of the usual ones.

    Attributes:
        threshold: of the sum of both.
    """

    def __init__(self, scores: Values, first: NDArray[np.bool_], rate: float) -> None:
        own = scores[first]
        compared = own if least_rate(len(own)) <= rate else scores
        self._usual = Usual(compared)
        self.threshold = max(threshold(self.sums(some, own=True), rate) for some in (compared, own))

    def sums(self, scores: Values, *, own: bool = False) -> Values:
        """The sum of the rarities of novelty and n-gram, [n], from float64 [n, 2]; `own`: of the usual units."""
        sums: Values = self._usual.rarity(scores, own=own).sum(1)
        return sums
