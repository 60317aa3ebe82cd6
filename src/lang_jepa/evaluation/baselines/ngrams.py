"""N-grams of templates with a cache of the last events, a baseline for the order of units.

A template is the text of a unit, for a log line after masking (`data/text/masks.py`); nothing is parsed. With counts c
and t(h) the number of different templates after h, the n-grams are interpolated (Witten and Bell 1991, method C):

    p(w | h) = (c(hw) + t(h) p(w | h')) / (c(h.) + t(h)),   h' = h without its first template

down to the uniform distribution over the known templates and one that stands for all unknown ones. The cache follows
Kuhn and De Mori 1990: a share of the probability goes to the templates of the last events, by how often each occurred.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import ScoresBySet
from lang_jepa.evaluation.questions import Questions

ORDER = 5
CACHE = 8
"""Number of last events in the cache."""
CACHED_SHARE = 0.3
"""Share of probability for the cache. On the logs of twelve systems, recall with .2 to .5 stays within .01."""

ROW = f"{ORDER}-gram with cache"
"""Name of this baseline in the rows."""


class UnitNGram:
    """N-grams of the templates of units, with a cache.

    They are stored in a trie: 150 to 250 bytes per different n-gram of any order (`len`), so at most 1,250 bytes per
    training unit, and far less if units repeat. Memory does not grow as units are scored.

    Args:
        sequences: training units in order of time, one sequence per file or document; a unit is anything hashable,
            such as its text.
        order: templates in the longest n-gram.
        cached_share: share of the probability for the cache of the last `CACHE` events (0: no cache).

    Raises:
        LangJepaError: there are no units, the order is below 1, or the share is not in [0, 1).
    """

    def __init__(
        self, sequences: Iterable[Iterable[Hashable]], *, order: int = ORDER, cached_share: float = CACHED_SHARE
    ) -> None:
        if order < 1 or not 0 <= cached_share < 1:
            raise LangJepaError(f"n-grams have an order from 1 and a cached share in [0, 1): {order}, {cached_share}")
        self.order, self.cached_share = order, cached_share
        self._names: dict[Hashable, int] = {}
        self._children: dict[tuple[int, int], int] = {}
        self._counts, self._followed, self._kinds = [0], [0], [0]  # by node; node 0 is the empty history
        pairs = repeats = 0
        for sequence in sequences:
            nodes: list[int] = [0]
            last = -1
            for unit in sequence:
                name = self._names.setdefault(unit, len(self._names))
                nodes = [0, *(self._counted(node, name) for node in nodes[:order])][: self.order]
                pairs, repeats, last = pairs + (last >= 0), repeats + (name == last), name
        if not self._names:
            raise LangJepaError("n-grams need training units, and there are none")
        self._repeated = (repeats + 0.5) / (pairs + 1)

    def _counted(self, node: int, name: int) -> int:
        """Count one more template after a node, and return its node."""
        child = self._children.get((node, name))
        if child is None:
            child = self._children[node, name] = len(self._counts)
            self._kinds[node] += 1
            for column in (self._counts, self._followed, self._kinds):
                column.append(0)
        self._followed[node] += 1
        self._counts[child] += 1
        return child

    def __len__(self) -> int:
        """Return the number of different n-grams of all orders."""
        return len(self._children)

    def knows(self, unit: Hashable) -> bool:
        """Return whether a unit occurs in training."""
        return unit in self._names

    def count(self, unit: Hashable) -> int:
        """Return how often a unit occurs in training."""
        return self._counts[self._children.get((0, self._names.get(unit, -1)), 0)]

    def probabilities(self, before: Sequence[Hashable], units: Iterable[Hashable]) -> list[float]:
        """Return the probability of each candidate as the next unit; each unknown one gets that of all unknown ones.

        Args:
            before: units so far, of which the last `CACHE` (and `order` - 1) are read.
            units: candidates.
        """
        histories, recent = self._histories(before), before[-CACHE:]
        share = self.cached_share if recent else 0.0
        return [
            (1 - share) * self._plain(histories, unit) + share * recent.count(unit) / max(1, len(recent))
            for unit in units
        ]

    def surprise(self, units: Sequence[Hashable], before: Sequence[Hashable] = ()) -> NDArray[np.float64]:
        """Return -ln p of each unit given those before it, in nats, float64 [n]."""
        line, reach = [*before[-CACHE - self.order :], *units], max(CACHE, self.order - 1)
        first = len(line) - len(units)
        positions = range(first, len(line))
        chances = [self.probabilities(line[max(0, at - reach) : at], line[at : at + 1])[0] for at in positions]
        return -np.log(np.array(chances, dtype=np.float64))

    def repetition(self, unit: Hashable) -> float:
        """Return -ln of the probability that a unit is followed by itself, in nats: its own share in training, smoothed
        by the share over all units as if seen once. Unknown units get the latter.
        """
        name = self._names.get(unit, -1)
        node = self._children.get((0, name))
        followed = 0 if node is None else self._followed[node]
        again = 0 if node is None or self.order < 2 else self._counts[self._children.get((node, name), 0)]
        return -math.log((again + self._repeated) / (followed + 1))

    def runs(self, units: Iterable[Hashable], last: Hashable = None, run: float = 0.0) -> list[float]:
        """Return how improbable it is that each unit came as often in a row as it did: the sum of `repetition` over the
        run of equal units that it ends, and 0 if it differs from the unit before.

        Args:
            units: units in order.
            last, run: the unit before them and its value.
        """
        found = []
        for unit in units:
            run = run + self.repetition(unit) if unit == last else 0.0
            last = unit
            found.append(run)
        return found

    def _histories(self, before: Sequence[Hashable]) -> list[int]:
        """Return the nodes of the last 0, 1, ... order - 1 units, as far as they were seen in training."""
        names = [self._names.get(unit, -1) for unit in before[max(0, len(before) - self.order + 1) :]]
        nodes = [0]
        for size in range(1, len(names) + 1):
            node: int | None = 0
            for name in islice(names, len(names) - size, None):
                node = self._children.get((node, name)) if node is not None else None
            if node is None:
                break
            nodes.append(node)
        return nodes

    def _plain(self, histories: Sequence[int], unit: Hashable) -> float:
        """Return the probability of a unit without the cache."""
        name = self._names.get(unit, -1)
        p = 1 / (len(self._names) + 1)
        for node in histories:
            kinds, followed = self._kinds[node], self._followed[node]
            if followed:
                child = self._children.get((node, name))
                p = ((0 if child is None else self._counts[child]) + kinds * p) / (followed + kinds)
        return p

    def scores(self, questions: Questions) -> ScoresBySet:
        """Return the probability of each candidate of some questions, by candidate set, [Q, C]."""
        result: ScoresBySet = {}
        for name, rows in questions.candidates.items():
            table = np.zeros(rows.shape)
            for row, (context, some) in enumerate(zip(questions.contexts, rows.tolist(), strict=True)):
                wanted = {one: questions.sentences[one] for one in some if one >= 0}
                found = dict(zip(wanted, self.probabilities(context, wanted.values()), strict=True))
                table[row] = [found.get(one, 0.0) for one in some]
            result[name] = table
        return result
