"""Which scores a monitor adds up: those that find faults best that are put into its usual units."""

from collections.abc import Callable, Sequence

import numpy as np

from lang_jepa.evaluation.faults import KINDS, WARM, Faulty, Pools, with_faults
from lang_jepa.evaluation.metrics.segmentation import auc
from lang_jepa.evaluation.rarity import SCORES, Usual, Values, named, subsets

PIECE, DECIDING = 64, 2000
"""Usual units of a piece in which faults are put, and of all pieces, at most."""
_UNDECIDED = [SCORES.index("surprise"), SCORES.index("novelty")]
"""What decides where no document has room for a fault."""

Raw = Callable[[Sequence[Sequence[str]]], Values]
"""The scores of the units of documents, float64 [n, K]."""


def choose_scores(
    documents: Sequence[Sequence[str]], raw: Raw, usual: Usual, *, spoken: bool
) -> tuple[list[int], dict[str, float]]:
    """Columns of `SCORES` that find faults in usual units best together, and the mean AUC of each sum of scores.

    Args:
        documents: the usual units in order.
        raw: gives the scores of documents.
        usual: the scores of these units.
        spoken: units are turns with their speakers.
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
    """The scores of the units that are faults in some copies."""
    marks = [np.isin(np.arange(len(one.units)), [at for fault in one.faults for at in fault]) for one in copies]
    return raw([one.units for one in copies])[np.concatenate(marks)]


def _auc(usual: Values, wrong: Values) -> float:
    return auc(np.concatenate([usual, wrong]), np.arange(len(usual) + len(wrong)) >= len(usual))
