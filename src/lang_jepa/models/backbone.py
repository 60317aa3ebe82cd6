"""Build the encoder's transformers model, pretrained or from scratch, and check it against the settings.

Each family that runs packed (RoBERTa, BERT, ModernBERT, GPT-2) is an entry of `FAMILIES`; every other type is described
by its config.json (`architecture.py`) and runs padded.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    GPT2Config,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from lang_jepa.data.text.custom_code import local_only
from lang_jepa.data.views import view_of
from lang_jepa.errors import LangJepaError, first_line
from lang_jepa.models.architecture import (
    Family,
    SpecialTokens,
    encoder_of,
    is_part,
    model_class,
    other_family,
    pooler_option,
    position_limit,
    quiet_transformers,
    read_config,
    skeleton,
    token_embeddings,
    width_of,
)
from lang_jepa.settings.encoder import ModelSettings, Settings


def _common(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> dict[str, Any]:
    """Fields shared by BERT-like configurations."""
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


_BERT_FIELDS: dict[str, Any] = {
    "hidden_dropouts": ("hidden_dropout_prob",),
    "attention_dropout": "attention_probs_dropout_prob",
    "residual_outputs": ("attention.output.dense", "output.dense"),
}

FAMILIES: dict[str, Family] = {
    "bert": Family(config=_bert, **_BERT_FIELDS),
    "roberta": Family(config=_roberta, **_BERT_FIELDS),
    "xlm-roberta": Family(**_BERT_FIELDS),
    "camembert": Family(**_BERT_FIELDS),
    "modernbert": Family(
        config=_modernbert,
        hidden_dropouts=("embedding_dropout", "mlp_dropout"),
        attention_dropout="attention_dropout",
        residual_outputs=("attn.Wo", "mlp.Wo"),
        output_dropout="out_drop",
    ),
    "gpt2": Family(
        config=_gpt2,
        hidden_dropouts=("resid_pdrop", "embd_pdrop"),
        attention_dropout="attn_pdrop",
        residual_outputs=("attn.c_proj", "mlp.c_proj"),
    ),
}
"""Families by transformers' `model_type`; each is tested against its padded forward pass."""


def build_backbone(
    settings: ModelSettings,
    *,
    vocab_size: int,
    pad_id: int | None = None,
    bos_id: int | None = None,
    eos_id: int | None = None,
    weights: str | None = None,
) -> PreTrainedModel:
    """Build a transformers model without pooler, in training mode and fp32, pretrained or from scratch.

    Args:
        settings: of the model; `settings.pretrained` decides whether weights are loaded.
        vocab_size: number of tokens of the tokenizer.
        pad_id, bos_id, eos_id: special tokens of the tokenizer (from scratch).
        weights: name or folder of pretrained weights, required if and only if `settings.pretrained`.

    Raises:
        LangJepaError: the weights are not found, are incomplete, or do not fit the settings or the tokenizer.
    """
    if settings.pretrained:
        if weights is None:
            raise ValueError("settings.pretrained needs weights")
        backbone = _pretrained(settings, weights)
    else:
        backbone = _from_scratch(settings, vocab_size, SpecialTokens(pad_id, bos_id, eos_id))
    rows = token_embeddings(backbone).num_embeddings
    if vocab_size > rows:
        raise LangJepaError(
            f"The tokenizer has {vocab_size} tokens, but the encoder at {weights!r} has embeddings for {rows}. "
            "Set data.tokenizer_path to the tokenizer that belongs to the weights."
        )
    _check_length(settings, backbone, weights)
    _set_dropout_modules(backbone, settings)
    backbone.train()
    return backbone


def check_encoder(settings: Settings) -> None:
    """Check, from config.json alone, that the settings can train their pretrained encoder.

    Raises:
        LangJepaError: the encoder needs custom code, is of an unusable type, or does not fit the settings.
    """
    model = settings.model
    if not model.pretrained:
        return
    weights = model.weights_path or settings.data.tokenizer_path
    config = read_config(weights)
    backbone = skeleton(config)
    _check_width(model, config, weights)
    _set_dropout(config, model)
    _check_length(model, backbone, weights)
    if settings.meta.use_gradient_checkpointing and not backbone.supports_gradient_checkpointing:
        raise LangJepaError(
            f"Encoders of type {config.model_type!r} have no gradient checkpointing: set "
            "meta.use_gradient_checkpointing=false, and a smaller data.batch_size if memory is short."
        )
    if view_of(settings).hides_later and not family_of(config).packed:
        raise LangJepaError(
            f"data.context=causal hides later sentences inside the packed attention, which encoders of type "
            f"{config.model_type!r} do not run through (those that do: {', '.join(FAMILIES)}). Set "
            "data.context=concepts (each sentence alone) or data.context=window."
        )


