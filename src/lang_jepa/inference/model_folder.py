"""The model directory: what a trained model is on disk, for anyone to use.

    config.json, model.safetensors   the encoder, as transformers' AutoModel loads it
    tokenizer.json, ...              the tokenizer, as AutoTokenizer loads it
    head.safetensors                 linear map after pooling, if any
    predictor.safetensors            the predictor
    statistics.safetensors           mean and whitening of training embeddings, for scores
    decoder.*                        the concept decoder, if one was trained (`lang_jepa.inference.decoding`)
    settings.yaml                    the resolved settings of the training run
    lang_jepa.json                   format, weights (target or online), step, and the files' hashes

Everything is safetensors, JSON or YAML: loading runs no code from the files.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import view_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.files.atomic import atomic_folder, read_json
from lang_jepa.files.run_lock import at_work
from lang_jepa.files.tensors import check_finite
from lang_jepa.inference.cards import CARD, hash_files, read_card, read_tensors, write_card
from lang_jepa.inference.decoding import TextDecoder, write_decoder
from lang_jepa.models.backbone import save_backbone
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import Predictor, build_predictor
from lang_jepa.settings.encoder import ModelSettings, Settings
from lang_jepa.settings.load import is_gpt_recipe, read_settings, save_settings
from lang_jepa.settings.parts import PREDICTOR

_CHECKPOINTS = ("checkpoint-best.pth", "checkpoint-last.pth")


def unfinished(path: Path) -> str:
    """That the run at `path` has no model yet, its best checkpoint, and the commands that help; else nothing."""
    settings = path / "settings.yaml"
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
    if is_gpt_recipe(str(settings)):
        return f"{text} (it goes on from checkpoint-last.pth; its {which} checkpoint is {found})"
    return f"{text}\nOr give its {which} checkpoint so far in its place: {found}"


ENCODING_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "head.safetensors",
    "predictor.safetensors",
    "statistics.safetensors",
)
"""Files that decide what a model encodes, predicts and finds."""
_OTHER_FILES = (
    "settings.yaml",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "decoder.safetensors",
    "decoder.yaml",
    "decoder-tokenizer",
    "document.json",
)
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
    return Jepa(encoder, _predictor(settings), reads_sentences=_reads_sentences(settings))


def _predictor(settings: Settings) -> nn.Module:
    data = settings.data
    window = view_of(settings).reach(data)
    return build_predictor(settings.model, window=window, horizons=data.horizons, own=settings.own_predictor)


def _reads_sentences(settings: Settings) -> bool:
    """Whether the predictor gets one vector per segment, instead of one state per token."""
    chosen: type[Predictor] = PREDICTOR.part(settings.model.predictor)
    return view_of(settings).sentences_alone or not chosen.reads_tokens


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
    with atomic_folder(folder, known_by=CARD, ours=(*ENCODING_FILES, *_OTHER_FILES)) as temporary:
        save_backbone(encoder.backbone, temporary)
        tokenizer.save(temporary)
        if encoder.head is not None:
            save_file(_tensors(encoder.head), temporary / "head.safetensors")
        save_file(_tensors(predictor), temporary / "predictor.safetensors")
        statistics.save(temporary / "statistics.safetensors")
        save_settings(settings, temporary / "settings.yaml")
        mode = (temporary / "settings.yaml").stat().st_mode
        for file in temporary.glob("*.safetensors"):
            file.chmod(mode)  # safetensors leaves its files readable by their owner alone
        said = {} if decoder is None else {"decoder": write_decoder(temporary, decoder)}
        write_card(temporary / CARD, {**card, **said}, hash_files(temporary))


def find_model(path: Path) -> Path | None:
    """The model directory at a path: itself, or the one inside a run directory; None if there is none."""
    return next((folder for folder in (path, path / "model") if (folder / CARD).is_file()), None)


def load_model(folder: Path) -> tuple[Jepa, TextTokenizer, Statistics, Settings, dict[str, Any]]:
    """Read a model directory, checking that its files belong together; the last item is its card.

    Raises:
        LangJepaError: not a model directory, a file missing, damaged or exchanged, weights that do not fit.
    """
    card = read_card(folder / CARD, what="model card")
    settings = read_settings(folder / "settings.yaml")
    for name in ("config.json", "tokenizer.json"):
        read_json(
            folder / name, what=name
        )  # before libraries read them, which fall over what is nested too deeply
    tokenizer = TextTokenizer.load(str(folder))
    stored = settings.model_copy(update={"model": _as_stored(settings.model)})
    read_tensors(
        folder / "model.safetensors"
    )  # before a library reads it, which says less about what is wrong
    jepa = build_jepa(stored, tokenizer, weights=str(folder))
    if jepa.encoder.head is not None:
        _load(jepa.encoder.head, folder / "head.safetensors")
    _load(jepa.predictor, folder / "predictor.safetensors")
    return jepa.eval(), tokenizer, Statistics.load(folder / "statistics.safetensors"), settings, card


def _as_stored(model: ModelSettings) -> ModelSettings:
    """The weights are in the folder, whatever they came from in training."""
    return model.model_copy(update={"pretrained": True, "weights_path": None})


def _tensors(module: nn.Module) -> dict[str, Any]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _load(module: nn.Module, path: Path) -> None:
    """Strictly load a safetensors file into a module."""
    try:
        module.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise LangJepaError(f"{path} does not fit the model's settings: {error}") from error
