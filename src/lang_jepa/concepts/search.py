"""Nearest sentences and fitting continuations, by exact search."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lang_jepa.concepts.model import ConceptModel, Vectors
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.similarity import prepare


def neighbours(
    model: ConceptModel,
    vectors: Vectors,
    sentences: Sequence[str],
    *,
    top_k: int,
    side: Literal["concepts", "predictions"] = "concepts",
) -> list[list[tuple[float, str]]]:
    """The sentences nearest to each vector, best first, by the model's default similarity.

    Args:
        model: encodes the sentences.
        vectors: [n, D].
        sentences: to search among.
        top_k: neighbours of each.
        side: whether the vectors are concepts or predictions.

    Returns:
        For each vector, up to top_k pairs (cosine, sentence).
    """
    kind = model.similarity
    corpus = prepare(model.encode(sentences), model.statistics, kind)
    scores = prepare(vectors, model.statistics, kind, side=side) @ corpus.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return [[(float(row[i]), sentences[i]) for i in order] for row, order in zip(scores, best, strict=True)]


def rank_continuations(
    model: ConceptModel, context: Sequence[str], candidates: Sequence[str]
) -> list[tuple[float, str]]:
    """Candidates by how near they are to the predicted concept of the context's next sentence, best first.

    Raises:
        LangJepaError: no context or no candidates.
    """
    if not context or not candidates:
        raise LangJepaError("ranking continuations needs at least one --context and one --candidate")
    predicted = model.predict_next(list(context))
    return neighbours(model, predicted[None, :], candidates, top_k=len(candidates), side="predictions")[0]
