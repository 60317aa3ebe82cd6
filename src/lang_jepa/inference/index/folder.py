"""The folder of a search index: which files in it are whole, and which of them may be removed."""

import re
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_writable, read_json, remove_temporaries
from lang_jepa.inference.cards import read_card
from lang_jepa.inference.index.approximate import FILE as APPROXIMATE
from lang_jepa.inference.index.files import FILES, JOURNAL, IndexArrays

FORMAT = 2
"""2: the files' hashes are in index.json."""
INDEX = "index.json"
_GENERATION = re.compile("[0-9a-f]{16}")
NAMES = (*FILES, APPROXIMATE, JOURNAL)
"""Files in the folder of a generation."""


def open_files(folder: Path) -> tuple[dict[str, Any], IndexArrays]:
    """What `index.json` says, and the files, all of which are as it says.

    A new index may take the place of the one that is being opened; then that is opened instead, once.
    """
    if not (folder / INDEX).is_file():
        raise LangJepaError(f"there is no finished index at {folder}: build it with lang-jepa index")
    before = _generation(folder)
    try:
        return _read(folder)
    except LangJepaError:
        if _generation(folder) == before:
            raise
        return _read(folder)


def _generation(folder: Path) -> Any:
    found = read_json(folder / INDEX, what="index")
    return found.get("generation") if isinstance(found, dict) else None


def _read(folder: Path) -> tuple[dict[str, Any], IndexArrays]:
    info = read_card(folder / INDEX, what="index", formats=(FORMAT,))
    generation = info.get("generation")
    wanted = {
        f"{generation}/{name}" for name in (*FILES, *([APPROXIMATE] if info.get("approximate") else []))
    }
    model, approximate = info.get("model"), info.get("approximate")
    if (
        not isinstance(generation, str)
        or not _GENERATION.fullmatch(generation)
        or wanted - info["sha256"].keys()
        or not (
            isinstance(model, dict) and all(isinstance(model.get(key), str) for key in ("path", "identity"))
        )
        or not (
            approximate is None
            or (isinstance(approximate, dict) and isinstance(approximate.get("probes"), int))
        )
    ):
        raise LangJepaError(f"the index {folder / INDEX} is damaged: it does not say what belongs to it")
    return info, IndexArrays.open(folder / generation)


def is_generation(folder: Path) -> bool:
    """Whether a folder is one that `build` made and that holds nothing else."""
    if folder.is_symlink() or not folder.is_dir() or not _GENERATION.fullmatch(folder.name):
        return False
    remove_temporaries(folder)
    return all(entry.name in NAMES and entry.is_file() for entry in folder.iterdir())


def check_folder(folder: Path) -> None:
    """Raise if a folder holds something that is no index, finished or begun. Beside a finished one it may stay."""
    check_writable(folder, folder=True)
    if not folder.is_dir():
        return
    if (folder / INDEX).exists():
        generation = _generation(folder)
        ours = isinstance(generation, str) and _GENERATION.fullmatch(generation) is not None
    else:
        ours = all(entry.name == ".lock" or is_generation(entry) for entry in folder.iterdir())
    if not ours:
        raise LangJepaError(f"{folder} is not empty and is no index: choose another folder for the index")
