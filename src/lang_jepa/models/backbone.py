"""Transformers models for the encoder: pretrained or from scratch, with settings that fit.

A family (RoBERTa, BERT, ModernBERT, GPT-2) is one entry of `FAMILIES`; nothing else asks which one it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    GPT2Config,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)
from transformers.utils import logging

from lang_jepa.config import ModelSettings
from lang_jepa.errors import LangJepaError


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids that a fresh configuration records; None where the tokenizer has no such token."""

    pad: int | None = None
    bos: int | None = None
    eos: int | None = None


def _common(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> dict[str, Any]:
    """Fields that configurations after BERT share."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": settings.embed_dim,
        "num_hidden_layers": settings.num_layers,
        "num_attention_heads": settings.num_heads,
        "intermediate_size": round(settings.mlp_ratio * settings.embed_dim),
        "pad_token_id": special.pad,
        "bos_token_id": special.bos,
        "eos_token_id": special.eos,
    }


def _bert(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> PreTrainedConfig:
    return BertConfig(
        **_common(settings, vocab_size, special),
        max_position_embeddings=settings.max_length,
        type_vocab_size=1,
    )


def _roberta(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> PreTrainedConfig:
    if special.pad is None:
        raise LangJepaError(
            "RoBERTa counts positions from the padding token's id, but the tokenizer has no padding token. "
            "Give the tokenizer one, or set model.architecture=bert."
        )
    return RobertaConfig(
        **_common(settings, vocab_size, special),
        max_position_embeddings=settings.max_length + special.pad + 1,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def _modernbert(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> PreTrainedConfig:
    if settings.num_layers == 0:
        raise LangJepaError(
            "ModernBERT scales its initial weights by its number of layers and cannot have none. "
            "Set model.architecture=bert for a bag of token embeddings (model.num_layers=0)."
        )
    return ModernBertConfig(
        **_common(settings, vocab_size, special),
        max_position_embeddings=settings.max_length,
        cls_token_id=special.bos,
        sep_token_id=special.eos,
    )


def _gpt2(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> PreTrainedConfig:
    return GPT2Config(
        vocab_size=vocab_size,
        n_embd=settings.embed_dim,
        n_layer=settings.num_layers,
        n_head=settings.num_heads,
        n_inner=round(settings.mlp_ratio * settings.embed_dim),
        n_positions=settings.max_length,
        pad_token_id=special.pad,
        bos_token_id=special.bos,
        eos_token_id=special.eos,
    )


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between architectures.

    Attributes:
        config: settings, vocabulary size and special tokens to a fresh configuration (None: pretrained only).
        hidden_dropouts: fields of its configuration that are rates on hidden states.
        attention_dropout: the field that is the rate on attention probabilities.
        pooler: whether its model has a pooler to leave out.
        residual_outputs: name endings of the modules whose output is added to the residual stream.
        output_dropout: name of a dropout of hidden states that the architecture ties to its attention rate.
    """

    config: Callable[[ModelSettings, int, SpecialTokens], PreTrainedConfig] | None
    hidden_dropouts: tuple[str, ...]
    attention_dropout: str
    pooler: bool
    residual_outputs: tuple[str, ...]
    output_dropout: str | None = None


_BERT_FIELDS: dict[str, Any] = {
    "hidden_dropouts": ("hidden_dropout_prob",),
    "attention_dropout": "attention_probs_dropout_prob",
    "pooler": True,
    "residual_outputs": ("attention.output.dense", "output.dense"),
}

FAMILIES: dict[str, Family] = {
    "bert": Family(config=_bert, **_BERT_FIELDS),
    "roberta": Family(config=_roberta, **_BERT_FIELDS),
    "xlm-roberta": Family(config=None, **_BERT_FIELDS),
    "camembert": Family(config=None, **_BERT_FIELDS),
    "modernbert": Family(
        config=_modernbert,
        hidden_dropouts=("embedding_dropout", "mlp_dropout"),
        attention_dropout="attention_dropout",
        pooler=False,
        residual_outputs=("attn.Wo", "mlp.Wo"),
        output_dropout="out_drop",
    ),
    "gpt2": Family(
        config=_gpt2,
        hidden_dropouts=("resid_pdrop", "embd_pdrop"),
        attention_dropout="attn_pdrop",
        pooler=False,
        residual_outputs=("attn.c_proj", "mlp.c_proj"),
    ),
}
"""Families by transformers' `model_type`; each is tested against its padded forward."""


def first_position(backbone: PreTrainedModel) -> int:
    """Position id of a sequence's first token: RoBERTa and its kin count from padding_idx + 1, others from 0."""
    embeddings = getattr(backbone, "embeddings", None)
    if embeddings is None or not hasattr(embeddings, "create_position_ids_from_input_ids"):
        return 0
    return int(embeddings.padding_idx) + 1


def position_limit(backbone: PreTrainedModel) -> int:
    """Longest sequence, in tokens, for which the backbone has positions."""
    return int(backbone.config.max_position_embeddings) - first_position(backbone)


def token_embeddings(backbone: PreTrainedModel) -> nn.Embedding:
    """The table of token embeddings."""
    table = backbone.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise TypeError(f"the token embeddings of {type(backbone).__name__} are a {type(table).__name__}")
    return table


def build_backbone(
    settings: ModelSettings,
    *,
    vocab_size: int,
    pad_id: int | None = None,
    bos_id: int | None = None,
    eos_id: int | None = None,
    weights: str | None = None,
) -> PreTrainedModel:
    """A transformers model without pooler, in training mode and fp32, pretrained or from scratch.

    Args:
        settings: the model's settings; `settings.pretrained` decides between the two.
        vocab_size: number of tokens of the tokenizer.
        pad_id, bos_id, eos_id: special tokens of the tokenizer (from scratch).
        weights: name or folder of pretrained weights; needed if and only if `settings.pretrained`.

    Raises:
        LangJepaError: the weights are not found, are incomplete, or do not fit the settings or the tokenizer.
    """
    if settings.pretrained:
        if weights is None:
            raise ValueError("settings.pretrained needs weights")
        backbone = _pretrained(settings, weights)
    else:
        backbone = _from_scratch(settings, vocab_size, SpecialTokens(pad_id, bos_id, eos_id))
    _check_fit(settings, backbone, vocab_size, weights)
    output_dropout = family_of(backbone.config).output_dropout
    for module in backbone.modules():
        if output_dropout is not None and hasattr(module, output_dropout):
            setattr(module, output_dropout, nn.Dropout(settings.dropout))
    backbone.train()
    return backbone


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a configuration.

    Raises:
        LangJepaError: there is none.
    """
    if config.model_type not in FAMILIES:
        raise LangJepaError(
            f"Encoders of type {config.model_type!r} are not supported; those that are: {', '.join(FAMILIES)}."
        )
    return FAMILIES[config.model_type]


def _set_dropout(config: PreTrainedConfig, settings: ModelSettings) -> None:
    family = family_of(config)
    for name in family.hidden_dropouts:
        setattr(config, name, settings.dropout)
    setattr(config, family.attention_dropout, settings.attention_dropout)


def _pretrained(settings: ModelSettings, weights: str) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(weights)
    except (OSError, ValueError) as error:
        raise LangJepaError(
            f"No pretrained model at {weights!r} ({_first_line(error)}). Set data.tokenizer_path or "
            "model.weights_path to a folder that holds one, connect to the model hub once, or set "
            "model.pretrained=false to start from scratch."
        ) from error
    if config.hidden_size != settings.embed_dim:
        raise LangJepaError(
            f"The encoder at {weights!r} has width {config.hidden_size}, but model.embed_dim is "
            f"{settings.embed_dim}. Set model.embed_dim={config.hidden_size} and model.pred_dim={config.hidden_size}."
        )
    _set_dropout(config, settings)
    options: dict[str, Any] = {"add_pooling_layer": False} if family_of(config).pooler else {}
    try:
        # Without a dtype, weights stored in half precision would stay in it.
        with quiet_transformers():
            backbone, report = AutoModel.from_pretrained(
                weights, config=config, dtype=torch.float32, output_loading_info=True, **options
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise LangJepaError(f"The weights at {weights!r} cannot be loaded: {_first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise LangJepaError(
            f"The weights at {weights!r} lack {some}; they would silently stay random. The file does not belong "
            "to its config.json: give the folder of the whole model."
        )
    model: PreTrainedModel = backbone
    return model


def _from_scratch(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> PreTrainedModel:
    family = FAMILIES[settings.architecture]
    if family.config is None:
        raise ValueError(f"{settings.architecture} has no configuration from scratch")
    config = family.config(settings, vocab_size, special)
    _set_dropout(config, settings)
    options: dict[str, Any] = {"add_pooling_layer": False} if family.pooler else {}
    backbone: PreTrainedModel = AutoModel.from_config(  # type: ignore[no-untyped-call]
        config, dtype=torch.float32, **options
    )
    with torch.no_grad():
        if settings.embedding_std is not None:
            table = token_embeddings(backbone)
            table.weight.normal_(0.0, settings.embedding_std)
            if table.padding_idx is not None:
                table.weight[table.padding_idx].zero_()
        for name, parameter in backbone.named_parameters():
            if name.endswith(tuple(f"{output}.weight" for output in family.residual_outputs)):
                parameter.mul_(settings.residual_scale)
    return backbone


def _check_fit(
    settings: ModelSettings, backbone: PreTrainedModel, vocab_size: int, weights: str | None
) -> None:
    rows = token_embeddings(backbone).num_embeddings
    if vocab_size > rows:
        raise LangJepaError(
            f"The tokenizer has {vocab_size} tokens, but the encoder at {weights!r} has embeddings for {rows}. "
            "Set data.tokenizer_path to the tokenizer that belongs to the weights."
        )
    limit = position_limit(backbone)
    if settings.max_length > limit:
        raise LangJepaError(
            f"model.max_length is {settings.max_length}, but the encoder at {weights!r} has positions for {limit} "
            f"tokens. Set model.max_length={limit} or less."
        )


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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
