"""What a monitor says about a unit, and how it judges the first units of sessions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.rarity import SCORES, Usual, Values, least_rate, threshold
from lang_jepa.inference.events import Over

FIRST = [SCORES.index("novelty"), SCORES.index("n-gram")]
"""Columns of `SCORES` that need nothing before a unit: the first unit of a session is judged by their sum."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its scores.

    Attributes:
        index: number of the unit, from 0 since the monitor began.
        text: the unit.
        surprise, novelty, ngram, repetition: shares of usual units that have less of each score.
        score: sum of the rarities (-ln of the share of usual units that have as much) of the scores that decide.
        threshold: threshold for that sum.
        first: whether it is the first of its session and judged as such, by `FIRST` instead of the scores that decide.
        expected: the known units that were likeliest in its place, best first; for alarms only.
        severe: whether it is a line at a severe level of a kind that was not known, which alone makes it an alarm.
        alarm: whether the score is above the threshold, or the unit is severe or stuck, and no earlier unit in its run
            of equal units was an alarm.
        stuck: whether it came so often in a row that this alone makes it an alarm.
        times: how often it has come in a row in its course, itself included.
        event: index of the alarm that it is or repeats (None: neither).
        over: the event that it ended, as the next different unit of that course (None: it ended none).
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
    """Judges the first units of sessions, which surprise cannot judge.

    They are compared with the usual units that are first in their sessions. If these are too few to set a threshold at
    the rate, they are compared with all usual units, as if each of them were a first one, and the threshold lies above
    those few too.

    Args:
        scores: novelty and n-gram of usual units, as if each of them were a first one, float64 [n, 2].
        first: which of them are first units, [n]; at least one is.
        rate: share of first units that may be false alarms; 0: none of the usual ones.

    Attributes:
        threshold: threshold for the sum of both scores.
    """

    def __init__(self, scores: Values, first: NDArray[np.bool_], rate: float) -> None:
        own = scores[first]
        compared = own if least_rate(len(own)) <= rate else scores
        self._usual = Usual(compared)
        self.threshold = max(threshold(self.sums(some, own=True), rate) for some in (compared, own))

    def sums(self, scores: Values, *, own: bool = False) -> Values:
        """Return the summed rarities of novelty and n-gram, [n], from scores [n, 2]; `own`: of the usual units."""
        sums: Values = self._usual.rarity(scores, own=own).sum(1)
        return sums
