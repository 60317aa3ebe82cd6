"""Embedders whose scores are known in advance."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from lang_jepa.evaluation.metrics.similarity import Floats, Statistics, unit_rows


class Hashed:
    """Every distinct sentence gets its own random direction; predictions are random too."""

    def __init__(self, dim: int = 48) -> None:
        self.dim = dim
        self.statistics = Statistics.identity(dim)

    def _vector(self, text: str) -> Floats:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)

    def encode(self, sentences: Sequence[str]) -> Floats:
        return unit_rows(np.stack([self._vector(sentence) for sentence in sentences]))

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> Floats:
        return unit_rows(np.stack([self._vector("?" + "|".join(context)) for context in contexts]))


class Cheat(Hashed):
    """Knows the sentence that follows each context."""

    def __init__(self, following: Mapping[tuple[str, ...], str], dim: int = 48) -> None:
        super().__init__(dim)
        self.following = following

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> Floats:
        return self.encode([self.following[tuple(context)] for context in contexts])


class Encoding:
    """An encoder without a predictor, by the rule given."""

    def __init__(self, rule: Callable[[str], Floats], dim: int) -> None:
        self.rule, self.dim, self.statistics = rule, dim, Statistics.identity(dim)

    def encode(self, sentences: Sequence[str]) -> Floats:
        return np.stack([self.rule(sentence) for sentence in sentences])


@pytest.fixture
def hashed() -> Hashed:
    return Hashed()


@pytest.fixture
def encoding() -> type[Encoding]:
    return Encoding


@pytest.fixture
def cheat() -> Callable[[Sequence[Sequence[str]], int], Cheat]:
    def make(documents: Sequence[Sequence[str]], window: int) -> Cheat:
        return Cheat({tuple(d[max(0, p - window) : p]): d[p] for d in documents for p in range(1, len(d))})

    return make


@pytest.fixture
def documents() -> list[list[str]]:
    """Twelve documents of fourteen distinct sentences."""
    return [[f"Document {d} says thing {s} of topic {d * 7}." for s in range(14)] for d in range(12)]
