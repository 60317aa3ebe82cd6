"""A document as a model reads it: each distinct sentence is encoded once, in parts, so that progress can be shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import as_turns, names_of_turns, text_in_units
from lang_jepa.data.text.sentences import make_splitter, split_text
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.document_rules import REACH, Positions, Reading
from lang_jepa.evaluation.embedder import Encoder
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.evaluation.scoreboard import Values
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.texts import text_of, texts_of

LEAST_REFERENCE = 10
"""Fewer sentences than this are too few to say what is usual."""
_NOTHING = 1e-6
"""Deviations below this are rounding errors."""


def of_document(expected: Floats, own: Floats) -> tuple[Values, Values]:
    """Return mean and deviation of the fits of the document's other sentences at each position, except within `REACH`.

    If too few remain, only the sentence itself is left out.

    Args:
        expected: [Q, D], what is expected at each position.
        own: [Q, D], the sentence that stands there.
    """
    count = len(own)
    positions = np.arange(count)
    within = np.minimum(positions, REACH) + np.minimum(count - 1 - positions, REACH) + 1
    far = count - within >= LEAST_REFERENCE
    middle = own.astype(np.float64).mean(0)
    asked, rows = expected.astype(np.float64), own.astype(np.float64) - middle
    sums, squares = asked @ rows.sum(0), np.einsum("qd,qd->q", asked @ (rows.T @ rows), asked)
    near = min(REACH, count - 1)
    for shift in range(-near, near + 1):
        here = slice(max(0, -shift), count - max(0, shift))
        there = slice(max(0, shift), count - max(0, -shift))
        fits = np.einsum("qd,qd->q", asked[here], rows[there])
        fits *= far[here] | (shift == 0)
        sums[here] -= fits
        squares[here] -= fits**2
    number = np.maximum(np.where(far, count - within, count - 1), 1)
    return _moments(sums / number, squares / number, asked @ middle)


def of_others(expected: Floats, others: Floats) -> tuple[Values, Values]:
    """Return mean and deviation of the fits of other sentences [N, D] at each position."""
    middle = others.astype(np.float64).mean(0)
    asked, rows = expected.astype(np.float64), others.astype(np.float64) - middle
    squares = np.einsum("qd,qd->q", asked @ (rows.T @ rows), asked) / len(rows)
    return _moments(np.zeros(len(asked)), squares, asked @ middle)


def _moments(
    means: NDArray[np.float64], squares: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[Values, Values]:
    """Return mean and deviation from the moments of values that were shifted by their mean."""
    spreads = np.sqrt(np.maximum(squares - means**2, 0.0))
    return means + shift, np.where(spreads > _NOTHING, spreads, 0.0)


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""

PART = 2048
"""Sentences encoded, or contexts predicted from, between two calls of `Progress`."""


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


def units_of(model: EmbeddingModel, text: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a text into sentences, lines or turns as in training; also return who says each turn (empty: nobody named).

    A list is taken as it is or, for a model that knows speakers, as `as_turns` returns it.

    Raises:
        LangJepaError: no sentence at all, or an empty one in a list.
    """
    data, names = model.settings.data, list[str]()
    if isinstance(text, str):
        text = text_of(text, "the document", blank=True)
        found = split_text(text_in_units(text, data), make_splitter(data))
        names = names_of_turns(text, data)
    else:
        found = texts_of(text, "sentence")
        found = as_turns(found) if model.knows_speakers else found
    if not found:
        raise LangJepaError("the document holds no text")
    return found, names


def sentences_of(model: EmbeddingModel, text: str | Sequence[str]) -> list[str]:
    """Return the units of `units_of` without their speakers."""
    return units_of(model, text)[0]


def numbered(texts: Sequence[str]) -> tuple[list[str], Rows]:
    """Return each text once, in the order of their first places, and for each of the texts its row among these."""
    distinct = list(dict.fromkeys(texts))
    row = {text: number for number, text in enumerate(distinct)}
    return distinct, np.array([row[text] for text in texts], dtype=np.int64)


@dataclass(frozen=True)
class Read:
    """The sentences of a document with their embeddings.

    Attributes:
        model: the model that read them.
        sentences: the n sentences in order.
        distinct: [S], each sentence once.
        rows: int64 [n], the row of each sentence in `distinct`.
        embeddings: float32 [S, D], unit rows.
        progress: called with the number of predictions made.
    """

    model: EmbeddingModel
    sentences: list[str]
    distinct: list[str]
    rows: Rows
    embeddings: Floats
    progress: Progress
    _readings: dict[bool, Reading] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def by(cls, model: EmbeddingModel, sentences: list[str], progress: Progress = silent) -> "Read":
        distinct, rows = numbered(sentences)
        encode = partial(model.encode, turns=model.knows_speakers)
        embeddings = in_parts(encode, [distinct], model.dim, "sentences read", progress)
        return cls(model, sentences, distinct, rows, embeddings, progress)

    def reading(self, *, gaps: bool = False) -> Reading:
        """Return all positions of the document, or the gaps between sentences, with predictions there; built once."""
        if gaps not in self._readings:
            reach = max(REACH, self.model.settings.data.window_size)
            positions = Positions.of(self.distinct, [self.rows], reach=reach, gaps=gaps)
            self._readings[gaps] = Reading(encoder(self.model, self.progress), positions, self.embeddings)
        return self._readings[gaps]


def encoder(model: EmbeddingModel, progress: Progress = silent) -> Encoder:
    """Wrap a model for the rules for positions, with its predictor if it predicts next sentences."""
    return _Predicting(model, progress) if model.predicts_next else _Reader(model, progress)


class _Reader:
    """A model without a predictor, as the rules for positions use it."""

    def __init__(self, model: EmbeddingModel, progress: Progress) -> None:
        self.dim, self.statistics, self.encode = model.dim, model.statistics, model.encode
        self.model, self.progress = model, progress


class _Predicting(_Reader):
    """A model with a predictor, which predicts in parts and reports each of them."""

    @property
    def sees_both_sides(self) -> bool:
        return self.model.sees_both_sides

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        return in_parts(self.model.predict_next, [contexts], self.dim, "predictions made", self.progress)

    def predict_between(self, before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        asked = [before, after]
        return in_parts(self.model.predict_between, asked, self.dim, "predictions made", self.progress)


def in_parts(
    ask: Callable[..., NDArray[np.float32]], asked: Sequence[Sequence[object]], dim: int, what: str, progress: Progress
) -> NDArray[np.float32]:
    """Ask a model in parts about `asked` (sequences of one length, walked together): float32 [n, D]."""
    total = len(asked[0])
    found = np.empty((total, dim), dtype=np.float32)
    for begin in range(0, total, PART):
        progress(what, begin, total)
        end = min(begin + PART, total)
        found[begin:end] = ask(*(list(one[begin:end]) for one in asked))
    progress(what, total, total)
    return found
