"""The model directory: the files of a trained model, for anyone to use.

    config.json, model.safetensors   the encoder, as transformers' AutoModel loads it
    tokenizer.json, ...              the tokenizer, as AutoTokenizer loads it
    head.safetensors                 linear map after pooling, if any
    predictor.safetensors            the predictor
    statistics.safetensors           mean and whitening of training embeddings, for scores
    decoder.safetensors              the concept decoder, if one was trained, with the standardisation of concepts,
    decoder.yaml                     the settings of its training,
    decoder-tokenizer/               and its tokenizer, if that is not the encoder's
    settings.yaml                    the resolved settings of the training run
    lang_jepa.json                   format, weights (target or online), step, and the files' hashes

The card also has a fingerprint of itself, so that no flipped bit in the whole directory goes unnoticed. Everything is
safetensors, JSON or YAML: loading runs no code from the files. `lang_jepa.inference.gpt` describes the directory of a
GPT.
"""

import difflib
import shlex
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import view_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.files.arrays import check_finite
from lang_jepa.files.atomic import atomic_folder, fingerprint, read_json, sha256, write_json
from lang_jepa.files.run_lock import at_work
from lang_jepa.inference.decoding import TextDecoder, restore
from lang_jepa.models.backbone import save_backbone
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import Predictor, build_predictor
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import read_settings, save_settings
from lang_jepa.settings.parts import PREDICTOR
from lang_jepa.settings.recipes import SYSTEMS, system_of

FORMAT = 2
"""2: the settings, all files of the tokenizer and the card itself are hashed."""
FORMATS = (1, FORMAT)
"""Formats of models that can be read."""
_OWN = "card"
"""Key of the card's fingerprint of itself."""

