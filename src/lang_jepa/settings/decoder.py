"""Every setting of a concept decoder: text from the concepts of a trained encoder.

The encoder keeps the settings it was trained with (`lang_jepa.settings.encoder`). `-d section.key=value` changes one of
the settings here, `-o` one of the encoder's `data` settings, which define the decoder's corpus.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from lang_jepa.settings.data import Section
from lang_jepa.settings.run import LoggingSettings, OptimizationSettings, RunSettings


class DecoderModelSettings(Section):
    """The causal transformer that turns a concept into text."""

    hidden_dim: int = Field(default=1536, ge=4)
    """Width of the decoder."""
    num_layers: int = Field(default=4, ge=1)
    """Transformer layers."""
    num_heads: int = Field(default=8, ge=1)
    """Attention heads."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout probability of embeddings, attention probabilities and residual branches."""
    max_length: int = Field(default=128, ge=2)
    """Maximum tokens of a text, its end token included; longer sentences are cut on the right."""
    prefix_length: int = Field(default=4, ge=1)
    """Vectors that the concept is mapped to, for text tokens to attend to. With a single one, attention to the concept
    would be a constant."""
    whiten: bool = True
    """Remove the mean and covariance of the training concepts first, so that directions in which an encoder varies
    little are as easy to read as the others."""
    noise: float = Field(default=0.0, ge=0)
    """Noise on the standardised concepts in training, up to this many standard deviations, on half of them on average,
    so that training covers concepts that no sentence has. It makes reconstruction somewhat less exact."""
    tokenizer_path: str | None = None
    """Tokenizer of the text, by Hugging Face name or folder (null: the encoder's)."""


class DecoderDataSettings(Section):
    """The encoder, the sentences of its corpus, and the batches."""

    encoder: str | None = None
    """Run directory, model directory or checkpoint of the encoder, which is not changed (`--encoder`)."""
    encoder_data: tuple[str, ...] = Field(default=(), strict=False)
    """Changes to the encoder's data settings, to train on other text than the encoder's:
    `["data.train_file=notes.md"]` (`-o`)."""
    batch_size: int = Field(default=32, ge=1)
    """Sentences in a batch, per rank."""
    pool_batches: int = Field(default=64, ge=1)
    """Batches per length-sorted pool: larger pools pad less, smaller ones shuffle more finely."""
    val_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of documents held out if the encoder's corpus (its data.val_fraction) holds none out."""
    predicted_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the training texts decoded from the concept predicted from their context instead of their own, so that
    predictions can be decoded too. Needs an encoder that predicts the next sentence."""


class DecoderOptimizationSettings(OptimizationSettings):
    """Optimizer, schedule and budget; steps are optimizer steps."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the training sentences (ignored when max_steps is set)."""
    lr: float = Field(default=1e-4, gt=0)
    """Peak learning rate."""
    final_lr: float = Field(default=0.0, ge=0)
    """Learning rate at the last step (cosine)."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Length of the linear warm-up, in steps (null: a twentieth of the run)."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of matrices."""
    grad_accum_steps: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step."""


class DecoderLoggingSettings(LoggingSettings):
    """What a decoder's run writes, and how often it validates and saves."""

    log_dir: str = "outputs/decoder"
    """The run directory: best_decoder.pt, last_decoder.pt, metrics.csv, samples.txt, settings.yaml."""
    eval_freq: int | None = Field(default=100, ge=1)
    """Optimizer steps between validations (null: one an epoch, at least ten a run), with one after the last step."""
    checkpoint_steps: int | None = Field(default=1000, ge=1)
    """Optimizer steps between saves of last_decoder.pt (null: ten a run), with one after the last step."""
    num_examples: int = Field(default=5, ge=0)
    """Held-out sentences shown with their reconstructions at each validation."""
    val_sentences: int = Field(default=1024, ge=8)
    """Maximum held-out sentences that one validation uses, in total."""


class DecoderSettings(RunSettings):
    """All settings of a decoder's training."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        **RunSettings.OLD_NAMES,
        "training.batch_size": "data.batch_size",
        "training.pool_batches": "data.pool_batches",
        "training.eval_ratio": "data.val_fraction",
        "training.predicted_share": "data.predicted_share",
        "training.num_epochs": "optimization.epochs",
        "training.max_steps": "optimization.max_steps",
        "training.learning_rate": "optimization.lr",
        "training.final_learning_rate": "optimization.final_lr",
        "training.warmup_steps": "optimization.warmup_steps",
        "training.weight_decay": "optimization.weight_decay",
        "training.grad_clip": "optimization.clip_grad",
        "training.grad_accum_steps": "optimization.grad_accum_steps",
        "training.output_dir": "logging.log_dir",
        "training.resume": "meta.load_checkpoint",
        "training.checkpoint_path": "meta.checkpoint_path",
        "training.seed": "meta.seed",
        "training.device": "meta.device",
        "training.use_bfloat16": "meta.precision",
        "training.timeout_minutes": "meta.timeout_minutes",
        "evaluation.eval_steps": "logging.eval_freq",
        "evaluation.eval_sentences": "logging.val_sentences",
        "evaluation.save_steps": "logging.checkpoint_steps",
        "evaluation.num_samples": "logging.num_examples",
        "evaluation.log_steps": "logging.log_freq",
        "evaluation.checkpoint_freq": "logging.checkpoint_freq",
        "evaluation.keep_checkpoints": "logging.keep_checkpoints",
        "evaluation.log_to_wandb": "logging.log_to_wandb",
        "evaluation.log_to_tensorboard": "logging.log_to_tensorboard",
    }

    system: Literal["decoder"] = "decoder"
    """What is trained."""
    recipe: str = "concept_decoder"
    """Name of the recipe that these settings are based on."""
    decoder: DecoderModelSettings = DecoderModelSettings()
    data: DecoderDataSettings = DecoderDataSettings()
    optimization: DecoderOptimizationSettings = DecoderOptimizationSettings()
    logging: DecoderLoggingSettings = DecoderLoggingSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        decoder = self.decoder
        if decoder.hidden_dim % decoder.num_heads:
            raise ValueError(
                f"decoder.num_heads ({decoder.num_heads}) must divide decoder.hidden_dim ({decoder.hidden_dim})."
            )
        return self

    def of(self, encoder: Path, overrides: Sequence[str] = ()) -> "DecoderSettings":
        """Return a copy for an encoder, with changes to that encoder's data settings."""
        changes = {"encoder": str(encoder), "encoder_data": tuple(overrides)}
        return self.model_copy(update={"data": self.data.model_copy(update=changes)})
