"""Every setting of a concept decoder: text from the concepts of a trained encoder.

The encoder's own settings stay those it was trained with (`lang_jepa.settings.encoder`). `-d section.key=value` changes
one of these, `-o` one of the encoder's `data` settings, from which the decoder's corpus follows.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from lang_jepa.settings.data import Section


class DecoderModelSettings(Section):
    """The causal transformer that turns a concept into text."""

    hidden_dim: int = Field(default=1536, ge=4)
    """Width of the decoder."""
    num_layers: int = Field(default=4, ge=1)
    """Transformer layers."""
    num_heads: int = Field(default=8, ge=1)
    """Attention heads."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of embeddings, attention probabilities and residual branches."""
    max_length: int = Field(default=128, ge=2)
    """Tokens of a text at most, its end token included; longer sentences are cut on the right."""
    prefix_length: int = Field(default=4, ge=1)
    """Vectors that the concept becomes; text tokens attend to them. With a single one attention to the concept would
    be a constant."""
    whiten: bool = True
    """Undo mean and covariance of the training concepts first, so that directions in which an encoder varies little
    are as easy to read as the others."""
    noise: float = Field(default=0.0, ge=0)
    """Noise on the standardised concepts of training, up to so many standard deviations, for every second one on
    average, so that concepts which no sentence has are met in training. It costs some exactness of reconstruction."""
    tokenizer_path: str | None = None
    """Tokenizer of the text by Hugging Face name or folder (null: the encoder's)."""


class DecoderTrainingSettings(Section):
    """Optimizer, budget and place of a decoder's training."""

    batch_size: int = Field(default=32, ge=1)
    """Sentences in a batch on each rank."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate."""
    final_learning_rate: float = Field(default=0.0, ge=0)
    """Learning rate at the last step (cosine)."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Linear warm-up in steps (null: a twentieth of the run)."""
    num_epochs: int = Field(default=10, ge=1)
    """Passes over the training sentences (ignored when max_steps is set)."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps in all; the schedule ends here."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of matrices."""
    grad_clip: float | None = Field(default=1.0, gt=0)
    """Largest global gradient norm (null: no clipping)."""
    grad_accum_steps: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step."""
    predicted_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the training texts that are read from the predicted concept of their context instead of from their own
    concept, so that predictions too can be told in words. Needs an encoder that predicts the next sentence."""
    pool_batches: int = Field(default=64, ge=1)
    """Batches in one length-sorted pool: larger pads less, smaller shuffles more finely."""
    eval_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of documents held out where the encoder's corpus (data.val_fraction) holds none out."""
    output_dir: str = "outputs/decoder"
    """The run directory: best_decoder.pt, last_decoder.pt, metrics.csv, samples.txt, settings.yaml."""
    resume: bool = False
    """Go on from checkpoint_path, or from output_dir's last_decoder.pt."""
    checkpoint_path: str | None = None
    """Checkpoint to resume from."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds initial weights, data order and dropout."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    use_bfloat16: bool = False
    """bf16 autocast; weights and optimizer stay fp32."""
    timeout_minutes: float = Field(default=10.0, gt=0)
    """Minutes without a sign of life from another process of the run (torchrun) after which this one ends, as a
    fraction too; a collective may wait as long, at least five minutes. Preparing and exporting have no limit."""


class DecoderEvaluationSettings(Section):
    """How often a decoder's training looks at held-out sentences and saves itself."""

    eval_steps: int = Field(default=100, ge=1)
    """Optimizer steps between looks at held-out sentences; the last step is always one."""
    eval_sentences: int = Field(default=1024, ge=8)
    """Held-out sentences, in all, that one look may use."""
    save_steps: int = Field(default=1000, ge=1)
    """Optimizer steps between saves of last_decoder.pt; the last step is always one."""
    num_samples: int = Field(default=5, ge=0)
    """Held-out sentences shown at each look with their reconstructions."""
    log_steps: int = Field(default=20, ge=1)
    """Optimizer steps between rows of training metrics."""
    checkpoint_freq: int | None = Field(default=None, ge=1)
    """Epochs between checkpoints of epochs (null: only the last and the best are kept)."""
    keep_checkpoints: int | None = Field(default=3, ge=1)
    """Checkpoints of epochs that stay, the latest (null: all of them)."""
    log_to_wandb: bool = False
    """Also log to Weights & Biases (extra `wandb`)."""
    log_to_tensorboard: bool = False
    """Also log to TensorBoard (extra `tensorboard`)."""


class DecoderSettings(Section):
    """All settings of a decoder's training."""

    recipe: str = "concept_decoder"
    """Name of the recipe these settings began from."""
    decoder: DecoderModelSettings = DecoderModelSettings()
    training: DecoderTrainingSettings = DecoderTrainingSettings()
    evaluation: DecoderEvaluationSettings = DecoderEvaluationSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Cross-field rules."""
        decoder = self.decoder
        if decoder.hidden_dim % decoder.num_heads:
            raise ValueError(
                f"decoder.num_heads ({decoder.num_heads}) must divide decoder.hidden_dim ({decoder.hidden_dim})."
            )
        return self
