"""Every setting of an encoder, with its default, its meaning and its unit, and the rules that combinations must meet.

A recipe is a YAML file that changes some of these; `-o section.key=value` changes them again. The resolved settings are
saved in the run directory, and everything later reads those. `lang_jepa.settings.load` does the reading and overriding.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from lang_jepa.settings.data import DataSettings, Section
from lang_jepa.settings.parts import (
    AXES,
    DISTANCE,
    PREDICTOR,
    REGULARIZER,
    TARGET,
    VIEW,
    Parts,
    parts_of,
)
from lang_jepa.settings.run import LoggingSettings, MetaSettings, OptimizationSettings, RunSettings


class ModelSettings(Section):
    """Encoder, head and predictor."""

    pretrained: bool = True
    """Start from the weights at `data.tokenizer_path` (or `weights_path`); false: train from scratch."""
    weights_path: str | None = None
    """Pretrained weights, by name or folder, if not those of `data.tokenizer_path`."""
    architecture: Literal["roberta", "bert", "modernbert", "gpt2"] = "roberta"
    """Architecture of an encoder from scratch."""
    embed_dim: int = Field(default=768, ge=4)
    """Width of the encoder; a pretrained encoder must have this width."""
    pred_dim: int = Field(default=768, ge=4)
    """Width of the prediction; must equal embed_dim, since the target side has no projection."""
    max_length: int = Field(default=512, ge=8)
    """Maximum tokens of a sequence in one pass, special tokens included; contexts are cut on the left."""
    num_layers: int = Field(default=12, ge=0)
    """Transformer layers (from scratch). 0 is a bag of token embeddings."""
    num_heads: int = Field(default=12, ge=1)
    """Attention heads (from scratch)."""
    mlp_ratio: float = Field(default=4.0, gt=0)
    """Hidden width of the MLP as a multiple of embed_dim (from scratch)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout probability of hidden states, also in pretrained encoders and in the predictor."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability of attention weights; above 0 it keeps attention off its fast path."""
    embedding_std: float | None = Field(default=None, gt=0)
    """Standard deviation of freshly initialised token embeddings (null: the architecture's own, .02)."""
    residual_scale: float = Field(default=1.0, gt=0)
    """Factor on the initial weights of the residual outputs (attention and MLP) of an encoder from scratch."""
    head: Literal["none", "linear", "whitened"] = "none"
    """Linear map after pooling, part of the encoder: none, or starting as the identity (`linear`) or ZCA whitening."""
    head_sample: int = Field(default=4000, ge=16)
    """Training sentences from which the initial whitening is estimated."""
    whitening_power: float = Field(default=0.5, ge=0, le=0.5)
    """Power of the inverse covariance with which a whitened head starts: .5 gives all directions equal variance, .25
    evens out half of their spread (in logarithms), 0 only removes the mean."""
    score_sample: int = Field(default=4000, ge=16)
    """Training predictions, with their targets, from which the score statistics are estimated at the end of training
    and `ridge_transformer` is solved. The similarity `predictable` benefits from many more of them than there are
    dimensions."""
    freeze_encoder: bool = False
    """Train only the predictor, with the encoder and its head frozen; needs objective.target=frozen. With
    `data.context=concepts` or `data.view=masked_concepts` each sentence is then encoded once and cached beside the
    corpus (not in a stream)."""
    predictor: Annotated[str, PREDICTOR] = "attention_query"
    """How the context is read. `attention_query`: one learnt query over its tokens; `mask_mlp`: an MLP on the state of
    the mask token; `linear`: Linear and LayerNorm on its mean; `transformer`: a bidirectional transformer over the
    passage's sentence vectors, read at the mask; `identity`: its mean, unchanged. With `concepts`: a causal transformer
    over sentence vectors (`concept_transformer`); the same as a correction, zero at the start, of their
    recency-weighted mean (`recency_transformer`); `turn_transformer` reads each prediction's window, with positions
    counted from the target, and the speakers; `ridge_transformer` starts as a ridge regression of the next vector,
    solved on training pairs. With `masked_concepts`: a weighted sum of the neighbours that starts as the
    recency-weighted mean (`neighbour_weights`), the same with weights that also depend on how similar the neighbours
    are (`neighbour_gates`), or with a learnt correction (`neighbour_attention`)."""
    predictor_layers: int = Field(default=1, ge=1)
    """Layers of a transformer predictor."""
    predictor_heads: int = Field(default=4, ge=1)
    """Attention heads of the predictor."""


