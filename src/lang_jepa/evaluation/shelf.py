"""Results that several evaluations share and need not compute again, on disk under the hash of what decides them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.embedder import Embedder
from lang_jepa.evaluation.similarity import Statistics
from lang_jepa.files import atomic_file, fingerprint

Arrays = Mapping[str, NDArray[Any]]


class Shelf:
    """Arrays by key.

    Args:
        folder: where they lie, made when it is needed (None: nothing is kept).
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def take(self, key: object, make: Callable[[], Arrays]) -> Arrays:
        """What `make` gives, from the disk where it was made before.

        Args:
            key: anything JSON can hold; everything that decides the result, the program's version aside.
            make: computes it.
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


class Shelved:
    """An embedder whose vectors are taken from a shelf.

    Args:
        model: computes them.
        shelf: keeps them.
        identity: tells the model from others.
    """

    def __init__(self, model: Embedder, shelf: Shelf, identity: str) -> None:
        self.model, self.shelf, self.identity = model, shelf, identity
        self.dim = model.dim
        self.statistics: Statistics = model.statistics

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """As the model's."""
        key = ["encode", self.identity, list(sentences)]
        return self.shelf.take(key, lambda: {"vectors": self.model.encode(sentences)})["vectors"]

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """As the model's."""
        key = ["predict_next", self.identity, [list(context) for context in contexts]]
        return self.shelf.take(key, lambda: {"vectors": self.model.predict_next(contexts)})["vectors"]
