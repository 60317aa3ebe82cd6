"""Every setting of a GPT that is trained on tokens, with or without a JEPA loss beside the cross-entropy.

`-o section.key=value` changes one of these, as do the environment variables of `python train_jepa.py` (see
`lang_jepa.training.environment`).
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from lang_jepa.settings.data import Address, DataSettings, LanguageCode, Section
from lang_jepa.settings.run import LoggingSettings, OptimizationSettings, RunSettings


def _heads(settings: "GPTSettings") -> Iterator[str]:
    model = settings.model
    if model.model_dim % model.num_heads:
        yield f"model.num_heads ({model.num_heads}) must divide model.model_dim ({model.model_dim})."
    if model.num_heads % model.num_kv_heads:
        yield f"model.num_kv_heads ({model.num_kv_heads}) must divide model.num_heads ({model.num_heads})."


def _layers(settings: "GPTSettings") -> Iterator[str]:
    model, last = settings.model, settings.model.num_layers - 1
    if len(model.loop_layers) != len(model.loop_starts):
        yield (
            f"model.loop_layers has {len(model.loop_layers)} entries and model.loop_starts {len(model.loop_starts)}: "
            "give each looped layer its start."
        )
    if len(set(model.loop_layers)) != len(model.loop_layers):
        yield f"model.loop_layers ({list(model.loop_layers)}) names a layer twice."
    if any(not 0 <= layer <= last for layer in model.loop_layers):
        yield (
            f"model.loop_layers ({list(model.loop_layers)}) must lie in 0 to {last}, since model.num_layers is "
            f"{model.num_layers}; set model.loop_layers=[] and model.loop_starts=[] for no loop."
        )
    if any(not 0 <= start <= 1 for start in model.loop_starts):
        yield f"model.loop_starts ({list(model.loop_starts)}) are fractions of training, 0 to 1."
    taps = {
        "jepa.layer": settings.jepa.layer,
        "evaluation.sentence_layer": settings.evaluation.sentence_layer,
    }
    for name, layer in taps.items():
        if layer > last:
            yield f"{name} ({layer}) must be -1 to {last}, since model.num_layers is {model.num_layers}."


def _spans(settings: "GPTSettings") -> Iterator[str]:
    jepa = settings.jepa
    if jepa.start_frac + jepa.ramp_frac > jepa.end_frac:
        yield (
            f"jepa.start_frac ({jepa.start_frac}) and jepa.ramp_frac ({jepa.ramp_frac}) reach beyond jepa.end_frac "
            f"({jepa.end_frac}): the full weight would never be reached."
        )


def _sizes(settings: "GPTSettings") -> Iterator[str]:
    data = settings.data
    if data.batch_tokens % data.seq_len:
        yield f"data.batch_tokens ({data.batch_tokens}) must be a multiple of data.seq_len ({data.seq_len})."
    micro = data.micro_batch_tokens
    if micro is not None and (micro % data.seq_len or data.batch_tokens % micro):
        yield (
            f"data.micro_batch_tokens ({micro}) must be a multiple of data.seq_len ({data.seq_len}) and divide "
            f"data.batch_tokens ({data.batch_tokens})."
        )


class GPTDataSettings(Section):
    """The source of the tokens, and how many make a step."""

    data_path: str | None = None
    """A folder of token shards (`*train_*.bin` and `*val_*.bin`) or a prepared corpus (null: the corpus of
    `train_file`, prepared first if needed)."""
    tokenizer_path: str = "trained"
    """For token shards: the SentencePiece model they were made with. For `train_file`: a Hugging Face tokenizer by name
    or folder, or `trained` (byte-level BPE learnt on the corpus). A prepared corpus has its own."""
    vocab_size: int = Field(default=1024, ge=300, le=65_536)
    """Size of the vocabulary. A `trained` tokenizer may find fewer ids in a small text; the vocabulary of shards, of a
    prepared corpus or of another tokenizer must have this size."""
    train_file: Address = "stories"
    """Documents to prepare, as in an encoder's `data.train_file`; used if data_path is null, as are the next nine."""
    text_column: str = "text"
    """Column with a document's text in parquet, JSON, CSV, TSV and hub sources."""
    include: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder to read, as patterns relative to it (empty: all files of a known kind)."""
    exclude: tuple[str, ...] = Field(default=(), strict=False)
    """Files of a folder to leave out, as patterns relative to it."""
    corpus_dir: Address = "corpora"
    """Folder for prepared corpora, or an address (s3://, gs://), as in an encoder's `data.corpus_dir`."""
    language: LanguageCode = "en"
    """Language of the texts; its abbreviations and dates decide where sentences end, here and in `evaluate`."""
    limit: int | None = Field(default=None, ge=1)
    """Maximum number of documents to read (null: all)."""
    min_length: int = Field(default=100, ge=0)
    """Reject documents with fewer characters. A Chinese, Japanese or Korean character counts as three; a Thai, Lao,
    Khmer, Burmese or Tibetan one as two."""
    val_fraction: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Share of documents held out for validation, chosen by a hash of the text."""
    prepare_workers: int | None = Field(default=None, ge=1)
    """Processes that prepare the corpus (null: one per core)."""
    seq_len: int = Field(default=1024, ge=4)
    """Tokens in a training sequence."""
    batch_tokens: int = Field(default=524_288, ge=4)
    """Tokens in an optimizer step, over all micro-batches and ranks."""
    micro_batch_tokens: int | None = Field(default=None, ge=4)
    """Tokens in one forward pass on one rank (null: the rank's whole share of the step)."""

    def corpus(self) -> DataSettings:
        """These settings as those of a corpus to prepare."""
        ours = {"data_path", "seq_len", "batch_tokens", "micro_batch_tokens"}
        return DataSettings(**self.model_dump(exclude=ours))


class GPTModelSettings(Section):
    """The transformer. The recipe `gpt_jepa_public` has the shape with which the idea was tried in public."""

    num_layers: int = Field(default=11, ge=1)
    """Transformer layers."""
    model_dim: int = Field(default=512, ge=4)
    """Width of the residual stream."""
    num_heads: int = Field(default=8, ge=1)
    """Query heads, of size model_dim / num_heads."""
    num_kv_heads: int = Field(default=4, ge=1)
    """Key and value heads, each shared by num_heads / num_kv_heads query heads (arXiv 2305.13245)."""
    mlp_mult: float = Field(default=4.0, gt=0)
    """Hidden width of the MLP as a multiple of model_dim."""
    activation_slope: float = Field(default=0.5, ge=0, le=1)
    """Slope of the MLP's activation below 0, before squaring (0: squared ReLU, arXiv 2109.08668)."""
    tie_embeddings: bool = True
    """Predict tokens with the token embeddings; false: with a separate matrix."""
    embedding_std: float = Field(default=0.005, gt=0)
    """Standard deviation of the initial token embeddings. Inputs are normalised, so it scales the initial logits."""
    logit_softcap: float | None = Field(default=30.0, gt=0)
    """Largest magnitude of a logit, approached by a tanh (arXiv 2408.00118; null: no limit)."""
    rope_base: float = Field(default=10_000.0, gt=1)
    """Base of the wavelengths of rotary positions (arXiv 2104.09864)."""
    rope_fraction: float = Field(default=1.0, ge=0, le=1)
    """Share of each head's dimensions that are rotated; the others carry no position."""
    qk_gain_init: float = Field(default=1.5, gt=0)
    """Initial value of each head's learnt factor on its normalised queries (QK-norm, arXiv 2010.04245)."""
    skips: bool = True
    """Add the output of each layer i in the first half, times a learnt gate per dimension, to the input of layer
    num_layers - 1 - i."""
    parallel_from: int | None = Field(default=None, ge=0)
    """First of the layers whose attention and MLP read the same input and are added together (null: none)."""
    loop_layers: tuple[int, ...] = Field(default=(), strict=False)
    """Layers that are applied twice, consecutive ones together: 4, 5 gives 3 4 5 4 5 6."""
    loop_starts: tuple[float, ...] = Field(default=(), strict=False)
    """Fraction of training from which each of loop_layers is applied twice."""


class SpanSettings(Section):
    """The JEPA loss: the hidden states of a span and of its surroundings should point the same way."""

    weight: float = Field(default=0.0, ge=0)
    """Weight lambda of the loss, added to the cross-entropy. With 0 it is not computed in training."""
    form: Literal["partition", "triple"] = "partition"
    """`partition`: the step through a span against the steps before and after it. `triple`: two consecutive steps
    between three positions (semantic tube, arXiv 2602.22617)."""
    max_span_frac: float = Field(default=0.5, gt=0, le=1)
    """Maximum length of a span, as a share of its document's tokens in the sequence (`triple`: of the distance from the
    first to the last position)."""
    spans: int = Field(default=1, ge=1)
    """Spans drawn in each sequence."""
    layer: int = Field(default=-1, ge=-1)
    """Layer whose output is compared (-1: the last, before its norm)."""
    start_frac: float = Field(default=0.0, ge=0, le=1)
    """Fraction of training from which the loss is added."""
    ramp_frac: float = Field(default=0.0, ge=0, le=1)
    """Fraction of training, after start_frac, over which the weight rises linearly."""
    end_frac: float = Field(default=1.0, ge=0, le=1)
    """Fraction of training from which only the cross-entropy is left."""


class GPTOptimizationSettings(OptimizationSettings):
    """Muon for matrices, AdamW for the rest; budget and schedule."""

    max_steps: int = Field(default=20_000, ge=1)
    """Total optimizer steps."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Seconds of training steps after which the run ends, unless max_steps come first. The schedule follows whichever
    is closer. A run with this limit depends on the clock, so it cannot be repeated bit for bit."""
    warmup_steps: int = Field(default=20, ge=0)
    """Length of the linear warm-up of all learning rates, in steps."""
    warmdown_steps: int = Field(default=1200, ge=0)
    """Length of the final linear warm-down of all learning rates to 0, in steps. With max_seconds it takes the time
    that so many steps have taken on average."""
    lr: float = Field(default=0.04, gt=0)
    """Learning rate of the layers' matrices (Muon), multiplied by sqrt(max(1, rows / columns))."""
    scalar_lr: float = Field(default=0.04, gt=0)
    """Learning rate of gains and gates (AdamW)."""
    embedding_lr: float = Field(default=0.05, gt=0)
    """Learning rate of the token embeddings (AdamW)."""
    head_lr: float = Field(default=0.008, gt=0)
    """Learning rate of an untied prediction matrix (AdamW)."""
    muon_momentum: float = Field(default=0.95, ge=0, lt=1)
    """Momentum of Muon."""
    muon_momentum_start: float = Field(default=0.85, ge=0, lt=1)
    """Momentum of Muon at the first step, from which it rises linearly."""
    muon_momentum_steps: int = Field(default=300, ge=0)
    """Steps over which the momentum of Muon rises."""
    muon_ns_steps: int = Field(default=5, ge=1)
    """Newton-Schulz iterations of Muon."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of the matrices."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of AdamW's first moment."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of AdamW's second moment."""
    clip_grad: float | None = Field(default=None, gt=0)
    """Largest global gradient norm (null: no clipping)."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of a moving average of the weights, which is evaluated and finally saved in their place (null: no
    average)."""


class GPTEvaluationSettings(Section):
    """How a run is validated on held-out tokens."""

    val_tokens: int | None = Field(default=None, ge=1)
    """Held-out tokens in a validation, from the beginning (null: all)."""
    val_batch_tokens: int = Field(default=65_536, ge=1)
    """Held-out tokens in one forward pass."""
    stride: int | None = Field(default=None, ge=1)
    """If set, the last validation is repeated with windows that advance by this many tokens, so that most tokens are
    predicted from a long context."""
    span_sequences: int = Field(default=64, ge=2)
    """Held-out sequences on which the span loss is measured at each validation, with and without the mean of each
    position."""
    sample_tokens: int = Field(default=64, ge=1)
    """Maximum tokens of a text generated at a validation."""
    temperature: float = Field(default=0.8, ge=0)
    """Sampling temperature of these texts (0: always the most likely token)."""
    top_k: int = Field(default=0, ge=0)
    """Number of most likely tokens that these texts are sampled from (0: all)."""
    sentence_layer: int = Field(default=-1, ge=-1)
    """Layer whose states, averaged over a text's tokens, give its vector in retrieval and STS (-1: the last, before its
    norm)."""


class GPTLoggingSettings(LoggingSettings):
    """What a GPT's run writes, and how often it validates and saves."""

    log_dir: str = "runs/gpt_jepa"
    """The run directory: checkpoints, metrics.csv, settings.yaml, samples.txt, model."""
    eval_freq: int | None = Field(default=1000, ge=1)
    """Optimizer steps between validations (null: one an epoch, at least ten a run), with one after the last step."""
    checkpoint_steps: int | None = Field(default=1000, ge=1)
    """Optimizer steps between saves of the last checkpoint (null: ten a run), with one after the last step."""
    num_examples: int = Field(default=3, ge=0)
    """Texts generated at each validation."""


class GPTSettings(RunSettings):
    """All settings of a GPT's training."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        **RunSettings.OLD_NAMES,
        "optimization.matrix_lr": "optimization.lr",
        "evaluation.val_every": "logging.eval_freq",
        "evaluation.num_samples": "logging.num_examples",
        "logging.log_every": "logging.log_freq",
        "logging.checkpoint_every": "logging.checkpoint_steps",
    }

    system: Literal["gpt"] = "gpt"
    """What is trained."""
    recipe: str = "gpt_jepa"
    """Name of the recipe that these settings are based on."""
    data: GPTDataSettings = GPTDataSettings()
    model: GPTModelSettings = GPTModelSettings()
    jepa: SpanSettings = SpanSettings()
    optimization: GPTOptimizationSettings = GPTOptimizationSettings()
    evaluation: GPTEvaluationSettings = GPTEvaluationSettings()
    logging: GPTLoggingSettings = GPTLoggingSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Raise ValueError for the first cross-field rule that is broken."""
        for complaint in chain(_heads(self), _layers(self), _spans(self), _sizes(self)):
            raise ValueError(complaint)
        return self
