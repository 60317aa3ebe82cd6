"""Store each processed block as one file."""

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import Block
from lang_jepa.files.atomic import atomic_file

_MAYBE = ("speakers", "held", "places")
_ARRAYS = [item.name for item in fields(Block) if item.name not in ("rejected", "seen")]


def block_file(folder: Path, number: int, part: int | None = None) -> Path:
    """Path of a processed block, of the whole source or of one part of it."""
    return Path(folder) / (f"block-{number:06d}.npz" if part is None else f"block-{part:06d}-{number:06d}.npz")


def write_block(path: Path, block: Block) -> None:
    """Write a block to one file, atomically: the file is complete or does not exist."""
    about = json.dumps({"rejected": block.rejected, "seen": block.seen}).encode()
    every = {name: getattr(block, name) for name in _ARRAYS}
    arrays: dict[str, NDArray[Any]] = {name: array for name, array in every.items() if array is not None}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.frombuffer(about, dtype=np.uint8), **arrays)  # type: ignore[arg-type]


def read_block(path: Path) -> Block:
    """Read what `write_block` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        about = read_about(stored)
        arrays = {name: stored[name] for name in _ARRAYS if name in stored or name not in _MAYBE}
    return Block(**arrays, rejected=Counter(about["rejected"]), seen=(about["seen"][0], about["seen"][1]))


def read_about(stored: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Read `rejected` and `seen` from the arrays of a block's file."""
    about: dict[str, Any] = json.loads(stored["about"].tobytes())
    return about


def block_seen(path: Path) -> tuple[int, int] | None:
    """Documents and characters that went into a stored block, or None if it is missing or incomplete."""
    try:
        return read_block(path).seen
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
