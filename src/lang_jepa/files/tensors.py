"""Hashes of tensors, by which two runs are seen to start alike."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lang_jepa.errors import LangJepaError

if TYPE_CHECKING:
    from torch import Tensor


def digest(tensors: Mapping[str, Any]) -> str:
    """16 hex digits of SHA-256 over names and bytes."""
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def tree_digest(tree: Any) -> str:
    """Hex digits of SHA-256 over a tree of mappings, sequences, tensors and plain values."""
    total = hashlib.sha256()
    _add(tree, total.update)
    return total.hexdigest()


def _add(tree: Any, update: Callable[[bytes], None]) -> None:
    import torch

    if isinstance(tree, Mapping):
        update(b"{%d" % len(tree))
        for key in sorted(tree, key=str):
            update(repr(key).encode())
            _add(tree[key], update)
    elif isinstance(tree, list | tuple):
        update(b"[%d" % len(tree))
        for one in tree:
            _add(one, update)
    elif isinstance(tree, torch.Tensor):
        update(f"{tree.dtype}{tuple(tree.shape)}".encode())
        update(tree.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        update(repr(tree).encode())


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
