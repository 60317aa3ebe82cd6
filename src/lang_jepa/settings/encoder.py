"""Every setting there is, with its default, its meaning and its unit.

A recipe is a YAML file that changes some of these; `-o section.key=value` changes them again. The resolved
settings are saved in the run directory and everything later reads those. Reading and overriding lives in
`lang_jepa.settings.load`; this file only says what exists and what fits together.
"""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from lang_jepa.settings.data import DataSettings, Section
from lang_jepa.settings.run import LoggingSettings, MetaSettings, OptimizationSettings, RunSettings


class ModelSettings(Section):
    """Encoder, head and predictor."""

    pretrained: bool = True
    """Start from the weights at `data.tokenizer_path` (or `weights_path`); false: from scratch."""
    weights_path: str | None = None
    """Pretrained weights by name or folder, if not those of `data.tokenizer_path`."""
    architecture: Literal["roberta", "bert", "modernbert", "gpt2"] = "roberta"
    """Architecture of an encoder from scratch."""
    embed_dim: int = Field(default=768, ge=4)
    """Width of the encoder. A pretrained encoder must have it."""
    pred_dim: int = Field(default=768, ge=4)
    """Width of the prediction; must equal embed_dim, since the target side has no projection."""
    max_length: int = Field(default=512, ge=8)
    """Longest token sequence of one pass, special tokens included; contexts are cut on the left."""
    num_layers: int = Field(default=12, ge=0)
    """Transformer layers (from scratch). 0 is a bag of token embeddings."""
    num_heads: int = Field(default=12, ge=1)
    """Attention heads (from scratch)."""
    mlp_ratio: float = Field(default=4.0, gt=0)
    """Hidden width of the MLP over embed_dim (from scratch)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of hidden states, in pretrained encoders and the predictor too."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of attention probabilities; above 0 it keeps attention off its fast path."""
    embedding_std: float | None = Field(default=None, gt=0)
    """Standard deviation of freshly initialised token embeddings (null: the architecture's own, .02)."""
    residual_scale: float = Field(default=1.0, gt=0)
    """Factor on the initial weights of the residual outputs (attention and MLP) of an encoder from scratch."""
    head: Literal["none", "linear", "whitened"] = "none"
    """Linear map after pooling, part of the encoder: none, identity at the start, or ZCA whitening at the start."""
    head_sample: int = Field(default=4000, ge=16)
    """Training sentences from which the whitening start is estimated."""
    whitening_power: float = Field(default=0.5, ge=0, le=0.5)
    """Power of the inverse covariance that a whitened head begins with: .5 makes all directions alike, .25 evens out
    half of their spread (in logarithms), 0 only takes the mean out."""
    score_sample: int = Field(default=4000, ge=16)
    """Training predictions, with their targets, from which the score statistics are estimated when training ends. The
    similarity `predictable` gains from many more of them than there are dimensions."""
    freeze_encoder: bool = False
    """Train the predictor alone (head included in what is frozen); needs objective.target=frozen. With
    `data.context=concepts` or `data.view=masked_concepts` each sentence is then encoded once and kept beside the
    corpus (not in a stream)."""
    predictor: Literal[
        "attention_query",
        "mask_mlp",
        "linear",
        "transformer",
        "identity",
        "concept_transformer",
        "recency_transformer",
        "neighbour_weights",
        "neighbour_gates",
        "neighbour_attention",
    ] = "attention_query"
    """What reads the context: one learnt query over its tokens; an MLP on the state of the mask token; Linear and
    LayerNorm on the context's mean; a bidirectional transformer over the passage's sentence vectors, read at the
    mask; the context's mean itself; a causal transformer over sentence vectors (`concepts`); the same as a correction,
    zero at the start, of their recency-weighted mean (`concepts`); the weighted sum of the neighbours, which starts as
    the recency-weighted mean; the same with weights that also depend on how the neighbours resemble each other; the
    weighted sum with a learnt correction (the last three: `masked_concepts`)."""
    predictor_layers: int = Field(default=1, ge=1)
    """Layers of the transformer predictors."""
    predictor_heads: int = Field(default=4, ge=1)
    """Attention heads of the predictor."""


class ObjectiveSettings(Section):
    """The regularizer and how targets are prepared; the distance is `optimization.loss_fn`."""

    center_targets: bool = False
    """Subtract a running mean of the targets from both sides before the distance (not in `mse`, where it cancels)."""
    target: Literal["ema", "shared", "frozen"] = "ema"
    """What targets are made with: a moving average of the encoder, the encoder itself, or an encoder that stays as it
    is. Predictions then live in that encoder's space; with `frozen`, the encoder that training changes is kept."""
    target_gradient: bool = False
    """Let the gradient flow into the targets too, and regularize them as a second view (`shared` only): LeJEPA."""
    teacher_path: str | None = None
    """Encoder of a `frozen` target: a run or model directory of ours, or a pretrained encoder by name or folder, with
    the same tokenizer and width (null: the encoder's own starting weights)."""
    regularizer: Literal["none", "vicreg", "sigreg"] = "none"
    """Term on the un-normalised online embeddings of the context's sentences or spans."""
    regularizer_weight: float = Field(default=1.0, ge=0)
    """Weight of the regularizer in the sum, at the first step. LeJEPA's (1 - lambda) * prediction + lambda * SIGReg is
    prediction_weight = 1 - lambda and regularizer_weight = lambda (.05 in the paper)."""
    final_regularizer_weight: float | None = Field(default=None, ge=0)
    """Weight of the regularizer at the last step, reached by a cosine (null: the same throughout). Lower keeps the
    early spread and lets the encoder forget wording later."""
    prediction_weight: float = Field(default=1.0, gt=0)
    """Weight of the prediction distance in the sum (VICReg's 25)."""
    vicreg_variance: float = Field(default=25.0, ge=0)
    """Weight of VICReg's variance term."""
    vicreg_covariance: float = Field(default=1.0, ge=0)
    """Weight of VICReg's covariance term."""
    sigreg_directions: int = Field(default=256, ge=1)
    """Random directions along which SIGReg looks at every step (paper: 1024)."""
    sigreg_knots: int = Field(default=17, ge=2)
    """Places at which SIGReg compares characteristic functions, 0 included."""
    sigreg_range: float = Field(default=3.0, gt=0)
    """The largest of these places, in inverse standard deviations."""


