"""Decide from config.json alone, before any weights are read, whether and how a pretrained encoder can be used."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    MT5EncoderModel,
    PreTrainedConfig,
    PreTrainedModel,
    T5EncoderModel,
    UMT5EncoderModel,
)
from transformers.utils import logging

from lang_jepa.data.text.custom_code import local_only, model_json, refuse_custom_code
from lang_jepa.errors import LangJepaError, first_line
from lang_jepa.settings.encoder import ModelSettings

Scratch = Callable[[ModelSettings, int, "SpecialTokens"], PreTrainedConfig]


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Token ids that a fresh configuration records; None if the tokenizer has no such token."""

    pad: int | None = None
    bos: int | None = None
    eos: int | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """The differences between architectures.

    Attributes:
        hidden_dropouts: fields of the configuration with dropout rates of hidden states.
        attention_dropout: field with the dropout rate of attention probabilities (None: there is none).
        config: builds a fresh configuration from settings, vocabulary size and special tokens (None: pretrained only).
        residual_outputs: name endings of the modules whose output is added to the residual stream.
        output_dropout: name of a dropout of hidden states that the architecture ties to its attention rate.
        tied_attention: attention layers take the hidden rate as attribute `dropout`, which is then set separately.
        packed: runs through `packing.py`; otherwise padded (`padded.py`).
    """

    hidden_dropouts: tuple[str, ...]
    attention_dropout: str | None
    config: Scratch | None = None
    residual_outputs: tuple[str, ...] = ()
    output_dropout: str | None = None
    tied_attention: bool = False
    packed: bool = True


HIDDEN_DROPOUTS = (
    "hidden_dropout_prob",
    "hidden_dropout",
    "dropout",
    "dropout_rate",
    "dropout_prob",
    "activation_dropout",
    "embedding_dropout",
    "embd_pdrop",
    "emb_pdrop",
    "embd_dropout",
    "embed_dropout",
    "resid_pdrop",
    "resid_dropout",
    "residual_dropout",
    "mlp_dropout",
)
"""Fields of transformers' configurations with dropout rates of hidden states."""
ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "attn_dropout")
"""Fields of transformers' configurations with the dropout rate of attention probabilities."""

_ENCODERS: dict[str, type[PreTrainedModel]] = {
    "t5": T5EncoderModel,
    "mt5": MT5EncoderModel,
    "umt5": UMT5EncoderModel,
}
"""Encoder-decoders with a separate encoder class; for others `get_encoder` returns the encoder."""
_NOT_TEXT = ("vision", "audio", "image", "video", "speech", "codec", "vq", "backbone")
_POSITION_TABLE = re.compile(r"(^|\.)(position_embeddings?|embed_positions|positional_embedding|wpe)$")


def read_config(name: str) -> PreTrainedConfig:
    """Read the configuration of a pretrained model, by folder or hub name.

    Raises:
        LangJepaError: there is none, it needs custom code, or its type is unknown to transformers.
    """
    refuse_custom_code(name)
    if not isinstance(model_json(name, "config.json"), dict):
        raise LangJepaError(
            f"No pretrained model at {name!r} (it has no config.json). Set data.tokenizer_path or "
            "model.weights_path to a folder that holds one, connect to the model hub once, or set "
            "model.pretrained=false to start from scratch."
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            name, trust_remote_code=False, local_files_only=local_only(name)
        )
    except Exception as error:  # the file is foreign: report whatever is wrong with it
        raise LangJepaError(
            f"config.json of {name!r} is of no type that transformers has ({first_line(error)}): take a model "
            "whose type it has itself."
        ) from error
    config._attn_implementation = None  # a file may name a kernel on the hub, which is code
    return config