def save_backbone(backbone: PreTrainedModel, folder: Path) -> None:
    """Write config.json and model.safetensors in a form that `build_backbone` and transformers can load."""
    with quiet_transformers():
        if not is_part(backbone.config):
            backbone.save_pretrained(folder)
            return
        # The encoder of an encoder-decoder, under the names that its weights have in the whole model.
        backbone.config.save_pretrained(folder)
    tensors = {f"encoder.{name}": tensor for name, tensor in backbone.state_dict().items()}
    tensors["shared.weight"] = token_embeddings(backbone).weight
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / "model.safetensors", metadata={"format": "pt"})


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a configuration, which says how its models are built and run."""
    return FAMILIES.get(config.model_type) or other_family(config)


def _set_dropout(config: PreTrainedConfig, settings: ModelSettings) -> None:
    """Set the dropout rates of the settings in a configuration.

    Raises:
        LangJepaError: the type has no such dropout, so the setting would have no effect.
    """
    family = family_of(config)
    if not settings.freeze_encoder:  # a frozen encoder has no dropout at all
        lacks = [("model.dropout", settings.dropout, bool(family.hidden_dropouts), "hidden states")]
        attends = family.attention_dropout is not None or family.tied_attention
        lacks.append(("model.attention_dropout", settings.attention_dropout, attends, "attention probabilities"))
        for name, rate, has, what in lacks:
            if rate and not has:
                raise LangJepaError(
                    f"Encoders of type {config.model_type!r} have no dropout of {what}, so {name}={rate} would do "
                    f"nothing: set {name}=0."
                )
    for name in family.hidden_dropouts:
        setattr(config, name, settings.dropout)
    if family.attention_dropout is not None:
        setattr(config, family.attention_dropout, settings.attention_dropout)


def _set_dropout_modules(backbone: PreTrainedModel, settings: ModelSettings) -> None:
    """Set separately, in the modules, the rates that an architecture ties together in its configuration."""
    family = family_of(backbone.config)
    for module in backbone.modules():
        if family.output_dropout is not None and hasattr(module, family.output_dropout):
            setattr(module, family.output_dropout, nn.Dropout(settings.dropout))
        if family.tied_attention and hasattr(module, "has_relative_attention_bias"):
            module.dropout = settings.attention_dropout  # type: ignore[assignment]


def _pretrained(settings: ModelSettings, weights: str) -> PreTrainedModel:
    config = read_config(weights)
    cls = model_class(config)
    _check_width(settings, config, weights)
    _set_dropout(config, settings)
    options: dict[str, Any] = {"local_files_only": local_only(weights), **pooler_option(cls)}
    try:
        with quiet_transformers():
            loaded: Any = cls.from_pretrained(
                weights,
                config=config,
                dtype=torch.float32,  # otherwise weights stored in half precision would stay so
                output_loading_info=True,
                trust_remote_code=False,
                **options,
            )
    except Exception as error:  # the files are foreign: report whatever is wrong with them
        raise LangJepaError(f"The weights at {weights!r} cannot be loaded: {first_line(error)}") from error
    model, report = loaded
    backbone = encoder_of(model)
    inside = "encoder." if backbone is not model else ""
    missing = sorted(
        name for name in report["missing_keys"] if name.startswith(inside) and not name.startswith("pooler.")
    )
    if missing:
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise LangJepaError(
            f"The weights at {weights!r} lack {some}; they would silently stay random. The file does not belong "
            "to its config.json: give the folder of the whole model."
        )
    return backbone


def _from_scratch(settings: ModelSettings, vocab_size: int, special: SpecialTokens) -> PreTrainedModel:
    family = FAMILIES[settings.architecture]
    assert family.config is not None  # the values of model.architecture have one
    config = family.config(settings, vocab_size, special)
    _set_dropout(config, settings)
    options: dict[str, Any] = pooler_option(model_class(config))
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


def _check_width(settings: ModelSettings, config: PreTrainedConfig, weights: str) -> None:
    width = width_of(config)
    if width != settings.embed_dim:
        raise LangJepaError(
            f"The encoder at {weights!r} has width {width}, but model.embed_dim is {settings.embed_dim}. Set "
            f"model.embed_dim={width} and model.pred_dim={width}."
        )


def _check_length(settings: ModelSettings, backbone: PreTrainedModel, weights: str | None) -> None:
    limit = position_limit(backbone)
    if limit is not None and settings.max_length > limit:
        raise LangJepaError(
            f"model.max_length is {settings.max_length}, but the encoder at {weights!r} has positions for {limit} "
            f"tokens. Set model.max_length={limit} or less."
        )
