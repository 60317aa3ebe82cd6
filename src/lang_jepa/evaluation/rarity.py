"""How rare scores are among those of usual units, so that several scores can be combined.

A score becomes -ln of the share of usual units that score at least as high, so that scores of different kinds can be
added. The sum is Fisher's method of combining tests (Statistical Methods for Research Workers, 1932, section 21.1).
`monitor` uses such a sum, and the task `anomalies` evaluates it.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributions import Binomial

Values = NDArray[np.float64]
SCORES = ("surprise", "novelty", "n-gram", "repetition")
"""Scores of a unit: its distance from the prediction; its distance from the nearest training unit; -ln p by n-grams of
templates with a cache; and how improbable it is that it came as often in a row as it did.
"""
KNOWN = 20_000
"""Most distinct training units that novelty compares with."""
_DIGITS = 4
"""Scores are rounded, since equal units must get equal scores in any batch."""


class Usual:
    """Scores of usual units.

    Args:
        scores: float [n, K], K scores of n usual units; n is at least 1.
    """

    def __init__(self, scores: NDArray[np.floating]) -> None:
        self._levels: Values = np.sort(rounded(scores), axis=0).T

    def __len__(self) -> int:
        return len(self._levels[0])

    def less(self, scores: NDArray[np.floating]) -> Values:
        """Return the share of usual units with a lower score, for each score, [n, K]."""
        columns = [
            np.searchsorted(level, column, side="left") / len(level)
            for level, column in zip(self._levels, rounded(scores).T, strict=True)
        ]
        return np.stack(columns, axis=1)

    def rarity(self, scores: NDArray[np.floating], *, own: bool = False) -> Values:
        """Return -ln of the share of usual units, the scored unit included, that score at least as high, [n, K].

        Args:
            scores: float [n, K].
            own: the scored units are usual units themselves and are not counted twice.
        """
        more = ((1 - self.less(scores)) * len(self)).round()
        found: Values = -np.log(more / len(self) if own else (more + 1) / (len(self) + 1))
        return found


def rounded(scores: NDArray[np.floating]) -> Values:
    """Round scores for comparison."""
    few: Values = np.asarray(scores, dtype=np.float64).round(_DIGITS)
    return few


def threshold(usual: Values, rate: float) -> float:
    """Return a score above which lie at most a share `rate` of the usual scores [n], about as many as that allows."""
    return float(np.quantile(usual, 1 - rate, method="higher"))


def least_rate(count: int) -> float:
    """Return the share of units above the greatest of `count` others of their kind, the least of all thresholds."""
    return 1 / (count + 1)


def chance_of(count: int, of: int, rate: float) -> float:
    """Return the probability of `count` or more among `of` independent draws at a rate: the exact upper tail of the
    binomial distribution.
    """
    draws = Binomial(of, torch.tensor(rate, dtype=torch.float64))
    chances = draws.log_prob(torch.arange(max(count, 0), of + 1, dtype=torch.float64))  # type: ignore[no-untyped-call]
    return float(chances.logsumexp(0).exp())


def subsets(count: int) -> Iterator[tuple[int, ...]]:
    """Yield all non-empty subsets of `count` columns, small ones first."""
    for size in range(1, count + 1):
        yield from combinations(range(count), size)


def named(columns: Sequence[int]) -> str:
    """Return the names of some of the `SCORES`, for display."""
    return " + ".join(SCORES[column] for column in columns)
