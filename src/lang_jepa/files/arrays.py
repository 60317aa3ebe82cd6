"""Numpy files that anyone may have made, mapped into memory: nothing in them is executed, and nothing is believed."""

from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# What numpy was seen to raise for headers that are cut off, nested, huge, or lies.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    LookupError,
    OverflowError,
    RecursionError,
    MemoryError,
    TokenError,
)
_AT_ONCE = 2**20


class BadArray(Exception):
    """Why a file cannot be used."""


def open_array(path: Path, *, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """Map a `.npy` file.

    Raises:
        BadArray: it is missing, damaged, no plain array, or shorter than it says.
    """
    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except _UNREADABLE as error:
        raise BadArray(str(error)[:200] or type(error).__name__) from error
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        raise BadArray("it is not one array, row after row")
    return array


def check_rising(starts: NDArray[np.integer], *, strictly: bool) -> None:
    """Raise BadArray unless numbers rise from one to the next; reads them in pieces."""
    for begin in range(0, len(starts) - 1, _AT_ONCE):
        steps = np.diff(starts[begin : begin + _AT_ONCE + 1])
        wrong = steps <= 0 if strictly else steps < 0
        if wrong.any():
            place = begin + int(wrong.argmax())
            raise BadArray(f"entry {place + 1} is {starts[place + 1]} after {starts[place]}")


def check_within(values: NDArray[np.integer], count: int) -> None:
    """Raise BadArray unless all numbers lie in 0 .. count - 1; reads them in pieces."""
    for begin in range(0, len(values), _AT_ONCE):
        part = values[begin : begin + _AT_ONCE]
        if part.min() < 0 or part.max() >= count:
            raise BadArray(f"it holds {part.min()} to {part.max()}, and there are {count}")


def check_finite_rows(rows: NDArray[np.floating]) -> None:
    """Raise BadArray if a number is NaN or infinite; reads them in pieces."""
    each = max(1, _AT_ONCE // max(1, rows.shape[-1]))
    for begin in range(0, len(rows), each):
        if not np.isfinite(rows[begin : begin + each]).all():
            raise BadArray(f"it holds NaN or infinity in rows {begin} to {begin + each - 1}")
