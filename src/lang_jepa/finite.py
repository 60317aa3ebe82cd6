"""Numbers that are none: found before they are kept or used."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lang_jepa.errors import LangJepaError

if TYPE_CHECKING:
    from torch import Tensor


def check_finite(tree: Any, *, where: str) -> None:
    """Refuse trees of tensors and numbers with a NaN or an infinity in them.

    Raises:
        LangJepaError: names the first that has one.
    """
    for path, value in _leaves(tree):
        if not (math.isfinite(value) if isinstance(value, float) else bool(value.isfinite().all())):
            raise LangJepaError(
                f"{where} is not usable: {path} holds NaN or infinity. Go back to an earlier one"
            )


def _leaves(tree: Any, path: str = "") -> "Iterator[tuple[str, float | Tensor]]":
    """Floating tensors and floats of a tree, each with its place."""
    import torch

    if isinstance(tree, Mapping | list | tuple):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, float) or (isinstance(tree, torch.Tensor) and tree.is_floating_point()):
        yield path, tree
