"""What an index takes from the surroundings of units, mixed into their vectors or stored beside them as predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, Self, get_args

import numpy as np

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.context_vectors import REACH, mixed, with_neighbours
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.index.source import Unit

Context = Literal["none", "neighbours", "predictor"]
CONTEXTS: tuple[str, ...] = get_args(Context)
WEIGHT = 0.6
"""Share of the surroundings: with .5 to .7, questions found turns of chats best (docs/search.md)."""
_CACHED = 50_000
"""Most units whose vectors are cached while an index is built."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an index takes from the surroundings of each unit.

    Attributes:
        context: `neighbours`: a share of each vector is the mean of the `REACH` units on either side; `predictor`: it
            is what the predictor expects at the position of the unit; `none`: the vector is that of the unit alone.
        weight: that share, between 0 and 1.
        predictions: whether what the predictor expects at each position is stored too, for `Index.voted_after`.
    """

    context: Context = "none"
    weight: float = WEIGHT
    predictions: bool = False

    @classmethod
    def read(cls, said: object) -> Self:
        """Read them from what an index says.

        Raises:
            LangJepaError: the index is damaged.
        """
        try:
            found = cls(**said)  # type: ignore[arg-type]
        except TypeError:
            found = None
        if found is None or found.context not in CONTEXTS or not isinstance(found.predictions, bool):
            raise LangJepaError(f"the index is damaged: the surroundings of its units are {str(said)[:100]}")
        return found

    def about(self) -> dict[str, Any]:
        """Return what distinguishes them, as JSON; empty for an index of units alone, as all indexes once were."""
        own = {} if self.context == "none" else {"context": self.context, "weight": self.weight}
        return own | ({"predictions": True} if self.predictions else {})

    def check(self, model: EmbeddingModel, *, alone: bool) -> None:
        """Raise for surroundings that a model or a source cannot provide.

        Args:
            model: model of the index.
            alone: whether each unit is a document of its own.

        Raises:
            LangJepaError: units without surroundings; a model that predicts no next unit; a weight that is no share.
        """
        if self.context not in CONTEXTS:
            raise LangJepaError(f"the context of an index is one of {', '.join(CONTEXTS)}, not {self.context!r}")
        if not 0 < self.weight < 1:
            raise LangJepaError(f"the surroundings of a unit have a share between 0 and 1, not {self.weight}")
        if alone and self.about():
            raise LangJepaError("each line of this source is a document of its own, which nothing surrounds")
        if (self.predictions or self.context == "predictor") and not model.predicts_next:
            raise LangJepaError("this model predicts no next unit, so an index by it can hold no predictions")

    def __str__(self) -> str:
        what = {
            "neighbours": f"the mean of {REACH} units on either side",
            "predictor": "what is expected at its position",
        }
        said = [] if self.context == "none" else [f"{self.weight:g} of each vector is {what[self.context]}"]
        return (
            "; ".join([*said, *(["what is expected at each position is stored"] if self.predictions else [])]) or "none"
        )

    def vectors(self, model: EmbeddingModel, units: Sequence[Unit], *, turns: bool) -> tuple[Floats, Floats | None]:
        """Return unit rows [n, D], ready to be compared, and the prepared predictions [n, D] if they are stored.

        The prediction of a unit with none before it is all zeros.

        Args:
            model: model of the index.
            units: n units in order, each with a token.
            turns: whether they begin with their speaker.
        """
        cache = model.sentence_cache
        if self.about() and (cache is None or len(cache) > _CACHED):
            model.sentence_cache = SentenceCache(model.room)
        own = _encoded(model, [one.text for one in units], turns)
        if self.context == "neighbours":
            own = self._with_neighbours(model, units, own, turns)
        predicted = _predicted(model, units, turns) if self.predictions or self.context == "predictor" else None
        if self.context == "predictor" and predicted is not None:
            known = np.abs(predicted).sum(1, keepdims=True) > 0
            own = mixed(own, np.where(known, predicted, own), self.weight)
        return own, predicted if self.predictions else None

    def _with_neighbours(self, model: EmbeddingModel, units: Sequence[Unit], own: Floats, turns: bool) -> Floats:
        """Mix the units' vectors with those of neighbours, some of which may lie in other blocks of the index."""
        texts: list[str | None] = []  # None: a unit of this block
        documents: list[int] = []
        for row, some in groupby(units, key=lambda one: one.row):
            run = list(some)
            first, stop, line = run[0].position, run[-1].position + 1, run[0].units
            before, after = line[max(0, first - REACH) : first], line[stop : stop + REACH]
            around = [*before, *[None] * len(run), *after]
            texts += around
            documents += [row] * len(around)
        asked = [text for text in texts if text is not None]
        filled = iter(_filled(model, asked, turns))
        kept = [text is None or next(filled) for text in texts]
        beside = [text for text, keep in zip(texts, kept, strict=True) if keep and text is not None]
        inside = np.array([text is None for text, keep in zip(texts, kept, strict=True) if keep])
        vectors = np.empty((len(inside), model.dim), dtype=np.float32)
        vectors[inside] = own
        if beside:
            vectors[~inside] = _encoded(model, beside, turns)
        result: Floats = with_neighbours(vectors, np.array(documents)[kept], self.weight)[inside]
        return result


def _encoded(model: EmbeddingModel, texts: Sequence[str], turns: bool) -> Floats:
    return model.comparable(model.encode(texts, turns=turns))


def _filled(model: EmbeddingModel, texts: Sequence[str], turns: bool) -> list[bool]:
    """Return for each text whether the tokenizer keeps something of it."""
    distinct = list(dict.fromkeys(texts))
    known = dict(zip(distinct, map(len, model.tokenize(distinct, turns=turns)), strict=True))
    return [known[text] > 0 for text in texts]


def _predicted(model: EmbeddingModel, units: Sequence[Unit], turns: bool) -> Floats:
    """Return what is expected at the position of each unit, prepared; zeros where nothing stands before it."""
    window = model.settings.data.window_size
    before = [one.units[max(0, one.position - window) : one.position] for one in units]
    filled = iter(_filled(model, [text for some in before for text in some], turns))
    contexts = [[text for text in some if next(filled)] for some in before]
    known = np.array([bool(context) for context in contexts])
    result = np.zeros((len(units), model.dim), dtype=np.float32)
    if known.any():
        made = model.predict_next([context for context in contexts if context])
        result[known] = model.comparable(made, side="predictions")
    return result
