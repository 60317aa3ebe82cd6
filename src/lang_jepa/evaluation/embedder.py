"""Interfaces of what can be evaluated: encoders of sentences and, for prediction tasks, predictors of the next one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, checked
from lang_jepa.files.atomic import atomic_file, fingerprint

if TYPE_CHECKING:
    from lang_jepa.models.decoder import Scores


@runtime_checkable
class Encoder(Protocol):
    """Encodes sentences.

    Attributes:
        dim: width D of an embedding.
        statistics: mean and whitening of TRAINING sentence embeddings (`Statistics.identity` if unknown).
    """

    dim: int
    statistics: Statistics

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [n, D], unit rows."""


@runtime_checkable
class Embedder(Encoder, Protocol):
    """An encoder with a predictor."""

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Return the predicted embedding of the sentence that follows each context, float32 [n, D], unit rows."""


class Decoding(Embedder, Protocol):
    """A model that also decodes concepts into text.

    Attributes:
        similarity_kind: the kind of similarity by which its concepts compare best.
    """

    similarity_kind: Similarity

    def decode(self, z: NDArray[np.float32]) -> list[str]:
        """Return the sentence decoded from each concept [n, D]."""

    def score_texts(self, z: NDArray[np.float32], texts: Sequence[str]) -> "Scores":
        """Score how well the texts follow from the concepts [n, D]."""


class EncoderOnly:
    """A model without its predictor, for models whose predictions are not of the next sentence.

    Args:
        model: the encoder.
    """

    def __init__(self, model: Encoder) -> None:
        self.dim, self.statistics, self.encode = model.dim, model.statistics, model.encode
        self.similarity_kind: Similarity = getattr(model, "similarity_kind", "raw")


Texts = TypeVar("Texts")


def as_read(model: Encoder, spoken: Texts | None, plain: Texts) -> Texts:
    """Return what a model reads: turns like "user: Good morning" if it knows speakers and there are any, else plain."""
    return spoken if spoken is not None and getattr(model, "knows_speakers", False) else plain


def encode(model: Encoder, sentences: Sequence[str], name: str) -> Floats:
    """Call `model.encode`, and check the result.

    Raises:
        LangJepaError: wrong shape, NaN or infinite entries; the message calls the model `name`.
    """
    return checked_vectors(model.encode(sentences), len(sentences), model.dim, f"embeddings of {name}")


def predict(model: Embedder, contexts: Sequence[Sequence[str]], name: str) -> Floats:
    """Call `model.predict_next`, and check the result as in `encode`."""
    return checked_vectors(model.predict_next(contexts), len(contexts), model.dim, f"predictions of {name}")


def checked_vectors(values: NDArray[np.float32], count: int, dim: int, what: str) -> Floats:
    """Return a finite float32 matrix [count, dim], or raise a LangJepaError that calls it `what`."""
    matrix = checked(values, what)
    if matrix.shape != (count, dim):
        raise LangJepaError(f"{what} have shape {matrix.shape}, expected ({count}, {dim}).")
    return matrix


Arrays = Mapping[str, NDArray[Any]]


class ArrayCache:
    """A cache of arrays on disk by key.

    Args:
        folder: the cache's folder, created when needed (None: nothing is cached).
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def take(self, key: object, make: Callable[[], Arrays]) -> Arrays:
        """Return what `make` returns, from disk if it was made before.

        Args:
            key: anything JSON can hold; must include all that determines the result, except the program's version.
            make: computes the arrays.
        """
        if self.folder is None:
            return make()
        path = self.folder / f"{fingerprint(key)}.npz"
        if not path.is_file():
            arrays = make()
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
        with np.load(path, allow_pickle=False) as found:
            return dict(found)


class CachedEmbedder:
    """An embedder whose vectors are cached.

    Args:
        model: the embedder that computes them.
        cache: where they are stored.
        identity: distinguishes the model from others.
    """

    def __init__(self, model: Embedder, cache: ArrayCache, identity: str) -> None:
        self.model, self.cache, self.identity = model, cache, identity
        self.dim = model.dim
        self.statistics: Statistics = model.statistics

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        key = ["encode", self.identity, list(sentences)]
        return self.cache.take(key, lambda: {"vectors": self.model.encode(sentences)})["vectors"]

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        key = ["predict_next", self.identity, [list(context) for context in contexts]]
        return self.cache.take(key, lambda: {"vectors": self.model.predict_next(contexts)})["vectors"]
