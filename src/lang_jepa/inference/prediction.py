"""Predictions for places of documents, with every distinct sentence encoded once, however many contexts it is in.

For models whose predictor reads one vector per sentence, each encoded alone (`data.context=concepts`,
`data.view=masked_concepts`); others read the tokens of every context.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.data.views import view_of
from lang_jepa.models.context import Context
from lang_jepa.settings.encoder import Settings

Vectors = NDArray[np.float32]

_PLACES = 1024
"""Places in one pass of the predictor."""

Sides = tuple[list[int], list[int]]
"""Rows of the sentences before and after a place."""


def reads_concepts(settings: Settings) -> bool:
    """Whether the predictor reads nothing but vectors of sentences encoded alone."""
    return view_of(settings).sentences_alone


@torch.inference_mode()
def foresee(
    before: Sequence[Sequence[str]],
    after: Sequence[Sequence[str]] | None,
    embed: Callable[[list[str]], Tensor],
    predict: Callable[[Tensor, list[Sides]], Vectors],
) -> Vectors:
    """Predictions after the contexts, or between two sides, with every distinct sentence embedded once.

    Args:
        before: sentences before each place, oldest first; already cut to what the predictor reads.
        after: sentences after each place, in reading order; for predictors that see both sides (None: none).
        embed: sentences to embeddings [S, D], not normalised.
        predict: such embeddings and the rows of both sides of some places to predictions [n, D].

    Returns:
        float32 [n, D].
    """
    sides = list(zip(before, after or [()] * len(before), strict=True))
    rows: dict[str, int] = {}
    for sentence in chain.from_iterable(side for pair in sides for side in pair):
        rows.setdefault(sentence, len(rows))
    vectors = embed(list(rows))
    found = [np.empty((0, vectors.shape[1]), dtype=np.float32)]
    for begin in range(0, len(sides), _PLACES):
        some = [
            ([rows[one] for one in past], [rows[one] for one in future])
            for past, future in sides[begin : begin + _PLACES]
        ]
        found.append(predict(vectors, some))
    return np.concatenate(found)


def neighbours(vectors: Tensor, sides: list[Sides], window: int) -> Context:
    """Windows over the distinct sentences as one passage, as `MaskedConceptsView` lays them out."""
    windows = np.full((len(sides), 2 * window), -1, dtype=np.int64)
    for row, (past, future) in zip(windows, sides, strict=True):
        row[window - len(past[-window:]) : window] = past[-window:]
        row[window : window + len(future[:window])] = future[:window]
    count = torch.tensor([len(vectors)])
    segments = torch.arange(len(vectors), device=vectors.device)
    return Context(vectors, segments, torch.from_numpy(windows).to(vectors.device), count)


def passages(vectors: Tensor, sides: list[Sides], window: int) -> Context:
    """One passage for each place, asked after its last sentence, as `ConceptsView` lays them out."""
    counts = np.array([len(past) for past, _ in sides], dtype=np.int64)
    flat = torch.tensor([row for past, _ in sides for row in past])
    ends = np.cumsum(counts)[:, None]
    windows = ends + np.arange(-window, 0)[None, :]
    windows = np.where(windows < ends - counts[:, None], -1, windows)
    return Context(
        states=vectors[flat.to(vectors.device)],
        segments=torch.arange(len(flat), device=vectors.device),
        windows=torch.from_numpy(windows).to(vectors.device),
        passages=torch.from_numpy(counts),
    )
