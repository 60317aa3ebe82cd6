"""How rare scores are among those of usual units, and which of several together find faults best.

A score of any unit becomes -ln of the share of usual units that have as much of it, so that scores of different kinds
can be added; the sum is Fisher's way to combine tests (Statistical Methods for Research Workers, 1932, section 21.1).
`monitor` judges by such a sum, and the task `anomalies` measures it.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
SCORES = ("surprise", "novelty", "n-gram", "repetition")
"""Of a unit: its distance from what the predictor expects, and from the nearest training unit; -ln p by n-grams of
templates with a cache; how improbable it is that it came as often in a row as it did.
"""
KNOWN = 20_000
"""Distinct training units that are known to the novelty, at most."""
_DIGITS = 4
"""Scores are rounded, since equal units must have equal scores in whatever batch they were computed."""


class Usual:
    """Scores of usual units.

    Args:
        scores: float [n, K], of usual units by K scores; n is at least 1.
    """

    def __init__(self, scores: NDArray[np.floating]) -> None:
        self._levels: Values = np.sort(rounded(scores), axis=0).T

    def __len__(self) -> int:
        return len(self._levels[0])

    def less(self, scores: NDArray[np.floating]) -> Values:
        """Share of usual units that have less of each score, [n, K]."""
        columns = [
            np.searchsorted(level, column, side="left") / len(level)
            for level, column in zip(self._levels, rounded(scores).T, strict=True)
        ]
        return np.stack(columns, axis=1)

    def rarity(self, scores: NDArray[np.floating], *, own: bool = False) -> Values:
        """-ln of the share of usual units, the scored one counted too, that have as much of each score, [n, K].

        Args:
            scores: float [n, K].
            own: the scored ones are usual units themselves, which are not counted twice.
        """
        more = ((1 - self.less(scores)) * len(self)).round()
        found: Values = -np.log(more / len(self) if own else (more + 1) / (len(self) + 1))
        return found


def rounded(scores: NDArray[np.floating]) -> Values:
    """Scores as they are compared."""
    few: Values = np.asarray(scores, dtype=np.float64).round(_DIGITS)
    return few


def threshold(usual: Values, rate: float) -> float:
    """A score above which lie at most a share `rate` of the usual ones [n], and as many of them as that allows."""
    return float(np.quantile(usual, 1 - rate, method="higher"))


def least_rate(count: int) -> float:
    """Share of units that lie above the greatest of `count` others of their kind: no threshold of those has less."""
    return 1 / (count + 1)


def chance_of(count: int, of: int, rate: float) -> float:
    """Probability of `count` or more among `of` independent draws at a rate: the upper tail of the binomial
    distribution, exactly.
    """
    from scipy.special import bdtrc

    return float(bdtrc(count - 1, of, rate)) if count > 0 else 1.0


def subsets(count: int) -> Iterator[tuple[int, ...]]:
    """All sets of some of `count` columns, the small ones first."""
    for size in range(1, count + 1):
        yield from combinations(range(count), size)


def named(columns: Sequence[int]) -> str:
    """Names of some of the `SCORES`, for people."""
    return " + ".join(SCORES[column] for column in columns)
