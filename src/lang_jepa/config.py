"""Every setting there is, with its default, its meaning and its unit.

A recipe is a YAML file that changes some of these; `-o section.key=value` changes them again. The resolved
settings are saved in the run directory and everything later reads those. Reading and overriding lives in
`lang_jepa.settings`; this file only says what exists and what fits together.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lang_jepa.rules import check

# fmt: off
Language = Literal[
    "am", "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "fi", "fr", "gl", "gu", "hi", "hy", "it", "ja",
    "kk", "kn", "ml", "mr", "my", "nl", "pa", "pl", "pt", "ru", "sk", "ta", "te", "uk", "ur", "zh",
]
# fmt: on


def without_region(code: Any) -> Any:
    """The language of a code: `de` for `de-AT`, `zh` for `zh_CN`, `en` for `EN`. What is no text stays as it is."""
    return code.replace("_", "-").split("-")[0].lower() if isinstance(code, str) else code


LanguageCode = Annotated[Language, BeforeValidator(without_region)]
"""A language, which may be written with its region and in capitals: the rules of all its regions are the same."""


class Section(BaseModel):
    """A strict group of settings: unknown keys and wrong types are errors, fields are documented."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class DataSettings(Section):
    """From documents to batches."""

    train_file: str = "sample-10BT"
    """Where documents come from: `stories` (built in), a local file (.parquet, .jsonl, .json, .csv, .tsv, .txt, .md,
    .mdx, .rst, .html; .pdf and .docx by the extra `documents`; most also .gz or .zst), a folder of them, a FineWeb-Edu
    slice (`sample-10BT`), or a hub data set as `owner/name[:config][@split]`."""
    text_column: str = "text"
    """Column that holds a document's text in parquet, JSON, CSV, TSV and hub sources."""
    join_rows: int | None = Field(default=None, ge=2)
    """Rows that make one document at most, for sources whose rows are lines or paragraphs: joined by line breaks, empty
    ones as blank lines; a row that is a title, ` = Like This = `, begins the next document (null: each row is one)."""
    include: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder that are read, as patterns relative to it: `["guide/**/*.md"]` (empty: all of a known kind). A
    pattern that matches nothing is an error."""
    exclude: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder that are left out, as patterns relative to it: `["**/CHANGELOG.md", "drafts"]`."""
    corpus_dir: str = "corpora"
    """Folder in which prepared corpora are kept, one subfolder per fingerprint."""
    tokenizer_path: str = "roberta-base"
    """Hugging Face tokenizer by name or folder, or `trained` (byte-level BPE learnt on the corpus). Also the
    weights' place when `model.pretrained`."""
    vocab_size: int = Field(default=8192, ge=300, le=1_000_000)
    """Vocabulary size of a `trained` tokenizer."""
    limit: int | None = Field(default=10_000, ge=1)
    """Take at most so many documents (null: all)."""
    min_length: int = Field(default=100, ge=0)
    """Reject documents with fewer characters. One of Chinese, Japanese or Korean counts as three, one of Thai, Lao,
    Khmer, Burmese or Tibetan as two."""
    min_sentences: int = Field(default=2, ge=1)
    """Reject documents with fewer sentences."""
    max_sentence_chars: int = Field(default=1000, ge=20)
    """Split longer sentences at their best boundary, in characters; the pieces are kept in order."""
    language: LanguageCode = "en"
    """Language of the texts, by whose abbreviations and dates sentences are told apart (see docs/corpus.md)."""
    splitter: Literal["rules", "sat"] = "rules"
    """Sentence splitter: offline rules, or wtpsplit's SaT model (extra `sat`)."""
    splitter_device: str = "cpu"
    """Device of the `sat` splitter."""
    deduplicate: Literal["none", "exact", "near"] = "near"
    """Drop repeated documents before the split: same text, or most sentences seen before."""
    near_duplicate_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """A document is a near-duplicate when this share of its sentences occurred in earlier documents; sentences of four
    or more documents are boilerplate and do not count, unless one document has .8 of all its sentences."""
    val_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of documents held out for validation, chosen by a hash of the text."""
    prepare_workers: int | None = Field(default=None, ge=1)
    """Processes that prepare the corpus (null: one per core)."""
    streaming: bool = False
    """Read documents as an endless stream instead of preparing them first; needs optimization.max_steps."""
    shuffle_buffer: int = Field(default=10_000, ge=1)
    """Documents in one block of a stream; documents are shuffled inside a block."""
    view: Literal["next_sentence", "masked_sentences", "masked_concepts", "spans", "same_sentence"] = (
        "next_sentence"
    )
    """What is predicted from what: the sentence after a context; hidden sentences of a passage; every sentence of a
    passage from the vectors of its neighbours before it, after it, and on both sides; the second part of a chunk of
    tokens from its first; a sentence from itself (with a crop, or by dropout alone)."""
    context: Literal["window", "causal", "concepts"] = "window"
    """How the context of `next_sentence` is computed: `window` (bidirectional over up to window_size sentences),
    `causal` (one pass over a passage, every boundary a target) or `concepts` (each sentence alone, then a causal
    transformer)."""
    window_size: int = Field(default=8, ge=1)
    """Sentences of context at most (`masked_concepts`: on each side). In `causal` each layer looks so many sentences
    back, so that with n layers a prediction is reached by (n + 1) (window_size - 1) + 1 sentences in training;
    inference shows window_size."""
    passage_size: int = Field(default=16, ge=2)
    """Sentences in one passage at most (`causal`, `concepts`, `masked_sentences` and `masked_concepts`)."""
    horizons: int = Field(default=1, ge=1)
    """Sentences ahead that training predicts (`next_sentence`): targets +1 to +horizons from one context pass. Looks,
    retrieval and inference ask for the next one."""
    masked_sentences: int = Field(default=2, ge=1)
    """Sentences hidden in each passage (`masked_sentences`), never all of them; each becomes one mask token."""
    target_context: Literal["alone", "in_context"] = "alone"
    """What a hidden sentence's target is (`masked_sentences`): its embedding when encoded alone, or the mean over its
    tokens in the target encoder's pass over the whole passage."""
    chunk_size: int = Field(default=256, ge=2)
    """Tokens of a document that are cut in two at a random place (`spans`), special tokens left out."""
    span_min_length: int = Field(default=16, ge=1)
    """Tokens of the shorter part at least (`spans`). A document's rest below twice as much is left out."""
    crop: float | None = Field(default=None, gt=0, lt=1)
    """Share of a sentence's tokens that each side sees, a run at a random place (`same_sentence`; null: all of them,
    so that only dropout tells the sides apart)."""
    batch_size: int = Field(default=32, ge=1)
    """Examples in a batch on each rank: context-target pairs (`window`), passages (`causal`, `concepts`,
    `masked_sentences`, `masked_concepts`), chunks (`spans`) or sentences (`same_sentence`)."""
    batch_tokens: int | None = Field(default=None, ge=16)
    """If set, batches are filled up to this many tokens instead of counting examples."""
    pool_batches: int = Field(default=64, ge=1)
    """Batches in one length-sorted pool: larger pads less, smaller shuffles more finely."""
    num_workers: int = Field(default=4, ge=0)
    """Loader processes per rank (0: in the training process)."""


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


