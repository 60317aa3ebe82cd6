"""The model directory of a GPT: what is left of its training, for use.

    model.safetensors    the weights (their moving average, where there was one), tied ones once
    settings.yaml        the resolved settings of the training run
    tokenizer.json or    the tokenizer: of a prepared corpus,
    tokenizer.model      or the SentencePiece model of token shards
    gpt.json             format, step, looped layers, the token that begins a text, scores, and the files' hashes

Loading runs no code from the files.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lang_jepa.config_gpt import GPTSettings
from lang_jepa.data.byte_table import ByteTable
from lang_jepa.data.pieces import Pieces
from lang_jepa.data.token_shards import TOKENIZER
from lang_jepa.data.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files import atomic_folder, read_json, write_json
from lang_jepa.models.gpt import GPT
from lang_jepa.settings import build_saved, parse_yaml, save_settings

FORMAT = 1
CARD = "gpt.json"
_WEIGHTS, _SETTINGS = "model.safetensors", "settings.yaml"


def build_gpt(settings: GPTSettings) -> GPT:
    """A fresh model of these settings."""
    data = settings.data
    return GPT(settings.model, vocab_size=data.vocab_size, seq_len=data.seq_len)


def initial_gpt(settings: GPTSettings) -> GPT:
    """The model as training begins with it: equal for equal meta.seed, model, vocabulary and sequence length."""
    torch.manual_seed(settings.meta.seed)
    return build_gpt(settings)


def save_gpt(
    folder: Path,
    model: GPT,
    settings: GPTSettings,
    *,
    save_tokenizer: Callable[[Path], None],
    looped: tuple[int, ...],
    bos_id: int,
    **card: Any,
) -> None:
    """Write a model directory atomically.

    Args:
        folder: replaced, if it is there.
        model: its weights.
        settings: of its training.
        save_tokenizer: writes the tokenizer's files into a folder.
        looped: layers that are passed through twice at the end of training.
        bos_id: the token that begins a text.
        card: what else gpt.json should say (step, scores).
    """
    with atomic_folder(folder) as temporary:
        tensors = {name: part.detach().cpu().contiguous() for name, part in model.state_dict().items()}
        save_file(tensors, temporary / _WEIGHTS)
        save_settings(settings, temporary / _SETTINGS)
        (temporary / _WEIGHTS).chmod((temporary / _SETTINGS).stat().st_mode)  # it lets only the owner read
        save_tokenizer(temporary)
        hashes = {file.name: _sha256(file) for file in sorted(temporary.iterdir()) if file.is_file()}
        about = {"format": FORMAT, "looped": list(looped), "bos_id": bos_id, **card, "sha256": hashes}
        write_json(temporary / CARD, about)


def find_gpt(path: Path | str) -> Path | None:
    """The model directory of a GPT at a path: itself, or the one inside a run directory; None if there is none."""
    path = Path(path)
    return next((folder for folder in (path, path / "model") if (folder / CARD).is_file()), None)


def load_gpt(path: Path | str) -> tuple[GPT, GPTSettings, Mapping[str, Any]]:
    """A trained model in evaluation mode, the settings of its training, and its card.

    Raises:
        LangJepaError: no model directory, a file missing, damaged or exchanged, weights that do not fit.
    """
    folder = find_gpt(path)
    if folder is None:
        raise LangJepaError(f"{path} is no model directory of a GPT (it has no {CARD})")
    card = read_json(folder / CARD, what="card of the GPT")
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT or not isinstance(card.get("sha256"), dict):
        raise LangJepaError(
            f"{folder / CARD} has format {found}; this version reads format {FORMAT} with hashes"
        )
    for name, expected in card["sha256"].items():
        if not (folder / name).is_file():
            raise LangJepaError(f"the model directory {folder} lacks {name}")
        if _sha256(folder / name) != expected:
            raise LangJepaError(f"{folder / name} is damaged or was exchanged: its hash is not the card's")
    where = str(folder / _SETTINGS)
    settings = build_saved(
        GPTSettings, parse_yaml((folder / _SETTINGS).read_text("utf-8"), where=where), where=where
    )
    model = build_gpt(settings)
    try:
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise LangJepaError(f"{folder / _WEIGHTS} does not fit the model's settings: {error}") from error
    return model.eval(), settings, card


def load_table(path: Path | str) -> ByteTable:
    """Bytes and text of the tokens of a GPT's model directory."""
    folder = find_gpt(path) or Path(path)
    if (folder / TOKENIZER).is_file():
        return ByteTable.of_pieces(Pieces.load(folder / TOKENIZER))
    return ByteTable.of_tokenizer(TextTokenizer.load(str(folder)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
