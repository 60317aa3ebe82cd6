"""Read and check arrays and tensors from untrusted files, without executing anything, and hash them."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError

if TYPE_CHECKING:
    from torch import Tensor


# Exceptions observed from numpy for headers that are truncated, nested, huge, or false.
_UNREADABLE = (
    OSError, ValueError, EOFError, SyntaxError, TypeError, LookupError, OverflowError, RecursionError,
    MemoryError, TokenError,
)  # fmt: skip
_AT_ONCE = 2**20


class BadArray(Exception):
    """A file cannot be used; the message says why."""


def open_array(path: Path, *, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """Map a `.npy` file.

    Raises:
        BadArray: the file is missing, damaged, no plain array, or shorter than its header says.
    """
    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except _UNREADABLE as error:
        raise BadArray(str(error)[:200] or type(error).__name__) from error
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        raise BadArray("it is not one array, row after row")
    return array


def npy_head(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> bytes:
    """The header of a `.npy` file; numpy pads it, so its length does not depend on the number of rows."""
    head = BytesIO()
    npy.write_array_header_1_0(head, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return head.getvalue()


def check_rising(starts: NDArray[np.integer], *, strictly: bool) -> None:
    """Raise BadArray unless the numbers are non-decreasing (or strictly increasing); they are read in pieces."""
    for begin in range(0, len(starts) - 1, _AT_ONCE):
        steps = np.diff(starts[begin : begin + _AT_ONCE + 1])
        wrong = steps <= 0 if strictly else steps < 0
        if wrong.any():
            index = begin + int(wrong.argmax())
            raise BadArray(f"entry {index + 1} is {starts[index + 1]} after {starts[index]}")


def check_within(values: NDArray[np.integer], count: int) -> None:
    """Raise BadArray unless all numbers lie in 0 .. count - 1; they are read in pieces."""
    for begin in range(0, len(values), _AT_ONCE):
        part = values[begin : begin + _AT_ONCE]
        if part.min() < 0 or part.max() >= count:
            raise BadArray(f"its values range from {part.min()} to {part.max()}, but must lie in 0 to {count - 1}")


def check_finite_rows(rows: NDArray[np.floating]) -> None:
    """Raise BadArray if a number is NaN or infinite; rows are read in pieces."""
    each = max(1, _AT_ONCE // max(1, rows.shape[-1]))
    for begin in range(0, len(rows), each):
        if not np.isfinite(rows[begin : begin + each]).all():
            raise BadArray(f"it holds NaN or infinity in rows {begin} to {begin + each - 1}")


def digest(tensors: Mapping[str, Any]) -> str:
    """16 hex digits of SHA-256 over the names and bytes of tensors."""
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def tree_digest(tree: object) -> str:
    """Hex digits of SHA-256 over a tree of mappings, sequences, tensors and plain values."""
    total = hashlib.sha256()
    _add(tree, total.update)
    return total.hexdigest()


def _add(tree: object, update: Callable[[bytes], None]) -> None:
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


def check_finite(tree: object, *, where: str) -> None:
    """Check that a tree of tensors and numbers holds no NaN or infinity.

    Raises:
        LangJepaError: a value does; the message names the first one.
    """
    for path, value in _leaves(tree):
        if not (math.isfinite(value) if isinstance(value, float) else bool(value.isfinite().all())):
            raise LangJepaError(f"{where} is not usable: {path} holds NaN or infinity. Go back to an earlier one")


def _leaves(tree: object, path: str = "") -> "Iterator[tuple[str, float | Tensor]]":
    """Floating tensors and floats of a tree with their paths; of a sharded tensor, this process's part."""
    import torch

    if isinstance(tree, Mapping | list | tuple):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, float) or (isinstance(tree, torch.Tensor) and tree.is_floating_point()):
        yield path, getattr(tree, "to_local", lambda: tree)()
