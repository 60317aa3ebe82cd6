"""From settings to a finished run directory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.data.corpus.prepare import PrepareEvent, prepare, tell_losses
from lang_jepa.files.atomic import write_json
from lang_jepa.files.run_lock import RunLock
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.heartbeat import end_together, meet
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.preflight import check_encoder_run
from lang_jepa.training.reporter import Reporter, Silent
from lang_jepa.training.run_folder import SUMMARY, RunFolder
from lang_jepa.training.signals import exit_status
from lang_jepa.training.watch import task_alarms

if TYPE_CHECKING:
    from lang_jepa.training.run import Run


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        folder: the run directory.
        step, total: optimizer steps done and planned.
        interrupted: it was asked to stop; go on with --resume.
        alarms: what the collapse watch found.
        seconds: wall-clock time of the training loop.
        exit_status: of a command that ends with it: 0, or 128 and the number of the signal that interrupted.
    """

    folder: Path
    step: int
    total: int
    interrupted: bool
    alarms: tuple[str, ...]
    seconds: float
    exit_status: int = 0


@end_together
def train(
    settings: Settings,
    reporter: Reporter | None = None,
    on_start: Callable[["Run"], None] | None = None,
    lock: RunLock | None = None,
) -> Result:
    """Prepare the corpus if needed, train, and write the model directory; of a run that is over, say so.

    Under torchrun every process calls this; the data is prepared by the first process of a node while the others
    wait.

    Args:
        settings: the resolved settings.
        reporter: told how it goes (rank 0 only); None is silent.
        on_start: called on every rank when the run stands as it starts, or goes on, before its first step.
        lock: on the run directory, where the caller holds it already.

    Raises:
        LangJepaError: see `lang_jepa.training.loop.fit`; another process trains in the run directory; the data or a
            checkpoint cannot be used.
    """
    from lang_jepa.inference.cards import CARD, is_whole
    from lang_jepa.inference.model_folder import find_model
    from lang_jepa.training.checkpoint import FREE
    from lang_jepa.training.ranks import make_fabric
    from lang_jepa.training.run import LAYOUT

    check_encoder_run(settings)
    fabric = make_fabric(settings)
    place = RunFolder(Path(settings.logging.log_dir), LAYOUT)
    listener: Reporter = (reporter or Silent()) if fabric.is_global_zero else Silent()
    if settings.meta.load_checkpoint and settings.meta.checkpoint_path is None:
        model = find_model(place.path)
        made = model is not None and is_whole(model / CARD, what="model card")
        over = place.finished(settings, fabric, listener, free=FREE, made=lambda _: made)
        if over is not None:
            done = (over["steps"], over["total"], False, tuple(over.get("alarms", ())), over["seconds"])
            return Result(place.path, *done)
    with place.held(lock, chief=bool(fabric.is_global_zero)) as held:
        return _train(settings, fabric, place, held, listener, on_start)


def _train(
    settings: Settings,
    fabric: Any,
    place: RunFolder,
    lock: RunLock | None,
    listener: Reporter,
    on_start: Callable[["Run"], None] | None,
) -> Result:
    from lang_jepa.training.export import export_model
    from lang_jepa.training.loop import fit
    from lang_jepa.training.run import Run
    from lang_jepa.training.start import check_sample

    chief = bool(fabric.is_global_zero)
    material = make_material(settings, fabric, listener)
    meet("data")  # which may be prepared on some machine for hours
    if chief:
        place.start(lock, settings, resume=settings.meta.load_checkpoint, listener=listener)
    fabric.barrier()
    run = Run(settings, fabric, material, listener)
    tell_losses(material.losses(), telling(listener))
    if rough := check_sample(settings, material.sample_view):
        listener.warning(rough)
    if material.held_out is None:
        listener.warning(
            "nothing is held out, so no health figure can be measured and the collapse watch is blind: "
            + material.why_nothing_held_out()
        )
    run.begin()
    if chief:
        place.accept(settings)
    if on_start is not None:
        on_start(run)
    began = time.perf_counter()
    try:
        fit(run)
    finally:
        run.finish()
        listener.end()
    seconds = time.perf_counter() - began
    if chief and not run.interrupted:
        export_model(run)
    if chief:
        _summarize(run, seconds)
    return Result(
        folder=run.folder,
        step=run.step,
        total=run.total,
        interrupted=run.interrupted,
        alarms=tuple(str(alarm) for alarm in run.alarms),
        seconds=seconds,
        exit_status=exit_status(run.stopped_by) if run.interrupted else 0,
    )


def make_material(settings: Settings, fabric: Any, reporter: Reporter) -> Any:
    """The data of the run."""
    from lang_jepa.training.material import CorpusMaterial

    share = {"rank": fabric.global_rank, "world": fabric.world_size}
    if settings.data.streaming:
        from lang_jepa.training.material import StreamMaterial

        return StreamMaterial(settings, **share)
    # Its lock lets one process prepare while the others wait, for as long as it takes.
    corpus = prepare(settings.data, progress=telling(reporter))
    return CorpusMaterial(settings, corpus, **share)


def telling(reporter: Reporter) -> Callable[[PrepareEvent], None]:
    """Passes on what preparing has to say: warnings as such, finished blocks every ten seconds at most."""
    told = time.monotonic()

    def tell(event: PrepareEvent) -> None:
        nonlocal told
        if event.stage in {"warning", "stale"}:
            reporter.warning(event.message)
        elif event.stage != "block":
            reporter.message(event.message)
        elif time.monotonic() - told > 10:
            told = time.monotonic()
            reporter.message(f"prepared {event.documents:,} documents so far")

    return tell


def _summarize(run: Any, seconds: float) -> None:
    """summary.json and the picture of the run."""
    from lang_jepa.training.metrics import draw_run

    rows = read_metrics(run.folder / "metrics.csv")
    looks = [row for row in rows if "val/loss" in row]
    draw_run(rows, run.folder / "run.png", title=f"{run.settings.recipe}: {run.folder}")
    # Last, since a run that has a summary is over.
    write_json(
        run.folder / SUMMARY,
        {
            "steps": run.step,
            "total": run.total,
            "interrupted": run.interrupted,
            "seconds": round(seconds, 1),
            "alarms": [str(alarm) for alarm in run.alarms],
            "task_alarms": [str(alarm) for alarm in task_alarms(rows, total=run.total)],
            "best": None
            if run.best.step is None
            else {"metric": run.best.metric, "step": run.best.step, "value": run.best.value},
            "first_look": looks[0] if looks else None,
            "last_look": looks[-1] if looks else None,
        },
    )


def resume_settings(folder: Path) -> Settings:
    """Settings of a run directory, set to resume in it, wherever it was moved, from its last checkpoint.

    A run that was ended before its first checkpoint starts at step 0.

    Raises:
        LangJepaError: there is no run.
    """
    from lang_jepa.settings.load import read_settings

    settings = read_settings(folder / "settings.yaml")
    meta = settings.meta.model_copy(update={"load_checkpoint": True, "checkpoint_path": None})
    logging = settings.logging.model_copy(update={"log_dir": str(folder)})
    return settings.model_copy(update={"meta": meta, "logging": logging})
