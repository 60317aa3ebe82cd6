"""Hashes of tensors, by which two runs are seen to start alike."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any


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
