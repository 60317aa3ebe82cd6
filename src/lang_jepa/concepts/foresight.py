"""Predictions for places of documents, with every distinct sentence encoded once, however many contexts it is in.

For models whose predictor reads one vector per sentence, each encoded alone (`data.context=concepts`); others read the
tokens of every context.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.data.tokenizer import Ints
from lang_jepa.data.views.base import within
from lang_jepa.errors import LangJepaError
from lang_jepa.models.context import Context

if TYPE_CHECKING:
    from lang_jepa.concepts.model import ConceptModel, Vectors

_PLACES = 1024
"""Places in one pass of the predictor."""


def reads_concepts(model: "ConceptModel") -> bool:
    """Whether the predictor reads nothing but vectors of sentences encoded alone."""
    return model.settings.data.context == "concepts"


@torch.inference_mode()
def foresee(
    model: "ConceptModel", before: Sequence[Sequence[str]], after: Sequence[Sequence[str]] | None = None
) -> "Vectors":
    """Predicted concepts of the sentences after the contexts, or between two sides.

    Args:
        model: one that `reads_concepts`.
        before: sentences before each place, oldest first; already cut to what the predictor reads.
        after: sentences after each place, in reading order (None: the predictor is not shown any, and no mask).

    Returns:
        float32 [n, D], unit rows.

    Raises:
        LangJepaError: a sentence without a token.
    """
    sides = list(zip(before, after, strict=True)) if after is not None else [(one, ()) for one in before]
    rows: dict[str, int] = {}
    for pair in sides:
        for side in pair:
            for sentence in side:
                rows.setdefault(sentence, len(rows))
    vectors = _vectors(model, list(rows))
    result = np.empty((len(sides), model.dim), dtype=np.float32)
    for begin in range(0, len(sides), _PLACES):
        some = sides[begin : begin + _PLACES]
        numbers = [
            [
                *(rows[one] for one in past),
                *([-1] if after is not None else []),
                *(rows[one] for one in future),
            ]
            for past, future in some
        ]
        asked = [len(past) - int(after is None) for past, _ in some]
        context = _context(vectors, numbers, np.array(asked, dtype=np.int64))
        made = model.jepa.eval().predictor(context)
        result[begin : begin + len(some)] = functional.normalize(made.float(), dim=-1).cpu().numpy()
    return result


def _vectors(model: "ConceptModel", sentences: list[str]) -> Tensor:
    """Embeddings of sentences as the predictor reads them in training: not normalised, [S, D] on the model's device."""
    tokens = model.tokenizer.encode_sentences(sentences)
    for sentence, ids in zip(sentences, tokens, strict=True):
        if not len(ids) or not sentence.strip():
            raise LangJepaError(f"a sentence of the context has no token: {sentence!r}")
    return model.embed_tokens(tokens)


def _context(vectors: Tensor, numbers: list[list[int]], asked: Ints) -> Context:
    """One passage for each place.

    Args:
        vectors: [S, D].
        numbers: rows of each passage, -1 for a hidden sentence.
        asked: int64 [n], which of the passage's places is asked.
    """
    counts = np.array([len(some) for some in numbers], dtype=np.int64)
    flat = torch.from_numpy(np.concatenate([np.asarray(some, dtype=np.int64) for some in numbers]))
    first = np.cumsum(counts) - counts
    places = np.arange(int(counts.max()))[None, :] - (counts.max() - 1) + asked[:, None]
    windows = np.where(places < 0, -1, places + first[:, None])
    hidden = flat < 0
    states = vectors[flat.clamp(min=0).to(vectors.device)]
    states = states.masked_fill(hidden[:, None].to(states.device), 0.0)
    return Context(
        states=states,
        segments=torch.from_numpy(np.repeat(first, counts) + within(counts)).to(states.device),
        windows=torch.from_numpy(windows).to(states.device),
        passages=torch.from_numpy(counts),
        hidden=hidden.to(states.device) if bool(hidden.any()) else None,
    )
