"""The card of a model directory: what the model is, and the hash of every file that came with it.

The card has a fingerprint of itself too, so that no flipped bit in the whole directory goes unseen.
"""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint, read_json, sha256, write_json
from lang_jepa.files.tensors import check_finite

FORMAT = 2
"""2: settings and all of the tokenizer's files are hashed, and so is the card."""
FORMATS = (1, FORMAT)
"""Of models that are read."""
_OWN = "card"
"""Key of the card's fingerprint of itself."""

CARD = "lang_jepa.json"
"""Name of the card of a model directory."""


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its name relative to that."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def write_card(path: Path, about: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    """Write a card: what is said about the model, and the hashes of its files."""
    card = {"format": FORMAT, **about, "sha256": dict(hashes)}
    card.pop(_OWN, None)
    write_json(path, {**card, _OWN: fingerprint(card)})


def read_card(path: Path, *, what: str, formats: Collection[int] = FORMATS) -> dict[str, Any]:
    """A card whose files are as it says.

    Args:
        path: of the card.
        what: names it in the error.
        formats: that are read; from 2 on a card has its own fingerprint.

    Raises:
        LangJepaError: no card, one of another format, or a file that is missing, damaged or exchanged.
    """
    card: Any = read_json(path, what=f"{what} (is this a model directory?)")
    folder, found = path.parent, card.get("format") if isinstance(card, dict) else None
    if found not in formats or isinstance(found, bool):
        wanted = " or ".join(map(str, formats))
        raise LangJepaError(f"the {what} {path} has format {found}; this version reads format {wanted}")
    hashes = card.get("sha256")
    if not isinstance(hashes, dict) or not all(isinstance(one, str) for one in hashes.values()):
        raise LangJepaError(f"the {what} {path} is damaged: it has no hashes")
    if found != 1 and card.get(_OWN) != fingerprint({key: card[key] for key in card if key != _OWN}):
        raise LangJepaError(f"the {what} {path} is damaged: its contents do not match its own fingerprint")
    for name, expected in hashes.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise LangJepaError(f"the {what} {path} names a file outside of its folder: {name}")
        if not (folder / name).is_file():
            raise LangJepaError(f"{folder} lacks {name}, which its {what} names")
        if sha256(folder / name) != expected:
            raise LangJepaError(
                f"{folder / name} is damaged or was exchanged: its hash is not that of the {what}"
            )
    return dict(card)


def is_whole(path: Path, *, what: str) -> bool:
    """Whether there is a card, and all files are as it says."""
    try:
        read_card(path, what=what)
    except LangJepaError:
        return False
    return True


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, all of them finite.

    Raises:
        LangJepaError: missing, damaged, or with NaN or infinity in it.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise LangJepaError(f"{path} is missing or damaged: {error}") from error
    check_finite(tensors, where=str(path))
    return tensors
