"""Pretrained encoders used as they are: Hugging Face or sentence-transformers models, which encode but predict nothing.

For a sentence-transformers model, its modules.json says which transformer it has, how its states are pooled, and which
linear maps follow. For a Hugging Face model, the last states of all tokens are averaged. Embeddings are L2-normalised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lang_jepa.data.text.custom_code import local_only, model_file, model_json, refuse_custom_code
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import check_finite
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference.cache import weights_hash
from lang_jepa.inference.model_folder import nearest_run
from lang_jepa.models.architecture import position_limit, read_config, skeleton, width_of
from lang_jepa.models.encoder import POOLINGS, TextEncoder, build_encoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import NoPredictor
from lang_jepa.settings.encoder import Settings

_USUAL_LENGTH = 512
"""Most tokens of a text that are read, if neither the tokenizer nor the positions limit them."""
_LONGEST = 1 << 24
"""A larger value is transformers' way to say that a tokenizer has no limit."""


@dataclass
class Plain:
    """How a pretrained encoder computes an embedding.

    Attributes:
        name: folder or hub name.
        kind: `sentence-transformers` or `Hugging Face`.
        transformer: folder or hub name of its transformer.
        pooling: name in `POOLINGS`.
        max_length: tokens read at most, special ones included (None: as many as tokenizer and positions allow).
        lower: whether texts are lower-cased first.
        maps: weight [out, in] and bias ([out] or None) of each linear map after pooling.
    """

    name: str
    kind: str
    transformer: str
    pooling: str = "mean"
    max_length: int | None = None
    lower: bool = False
    maps: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)


def read_plain(name: str) -> tuple[Jepa, TextTokenizer, Settings, dict[str, Any]]:
    """Read a pretrained encoder; the last item is a card like that of a model directory.

    Args:
        name: folder or hub name.

    Raises:
        LangJepaError: there is none, it needs custom code, its type cannot work, or what it does with its states is
            not supported.
    """
    plain = _describe(name)
    tokenizer = TextTokenizer.load(plain.transformer)
    tokenizer.lead = ""  # read a text as the model's own tokenizer does, not as if in the middle of a document
    if plain.lower:
        tokenizer = _lowered(tokenizer)
    settings = _settings(plain)
    encoder = build_encoder(
        settings.model, vocab_size=tokenizer.vocab_size, weights=plain.transformer, pooling=plain.pooling
    )
    if plain.maps:
        encoder = TextEncoder(encoder.backbone, head=_joined(plain.maps), pooling=plain.pooling)
    check_finite(encoder.state_dict(), where=f"the encoder {plain.name}")
    jepa = Jepa(encoder, NoPredictor(plain.name, settings.model.embed_dim), reads_sentences=False).eval()
    return jepa, tokenizer, settings, _card(plain, encoder, tokenizer, settings)


def _card(plain: Plain, encoder: TextEncoder, tokenizer: TextTokenizer, settings: Settings) -> dict[str, Any]:
    """Return a card: what the model is, and hashes of what determines its embeddings."""
    said = f"{plain.kind} model, {encoder.backbone.config.model_type}, {plain.pooling} of the token states"
    how = [encoder.backbone.config.model_type, plain.pooling, settings.model.max_length]
    hashes = {
        "config.json": fingerprint(how),
        "model.safetensors": weights_hash(encoder),
        "tokenizer.json": tokenizer.fingerprint(),
    }
    return {"plain": said, "sha256": hashes}


def _settings(plain: Plain) -> Settings:
    """Return the settings of a model that was not trained here: those that encoding reads."""
    config = read_config(plain.transformer)
    width, limit = width_of(config), position_limit(skeleton(config))
    said = model_json(plain.transformer, "tokenizer_config.json")
    bound = said.get("model_max_length") if isinstance(said, dict) else None
    bounds = [plain.max_length, limit, bound if isinstance(bound, int) and 0 < bound < _LONGEST else None]
    length = min((one for one in bounds if one is not None), default=_USUAL_LENGTH)
    model = {
        "embed_dim": width, "pred_dim": width, "predictor_heads": 1, "max_length": length, "dropout": 0.0,
    }  # fmt: skip
    return Settings.model_validate({"data": {"tokenizer_path": plain.transformer}, "model": model})