def model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class that loads the weights of a configuration.

    Raises:
        LangJepaError: its models give no states for the tokens of a text; the message says why.
    """
    kind = config.model_type
    parts = [part for part in config.sub_configs if any(word in part for word in _NOT_TEXT)]
    if parts:
        raise _unfit(kind, f"it reads more than text ({', '.join(sorted(parts))}); take its text model alone")
    if kind in _ENCODERS:
        return _ENCODERS[kind]
    if type(config) not in MODEL_MAPPING:
        raise _unfit(kind, "transformers has no AutoModel for it")
    try:
        found: Any = MODEL_MAPPING[type(config)]
    except (ImportError, ValueError) as error:
        raise _unfit(kind, f"transformers cannot load its class ({first_line(error)})") from error
    cls: type[PreTrainedModel] = found[0] if isinstance(found, tuple) else found
    reads = inspect.signature(cls.forward).parameters
    if "input_ids" not in reads or cls.main_input_name != "input_ids":
        raise _unfit(kind, "it does not read the tokens of a text")
    needed = [name for name, one in list(reads.items())[1:] if name != "input_ids" and _required(one)]
    if needed:
        raise _unfit(kind, f"it needs more than tokens ({', '.join(needed)})")
    if not _gives_states(cls):
        raise _unfit(kind, "its output has no state for each token")
    return cls


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """Build the encoder of a configuration on the meta device, without memory for its weights.

    Raises:
        LangJepaError: see `model_class`; or the configuration contradicts itself, or has no token embeddings.
    """
    cls = model_class(config)
    try:
        with torch.device("meta"), quiet_transformers():
            backbone = encoder_of(cls._from_config(config, **pooler_option(cls)))  # type: ignore[no-untyped-call]
    except LangJepaError:
        raise
    except Exception as error:  # the file is foreign: report whatever is wrong with it
        raise _unfit(config.model_type, f"its config.json builds no model ({first_line(error)})") from error
    token_embeddings(backbone)
    return backbone


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model, or the encoder of an encoder-decoder, without its pooler."""
    if is_part(model.config) and isinstance(model, model_class(model.config)):
        model = model.get_encoder()
    if isinstance(getattr(model, "pooler", None), nn.Module):  # a pooler that no option leaves out
        model.pooler = nn.Identity()
    model.config.use_cache = False
    model.config.return_dict = True
    return model


def is_part(config: PreTrainedConfig) -> bool:
    """Whether only the encoder of the stored model is used."""
    return bool(config.is_encoder_decoder) and config.model_type not in _ENCODERS


def pooler_option(cls: type[PreTrainedModel]) -> dict[str, bool]:
    """The option that leaves out the pooler, which would never be trained, if the class has one."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls.__init__).parameters else {}


def other_family(config: PreTrainedConfig) -> Family:
    """The family of a type that does not run packed, derived from the dropout rates in its configuration."""
    has = config.to_dict().keys() | set(config.attribute_map)
    return Family(
        hidden_dropouts=tuple(name for name in HIDDEN_DROPOUTS if name in has),
        attention_dropout=next((name for name in ATTENTION_DROPOUTS if name in has), None),
        tied_attention=config.model_type in _ENCODERS,
        packed=False,
    )


def width_of(config: PreTrainedConfig) -> int:
    """Width of the token states.

    Raises:
        LangJepaError: the configuration does not say.
    """
    width = getattr(config.get_text_config(), "hidden_size", None)
    if not isinstance(width, int):
        raise _unfit(config.model_type, "its config.json does not say how wide its states are")
    return width


def first_position(backbone: PreTrainedModel) -> int:
    """Position id of a sequence's first token: padding_idx + 1 for RoBERTa and related models, 0 for others."""
    table = _position_table(backbone)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def position_limit(backbone: PreTrainedModel) -> int | None:
    """Longest sequence, in tokens, for which the backbone has positions; None if there is no limit."""
    limit = getattr(backbone.config.get_text_config(), "max_position_embeddings", None)
    table = _position_table(backbone)
    if not isinstance(limit, int) or limit < 1:
        return None if table is None else table.num_embeddings - first_position(backbone)
    return limit - first_position(backbone)


def _position_table(backbone: PreTrainedModel) -> nn.Embedding | None:
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Embedding) and _POSITION_TABLE.search(name):
            return module
    return None


def token_embeddings(backbone: PreTrainedModel) -> nn.Embedding:
    """The table of token embeddings.

    Raises:
        LangJepaError: the model has none.
    """
    try:
        table = backbone.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        table = None
    if not isinstance(table, nn.Embedding):
        raise _unfit(backbone.config.model_type, "it has no table of token embeddings")
    return table


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' reports and progress bars when loading and saving; the callers check what matters."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _required(parameter: inspect.Parameter) -> bool:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in kinds


def _gives_states(cls: type[PreTrainedModel]) -> bool:
    """Whether the annotated output of `forward` has token states (True if it is not annotated)."""
    said = inspect.signature(cls.forward).return_annotation
    names = set(re.findall(r"\w+", str(said)))
    module = inspect.getmodule(inspect.unwrap(cls.forward))
    kinds = [one for name in names if is_dataclass(one := getattr(module, name, None))]
    return not kinds or any("last_hidden_state" in {field.name for field in fields(kind)} for kind in kinds)


def _unfit(kind: str, why: str) -> LangJepaError:
    return LangJepaError(
        f"Encoders of type {kind!r} cannot be used: {why}. An encoder is a text model of transformers that gives a "
        "state for each token, such as BERT, MPNet, DeBERTa, T5 or Llama."
    )
