"""Settings common to the runs of all systems: what they write and how often, and how they compute."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lang_jepa.settings.data import Section

FSDP = "fsdp"
"""The `meta.strategy` that shards weights."""


class LoggingSettings(Section):
    """What a run writes, and how often it validates and saves."""

    log_dir: str = "runs/run"
    """The run directory: checkpoints, metrics.csv, settings.yaml, examples.txt, model."""
    log_freq: int = Field(default=20, ge=1)
    """Optimizer steps between rows of training metrics."""
    eval_freq: int | None = Field(default=None, ge=1)
    """Optimizer steps between validations (null: one an epoch, at least ten a run), with one after the last step."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between saves of the last checkpoint (null: ten a run), with one after the last step."""
    checkpoint_freq: int | None = Field(default=None, ge=1)
    """Epochs between epoch checkpoints (null: none; only the last and the best checkpoint are kept)."""
    keep_checkpoints: int | None = Field(default=3, ge=1)
    """How many of the latest epoch checkpoints are kept (null: all). The last and the best checkpoint are always kept,
    as is one that a run resumes from."""
    num_examples: int = Field(default=3, ge=0)
    """Examples of the model's output on held-out text, written at each validation."""
    log_to_wandb: bool = False
    """Also log to Weights & Biases (extra `wandb`)."""
    log_to_tensorboard: bool = False
    """Also log to TensorBoard (extra `tensorboard`)."""


def _backend(value: Any) -> Any:
    """Map `true` to torch's default backend and `false` to none."""
    return {True: "inductor", False: "none"}[value] if isinstance(value, bool) else value


class MetaSettings(Section):
    """Precision, device, seed, and resuming a run."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Random seed of initial weights, data order and dropout."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; `auto` uses a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """`bf16` is autocast: weights and optimizer stay fp32. `auto` is bf16 on a GPU or CPU (AMX, AVX512-BF16) that has
    it in hardware, else fp32; the run reports which it uses, and keeps it when it resumes."""
    compile: Annotated[Literal["none", "inductor", "aot_eager", "eager"], BeforeValidator(_backend)] = "none"
    """Backend of torch.compile for the parts that can be compiled (worth trying on a GPU; no gain was measured on a
    CPU). `true` is inductor."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes (torchrun) train together. `ddp`, to which `auto` resolves: each holds all weights. `fsdp`:
    weights, gradients, optimizer and target are sharded (FSDP2), for models that are large for one device."""
    load_checkpoint: bool = False
    """Resume from checkpoint_path, or from the run directory's last checkpoint."""
    checkpoint_path: str | None = None
    """Checkpoint to resume from."""
    timeout_minutes: float = Field(default=10.0, gt=0)
    """Minutes (fractions allowed) without a heartbeat from another process of the run (torchrun) after which this one
    ends; a collective may wait as long, at least five minutes. Preparing and exporting have no limit."""


class OptimizationSettings(Section):
    """Settings common to all optimizations: the engine reads `clip_grad`, the system the others and those it adds."""

    max_steps: int | None = Field(default=None, ge=1)
    """Total optimizer steps; the schedules end here."""
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    clip_grad: float | None = Field(default=1.0, gt=0)
    """Largest global gradient norm (null: no clipping)."""


class RunSettings(Section):
    """Settings common to all systems; each system adds its own sections and old names.

    Attributes:
        OLD_NAMES: `section.key` in an earlier version or in the predecessor, and its current name. Old names may be
            used everywhere (recipes, overrides, saved settings).
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"meta.use_bfloat16": "meta.precision"}

    system: str = "encoder"
    """What is trained: `encoder`, `decoder`, `gpt`, or a class of your own as `module:Class` (docs/own_parts.md)."""
    recipe: str = "next_sentence"
    """Name of the recipe that these settings are based on."""
    optimization: OptimizationSettings = OptimizationSettings()
    logging: LoggingSettings = LoggingSettings()
    meta: MetaSettings = MetaSettings()