def _describe(name: str) -> Plain:
    """Find out what a folder or hub name holds.

    Raises:
        LangJepaError: nothing that is supported, or custom code.
    """
    refuse_custom_code(name)
    modules = model_json(name, "modules.json")
    if modules is None:
        if model_file(name, "config.json") is None:
            raise LangJepaError(
                f"no model at {name}: expected a model directory (with lang_jepa.json), a run directory (with model/), "
                "or a pretrained encoder: a Hugging Face or sentence-transformers folder, or its name on the hub"
                + nearest_run(Path(name))
            )
        return Plain(name, "Hugging Face", name)
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules] if _whole(modules) else []
    if kinds[:2] != ["Transformer", "Pooling"] or not _known(kinds[2:]):
        raise LangJepaError(
            f"the sentence-transformers model {name!r} is made of {', '.join(kinds) or 'nothing'}; only Transformer, "
            "Pooling, then Dense, Dropout and at last Normalize are known here"
        )
    part = _part(name, modules[0]["path"])
    plain = Plain(name, "sentence-transformers", part, _pooling(name, modules[1]["path"]))
    said = model_json(part, "sentence_bert_config.json") or {}
    plain.max_length, plain.lower = said.get("max_seq_length"), bool(said.get("do_lower_case"))
    plain.maps = [
        _dense(name, module["path"]) for kind, module in zip(kinds[2:], modules[2:], strict=True) if kind == "Dense"
    ]
    return plain


def _whole(modules: object) -> bool:
    """Whether modules.json is a list of modules, each with a path inside the model."""
    return isinstance(modules, list) and all(
        isinstance(one, dict) and isinstance(one.get("path"), str) and _inside(one["path"]) for one in modules
    )


def _inside(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _known(kinds: Sequence[str]) -> bool:
    """Whether what follows the pooling is supported: a Normalize matters before a Dense, but not at the end."""
    inner = list(kinds[:-1] if kinds and kinds[-1] == "Normalize" else kinds)
    return set(inner) <= {"Dense", "Dropout"}


def _part(name: str, path: str) -> str:
    """Return the transformer of a sentence-transformers model: the model itself, or a folder in it."""
    if not path:
        return name
    if Path(name).exists():
        return str(Path(name) / path)
    from huggingface_hub import snapshot_download

    whole = snapshot_download(name, allow_patterns=[f"{path}/*"], local_files_only=local_only(name))
    return str(Path(whole) / path)


def _pooling(name: str, path: str) -> str:
    """Return the pooling, of which there must be exactly one."""
    said = model_json(name, f"{path}/config.json") or {}
    found = said.get("pooling_mode")
    if found is None:  # the older format: a switch for each
        switches = {
            "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max",
            "pooling_mode_mean_tokens": "mean", "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
            "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken",
        }  # fmt: skip
        found = [mode for switch, mode in switches.items() if said.get(switch)] or ["mean"]
    modes = [found] if isinstance(found, str) else list(found)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise LangJepaError(
            f"the sentence-transformers model {name!r} pools by {' and '.join(map(str, modes))}; known here is one of "
            f"{', '.join(POOLINGS)}"
        )
    return str(modes[0])


def _dense(name: str, path: str) -> tuple[Tensor, Tensor | None]:
    """Read weight and bias of a linear map.

    Raises:
        LangJepaError: it is no linear map, or its weights are not stored as safetensors.
    """
    said: Mapping[str, Any] = model_json(name, f"{path}/config.json") or {}
    activation = str(said.get("activation_function", "Tanh")).rpartition(".")[2]
    if activation != "Identity" or said.get("use_residual"):
        raise LangJepaError(
            f"the sentence-transformers model {name!r} has a Dense with {activation}"
            f"{' and a residual' if said.get('use_residual') else ''}; only linear ones (Identity) are known here"
        )
    file = model_file(name, f"{path}/model.safetensors")
    try:
        tensors = {} if file is None else load_file(file)
        return tensors["linear.weight"].float(), tensors["linear.bias"].float() if said.get("bias", True) else None
    except (KeyError, OSError, SafetensorError) as error:
        raise LangJepaError(f"{path} of {name!r} has no readable weights in model.safetensors: {error}") from error


def _joined(maps: Sequence[tuple[Tensor, Tensor | None]]) -> nn.Linear:
    """Combine linear maps that follow each other into one."""
    weight, bias = torch.eye(maps[0][0].shape[1]), torch.zeros(maps[0][0].shape[1])
    for matrix, shift in maps:
        weight, bias = matrix @ weight, matrix @ bias + (0 if shift is None else shift)
    head = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return head


def _lowered(tokenizer: TextTokenizer) -> TextTokenizer:
    """Make a tokenizer lower-case its text before everything else, and return it."""
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Steps

    before = tokenizer.backend.normalizer
    tokenizer.backend.normalizer = Steps([Lowercase(), *([before] if before is not None else [])])
    return tokenizer
