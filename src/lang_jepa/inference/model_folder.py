"""The model directory: what a trained model is on disk, for anyone to use.

    config.json, model.safetensors   the encoder, as transformers' AutoModel loads it
    tokenizer.json, ...              the tokenizer, as AutoTokenizer loads it
    head.safetensors                 linear map after pooling, if any
    predictor.safetensors            the predictor
    statistics.safetensors           mean and whitening of training embeddings, for scores
    decoder.*                        the concept decoder, if one was trained (`lang_jepa.inference.decoding`)
    settings.yaml                    the resolved settings of the training run
    lang_jepa.json                   format, weights (target or online), step, and the files' hashes

and of a GPT

    model.safetensors                the weights (their moving average, where there was one), tied ones once
    tokenizer.json or                the tokenizer: of a prepared corpus,
    tokenizer.model                  or the SentencePiece model of token shards
    settings.yaml                    as above
    gpt.json                         format, step, looped layers, the token that begins a text, scores, hashes

Everything is safetensors, JSON or YAML: loading runs no code from the files.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_shards import TOKENIZER
from lang_jepa.data.views import view_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.files.arrays import check_finite
from lang_jepa.files.atomic import read_json
from lang_jepa.files.run_lock import at_work
from lang_jepa.inference.cards import (
    CARD,
    SETTINGS,
    find_folder,
    read_card,
    read_tensors,
    write_tensors,
    writing_model,
)
from lang_jepa.inference.decoding import TextDecoder, write_decoder
from lang_jepa.models.backbone import save_backbone
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.models.gpt import GPT
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import Predictor, build_predictor
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import read_settings
from lang_jepa.settings.parts import PREDICTOR
from lang_jepa.settings.recipes import system_of

_CHECKPOINTS = ("checkpoint-best.pth", "checkpoint-last.pth")


def unfinished(path: Path) -> str:
    """That the run at `path` has no model yet, its best checkpoint, and the commands that help; else nothing."""
    settings = path / SETTINGS
    if not settings.is_file() or (path / "model").is_dir():
        return ""
    if who := at_work(path):
        return f"{who} is training in {path}, which has no model before the end of the run"
    again = f"lang-jepa train {shlex.quote(str(path))} --resume"
    found = next((path / name for name in _CHECKPOINTS if (path / name).is_file()), None)
    if found is None:
        if not (path / "metrics.csv").is_file() or list(path.glob("*_decoder.pt")):
            return ""
        return f"{path} is a run that was ended before its first checkpoint. Start it again: {again}"
    text = f"{path} is a run that was interrupted, so it has no model yet. Go on with it: {again}"
    which = "best" if found.name == _CHECKPOINTS[0] else "last"
    if system_of(str(settings)) == "gpt":
        return f"{text} (it goes on from checkpoint-last.pth; its {which} checkpoint is {found})"
    return f"{text}\nOr give its {which} checkpoint so far in its place: {found}"


ENCODING_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "head.safetensors", "predictor.safetensors",
    "statistics.safetensors",
)  # fmt: skip
"""Files that decide what a model encodes, predicts and finds."""
_OTHER_FILES = (
    "tokenizer_config.json", "special_tokens_map.json", "decoder.safetensors", "decoder.yaml",
    "decoder-tokenizer", "document.json",
)  # fmt: skip
"""Files that may stand beside them, and go when the model is replaced."""


def build_jepa(settings: Settings, tokenizer: TextTokenizer, *, weights: str | None = None) -> Jepa:
    """A model of these settings: pretrained weights or fresh ones, and a fresh predictor.

    Args:
        settings: the resolved settings.
        tokenizer: gives the vocabulary and the special tokens.
        weights: folder or name of the encoder's weights (None: as the settings say).
    """
    source = weights or settings.model.weights_path or settings.data.tokenizer_path
    encoder = build_encoder(
        settings.model,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        weights=source if settings.model.pretrained else None,
        gradient_checkpointing=settings.meta.use_gradient_checkpointing,
    )
    data = settings.data
    view = view_of(settings)
    window, horizons = view.reach(data), data.horizons
    predictor = build_predictor(settings.model, window=window, horizons=horizons, own=settings.own_predictor)
    # Whether the predictor gets one vector per segment, instead of one state per token.
    chosen: type[Predictor] = PREDICTOR.part(settings.model.predictor)
    reads_sentences = view.sentences_alone or not chosen.reads_tokens
    return Jepa(encoder, predictor, reads_sentences=reads_sentences)


def save_model(
    folder: Path,
    *,
    encoder: TextEncoder,
    predictor: nn.Module,
    tokenizer: TextTokenizer,
    statistics: Statistics,
    settings: Settings,
    card: Mapping[str, Any],
    decoder: TextDecoder | None = None,
) -> None:
    """Write a model directory atomically; what lies in an older one there, and was not written here, stays in it.

    Args:
        folder: of the model; one that holds something else is refused.
        encoder, predictor, tokenizer, statistics, settings, decoder: the parts.
        card: what else lang_jepa.json should say (step, weights, scores).

    Raises:
        LangJepaError: something else is there; weights that are not finite; the disk is full.
    """
    for name, part in (("encoder", encoder), ("predictor", predictor)):
        check_finite(part.state_dict(), where=f"the {name} to be written to {folder}")
    about = dict(card)
    with writing_model(folder, CARD, settings, about, ours=(*ENCODING_FILES, *_OTHER_FILES)) as temporary:
        save_backbone(encoder.backbone, temporary)
        tokenizer.save(temporary)
        if encoder.head is not None:
            write_tensors(encoder.head, temporary / "head.safetensors")
        write_tensors(predictor, temporary / "predictor.safetensors")
        statistics.save(temporary / "statistics.safetensors")
        if decoder is not None:
            about["decoder"] = write_decoder(temporary, decoder)


def find_model(path: Path) -> Path | None:
    """The model directory of an encoder at a path, see `find_folder`."""
    return find_folder(path, CARD)


def load_model(folder: Path) -> tuple[Jepa, TextTokenizer, Statistics, Settings, dict[str, Any]]:
    """Read a model directory, checking that its files belong together; the last item is its card.

    Raises:
        LangJepaError: not a model directory, a file missing, damaged or exchanged, weights that do not fit.
    """
    card = read_card(folder / CARD, what="model card")
    settings = read_settings(folder / SETTINGS)
    for name in ("config.json", "tokenizer.json"):
        read_json(folder / name, what=name)  # before libraries read them, which fall over what is nested too deeply
    tokenizer = TextTokenizer.load(str(folder))
    # The weights are in the folder, whatever they came from in training.
    model = settings.model.model_copy(update={"pretrained": True, "weights_path": None})
    stored = settings.model_copy(update={"model": model})
    read_tensors(folder / _WEIGHTS)  # before a library reads it, which says less about what is wrong
    jepa = build_jepa(stored, tokenizer, weights=str(folder))
    if jepa.encoder.head is not None:
        _load(jepa.encoder.head, folder / "head.safetensors")
    _load(jepa.predictor, folder / "predictor.safetensors")
    return jepa.eval(), tokenizer, Statistics.load(folder / "statistics.safetensors"), settings, card


def _load(module: nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise LangJepaError(f"{path} does not fit the model's settings: {error}") from error


GPT_CARD = "gpt.json"
_WEIGHTS = "model.safetensors"
_GPT_FILES = (_WEIGHTS, TOKENIZER, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


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
    about = {"looped": list(looped), "bos_id": bos_id, **card}
    with writing_model(folder, GPT_CARD, settings, about, ours=_GPT_FILES) as temporary:
        write_tensors(model, temporary / _WEIGHTS)
        save_tokenizer(temporary)


def find_gpt(path: Path | str) -> Path | None:
    """The model directory of a GPT at a path, see `find_folder`."""
    return find_folder(path, GPT_CARD)


def load_gpt(path: Path | str) -> tuple[GPT, GPTSettings, Mapping[str, Any]]:
    """A trained model in evaluation mode, the settings of its training, and its card.

    Raises:
        LangJepaError: no model directory, a file missing, damaged or exchanged, weights that do not fit.
    """
    folder = find_gpt(path)
    if folder is None:
        raise LangJepaError(
            unfinished(Path(path))
            or f"{path} is no model directory of a GPT (it has no {GPT_CARD}); an encoder is read, evaluated and "
            "exported by other options than a GPT (int8 and int6 are of GPTs)"
        )
    card = read_card(folder / GPT_CARD, what="model card")
    if lacking := [name for name in ("looped", "bos_id") if name not in card]:
        raise LangJepaError(f"the card of the GPT {folder / GPT_CARD} is damaged: it lacks {', '.join(lacking)}")
    settings = read_settings(folder / SETTINGS, GPTSettings)
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
