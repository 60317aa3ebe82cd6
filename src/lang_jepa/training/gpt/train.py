"""From settings to a finished run directory of a GPT."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.files.atomic import write_json
from lang_jepa.files.run_lock import RunLock
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import read_settings
from lang_jepa.training.heartbeat import end_together, meet
from lang_jepa.training.preflight import check_gpt_run
from lang_jepa.training.reporter import Reporter, Silent
from lang_jepa.training.run_folder import SETTINGS, SUMMARY, RunFolder
from lang_jepa.training.signals import exit_status

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
        exit_status: of a command that ends with it: 0, or 128 and the number of the signal that interrupted.
    """

    folder: Path
    step: int
    total: int
    interrupted: bool
    seconds: float
    figures: dict[str, float]
    exit_status: int = 0


@end_together
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
    from lang_jepa.inference.cards import is_whole
    from lang_jepa.inference.model_folder import GPT_CARD as CARD
    from lang_jepa.inference.model_folder import find_gpt
    from lang_jepa.training.gpt.run import FREE

    fabric, place, listener = _setting(settings, reporter)
    if settings.meta.load_checkpoint and settings.meta.checkpoint_path is None:
        model = find_gpt(place.path)
        made = model is not None and is_whole(model / CARD, what="card of the GPT")
        over = place.finished(settings, fabric, listener, free=FREE, made=lambda _: made)
        if over is not None:
            done = (over["steps"], over["total"], False, over["seconds"], over.get("last_look", {}))
            return GPTResult(place.path, *done)
    with place.held(None, chief=bool(fabric.is_global_zero)) as lock:
        run = _start(settings, fabric, place, lock, listener)
        return _train(run, on_start)


def _train(run: "GPTRun", on_start: "Callable[[GPTRun], None] | None") -> GPTResult:
    settings = run.settings
    if run.chief:
        run.place.accept(settings)
    if on_start is not None:
        on_start(run)
    began = time.perf_counter()
    try:
        run.fit()
    finally:
        run.finish()
        run.reporter.end()
    seconds = time.perf_counter() - began
    if run.chief:
        _finish(run, seconds)
    total = settings.optimization.max_steps
    status = exit_status(run.stopped_by) if run.interrupted else 0
    return GPTResult(run.folder, run.step, total, run.interrupted, seconds, run.figures, status)


def start_gpt_run(settings: GPTSettings, reporter: Reporter | None = None) -> "GPTRun":
    """A run that stands at its first step, or where its last checkpoint left it; its folder is made, and not held.

    Args:
        settings, reporter: as in `train_gpt`.

    Raises:
        LangJepaError: the data or a checkpoint cannot be used.
    """
    fabric, place, listener = _setting(settings, reporter)
    return _start(settings, fabric, place, None, listener)


def _setting(settings: GPTSettings, reporter: Reporter | None) -> tuple[Any, RunFolder, Reporter]:
    """The processes, the run directory, and who listens."""
    from lang_jepa.training.gpt.run import LAYOUT
    from lang_jepa.training.ranks import launch

    check_gpt_run(settings)
    meta = settings.meta
    fabric = launch(meta.device, bfloat16=meta.use_bfloat16, timeout_minutes=meta.timeout_minutes)
    listener: Reporter = (reporter or Silent()) if fabric.is_global_zero else Silent()
    return fabric, RunFolder(Path(settings.logging.log_dir), LAYOUT), listener


def _start(
    settings: GPTSettings, fabric: Any, place: RunFolder, lock: RunLock | None, listener: Reporter
) -> "GPTRun":
    from lang_jepa.training.gpt.look import GPTLook
    from lang_jepa.training.gpt.material import GPTMaterial, open_tokens
    from lang_jepa.training.gpt.run import GPTRun
    from lang_jepa.training.train import telling

    tokens = open_tokens(settings.data, telling(listener))
    meet("data")  # which may be prepared on some machine for hours
    material = GPTMaterial(
        settings.data, tokens, seed=settings.meta.seed, rank=fabric.global_rank, world=fabric.world_size
    )
    look = None if tokens.held_out is None else GPTLook(settings, tokens, fabric)
    if fabric.is_global_zero:
        place.start(lock, settings, resume=settings.meta.load_checkpoint, listener=listener)
        if look is None:
            listener.warning(
                f"nothing is held out, so nothing can be measured: {tokens.why_nothing_held_out}"
            )
    fabric.barrier()
    run = GPTRun(settings, fabric, material, look, listener)
    run.begin()
    return run


def _finish(run: "GPTRun", seconds: float) -> None:
    """Write the model directory unless it was interrupted, and sum the run up."""
    from lang_jepa.inference.model_folder import save_gpt

    if not run.interrupted:
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
        run.folder / SUMMARY,
        {
            "steps": run.step,
            "total": run.settings.optimization.max_steps,
            "interrupted": run.interrupted,
            "tokens": run.step * run.settings.data.batch_tokens,
            "training_seconds": round(run.seconds, 1),
            "seconds": round(seconds, 1),
            "last_look": run.figures,
        },
    )


def resume_gpt(folder: Path) -> GPTSettings:
    """Settings of a GPT's run directory, set to resume in it, wherever it was moved, from its last checkpoint.

    A run that was ended before its first checkpoint starts at step 0.

    Raises:
        LangJepaError: there is no run.
    """
    settings = read_settings(folder / SETTINGS, GPTSettings)
    meta = settings.meta.model_copy(update={"load_checkpoint": True, "checkpoint_path": None})
    logging = settings.logging.model_copy(update={"log_dir": str(folder)})
    return settings.model_copy(update={"meta": meta, "logging": logging})
