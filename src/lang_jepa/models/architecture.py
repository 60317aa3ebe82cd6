"""What config.json says of a pretrained encoder, before a weight is read: whether it can work here, and how."""

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
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import ModelSettings

Scratch = Callable[[ModelSettings, int, "SpecialTokens"], PreTrainedConfig]


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids that a fresh configuration records; None where the tokenizer has no such token."""

    pad: int | None = None
    bos: int | None = None
    eos: int | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between architectures.

    Attributes:
        hidden_dropouts: fields of its configuration that are rates on hidden states.
        attention_dropout: the field that is the rate on attention probabilities (None: there is none).
        config: settings, vocabulary size and special tokens to a fresh configuration (None: pretrained only).
        pooler: whether its model has a pooler to leave out.
        residual_outputs: name endings of the modules whose output is added to the residual stream.
        output_dropout: name of a dropout of hidden states that the architecture ties to its attention rate.
        tied_attention: its attention layers take the hidden rate as an attribute `dropout`; it is set apart from it.
        packed: it runs through `packing.py`; else padded (`padded.py`).
    """

    hidden_dropouts: tuple[str, ...]
    attention_dropout: str | None
    config: Scratch | None = None
    pooler: bool = False
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
"""Names that transformers' configurations give to rates on hidden states."""
ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "attn_dropout")
"""Names that they give to the rate on attention probabilities."""

_ENCODERS: dict[str, type[PreTrainedModel]] = {
    "t5": T5EncoderModel,
    "mt5": MT5EncoderModel,
    "umt5": UMT5EncoderModel,
}
"""Encoder-decoders whose encoder is a model of its own; of others `get_encoder` gives it."""
_NOT_TEXT = ("vision", "audio", "image", "video", "speech", "codec", "vq", "backbone")
_POSITION_TABLE = re.compile(r"(^|\.)(position_embeddings?|embed_positions|positional_embedding|wpe)$")


def read_config(name: str) -> PreTrainedConfig:
    """The configuration of a pretrained model, by folder or hub name.

    Raises:
        LangJepaError: there is none, it needs code of its own, or its type is unknown to transformers.
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
    except Exception as error:  # a foreign file: whatever is wrong in it is the answer
        raise LangJepaError(
            f"config.json of {name!r} is of no type that transformers has ({first_line(error)}): take a model "
            "whose type it has itself."
        ) from error
    config._attn_implementation = None  # a file may name a kernel of the hub, which is code
    return config


def model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class that reads the weights of a configuration.

    Raises:
        LangJepaError: it gives no states for the tokens of a text; the reason is said.
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
    """The model of a configuration without memory for its weights, as its encoder is built here.

    Raises:
        LangJepaError: as `model_class`; the configuration contradicts itself; it has no token embeddings.
    """
    cls = model_class(config)
    try:
        with torch.device("meta"), quiet_transformers():
            backbone = encoder_of(cls._from_config(config, **pooler_option(cls)))  # type: ignore[no-untyped-call]
    except LangJepaError:
        raise
    except Exception as error:  # a foreign file: whatever is wrong in it is the answer
        raise _unfit(config.model_type, f"its config.json builds no model ({first_line(error)})") from error
    token_embeddings(backbone)
    return backbone


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The part of a model that reads: the encoder of an encoder-decoder; without a pooler."""
    if is_part(model.config) and isinstance(model, model_class(model.config)):
        model = model.get_encoder()
    if isinstance(getattr(model, "pooler", None), nn.Module):  # one that cannot be left out by an option
        model.pooler = nn.Identity()
    model.config.use_cache = False
    model.config.return_dict = True
    return model


def is_part(config: PreTrainedConfig) -> bool:
    """Whether only the encoder of the model that its files hold is used."""
    return bool(config.is_encoder_decoder) and config.model_type not in _ENCODERS


def pooler_option(cls: type[PreTrainedModel]) -> dict[str, bool]:
    """What leaves out a pooler, which would never be trained, where the class has one."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls.__init__).parameters else {}


def other_family(config: PreTrainedConfig) -> Family:
    """What is known of a type beyond the packed ones: the rates that its configuration has."""
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
    """Position id of a sequence's first token: RoBERTa and its kin count from padding_idx + 1, others from 0."""
    table = _position_table(backbone)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def position_limit(backbone: PreTrainedModel) -> int | None:
    """Longest sequence, in tokens, for which the backbone has positions; None where any length will do."""
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
    """No report and no bar of loading and saving: what matters in it is checked here, a pooler left out is no news."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _required(parameter: inspect.Parameter) -> bool:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in kinds


def _gives_states(cls: type[PreTrainedModel]) -> bool:
    """Whether the output that `forward` is annotated with has states (True where it is not annotated)."""
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