class ObjectiveSettings(Section):
    """The targets and the regularizer; the distance is `optimization.loss_fn`."""

    center_targets: bool = False
    """Subtract a running mean of the targets from both sides before the distance (not in `mse`, where it cancels)."""
    target: Annotated[str, TARGET] = "ema"
    """Encoder of the targets: a moving average of the trained one (`ema`), the trained one itself (`shared`), or one
    that never changes (`frozen`). Predictions lie in its space; with `frozen`, the trained encoder is the one saved."""
    target_gradient: bool = False
    """Let gradients flow into the targets too, and regularize them as a second view (`shared` only), as in LeJEPA."""
    teacher_path: str | None = None
    """Encoder of a `frozen` target: a run or model directory, or a pretrained encoder by name or folder, with the same
    tokenizer and width (null: the encoder's own initial weights)."""
    regularizer: Annotated[str, REGULARIZER] = "none"
    """Loss term on the unnormalised online embeddings of the context's sentences or spans."""
    regularizer_weight: float = Field(default=1.0, ge=0)
    """Weight of the regularizer in the loss at the first step. LeJEPA's (1 - lambda) * prediction + lambda * SIGReg is
    prediction_weight = 1 - lambda and regularizer_weight = lambda (.05 in the paper)."""
    final_regularizer_weight: float | None = Field(default=None, ge=0)
    """Weight of the regularizer at the last step, reached by a cosine (null: constant). A lower final weight keeps the
    early spread and lets the encoder forget wording later."""
    prediction_weight: float = Field(default=1.0, gt=0)
    """Weight of the prediction distance in the loss (VICReg: 25)."""
    contrastive_temperature: float = Field(default=0.1, gt=0)
    """Temperature of `optimization.loss_fn=contrastive`; a lower one emphasises the hardest wrong targets."""
    contrastive_near: int = Field(default=8, ge=0)
    """Targets at most this many sentences from a prediction's own do not count as wrong. 8 is the usual size of a
    context; use 0 for text that does not repeat what was just said, such as dialogues. At most the largest of
    data.window_size, data.passage_size and 8."""
    vicreg_variance: float = Field(default=25.0, ge=0)
    """Weight of VICReg's variance term."""
    vicreg_covariance: float = Field(default=1.0, ge=0)
    """Weight of VICReg's covariance term."""
    sigreg_directions: int = Field(default=256, ge=1)
    """Random directions that SIGReg tests at every step (paper: 1024)."""
    sigreg_knots: int = Field(default=17, ge=2)
    """Number of positions at which SIGReg compares characteristic functions, 0 included."""
    sigreg_range: float = Field(default=3.0, gt=0)
    """The largest of these positions, in inverse standard deviations."""

    @property
    def regularized(self) -> bool:
        """Whether there is a regularizer at all."""
        return self.regularizer != "none"


class EncoderOptimizationSettings(OptimizationSettings):
    """Optimizer, schedules and budget; steps are optimizer steps."""

    epochs: int = Field(default=5, ge=1)
    """Passes over the training documents (ignored when max_steps is set)."""
    max_steps: int | None = Field(default=None, ge=1)
    """Total optimizer steps; the schedules end here. Required when streaming."""
    lr: float = Field(default=1e-4, gt=0)
    """Peak learning rate."""
    final_lr: float = Field(default=1e-6, ge=0)
    """Learning rate at the last step (cosine)."""
    warmup: float = Field(default=2, ge=0)
    """Length of the linear warm-up, in epochs, but never more than a tenth of the run."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Length of the linear warm-up, in steps; replaces `warmup`."""
    weight_decay: float = Field(default=0.04, ge=0)
    """Weight decay of matrices at the first step."""
    final_weight_decay: float = Field(default=0.4, ge=0)
    """Weight decay at the last step (cosine)."""
    loss_fn: Annotated[str, DISTANCE] = "smooth_l1"
    """Distance between prediction and target: `cosine` of directions, `smooth_l1` of vectors scaled to unit RMS, `mse`
    of unscaled vectors; `contrastive` is the cross-entropy of finding the target among all targets of the batch
    (InfoNCE)."""
    momentum_start: float = Field(default=0.996, ge=0, le=1)
    """Momentum of the EMA target at the first step."""
    momentum_end: float = Field(default=1.0, ge=0, le=1)
    """Momentum of the EMA target at the last step (cosine)."""
    grad_accum_steps: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step; they do not enlarge the batch that a regularizer sees."""
    embedding_lr_multiplier: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the token embeddings."""
    encoder_lr_multiplier: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the whole encoder, embeddings included."""
    predictor_warmup_steps: int = Field(default=0, ge=0)
    """Initial steps in which only the predictor learns, sparing a pretrained encoder a random predictor's gradients."""


