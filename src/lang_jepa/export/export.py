"""From a run to a folder that other tools load, checked before it gets its name."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lang_jepa.errors import LangJepaError
from lang_jepa.export.card import write_card
from lang_jepa.export.formats import TOLERANCE, check_parity, write_onnx, write_sentence_transformers
from lang_jepa.files.atomic import atomic_folder, check_only, check_writable
from lang_jepa.inference.model import ConceptModel
from lang_jepa.models.architecture import quiet_transformers

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_name(name: str) -> None:
    """Raise unless `name` is `owner/model`; asks nobody.

    Raises:
        LangJepaError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise LangJepaError(f"'{name}' is no name on the hub: write owner/model")


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload a folder, making the repository if it is not there; returns its address.

    Args:
        folder: an export.
        name: `owner/model`.
        private: of a repository that is made now.

    Raises:
        LangJepaError: no network, no login, or no right to write there.
    """
    check_name(name)
    from huggingface_hub import HfApi, errors

    from lang_jepa.data.sources.hub import transport_errors

    trouble: tuple[type[BaseException], ...] = (
        errors.OfflineModeIsEnabled,
        errors.HFValidationError,
        OSError,
        *transport_errors(),
    )
    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export from LANG-JEPA")
    except trouble as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LangJepaError(
            f"{folder} could not be uploaded to {name} ({reason}). The export itself is finished. Log in with "
            "'hf auth login', check the name and the network; --dry-run shows what would be uploaded."
        ) from error
    return str(address)


Format = Literal["sentence-transformers", "onnx"]
FORMATS: tuple[str, ...] = get_args(Format)
_OURS = (
    "README.md",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "model.onnx",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "[0-9]_*",
)
"""Files and folders of an export, whichever format and tokenizer."""
_WRITERS = {"sentence-transformers": write_sentence_transformers, "onnx": write_onnx}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        folder: where it is.
        difference: largest difference of a number from `ConceptModel.encode` on the probe texts.
        files: names relative to the folder and sizes in bytes, sorted.
    """

    folder: Path
    difference: float
    files: list[tuple[str, int]]


def export_run(
    run: str | Path, folder: str | Path, to: str, *, name: str | None = None, license: str | None = None
) -> Exported:
    """Write a model in another format, atomically, with a model card.

    Args:
        run: a run directory or a model directory.
        folder: of the export; one that an export made before is replaced, anything else is refused.
        to: `sentence-transformers` or `onnx`.
        name: how the card's examples call it (None: the folder).
        license: of the weights, as the hub names it, such as `apache-2.0` (None: the card says that it is missing).

    Raises:
        LangJepaError: unknown format, no model, a folder with something else in it, a library that is missing, or
            vectors that differ from the model's.
    """
    run, folder = Path(run), Path(folder)
    if to not in FORMATS:
        raise LangJepaError(f"unknown format '{to}': use one of {', '.join(FORMATS)}")
    _check_free(folder)
    model = ConceptModel.load(run)
    if not model.has_predictor:
        raise LangJepaError(
            f"{run} is a pretrained encoder as other tools load it already; export writes models that were trained here"
        )
    with quiet_transformers(), atomic_folder(folder) as temporary:
        encode = _WRITERS[to](model, temporary)
        difference = check_parity(model, encode, TOLERANCE[to], to)
        card = write_card(model, run, to, name=name or str(folder), license=license)
        (temporary / "README.md").write_text(card, encoding="utf-8")
    return Exported(folder, difference, list_files(folder))


def list_files(folder: Path) -> list[tuple[str, int]]:
    """Files below a folder: relative names and sizes in bytes, sorted by name."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in files)


def _check_free(folder: Path) -> None:
    """Raise if the folder cannot be written, or replacing it would lose something that is no part of an export."""
    check_writable(folder, folder=True)
    check_writable(folder.parent / "export", folder=True)  # it is replaced whole
    known = ("modules.json", "model.onnx")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).is_file() for name in known):
        raise LangJepaError(f"{folder} is not empty and is no export: choose another folder")
    check_only(folder, _OURS, what="an export")
