"""What the runs of all systems have in common: what they write and how often, how they compute."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lang_jepa.settings.data import Section

FSDP = "fsdp"
"""The `meta.strategy` of weights that are shared out."""


class LoggingSettings(Section):
    """What a run writes, and how often it is validated and saved."""

    log_dir: str = "runs/run"
    """The run directory: checkpoints, metrics.csv, settings.yaml, examples.txt, model."""
    log_freq: int = Field(default=20, ge=1)
    """Optimizer steps between rows of training metrics."""
    eval_freq: int | None = Field(default=None, ge=1)
    """Optimizer steps between validations (null: once an epoch, at least ten a run); the last step is always one."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between saves of the last checkpoint (null: ten a run); the last step is always one."""
    checkpoint_freq: int | None = Field(default=None, ge=1)
    """Epochs between checkpoints of epochs (null: only the last and the best are kept)."""
    keep_checkpoints: int | None = Field(default=3, ge=1)
    """Checkpoints of epochs that stay, the latest (null: all of them). The last and the best checkpoint always stay, as
    does one that a run resumes from."""
    num_examples: int = Field(default=3, ge=0)
    """Examples of what the model makes of held-out text, written at each validation."""
    log_to_wandb: bool = False
    """Also log to Weights & Biases (extra `wandb`)."""
    log_to_tensorboard: bool = False
    """Also log to TensorBoard (extra `tensorboard`)."""


def _backend(value: Any) -> Any:
    """`true` is torch's usual backend, `false` none."""
    return {True: "inductor", False: "none"}[value] if isinstance(value, bool) else value


class MetaSettings(Section):
    """Precision, device, seed, and going on with a run."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds initial weights, data order and dropout."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """`bf16` is autocast: weights and optimizer stay fp32. `auto`: bf16 on a GPU or CPU (AMX, AVX512-BF16) that has it
    in hardware, else fp32; the run says which and keeps it when it goes on."""
    compile: Annotated[Literal["none", "inductor", "aot_eager", "eager"], BeforeValidator(_backend)] = "none"
    """torch.compile what the system can compile, with this backend (worth trying on a GPU; measured without gain on a
    CPU). `true` is inductor."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes (torchrun) train together. `ddp`, which `auto` is: each has all weights. `fsdp`: weights,
    gradients, optimizer and target are shared out among them (FSDP2), for models that are large for a device."""
    load_checkpoint: bool = False
    """Go on from checkpoint_path, or from the run directory's last checkpoint."""
    checkpoint_path: str | None = None
    """Checkpoint to go on from."""
    timeout_minutes: float = Field(default=10.0, gt=0)
    """Minutes without a sign of life from another process of the run (torchrun) after which this one ends, fractions
    allowed; a collective may wait as long, at least five minutes. Preparing and exporting have no limit."""


class OptimizationSettings(Section):
    """What every optimization has: the engine reads `clip_grad`, the system the others, and adds its own."""

    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps in all; the schedules end here."""
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    clip_grad: float | None = Field(default=1.0, gt=0)
    """Largest global gradient norm (null: no clipping)."""


class RunSettings(Section):
    """Settings that every system has; a system adds its own sections, and names of earlier versions.

    Attributes:
        OLD_NAMES: `section.key` of an earlier version or of the predecessor, and what it is called now. They may be
            used everywhere (recipes, overrides, saved settings), and mean the same.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"meta.use_bfloat16": "meta.precision"}

    system: str = "encoder"
    """What is trained: `encoder`, `decoder`, `gpt`, or a class of your own as `module:Class` (docs/own_parts.md)."""
    recipe: str = "next_sentence"
    """Name of the recipe these settings began from."""
    optimization: OptimizationSettings = OptimizationSettings()
    logging: LoggingSettings = LoggingSettings()
    meta: MetaSettings = MetaSettings()
