"""Hashes of texts: they decide which documents are equal and on which side of the split a document falls.

BLAKE2b with 8 bytes is the same on every machine, unlike Python's own `hash`. Among ten million texts the chance that
any two share a hash is about 3e-6.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
"""Of the hashes and of what they decide: raise it when a text gets another one, or falls on another side."""

Hashes = NDArray[np.uint64]

COUNTABLE_CHARACTERS = 20
"""Shorter sentences ("Yes, sir.", "Figure 3.2") recur without being copies, so near-duplicates ignore them."""


def hash_text(text: str) -> int:
    """64-bit hash of a text without the whitespace at its ends."""
    return int.from_bytes(blake2b(text.strip().encode(), digest_size=8).digest(), "little")


def hash_sentence(text: str) -> tuple[int, bool]:
    """64-bit hash of a sentence, blind to case and to the kind and amount of whitespace; and whether it counts.

    A sentence counts for near-duplicates when COUNTABLE_CHARACTERS of it are left after normalisation.
    """
    normal = " ".join(text.casefold().split())
    value = int.from_bytes(blake2b(normal.encode(), digest_size=8).digest(), "little")
    return value, len(normal) >= COUNTABLE_CHARACTERS


def side(text_hash: int, val_fraction: float) -> Literal["train", "validation"]:
    """Side of the split on which a document falls: the hash, read as a number in [0, 1), against the fraction.

    It depends on nothing else, so that the same text is on the same side in any order, on any rank, in any corpus.
    """
    return "validation" if int(text_hash) < val_fraction * 2.0**64 else "train"


def on_side(text_hashes: Hashes, name: str, val_fraction: float) -> NDArray[np.bool_]:
    """bool [D]: which documents `side` puts on side `name`."""
    return np.array([side(value, val_fraction) == name for value in text_hashes.tolist()], dtype=bool)


def training_texts(texts: Iterable[str], val_fraction: float) -> Iterator[str]:
    """The texts that are not held out: what a tokenizer may learn from."""
    return (text for text in texts if side(hash_text(text), val_fraction) == "train")