class EncoderLoggingSettings(LoggingSettings):
    """What an encoder's run writes, and how often it validates and saves."""

    log_dir: str = "logs/lang_jepa"
    """The run directory: checkpoints, metrics.csv, settings.yaml, examples.txt, model."""
    log_freq: int = Field(default=50, ge=1)
    """Optimizer steps between rows of training metrics."""
    checkpoint_freq: int | None = Field(default=1, ge=1)
    """Epochs between epoch checkpoints (null: none; only the last and the best checkpoint are kept)."""
    val_sentences: int = Field(default=1024, ge=8)
    """Maximum held-out sentences that one validation uses, in total."""
    best_metric: str | None = "val/retrieval/recall@1"
    """Held-out metric that selects the best checkpoint, which becomes the model (null: the last one does)."""
    best_mode: Literal["max", "min"] = "max"
    """Whether a larger or a smaller best_metric is better."""


class EncoderMetaSettings(MetaSettings):
    """Precision, device, seed, starting weights and resuming, and the reaction to collapse."""

    use_gradient_checkpointing: bool = False
    """Recompute encoder layers in the backward pass, which saves memory and takes about a third more time."""
    start_from: str | None = None
    """Run or model directory with the initial weights, predictor included; sizes and tokenizer must be the same
    (`lang-jepa train --from RUN` sets them). The text may be different: this does not resume a run."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """Whether a warning of the collapse monitor stops the run."""


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
    own_view: dict[str, Any] = Field(default={})
    """Settings defined by a view of your own (see docs/own_parts.md)."""
    own_predictor: dict[str, Any] = Field(default={})
    """Settings defined by a predictor of your own."""
    own_target: dict[str, Any] = Field(default={})
    """Settings defined by a target of your own."""
    own_regularizer: dict[str, Any] = Field(default={})
    """Settings defined by a regularizer of your own."""
    own_distance: dict[str, Any] = Field(default={})
    """Settings defined by a distance of your own."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Raise ValueError for the first broken rule between fields (those about parts ask the parts' classes); fill in
        the defaults of the settings of custom parts.
        """
        parts = parts_of(self)
        rules = (
            _sizes(self),
            _splitter(self),
            _schedules(self),
            _views(self, parts),
            parts.view.complaints(self),
            _contrasts(self, parts),
            _predictors(self, parts),
            _targets(self, parts),
            _frozen(self, parts),
        )
        for complaint in chain.from_iterable(rules):
            raise ValueError(complaint)
        for axis, part in zip(AXES, parts, strict=True):
            own = axis.own_settings(part, getattr(self, axis.section)) if ":" in axis.chosen(self) else None
            self.__dict__[axis.section] = {} if own is None else own.model_dump(mode="json")
        return self

    @model_serializer(mode="wrap")
    def _without_empty(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the `own_*` sections that are empty."""
        tree: dict[str, Any] = dump(self)
        return {name: one for name, one in tree.items() if one or not name.startswith("own_")}


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
        yield (f"model.predictor_heads ({model.predictor_heads}) must divide model.embed_dim ({model.embed_dim}).")


def _splitter(settings: Settings) -> Iterator[str]:
    data = settings.data
    if data.group_column is not None and data.join_rows is not None:
        yield "data.join_rows and data.group_column both make documents of rows: set one of them."
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


_OF_ONE_VIEW = ("context", "horizons", "crop")
"""Data settings that change what a view is: with a view that does not read them they must keep their default values."""


