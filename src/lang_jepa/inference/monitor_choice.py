"""What a monitor learns from its usual units: which scores best find faults inserted into them, and what is likely."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.faults import KINDS, WARM, Faulty, Pools, with_faults
from lang_jepa.evaluation.metrics.segmentation import auc
from lang_jepa.evaluation.rarity import SCORES, Usual, Values, named, subsets

PIECE, DECIDING = 64, 2000
"""Most usual units in a piece that faults are inserted into, and in all pieces."""
_UNDECIDED = [SCORES.index("surprise"), SCORES.index("novelty")]
"""The scores that decide if no document has room for a fault."""

_TEMPERATURES = np.geomspace(0.005, 1, 24)

Raw = Callable[[Sequence[Sequence[str]]], Values]
"""Returns the scores of the units of documents, float64 [n, K]."""


def choose_scores(
    documents: Sequence[Sequence[str]], raw: Raw, usual: Usual, *, spoken: bool
) -> tuple[list[int], dict[str, float]]:
    """Choose the columns of `SCORES` that together best find faults in usual units; also return each sum's mean AUC.

    Args:
        documents: the usual units in order.
        raw: returns the scores of documents.
        usual: the scores of these units.
        spoken: whether units are turns with their speakers.
    """
    sources = [one for one in documents if len(one) > WARM]
    if not sources:
        return list(_UNDECIDED), {}
    pieces = [(one, one[at : at + PIECE]) for one in sources for at in range(0, len(one), PIECE)]
    share = min(1.0, DECIDING / sum(map(len, sources)))
    rows = np.unique(np.linspace(0, len(pieces) - 1, max(1, int(share * len(pieces)))).astype(int))
    generator = np.random.default_rng(0)
    plain = [pieces[row][1] for row in rows]
    copies: list[list[Faulty]] = []
    for row in rows:
        source, piece = pieces[row]
        others = [unit for other in sources if other is not source for unit in other]
        pools = Pools(others, source, spoken=spoken)
        copies.append([with_faults(piece, kind, pools, generator) for kind in KINDS])
    clean = usual.rarity(raw(plain)[np.concatenate([np.arange(len(one)) >= WARM for one in plain])])
    wrong = [usual.rarity(_faults(some, raw)) for some in zip(*copies, strict=True)]
    merits = {}
    for columns in subsets(len(SCORES)):
        sums = clean[:, columns].sum(1)
        found = [_auc(sums, some[:, columns].sum(1)) for some in wrong if len(some)]
        merits[columns] = float(np.mean(found)) if found else 0.5
    best = max(merits, key=lambda columns: round(merits[columns], 3))
    return list(best), {named(columns): merit for columns, merit in merits.items()}


def _faults(copies: Sequence[Faulty], raw: Raw) -> Values:
    """Return the scores of the units that are faults in some copies."""
    marks = [np.isin(np.arange(len(one.units)), [at for fault in one.faults for at in fault]) for one in copies]
    return raw([one.units for one in copies])[np.concatenate(marks)]


def _auc(usual: Values, wrong: Values) -> float:
    return auc(np.concatenate([usual, wrong]), np.arange(len(usual) + len(wrong)) >= len(usual))


class Likeliest:
    """Finds the known units that are likely at an expected vector: p(unit) ~ count(unit) exp(cosine / temperature).

    A contrastive predictor learns ln p(unit | context) - ln p(unit) as cosine over temperature (van den Oord et al.
    2018, section 2.3). For other predictors, and for prepared vectors, no setting says the temperature: it is fitted.

    Args:
        texts: the known units, K.
        space: their prepared vectors, float32 [K, D].
        counts: how often the training text has each.
    """

    def __init__(self, texts: Sequence[str], space: NDArray[np.float32], counts: Sequence[int]) -> None:
        self.texts, self.space = texts, space
        self.logs = np.log(np.maximum(counts, 1))
        self.temperature = float(_TEMPERATURES[0])

    def fit(self, expected: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Choose the temperature under which the units that came are likeliest.

        Args:
            expected: what was expected, float32 [n, D]; zeros where nothing was.
            rows: which known unit came, [n]; -1: none of them did.
        """
        asked = (rows >= 0) & expected.any(1)
        if asked.any():
            cosines, came = expected[asked] @ self.space.T, rows[asked]
            logits = [cosines / one + self.logs for one in _TEMPERATURES]
            likelihoods = [
                (one[np.arange(len(came)), came] - np.logaddexp.reduce(one, axis=1)).mean() for one in logits
            ]
            self.temperature = float(_TEMPERATURES[int(np.argmax(likelihoods))])

    def __call__(self, expected: NDArray[np.float32], count: int = 3) -> tuple[str, ...]:
        """Return the likeliest units at a vector [D], best first; none if nothing was expected."""
        if not expected.any():
            return ()
        order = np.argsort(-(self.space @ expected / self.temperature + self.logs), kind="stable")[:count]
        return tuple(self.texts[row] for row in order)
