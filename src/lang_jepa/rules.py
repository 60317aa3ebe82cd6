"""Which settings fit together. Every message names the setting that mends it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lang_jepa.config import Settings

NEXT_SENTENCE_PREDICTORS = {
    "window": ("attention_query", "linear", "identity"),
    "causal": ("attention_query", "linear", "identity"),
    "concepts": ("concept_transformer", "recency_transformer", "attention_query", "linear", "identity"),
}
"""Predictors that fit each `data.context`, the usual one first."""
VIEW_PREDICTORS = {
    "masked_sentences": ("mask_mlp", "transformer"),
    "masked_concepts": ("neighbour_weights", "neighbour_gates", "neighbour_attention"),
    "spans": ("linear", "attention_query", "identity"),
    "same_sentence": ("identity", "linear", "attention_query"),
}
"""Predictors that fit each of the other views."""


def check(settings: "Settings") -> None:
    """Raise ValueError for the first rule that is broken."""
    for rule in (_sizes, _splitter, _schedules, _views, _predictors, _targets, _frozen):
        for complaint in rule(settings):
            raise ValueError(complaint)


def _sizes(settings: "Settings") -> Iterator[str]:
    model, data = settings.model, settings.data
    if model.pred_dim != model.embed_dim:
        yield (
            f"model.pred_dim ({model.pred_dim}) must equal model.embed_dim ({model.embed_dim}): the target "
            f"side has no projection. Set model.pred_dim={model.embed_dim}."
        )
    if model.pretrained and model.weights_path is None and data.tokenizer_path == "trained":
        yield (
            "data.tokenizer_path=trained comes without weights: set model.pretrained=false, or name a pretrained "
            "encoder in data.tokenizer_path."
        )
    if not model.pretrained and model.embed_dim % model.num_heads:
        yield f"model.num_heads ({model.num_heads}) must divide model.embed_dim ({model.embed_dim})."
    if model.embed_dim % model.predictor_heads:
        yield (
            f"model.predictor_heads ({model.predictor_heads}) must divide model.embed_dim ({model.embed_dim})."
        )


def _splitter(settings: "Settings") -> Iterator[str]:
    data = settings.data
    if data.splitter == "sat" and data.language != "en":
        yield "data.splitter=sat takes every text alike: leave data.language at en, or use data.splitter=rules."


def _schedules(settings: "Settings") -> Iterator[str]:
    optimization = settings.optimization
    if settings.data.streaming and optimization.max_steps is None:
        yield (
            "data.streaming needs optimization.max_steps: a stream has no length, so the schedules "
            "need to know where they end. Set for example optimization.max_steps=50000."
        )
    if optimization.momentum_end < optimization.momentum_start:
        yield (
            f"optimization.momentum_end ({optimization.momentum_end}) is below momentum_start "
            f"({optimization.momentum_start}): the target must become steadier, not looser."
        )


def _views(settings: "Settings") -> Iterator[str]:
    data, model = settings.data, settings.model
    if data.view != "next_sentence":
        if data.context != "window":
            yield f"data.context={data.context} belongs to data.view=next_sentence: leave it at window."
        if data.horizons != 1:
            yield f"data.horizons ({data.horizons}) belongs to data.view=next_sentence: leave it at 1."
    one_each = data.view == "same_sentence" or (data.view, data.context) == ("next_sentence", "window")
    if (
        one_each
        and data.batch_size == 1
        and not data.batch_tokens
        and settings.objective.regularizer == "vicreg"
    ):
        yield "VICReg has nothing to act on where a batch holds one embedding: raise data.batch_size."
    if data.view in ("masked_sentences", "masked_concepts") and data.passage_size < 3:
        yield f"data.view={data.view} needs something beside the hidden sentences: set data.passage_size=3 or more."
    if data.view == "spans":
        longest = data.chunk_size - data.span_min_length
        if longest < data.span_min_length:
            yield (
                f"data.chunk_size ({data.chunk_size}) must be at least twice data.span_min_length "
                f"({data.span_min_length}), since it is cut in two."
            )
        if longest > model.max_length:
            yield f"spans have up to {longest} tokens: raise model.max_length or lower data.chunk_size."
    if data.crop is not None and data.view != "same_sentence":
        yield f"data.crop belongs to data.view=same_sentence, not to {data.view}: leave it at null."
    alike = data.crop is None and not model.dropout and not model.attention_dropout
    if data.view == "same_sentence" and alike and settings.objective.target != "frozen":
        yield (
            "in data.view=same_sentence both sides would be equal: set data.crop (.6, say) or model.dropout, or "
            "take another encoder as the target (objective.target=frozen)."
        )


def _predictors(settings: "Settings") -> Iterator[str]:
    data, predictor = settings.data, settings.model.predictor
    if data.view == "next_sentence":
        fitting, place = NEXT_SENTENCE_PREDICTORS[data.context], f"data.context={data.context}"
    else:
        fitting, place = VIEW_PREDICTORS[data.view], f"data.view={data.view}"
    if predictor not in fitting:
        advice = f"set model.predictor={fitting[0]}"
        if predictor in {"concept_transformer", "recency_transformer"}:
            yield f"model.predictor={predictor} reads sentence vectors: set data.context=concepts or {advice}."
        yield (f"model.predictor={predictor} does not fit {place}: {advice} (fitting: {', '.join(fitting)}).")


def _targets(settings: "Settings") -> Iterator[str]:
    objective = settings.objective
    if objective.target_gradient and objective.target != "shared":
        yield (
            f"objective.target_gradient needs a target that can learn: set objective.target=shared, not "
            f"{objective.target}."
        )
    if objective.teacher_path is not None and objective.target != "frozen":
        yield f"objective.teacher_path needs objective.target=frozen; it is {objective.target}."
    if objective.center_targets and settings.optimization.loss_fn == "mse":
        yield (
            "objective.center_targets changes nothing under optimization.loss_fn=mse (the mean cancels): set "
            "objective.center_targets=false."
        )
    if objective.center_targets and settings.optimization.loss_fn == "contrastive":
        yield (
            "objective.center_targets takes the length from predictions, which optimization.loss_fn=contrastive looks "
            "at: set objective.center_targets=false."
        )


def _frozen(settings: "Settings") -> Iterator[str]:
    objective = settings.objective
    if not settings.model.freeze_encoder:
        return
    if objective.target != "frozen":
        yield (
            f"model.freeze_encoder with objective.target={objective.target}: the target would never move; say so "
            "with objective.target=frozen."
        )
    if objective.regularizer != "none":
        yield "model.freeze_encoder leaves nothing to regularize: set objective.regularizer=none."
    if settings.model.predictor == "identity":
        yield "model.freeze_encoder with model.predictor=identity leaves nothing to train."
