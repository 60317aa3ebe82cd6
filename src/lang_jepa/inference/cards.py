"""What all model directories share: tensors, settings, and a card that says what the model is, with all files' hashes.

The card has a fingerprint of itself too, so that no flipped bit in the whole directory goes unseen.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import check_finite
from lang_jepa.files.atomic import atomic_folder, fingerprint, read_json, sha256, write_json
from lang_jepa.settings.load import save_settings

FORMAT = 2
"""2: settings and all of the tokenizer's files are hashed, and so is the card."""
FORMATS = (1, FORMAT)
"""Of models that are read."""
_OWN = "card"
"""Key of the card's fingerprint of itself."""

CARD = "lang_jepa.json"
"""Name of the card of an encoder's model directory."""
SETTINGS = "settings.yaml"
"""The resolved settings of the training run."""


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
            raise LangJepaError(f"{folder / name} is damaged or was exchanged: its hash is not that of the {what}")
    return dict(card)


def find_folder(path: Path | str, card: str) -> Path | None:
    """The model directory at a path: itself, or inside a run directory; None if none has this card."""
    return next((folder for folder in (Path(path), Path(path) / "model") if (folder / card).is_file()), None)


@contextmanager
def writing_model(
    folder: Path, card: str, settings: BaseModel, about: Mapping[str, Any], *, ours: Collection[str]
) -> Iterator[Path]:
    """Write a model directory atomically: the block writes the parts, then settings and card are put beside them.

    Args:
        folder: of the model; one that holds something else is refused.
        card: name of its card.
        settings: of the training.
        about: what the card says; the block may add to it.
        ours: names in an older folder there that go with it; whatever else lies in that stays.

    Raises:
        LangJepaError: something else is there; the disk is full.
    """
    with atomic_folder(folder, known_by=card, ours=(*ours, SETTINGS)) as temporary:
        yield temporary
        save_settings(settings, temporary / SETTINGS)
        mode = (temporary / SETTINGS).stat().st_mode
        for file in temporary.glob("*.safetensors"):
            file.chmod(mode)  # safetensors leaves its files readable by their owner alone
        write_card(temporary / card, about, hash_files(temporary))


def write_tensors(module: nn.Module, path: Path, *, without: Collection[str] = ()) -> None:
    """Write a module's tensors as safetensors, those named in `without` left out."""
    state = {name: part.detach().cpu().contiguous() for name, part in module.state_dict().items()}
    save_file({name: part for name, part in state.items() if name not in without}, path)


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
