"""From settings to a finished run directory of a GPT."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lang_jepa.config_gpt import GPTSettings
from lang_jepa.errors import LangJepaError
from lang_jepa.files import write_json
from lang_jepa.settings import build_saved, save_settings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training.reporter import Reporter, Silent

if TYPE_CHECKING:
    from lang_jepa.training.gpt.run import GPTRun


@dataclass(frozen=True, slots=True)
class GPTResult:
    """How a GPT's training ended.

    Attributes:
        folder: the run directory; the model is in its `model`, unless training was interrupted.
        step, total: optimizer steps done and planned.
        interrupted: it was asked to stop; go on with --resume.
        seconds: wall-clock time of the training loop, looks included.
        figures: of the last look.
    """

    folder: Path
    step: int
    total: int
    interrupted: bool
    seconds: float
    figures: dict[str, float]


def train_gpt(
    settings: GPTSettings,
    reporter: Reporter | None = None,
    on_start: Callable[["GPTRun"], None] | None = None,
) -> GPTResult:
    """Train a GPT and write its model directory. Under torchrun every process calls this.

    Args:
        settings: the resolved settings.
        reporter: told how it goes (rank 0 only); None is silent.
        on_start: called on every rank when the run stands as it starts, or goes on, before its first step.

    Raises:
        LangJepaError: see `GPTRun.fit`; the data or a checkpoint cannot be used.
    """
    run = start_gpt_run(settings, reporter)
    if run.chief:  # only now: a checkpoint that was refused leaves the settings of its run as they were
        save_settings(settings, run.folder / "settings.yaml")
    if on_start is not None:
        on_start(run)
    began = time.perf_counter()
    try:
        run.fit()
    finally:
        run.finish()
        run.reporter.end()
    seconds = time.perf_counter() - began
    if run.chief and not run.interrupted:
        _finish(run, seconds)
    run.fabric.barrier()
    total = settings.optimization.max_steps
    return GPTResult(run.folder, run.step, total, run.interrupted, seconds, run.figures)


def start_gpt_run(settings: GPTSettings, reporter: Reporter | None = None) -> "GPTRun":
    """A run that stands at its first step, or where its last checkpoint left it; its folder is made.

    Args:
        settings, reporter: as in `train_gpt`.

    Raises:
        LangJepaError: the data or a checkpoint cannot be used.
    """
    from lang_jepa.training.devices import launch
    from lang_jepa.training.gpt.look import GPTLook
    from lang_jepa.training.gpt.material import GPTMaterial, open_tokens
    from lang_jepa.training.gpt.run import GPTRun
    from lang_jepa.training.run import start_folder
    from lang_jepa.training.train import telling

    fabric = launch(settings.meta.device, bfloat16=settings.meta.use_bfloat16)
    chief = bool(fabric.is_global_zero)
    listener: Reporter = (reporter or Silent()) if chief else Silent()
    tokens = open_tokens(settings.data, telling(listener))
    material = GPTMaterial(
        settings.data, tokens, seed=settings.meta.seed, rank=fabric.global_rank, world=fabric.world_size
    )
    look = None if tokens.held_out is None else GPTLook(settings, tokens, fabric)
    if chief:
        folder = Path(settings.logging.log_dir)
        moved = start_folder(folder, resume=settings.meta.load_checkpoint, note=_FOLDER_NOTE)
        if moved:
            listener.message(f"an older run was moved to {moved}")
        if look is None:
            listener.warning(
                "nothing is held out, so nothing can be measured: set data.val_fraction (0.02, say)"
            )
    fabric.barrier()
    run = GPTRun(settings, fabric, material, look, listener)
    run.begin()
    return run


def _finish(run: "GPTRun", seconds: float) -> None:
    """Write the model directory, and sum the run up."""
    from lang_jepa.concepts.gpt_directory import save_gpt

    with run.average.in_place(run.gpt) if run.average else nullcontext():
        save_gpt(
            run.folder / "model",
            run.gpt,
            run.settings,
            save_tokenizer=run.material.tokens.save_tokenizer,
            looped=run.looped,
            bos_id=run.material.tokens.train.bos_id,
            step=run.step,
            corpus=run.material.tokens.identity,
            scores=run.figures,
        )
    write_json(
        run.folder / "summary.json",
        {
            "steps": run.step,
            "total": run.settings.optimization.max_steps,
            "tokens": run.step * run.settings.data.batch_tokens,
            "training_seconds": round(run.seconds, 1),
            "seconds": round(seconds, 1),
            "last_look": run.figures,
        },
    )


def resume_gpt(folder: Path) -> GPTSettings:
    """Settings of a GPT's run directory, set to resume from its last checkpoint.

    Raises:
        LangJepaError: there is no run or no checkpoint to go on from.
    """
    path = folder / checkpoints.LAST
    if not path.is_file():
        raise LangJepaError(f"no checkpoint to resume from at {path}")
    settings = build_saved(GPTSettings, checkpoints.load_checkpoint(path)["settings"], where=str(path))
    meta = settings.meta.model_copy(update={"load_checkpoint": True})
    logging = settings.logging.model_copy(update={"log_dir": str(folder)})
    return settings.model_copy(update={"meta": meta, "logging": logging})


_FOLDER_NOTE = """settings.yaml        the resolved settings
metrics.csv          what was measured, by optimizer step
samples.txt          what the model wrote at each look
summary.json         the end
model/               the model to use: lang_jepa.concepts.gpt_directory.load_gpt("model")
checkpoint-last.pth  to resume from
"""