class EncoderOptimizationSettings(OptimizationSettings):
    """Optimizer, schedules and budget; everything counts optimizer steps."""

    epochs: int = Field(default=5, ge=1)
    """Passes over the training documents (ignored when max_steps is set)."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps in all; the schedules end here. Required when streaming."""
    lr: float = Field(default=1e-4, gt=0)
    """Peak learning rate."""
    final_lr: float = Field(default=1e-6, ge=0)
    """Learning rate at the last step (cosine)."""
    warmup: float = Field(default=2, ge=0)
    """Linear warm-up in epochs, never more than a tenth of the run."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Linear warm-up in steps; takes the place of `warmup`."""
    weight_decay: float = Field(default=0.04, ge=0)
    """Weight decay of matrices at the first step."""
    final_weight_decay: float = Field(default=0.4, ge=0)
    """Weight decay at the last step (cosine)."""
    loss_fn: Literal["smooth_l1", "cosine", "mse", "contrastive"] = "smooth_l1"
    """Distance between prediction and target: `cosine` of directions, `smooth_l1` of vectors scaled to unit RMS, `mse`
    of the vectors as they are; `contrastive` is the cross-entropy of finding the target among all targets of the batch
    (InfoNCE)."""
    momentum_start: float = Field(default=0.996, ge=0, le=1)
    """Momentum of the EMA target at the first step."""
    momentum_end: float = Field(default=1.0, ge=0, le=1)
    """Momentum of the EMA target at the last step (cosine)."""
    grad_accum_steps: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step. They do not enlarge the batch a regularizer sees."""
    embedding_lr_multiplier: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the token embeddings."""
    encoder_lr_multiplier: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the whole encoder, embeddings included."""
    predictor_warmup_steps: int = Field(default=0, ge=0)
    """Steps in which only the predictor learns (a pretrained encoder is spared a random predictor's gradient)."""


class EncoderLoggingSettings(LoggingSettings):
    """What an encoder's run writes, and how often it is validated and saved."""

    log_dir: str = "logs/lang_jepa"
    """The run directory: checkpoints, metrics.csv, settings.yaml, examples.txt, model."""
    log_freq: int = Field(default=50, ge=1)
    """Optimizer steps between rows of training metrics."""
    checkpoint_freq: int | None = Field(default=1, ge=1)
    """Epochs between checkpoints of epochs (null: only the last and the best are kept)."""
    val_sentences: int = Field(default=1024, ge=8)
    """Held-out sentences, in all, that one validation may use."""
    best_metric: str | None = "val/retrieval/recall@1"
    """Held-out metric that decides which checkpoint is the best and becomes the model (null: the last one does)."""
    best_mode: Literal["max", "min"] = "max"
    """Whether best_metric should be large or small."""


class EncoderMetaSettings(MetaSettings):
    """Precision, device, seed, going on with a run, and what to do in trouble."""

    use_gradient_checkpointing: bool = False
    """Recompute encoder layers in the backward pass: less memory, about a third more time."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """What the collapse watch does when it rings."""


class Settings(RunSettings):
    """All settings of a training run of an encoder."""

    system: Literal["encoder"] = "encoder"
    """What is trained."""
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    optimization: EncoderOptimizationSettings = EncoderOptimizationSettings()
    logging: EncoderLoggingSettings = EncoderLoggingSettings()
    meta: EncoderMetaSettings = EncoderMetaSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Cross-field rules: see `check`."""
        check(self)
        return self


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


def check(settings: Settings) -> None:
    """Raise ValueError for the first rule that is broken."""
    for rule in (_sizes, _splitter, _schedules, _views, _predictors, _targets, _frozen):
        for complaint in rule(settings):
            raise ValueError(complaint)


def _sizes(settings: Settings) -> Iterator[str]:
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


def _splitter(settings: Settings) -> Iterator[str]:
    data = settings.data
    if data.splitter == "sat" and data.language != "en":
        yield "data.splitter=sat takes every text alike: leave data.language at en, or use data.splitter=rules."


def _schedules(settings: Settings) -> Iterator[str]:
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


def _views(settings: Settings) -> Iterator[str]:
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


def _predictors(settings: Settings) -> Iterator[str]:
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


def _targets(settings: Settings) -> Iterator[str]:
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


def _frozen(settings: Settings) -> Iterator[str]:
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
