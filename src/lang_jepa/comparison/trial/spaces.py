"""What searches a text best: the trained encoder, an untuned pretrained one, or words alone; measured, then used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.comparison.trial.verdict import METRIC, SEARCH
from lang_jepa.evaluation.conclusions import MODEL_NAME
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, prepare, unit_rows
from lang_jepa.evaluation.table import LEAD, Row, mean_row
from lang_jepa.inference.folders.reading import Collection
from lang_jepa.inference.folders.topics import Space
from lang_jepa.settings.data import DataSettings, Language
from lang_jepa.settings.encoder import Settings

WORDS = "TF-IDF"
"""Name of the vectors made from words alone."""
_LEAST, _MOST, _UNITS = 10, 400, 20_000
"""Fewest documents for a search to be measured; queries and units at most."""
_WIDTH, _SAMPLE = 100, 1000
"""Dimensions of the word vectors, and how many vectors represent the whole text."""


class WordSpace:
    """TF-IDF of words in their `_WIDTH` strongest directions (latent semantic analysis), which needs no training.

    It offers what the document and topic tools expect of an encoder without a predictor.

    Args:
        texts: all of them.
        language: of the texts.
    """

    similarity_kind: Similarity = "raw"
    knows_speakers = has_predictor = predicts_next = sees_both_sides = False
    choices: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, texts: Sequence[str], language: Language) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.settings = Settings(data=DataSettings(language=language))
        english = "english" if language == "en" else None
        self._words = TfidfVectorizer(sublinear_tf=True, stop_words=english, token_pattern=r"(?u)\b[^\W\d_]{2,}\b")
        rows = self._words.fit_transform(texts)
        width = max(1, min(_WIDTH, min(rows.shape) - 1))
        self._directions = TruncatedSVD(width, random_state=0).fit(rows)
        self.dim = width
        own = self.encode(texts)
        self.statistics = replace(Statistics.identity(width), sample=own[:: max(1, len(own) // _SAMPLE)])

    def tokenize(self, sentences: Sequence[str], *, turns: bool = False) -> list[list[str]]:
        """Return the words of each text that are in the vocabulary."""
        analyse = self._words.build_analyzer()
        return [[word for word in analyse(text) if word in self._words.vocabulary_] for text in sentences]

    def encode(self, texts: Sequence[str], *, turns: bool = False) -> Floats:
        """Return float32 [n, D], unit rows; zeros for a text without a known word."""
        rows: Floats = self._directions.transform(self._words.transform(texts)).astype(np.float32)
        return unit_rows(rows)


@dataclass(frozen=True, slots=True)
class Openings:
    """A search for documents by how they begin: first units are the queries, all others are searched.

    Attributes:
        queries: first units.
        answers: for each query, the index of its document.
        units: all other units.
        owners: int64 [U], for each unit, the index of its document.
    """

    queries: list[str]
    answers: NDArray[np.int64]
    units: list[str]
    owners: NDArray[np.int64]

    @classmethod
    def of(cls, found: Collection) -> "Openings | None":
        """Build the search for a collection; None if there are too few documents for a score."""
        whole = [(one.units[0], one.units[1:]) for one in found.documents if len(one.units) > 2]
        if len(whole) < _LEAST:
            return None
        asked = np.unique(np.linspace(0, len(whole) - 1, min(_MOST, len(whole))).astype(np.int64))
        pairs = [(number, unit) for number, (_, others) in enumerate(whole) for unit in others]
        pairs = pairs[:: max(1, -(-len(pairs) // _UNITS))]
        queries = [whole[row][0] for row in asked.tolist()]
        owners = np.array([number for number, _ in pairs], dtype=np.int64)
        return cls(queries, asked, [unit for _, unit in pairs], owners)

    def hits(self, space: Space) -> NDArray[np.float64]:
        """Whether the most similar unit to each query is from its own document."""

        def vectors(texts: list[str]) -> Floats:
            return prepare(space.encode(texts, turns=space.knows_speakers), space.statistics, space.similarity_kind)

        scores = vectors(self.queries) @ vectors(self.units).T
        right = self.owners[scores.argmax(1)] == self.answers
        hits: NDArray[np.float64] = (right & (scores.max(1) > 0)).astype(np.float64)
        return hits  # a query with unknown words only finds nothing

    def rows(self, spaces: dict[str, Space]) -> list[Row]:
        """Return rows of scores, `model` first, with the paired differences from it."""
        found = {name: self.hits(space) for name, space in spaces.items()}
        task, note = (SEARCH, "all documents", METRIC), "the training text too: what one has is what one searches"
        rows = [mean_row(task, name, hits, note=note) for name, hits in found.items()]
        lead = (*task[:2], f"{METRIC}: {MODEL_NAME} {LEAD}")
        own = found.get(MODEL_NAME)
        for name, hits in found.items():
            if own is not None and name != MODEL_NAME:
                rows.append(mean_row(lead, name, own - hits, shares=False))
        return rows


def best_space(rows: Sequence[Row], spaces: dict[str, Space]) -> str:
    """Return the name of the space that found most; if nothing was measured, a pretrained encoder, else words."""
    scores = {row.name: row.value for row in rows if row.task == SEARCH and row.metric == METRIC}
    if scores:
        return max(scores, key=lambda name: scores[name])
    known = [name for name in spaces if name not in (MODEL_NAME, WORDS)]
    return known[0] if known else WORDS