def _views(settings: Settings, parts: Parts) -> Iterator[str]:
    data, view = settings.data, parts.view
    for name in _OF_ONE_VIEW:
        value, usual = getattr(data, name), DataSettings.model_fields[name].default
        if value != usual and f"data.{name}" not in view.reads:
            owners = [known for known, one in VIEW.built_in.items() if f"data.{name}" in one.reads]
            yield (
                f"data.{name}={value} belongs to data.view={' or '.join(owners)}, not to {data.view}: leave it at "
                f"{'null' if usual is None else usual}."
            )
    lonely = view.one_each and data.batch_size == 1 and not data.batch_tokens
    if lonely and parts.regularizer is not None and parts.regularizer.compares_rows:
        yield (
            f"{parts.regularizer.__name__} has nothing to act on where a batch holds one embedding: raise "
            "data.batch_size."
        )
    alike = data.crop is None and not settings.model.dropout and not settings.model.attention_dropout
    if view.same_text and alike and not parts.target.stays:
        yield (
            f"in data.view={data.view} both sides would be equal: set data.crop (.6, say) or model.dropout, or "
            "take another encoder as the target (objective.target=frozen)."
        )


def _contrasts(settings: Settings, parts: Parts) -> Iterator[str]:
    """Check that a distance that needs wrong targets has some."""
    data, near = settings.data, settings.objective.contrastive_near
    if "objective.contrastive_near" not in parts.distance.reads:
        return
    most = max(data.window_size, data.passage_size, ObjectiveSettings.model_fields["contrastive_near"].default)
    if near > most:
        yield (
            f"objective.contrastive_near={near} exceeds the size of a context or passage ({most}) and leaves few wrong "
            f"targets, or none in a small text: set {most} or less."
        )
    each = 1 if parts.view.one_each else data.passage_size
    if data.batch_size == 1 and not data.batch_tokens and near >= each - 1:
        yield (
            f"optimization.loss_fn={settings.optimization.loss_fn} has no wrong targets where a batch holds one "
            "example: raise data.batch_size."
        )


def _predictors(settings: Settings, parts: Parts) -> Iterator[str]:
    data, name, view = settings.data, settings.model.predictor, parts.view
    if data.speakers == "embedding" and not parts.predictor.reads_speakers:
        readers = " or ".join(known for known, one in PREDICTOR.built_in.items() if one.reads_speakers)
        yield f"data.speakers=embedding needs a predictor that reads speakers: set model.predictor={readers}."
    if parts.predictor.closed_form and data.horizons != 1:
        yield f"model.predictor={name} predicts the next sentence alone: leave data.horizons at 1."
    if parts.predictor.closed_form and settings.objective.teacher_path is not None:
        yield f"model.predictor={name} is solved in the encoder's own space: leave objective.teacher_path out."
    if parts.predictor.fits(view):
        return
    fitting = [known for known, one in PREDICTOR.built_in.items() if one.fits(view)]
    fitting.sort(key=lambda known: known != view.usual_predictor)  # the usual one first
    advice = f"set model.predictor={fitting[0]}"
    if parts.predictor.needs:
        yield f"model.predictor={name} {parts.predictor.needs} or {advice}."
    place = f"data.context={data.context}" if "data.context" in view.reads else f"data.view={data.view}"
    yield f"model.predictor={name} does not fit {place}: {advice} (fitting: {', '.join(fitting)})."


def _targets(settings: Settings, parts: Parts) -> Iterator[str]:
    objective, reads = settings.objective, parts.target.reads
    if objective.target_gradient and "objective.target_gradient" not in reads:
        yield (
            f"objective.target_gradient needs a target that can learn: set objective.target=shared, not "
            f"{objective.target}."
        )
    if objective.teacher_path is not None and "objective.teacher_path" not in reads:
        yield f"objective.teacher_path needs objective.target=frozen; it is {objective.target}."
    if objective.center_targets and parts.distance.uncentred:
        yield (
            f"objective.center_targets {parts.distance.uncentred.format(settings.optimization.loss_fn)}: set "
            "objective.center_targets=false."
        )


def _frozen(settings: Settings, parts: Parts) -> Iterator[str]:
    objective = settings.objective
    if not settings.model.freeze_encoder:
        return
    if not parts.target.stays:
        yield (
            f"model.freeze_encoder with objective.target={objective.target}: the target would never move; say so "
            "with objective.target=frozen."
        )
    if objective.regularized:
        yield "model.freeze_encoder leaves nothing to regularize: set objective.regularizer=none."
    if not parts.predictor.learns:
        yield f"model.freeze_encoder with model.predictor={settings.model.predictor} leaves nothing to train."
