"""Predictions for places of documents, with every distinct sentence encoded once, however many contexts it is in.

For models whose predictor reads one vector per sentence, each encoded alone (`data.context=concepts`,
`data.view=masked_concepts`); others read the tokens of every context.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.models.context import Context

if TYPE_CHECKING:
    from lang_jepa.concepts.model import ConceptModel, Vectors

_PLACES = 1024
"""Places in one pass of the predictor."""

Sides = tuple[list[int], list[int]]
"""Rows of the sentences before and after a place."""


def reads_concepts(model: "ConceptModel") -> bool:
    """Whether the predictor reads nothing but vectors of sentences encoded alone."""
    data = model.settings.data
    return data.view == "masked_concepts" or data.context == "concepts"


@torch.inference_mode()
def foresee(
    model: "ConceptModel", before: Sequence[Sequence[str]], after: Sequence[Sequence[str]] | None = None
) -> "Vectors":
    """Predicted concepts of the sentences after the contexts, or between two sides.

    Args:
        model: one that `reads_concepts`.
        before: sentences before each place, oldest first; already cut to what the predictor reads.
        after: sentences after each place, in reading order; for models that see both sides (None: none).

    Returns:
        float32 [n, D], unit rows.

    Raises:
        LangJepaError: a sentence without a token.
    """
    sides = list(zip(before, after or [()] * len(before), strict=True))
    rows: dict[str, int] = {}
    for sentence in chain.from_iterable(side for pair in sides for side in pair):
        rows.setdefault(sentence, len(rows))
    vectors = _vectors(model, list(rows))
    make = _neighbours if model.sees_both_sides else _passages
    window = model.settings.data.window_size
    result = np.empty((len(sides), model.dim), dtype=np.float32)
    for begin in range(0, len(sides), _PLACES):
        some = [
            ([rows[one] for one in past], [rows[one] for one in future])
            for past, future in sides[begin : begin + _PLACES]
        ]
        made = model.jepa.eval().predictor(make(vectors, some, window))
        result[begin : begin + len(some)] = functional.normalize(made.float(), dim=-1).cpu().numpy()
    return result


def _vectors(model: "ConceptModel", sentences: list[str]) -> Tensor:
    """Embeddings of sentences as the predictor reads them in training, not normalised: [S, D] on the model's device."""
    tokens = model.tokenizer.encode_sentences(sentences)
    for sentence, ids in zip(sentences, tokens, strict=True):
        if not len(ids) or not sentence.strip():
            raise LangJepaError(f"a sentence of the context has no token: {sentence!r}")
    return model.embed_tokens(tokens)


def _neighbours(vectors: Tensor, sides: list[Sides], window: int) -> Context:
    """Windows over the distinct sentences as one passage, as `MaskedConceptsView` lays them out."""
    windows = np.full((len(sides), 2 * window), -1, dtype=np.int64)
    for row, (past, future) in zip(windows, sides, strict=True):
        row[window - len(past[-window:]) : window] = past[-window:]
        row[window : window + len(future[:window])] = future[:window]
    count = torch.tensor([len(vectors)])
    segments = torch.arange(len(vectors), device=vectors.device)
    return Context(vectors, segments, torch.from_numpy(windows).to(vectors.device), count)


def _passages(vectors: Tensor, sides: list[Sides], window: int) -> Context:
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