class OptimizationSettings(Section):
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
    clip_grad: float | None = Field(default=1.0, gt=0)
    """Largest global gradient norm (null: no clipping)."""
    embedding_lr_multiplier: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the token embeddings."""
    encoder_lr_multiplier: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the whole encoder, embeddings included."""
    predictor_warmup_steps: int = Field(default=0, ge=0)
    """Steps in which only the predictor learns (a pretrained encoder is spared a random predictor's gradient)."""


class LoggingSettings(Section):
    """What a run writes and how often it looks at itself."""

    log_dir: str = "logs/lang_jepa"
    """The run directory: checkpoints, metrics.csv, settings, model."""
    log_freq: int = Field(default=50, ge=1)
    """Optimizer steps between rows of training metrics."""
    checkpoint_freq: int = Field(default=1, ge=1)
    """Epochs between checkpoints of epochs."""
    keep_checkpoints: int | None = Field(default=3, ge=1)
    """Checkpoints of epochs that stay, the latest (null: all of them). The last and the best checkpoint always stay, as
    does one that is gone on from."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between saves of the last checkpoint (null: ten a run); the end of an epoch saves too."""
    eval_freq: int | None = Field(default=None, ge=1)
    """Optimizer steps between looks at held-out data (null: once an epoch, at least ten a run)."""
    val_sentences: int = Field(default=1024, ge=8)
    """Held-out sentences, in all, that one look may use."""
    best_metric: str | None = "val/retrieval/recall@1"
    """Held-out metric that decides which checkpoint is the best and becomes the model (null: the last one does)."""
    best_mode: Literal["max", "min"] = "max"
    """Whether best_metric should be large or small."""
    num_examples: int = Field(default=3, ge=0)
    """Held-out contexts logged as text with what the prediction retrieves."""
    log_to_wandb: bool = False
    """Also log to Weights & Biases (extra `wandb`)."""
    log_to_tensorboard: bool = False
    """Also log to TensorBoard (extra `tensorboard`)."""


class MetaSettings(Section):
    """Precision, device, seeds and what to do in trouble."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds initial weights, data order and dropout."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    use_bfloat16: bool = False
    """bf16 autocast; weights and optimizer stay fp32."""
    use_gradient_checkpointing: bool = False
    """Recompute encoder layers in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """torch.compile the encoder (worth trying on a GPU; measured without gain on a CPU)."""
    load_checkpoint: bool = False
    """Resume from checkpoint_path, or from the run directory's last checkpoint."""
    checkpoint_path: str | None = None
    """Checkpoint to resume from."""
    timeout_minutes: float = Field(default=10.0, gt=0)
    """Minutes without a sign of life from another process of the run (torchrun) after which this one ends, as a
    fraction too; a collective may wait as long, at least five minutes. Preparing and exporting have no limit."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """What the collapse watch does when it rings."""


class Settings(Section):
    """All settings of a training run of an encoder."""

    recipe: str = "next_sentence"
    """Name of the recipe these settings began from."""
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    optimization: OptimizationSettings = OptimizationSettings()
    logging: LoggingSettings = LoggingSettings()
    meta: MetaSettings = MetaSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Cross-field rules: see `lang_jepa.rules`."""
        check(self)
        return self
