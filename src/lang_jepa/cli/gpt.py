"""What `lang-jepa train` does with the recipe of a GPT."""

import os
from collections.abc import Sequence
from pathlib import Path

from lang_jepa.cli.console import plain
from lang_jepa.cli.options import leave_if_stopped
from lang_jepa.cli.progress import GPTBar
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import counted
from lang_jepa.settings.load import load_gpt_settings
from lang_jepa.training.gpt.environment import overrides_of
from lang_jepa.training.gpt.train import train_gpt as run

DEBUG = (
    "data.limit=50",
    "data.val_fraction=0.2",
    "data.seq_len=64",
    "data.batch_tokens=256",
    "data.micro_batch_tokens=null",
    "optimization.max_steps=20",
    "logging.eval_freq=10",
    "evaluation.val_tokens=1024",
    "evaluation.sample_tokens=16",
    "logging.log_freq=1",
)


def train_gpt(
    recipe: str, overrides: Sequence[str], *, from_environment: bool, debug: bool, resume: bool
) -> None:
    """Train, and say where things are.

    Args:
        recipe: of the GPT.
        overrides: of its settings; they come after what the environment says.
        from_environment: environment variables change settings too.
        debug: a tiny run.
        resume: go on from the last checkpoint.
    """
    settings = load_gpt_settings(
        recipe,
        [
            *(overrides_of(os.environ) if from_environment else ()),
            *overrides,
            *(("meta.load_checkpoint=true",) if resume else ()),
        ],
        DEBUG if debug else (),
    )
    go_offline_if_unreachable()
    result = run(settings, GPTBar())
    leave_if_stopped(result)
    plain(f"{result.folder}: {counted(result.step, 'step')} in {result.seconds:.0f} s")
    if result.figures:
        plain(f"  bits per byte  {result.figures['val/bits_per_byte']:.4f}")
    plain(f"  samples        {result.folder / 'samples.txt'}")
    plain(f"  model          {result.folder / 'model'}")


def export_quantised(
    run: Path, file: Path, to: str, *, gptq: bool, clip: str | None, codec: str, cap: int
) -> None:
    """Write a GPT in a few bits a weight, and say what that costs."""
    from lang_jepa.export.gpt import export_gpt
    from lang_jepa.export.quantise import parse_rounding

    done = export_gpt(
        run, file, parse_rounding(8 if to == "int8" else 6, clip), gptq=gptq, codec=codec, cap=cap
    )
    share = done.written.bytes / done.written.cap
    plain(f"{file}: {done.written.bytes:,} bytes, {share:.1%} of the cap of {done.written.cap:,}")
    plain(f"  {done.parameters:,} parameters, {8 * done.written.bytes / done.parameters:.2f} bits each")
    plain(
        f"  bits per byte  {done.before.val_bpb:.5f} before, {done.after.val_bpb:.5f} after: {done.gap:+.5f}"
    )
