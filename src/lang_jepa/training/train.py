"""From settings to a finished run directory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.config import Settings
from lang_jepa.data.prepare import PrepareEvent, prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.files import check_writable, write_json
from lang_jepa.settings import save_settings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Reporter, Silent
from lang_jepa.training.task_alarm import task_alarms

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
    """

    folder: Path
    step: int
    total: int
    interrupted: bool
    alarms: tuple[str, ...]
    seconds: float


def train(
    settings: Settings,
    reporter: Reporter | None = None,
    on_start: Callable[["Run"], None] | None = None,
) -> Result:
    """Prepare the corpus if needed, train, and write the model directory.

    Under torchrun every process calls this; the data is prepared by the first process of a node while the others
    wait.

    Args:
        settings: the resolved settings.
        reporter: told how it goes (rank 0 only); None is silent.
        on_start: called on every rank when the run stands as it starts, or goes on, before its first step.

    Raises:
        LangJepaError: see `lang_jepa.training.loop.fit`; the data or a checkpoint cannot be used.
    """
    from lang_jepa.training.devices import make_fabric
    from lang_jepa.training.export import export_model
    from lang_jepa.training.loop import fit
    from lang_jepa.training.run import FOLDER_NOTE, Run, start_folder
    from lang_jepa.training.start import check_start

    fabric = make_fabric(settings)
    chief = bool(fabric.is_global_zero)
    listener: Reporter = (reporter or Silent()) if chief else Silent()
    if chief:
        check_writable(settings.logging.log_dir, folder=True)
    check_start(settings)
    material = make_material(settings, fabric, listener)
    if chief:
        folder, resume = Path(settings.logging.log_dir), settings.meta.load_checkpoint
        moved = start_folder(folder, resume=resume, note=FOLDER_NOTE)
        if moved:
            listener.message(f"an older run was moved to {moved}")
    fabric.barrier()
    run = Run(settings, fabric, material, listener)
    if material.held_out is None:
        listener.warning(
            "nothing is held out, so no health figure can be measured and the collapse watch is blind. "
            "Set data.val_fraction (0.02, say)."
        )
    run.begin()
    if chief:  # only now: a checkpoint that was refused leaves the settings of its run as they were
        save_settings(settings, run.folder / "settings.yaml")
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
    fabric.barrier()
    return Result(
        folder=run.folder,
        step=run.step,
        total=run.total,
        interrupted=run.interrupted,
        alarms=tuple(str(alarm) for alarm in run.alarms),
        seconds=seconds,
    )


def make_material(settings: Settings, fabric: Any, reporter: Reporter) -> Any:
    """The data of the run."""
    from lang_jepa.training.material import CorpusMaterial

    share = {"rank": fabric.global_rank, "world": fabric.world_size}
    if settings.data.streaming:
        from lang_jepa.training.stream_material import StreamMaterial

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
    from lang_jepa.report.picture import draw_run

    rows = read_metrics(run.folder / "metrics.csv")
    looks = [row for row in rows if "val/loss" in row]
    write_json(
        run.folder / "summary.json",
        {
            "steps": run.step,
            "total": run.total,
            "interrupted": run.interrupted,
            "seconds": round(seconds, 1),
            "alarms": [str(alarm) for alarm in run.alarms],
            "task_alarms": [str(alarm) for alarm in task_alarms(rows, total=run.total)],
            "best": {"metric": run.settings.logging.best_metric, "step": run.best[0], "value": run.best[1]}
            if run.best
            else None,
            "first_look": looks[0] if looks else None,
            "last_look": looks[-1] if looks else None,
        },
    )
    draw_run(rows, run.folder / "run.png", title=f"{run.settings.recipe}: {run.folder}")


def resume_settings(folder: Path) -> Settings:
    """Settings of a run directory, set to resume from its last checkpoint.

    Raises:
        LangJepaError: there is no run or no checkpoint to go on from.
    """
    from lang_jepa.settings import read_settings

    settings = read_settings(folder / "settings.yaml")
    if not (folder / checkpoints.LAST).is_file():
        raise LangJepaError(f"no checkpoint to resume from at {folder / checkpoints.LAST}")
    meta = settings.meta.model_copy(update={"load_checkpoint": True, "checkpoint_path": None})
    return settings.model_copy(update={"meta": meta})