CARD = "lang_jepa.json"
"""Name of the card of an encoder's model directory."""
GPT_CARD = "gpt.json"
SETTINGS = "settings.yaml"
"""The resolved settings of the training run."""
WEIGHTS = "model.safetensors"
DECODER_WEIGHTS, DECODER_SETTINGS, DECODER_TOKENIZER = "decoder.safetensors", "decoder.yaml", "decoder-tokenizer"
_TIED = ("model.lm_head.weight", "model.transformer.wte.weight")


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its name relative to the folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def write_card(path: Path, about: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    """Write a card: what it says about the model, and the hashes of its files."""
    card = {"format": FORMAT, **about, "sha256": dict(hashes)}
    card.pop(_OWN, None)
    write_json(path, {**card, _OWN: fingerprint(card)})


def read_card(path: Path, *, what: str, formats: Collection[int] = FORMATS) -> dict[str, Any]:
    """Read a card, and check that all files are as it says.

    Args:
        path: path of the card.
        what: what errors call it.
        formats: formats that are accepted; from 2 on, a card has its own fingerprint.

    Raises:
        LangJepaError: no card, one that is damaged or of another format, or a file that is missing, damaged or changed.
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
            raise LangJepaError(f"{folder / name} is damaged or was replaced: its hash is not that of the {what}")
    return dict(card)


def find_folder(path: Path | str, card: str) -> Path | None:
    """Find the model directory at a path: the path itself, or inside a run directory; None if neither has this card."""
    return next((folder for folder in (Path(path), Path(path) / "model") if (folder / card).is_file()), None)


@contextmanager
def writing_model(
    folder: Path, card: str, settings: BaseModel, about: Mapping[str, Any], *, ours: Collection[str]
) -> Iterator[Path]:
    """Write a model directory atomically: the `with` block writes the parts, then settings and card are added.

    Args:
        folder: folder of the model; one that holds something else is refused.
        card: name of its card.
        settings: settings of the training.
        about: what the card says; the block may add to it.
        ours: names in an older folder there that are removed with it; whatever else lies in that stays.

    Raises:
        LangJepaError: something else is there, or the disk is full.
    """
    with atomic_folder(folder, known_by=card, ours=(*ours, SETTINGS)) as temporary:
        yield temporary
        save_settings(settings, temporary / SETTINGS)
        mode = (temporary / SETTINGS).stat().st_mode
        for file in temporary.glob("*.safetensors"):
            file.chmod(mode)  # safetensors makes its files readable by their owner only
        write_card(temporary / card, about, hash_files(temporary))


def write_tensors(module: nn.Module, path: Path, *, without: Collection[str] = ()) -> None:
    """Write a module's tensors as safetensors, except those named in `without`."""
    state = {name: part.detach().cpu().contiguous() for name, part in module.state_dict().items()}
    save_file({name: part for name, part in state.items() if name not in without}, path)


def is_whole(path: Path, *, what: str) -> bool:
    """Whether there is a card and all files are as it says."""
    try:
        read_card(path, what=what)
    except LangJepaError:
        return False
    return True


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, which must all be finite.

    Raises:
        LangJepaError: the file is missing or damaged, or has NaN or infinity in it.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise LangJepaError(f"{path} is missing or damaged: {error}") from error
    check_finite(tensors, where=str(path))
    return tensors


RUNS = "runs"
"""Default folder of run directories."""
_NAMED = 8
"""Most runs that a message names."""
_CHECKPOINTS = ("checkpoint-best.pth", "checkpoint-last.pth")


def why_no_model(path: Path) -> str:
    """Say why a run has no model to read (it is another system's, or did not finish) and which commands help; empty if
    neither is so.
    """
    settings = path / SETTINGS
    if not settings.is_file():
        return ""
    system, name = system_of(str(settings)), shlex.quote(str(path))
    if system == "decoder":
        return (
            f"{path} is a run of a decoder, which reads the concepts of its encoder: give the encoder's run directory "
            f"(lang-jepa infer ENCODER --decoder {name} --text TEXT, lang-jepa evaluate ENCODER --tasks decode)"
        )
    if system not in SYSTEMS:
        return f"{path} is a run of {system}: its class says what it makes, and only encoders and GPTs are read here"
    if find_gpt(path):
        return f"{path} is a GPT, which has no concepts: lang-jepa generate {name} writes, lang-jepa evaluate scores it"
    if (path / "model").is_dir():
        return ""
    if who := at_work(path):
        return f"{who} is training in {path}, which has no model before the end of the run"
    again = f"lang-jepa train {name} --resume"
    found = next((path / name for name in _CHECKPOINTS if (path / name).is_file()), None)
    if found is None:
        if not (path / "metrics.csv").is_file():
            return ""
        return f"{path} is a run that was ended before its first checkpoint. Start it again: {again}"
    text = f"{path} is a run that was interrupted, so it has no model yet. Go on with it: {again}"
    which = "best" if found.name == _CHECKPOINTS[0] else "last"
    if system == "gpt":
        return f"{text} (it goes on from checkpoint-last.pth; its {which} checkpoint is {found})"
    return f"{text}\nOr give its {which} checkpoint so far in its place: {found}"


def nearest_run(path: Path) -> str:
    """Suggest what a path that does not exist was meant to be: of the run and model directories beside it and in runs/
    the one with the closest name, else all of them; empty if the path exists or there are none.
    """
    runs = [one for folder in dict.fromkeys((path.parent, Path(RUNS))) for one in _runs_in(folder)]
    if path.exists() or not runs:
        return ""
    close = difflib.get_close_matches(path.name, [one.name for one in runs], n=1)
    if close:
        return f"; did you mean {next(one for one in runs if one.name == close[0])}?"
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"; there are {', '.join(map(str, runs[:_NAMED]))}{more}"


def _runs_in(folder: Path) -> list[Path]:
    """Return the run and model directories in a folder, the newest first."""
    found = [one.parent for name in (SETTINGS, CARD, GPT_CARD) for one in folder.glob(f"*/{name}")]
    return sorted(dict.fromkeys(found), key=lambda one: (-one.stat().st_mtime, one.name))


ENCODING_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "head.safetensors", "predictor.safetensors",
    "statistics.safetensors",
)  # fmt: skip
"""Files that decide what a model encodes, predicts and finds."""
_OTHER_FILES = (
    "tokenizer_config.json", "special_tokens_map.json", "decoder.safetensors", "decoder.yaml",
    "decoder-tokenizer", "document.json",
)  # fmt: skip
"""Files that may lie beside them, and are removed when the model is replaced."""


def build_jepa(settings: Settings, tokenizer: TextTokenizer, *, weights: str | None = None) -> Jepa:
    """Build a model from settings: an encoder with pretrained or fresh weights, and a fresh predictor.

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
    # Whether the predictor gets one vector per segment, instead of one state per token.
    chosen: type[Predictor] = PREDICTOR.part(settings.model.predictor)
    reads_sentences = view_of(settings).sentences_alone or not chosen.reads_tokens
    return Jepa(encoder, predictor_for(settings), reads_sentences=reads_sentences)


def predictor_for(settings: Settings) -> nn.Module:
    """Build a fresh predictor from settings."""
    window, horizons = view_of(settings).reach(settings.data), settings.data.horizons
    return build_predictor(settings.model, window=window, horizons=horizons, own=settings.own_predictor)


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
    """Write a model directory atomically; files in an older one there that were not written here stay in it.

    Args:
        folder: folder of the model; one that holds something else is refused.
        encoder, predictor, tokenizer, statistics, settings, decoder: the parts.
        card: what else lang_jepa.json should say (step, weights, scores).

    Raises:
        LangJepaError: something else is there, weights are not finite, or the disk is full.
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
    """Find the model directory of an encoder at a path, see `find_folder`."""
    return find_folder(path, CARD)


