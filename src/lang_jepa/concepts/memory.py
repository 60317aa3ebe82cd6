"""Vectors of sentences, remembered by their tokens while an evaluation asks for the same ones again and again."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tokens = Sequence[NDArray[Any]]
Make = Callable[[Tokens], Tensor]


class VectorMemory:
    """Remembers rows of an encoder whose weights do not change.

    Args:
        limit: bytes of vectors at most; what comes after that is computed each time.
    """

    def __init__(self, limit: int = 1 << 29) -> None:
        self.limit, self.used = limit, 0
        self._rows: dict[bytes, Tensor] = {}

    def take(self, tokens: Tokens, make: Make) -> Tensor:
        """Rows [n, D] of sentences given as token ids; those that are new come from `make`, each distinct one once."""
        keys = [np.asarray(ids, dtype=np.int64).tobytes() for ids in tokens]
        new = {key: index for index, key in enumerate(keys) if key not in self._rows}
        made = make([tokens[index] for index in new.values()]) if new else None
        fresh = {} if made is None else dict(zip(new, made, strict=True))
        rows = torch.stack([self._rows[key] if key in self._rows else fresh[key] for key in keys])
        for key, row in fresh.items():
            if self.used + row.nbytes <= self.limit:
                self._rows[key] = row.clone()  # a view would keep its whole block alive
                self.used += row.nbytes
        return rows
