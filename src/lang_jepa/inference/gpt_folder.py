"""The model directory of a GPT: what is left of its training, for use.

    model.safetensors    the weights (their moving average, where there was one), tied ones once
    settings.yaml        the resolved settings of the training run
    tokenizer.json or    the tokenizer: of a prepared corpus,
    tokenizer.model      or the SentencePiece model of token shards
    gpt.json             format, step, looped layers, the token that begins a text, scores, and the files' hashes

Loading runs no code from the files.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_shards import TOKENIZER
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import atomic_folder
from lang_jepa.files.tensors import check_finite
from lang_jepa.inference.cards import hash_files, read_card, read_tensors, write_card
from lang_jepa.inference.model_folder import unfinished
from lang_jepa.models.gpt import GPT
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import read_settings, save_settings

CARD = "gpt.json"
_WEIGHTS, _SETTINGS = "model.safetensors", "settings.yaml"
_OUR_FILES = (
    _WEIGHTS,
    _SETTINGS,
    TOKENIZER,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


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
    """Write a model directory atomically; what lies in an older one there, and was not written here, stays in it.

    Args:
        folder: of the model; one that holds something else is refused.
        model: its weights.
        settings: of its training.
        save_tokenizer: writes the tokenizer's files into a folder.
        looped: layers that are passed through twice at the end of training.
        bos_id: the token that begins a text.
        card: what else gpt.json should say (step, scores).

    Raises:
        LangJepaError: something else is there; weights that are not finite; the disk is full.
    """
    check_finite(model.state_dict(), where=f"the GPT to be written to {folder}")
    with atomic_folder(folder, known_by=CARD, ours=_OUR_FILES) as temporary:
        tensors = {name: part.detach().cpu().contiguous() for name, part in model.state_dict().items()}
        save_file(tensors, temporary / _WEIGHTS)
        save_settings(settings, temporary / _SETTINGS)
        (temporary / _WEIGHTS).chmod((temporary / _SETTINGS).stat().st_mode)  # it lets only the owner read
        save_tokenizer(temporary)
        about = {"looped": list(looped), "bos_id": bos_id, **card}
        write_card(temporary / CARD, about, hash_files(temporary))


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
        raise LangJepaError(
            unfinished(Path(path))
            or f"{path} is no model directory of a GPT (it has no {CARD}); an encoder is read, evaluated and "
            "exported by other options than a GPT (int8 and int6 are of GPTs)"
        )
    card = read_card(folder / CARD, what="model card")
    if lacking := [name for name in ("looped", "bos_id") if name not in card]:
        raise LangJepaError(f"the card of the GPT {folder / CARD} is damaged: it lacks {', '.join(lacking)}")
    settings = read_settings(folder / _SETTINGS, GPTSettings)
    return (
        restore_gpt(settings, read_tensors(folder / _WEIGHTS), where=str(folder / _WEIGHTS)),
        settings,
        card,
    )


def restore_gpt(settings: GPTSettings, tensors: Mapping[str, Tensor], *, where: str) -> GPT:
    """A GPT of these settings with these weights, in evaluation mode.

    Raises:
        LangJepaError: they do not fit each other; found before the model is built, whose size the settings claim.
    """
    check_weights(settings, {name: tuple(one.shape) for name, one in tensors.items()}, where=where)
    model = build_gpt(settings)
    model.load_state_dict(tensors)
    return model.eval()


def check_weights(settings: GPTSettings, shapes: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    """Raise LangJepaError unless a GPT of these settings has tensors of these names and shapes; costs no memory."""
    wrong = [f"{settings.model.num_layers} layers in {len(shapes)} tensors"]
    if settings.model.num_layers <= len(shapes):
        with torch.device("meta"):
            wanted = {name: tuple(one.shape) for name, one in build_gpt(settings).state_dict().items()}
        wrong = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
    if wrong:
        raise LangJepaError(f"{where} does not fit the model's settings: look at {', '.join(wrong[:5])}")


def load_table(path: Path | str) -> ByteTable:
    """Bytes and text of the tokens of a GPT's model directory."""
    folder = find_gpt(path) or Path(path)
    if (folder / TOKENIZER).is_file():
        return ByteTable.of_pieces(Pieces.load(folder / TOKENIZER))
    return ByteTable.of_tokenizer(TextTokenizer.load(str(folder)))