def find_gpt(path: Path | str) -> Path | None:
    """Find the model directory of a GPT at a path, see `find_folder`."""
    return find_folder(path, GPT_CARD)


def load_model(folder: Path) -> tuple[Jepa, TextTokenizer, Statistics, Settings, dict[str, Any]]:
    """Read a model directory, checking that its files belong together; the last item is its card.

    Raises:
        LangJepaError: not a model directory; a file is missing, damaged or replaced; the weights do not fit.
    """
    card = read_card(folder / CARD, what="model card")
    settings = read_settings(folder / SETTINGS)
    for name in ("config.json", "tokenizer.json"):
        read_json(folder / name, what=name)  # before libraries read them, which crash on JSON that is nested too deeply
    tokenizer = TextTokenizer.load(str(folder))
    # The weights are in the folder, whatever they came from in training.
    model = settings.model.model_copy(update={"pretrained": True, "weights_path": None})
    stored = settings.model_copy(update={"model": model})
    read_tensors(folder / WEIGHTS)  # before a library reads it, whose errors say less
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


def join_model(folder: Path, decoder: TextDecoder, **card: Any) -> None:
    """Put a decoder into a model directory, replacing an older one; the whole directory changes at once.

    Args:
        folder: a model directory.
        decoder: decoder that was trained on the concepts of its encoder.
        card: what the card should say about the decoder (step, scores).
    """
    about = read_card(folder / CARD, what="model card")
    others = {name: hash for name, hash in about.pop("sha256").items() if not name.startswith("decoder")}
    with atomic_folder(folder, known_by=CARD, ours=(DECODER_WEIGHTS, DECODER_SETTINGS, DECODER_TOKENIZER)) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        shutil.rmtree(temporary / DECODER_TOKENIZER, ignore_errors=True)
        about["decoder"] = {**about.get("decoder", {}), **card, **write_decoder(temporary, decoder)}
        names = (name for name in hash_files(temporary) if name.startswith("decoder"))
        write_card(temporary / CARD, about, others | {name: sha256(temporary / name) for name in names})


def write_decoder(folder: Path, decoder: TextDecoder) -> dict[str, Any]:
    """Write the decoder's files into a folder; return what the card should say about it."""
    check_finite(decoder.network.state_dict(), where=f"the decoder to be written to {folder}")
    # The output weights are the same tensor as the input embeddings, which safetensors stores once.
    write_tensors(decoder.network, folder / DECODER_WEIGHTS, without=_TIED[:1])
    save_settings(decoder.settings, folder / DECODER_SETTINGS)
    (folder / DECODER_WEIGHTS).chmod((folder / DECODER_SETTINGS).stat().st_mode)  # safetensors lets only the owner read
    if decoder.settings.decoder.tokenizer_path is not None:
        decoder.tokenizer.save(folder / DECODER_TOKENIZER)
    return {"encoder": decoder.encoder}


def read_decoder(folder: Path, card: dict[str, Any], tokenizer: TextTokenizer) -> TextDecoder | None:
    """Read the decoder of a model directory whose hashes were checked; None if it has none.

    Args:
        folder: the model directory.
        card: its card.
        tokenizer: the encoder's, used if the decoder has none of its own.
    """
    if "decoder" not in card:
        return None
    settings = read_settings(folder / DECODER_SETTINGS, DecoderSettings)
    own = settings.decoder.tokenizer_path is not None
    tokenizer = TextTokenizer.load(str(folder / DECODER_TOKENIZER)) if own else tokenizer
    tensors, about = read_tensors(folder / DECODER_WEIGHTS), card["decoder"]
    if _TIED[1] not in tensors or not isinstance(about, dict) or not isinstance(about.get("encoder"), str):
        raise LangJepaError(f"the decoder in {folder} is damaged: it lacks {_TIED[1]} or its card's 'encoder'")
    tensors[_TIED[0]] = tensors[_TIED[1]]
    return restore(tensors, settings, tokenizer, encoder=about["encoder"], where=str(folder / DECODER_WEIGHTS))
