"""Train any system: from settings to a finished run directory."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.files.atomic import read_json
from lang_jepa.files.run_lock import RunLock
from lang_jepa.settings.load import own_system, read_settings, settings_class
from lang_jepa.settings.recipes import system_of
from lang_jepa.settings.run import RunSettings
from lang_jepa.training import ranks, sharded_checkpoint
from lang_jepa.training.checkpoint import cannot_go_on, differing, in_words
from lang_jepa.training.preflight import check_run
from lang_jepa.training.ranks import end_together, meet
from lang_jepa.training.reporter import Reporter, Silent
from lang_jepa.training.run_folder import SETTINGS, SUMMARY, RunFolder
from lang_jepa.training.signals import exit_status
from lang_jepa.training.slurm import as_torchrun

if TYPE_CHECKING:
    from lang_jepa.training.engine import Engine
    from lang_jepa.training.method import Method

METHODS = {
    "encoder": "lang_jepa.training.methods.encoder:EncoderMethod",
    "decoder": "lang_jepa.training.methods.decoder:DecoderMethod",
    "gpt": "lang_jepa.training.methods.gpt:GPTMethod",
}
"""The class of each built-in system; your own class is named in the same form in `system`."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        folder: the run directory.
        step, total: optimizer steps done and planned.
        interrupted: whether it was asked to stop; resume it with --resume.
        seconds: wall-clock time of the training loop.
        exit_status: for a command that ends with the run: 0, or 128 plus the number of the signal that interrupted it.
        model: the model directory; None if there is none, or if training was interrupted.
        metrics: metrics of the last validation.
        best: `metric`, `step` and `value` of the validation whose weights the model has (None: the last one's).
        alarms: messages about what went wrong in training.
        warnings: messages about what is wrong with the outcome.
    """

    folder: Path
    step: int
    total: int
    interrupted: bool
    seconds: float
    exit_status: int = 0
    model: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, Any] | None = None
    alarms: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def method_of(settings: RunSettings) -> "Method[Any]":
    """Return the system named in the settings, not yet built. In its own settings, which a run keeps wherever it is
    resumed, `auto` for meta.precision has been resolved for this machine.

    Raises:
        LangJepaError: its class cannot be imported, is not a `Method`, or is incomplete.
    """
    from lang_jepa.models.precision import choose_precision
    from lang_jepa.training.contract import check_class

    found = own_system(METHODS.get(settings.system, settings.system))
    check_class(settings.system, found)
    precision, _ = choose_precision(settings.meta.device, settings.meta.precision)
    meta = settings.meta.model_copy(update={"precision": precision})
    made: Method[Any] = found(settings.model_copy(update={"meta": meta}))
    return made


@end_together
def train(
    settings: RunSettings,
    reporter: Reporter | None = None,
    on_start: "Callable[[Engine], None] | None" = None,
    lock: RunLock | None = None,
) -> Result:
    """Train a system and write its model; if the run is already finished, say so. Every process of a run calls this.

    Args:
        settings: resolved settings of any system.
        reporter: called during the run (rank 0 only); None is silent.
        on_start: called on every rank once the run is set up or resumed, before its first step.
        lock: on the run directory, if the caller already holds it.

    Raises:
        LangJepaError: see `Engine.fit`; or the run cannot work, another process trains in the run directory, or the
            data or a checkpoint cannot be used.
    """
    from lang_jepa.models.precision import choose_precision
    from lang_jepa.training.contract import texts

    _, why = choose_precision(settings.meta.device, settings.meta.precision)
    method = method_of(settings)
    settings = method.settings
    os.environ.update(as_torchrun(os.environ))
    check_run(settings, iter(texts(method, "complaints", method.complaints())), shards=method.can_shard())
    folder = open_run(method, reporter)
    if why:
        method.reporter.message(f"meta.precision=auto is {settings.meta.precision}: {why}")
    if settings.meta.load_checkpoint and settings.meta.checkpoint_path is None:
        over = _finished(method, folder)
        if over is not None:
            return _result(folder.path, over)
    elif method.fabric.is_global_zero:
        folder.check_place()
    with folder.held(lock, is_rank_zero=method.fabric.is_global_zero) as held:
        engine = start(method, folder, held)
        if method.fabric.is_global_zero:
            folder.accept(settings)
        if on_start is not None:
            on_start(engine)
        return _train(engine)


def open_run(method: "Method[Any]", reporter: Reporter | None = None) -> RunFolder:
    """Launch the processes of a run, set fabric and reporter of the method, and return the run directory."""
    from lang_jepa.training.ranks import launch

    meta = method.settings.meta
    method.fabric = launch(
        meta.device, precision=meta.precision, timeout_minutes=meta.timeout_minutes, strategy=meta.strategy
    )
    method.reporter = (reporter or Silent()) if method.fabric.is_global_zero else Silent()
    return RunFolder(Path(method.settings.logging.log_dir), method.layout)


def start(method: "Method[Any]", folder: RunFolder, lock: RunLock | None) -> "Engine":
    """Return a run that is set up at its first step, or resumed from a checkpoint, in a prepared directory.

    Raises:
        LangJepaError: the data or a checkpoint cannot be used.
    """
    from lang_jepa.training.contract import texts
    from lang_jepa.training.engine import Engine

    method.open_data()
    meet("data")  # preparing it may take one machine hours
    if method.fabric.is_global_zero:
        resume = method.settings.meta.load_checkpoint
        folder.start(lock, method.settings, resume=resume, reporter=method.reporter)
    method.fabric.barrier()
    method.build()
    for text in texts(method, "warnings", method.warnings()):
        method.reporter.warning(text)
    engine = Engine(method, folder)
    engine.begin()
    return engine


def _train(engine: "Engine") -> Result:
    began = time.perf_counter()
    try:
        engine.fit()
    finally:
        engine.close()
        engine.reporter.end()
    summary = {**engine.progress(), "seconds": time.perf_counter() - began, "last_validation": engine.metrics}
    if engine.is_rank_zero:
        summary = {**engine.finish(summary["seconds"]), "last_validation": engine.metrics}
    status = exit_status(engine.stopped_by) if engine.interrupted else 0
    return _result(engine.folder.path, summary, status)


def _finished(method: "Method[Any]", folder: RunFolder) -> dict[str, Any] | None:
    """Return the summary of a finished run, and report that it is; None if there is work to do.

    Every rank calls this before anything is prepared; rank zero's folder decides.

    Args:
        method: the method with the settings of the run to be resumed.
        folder: of the run.

    Raises:
        LangJepaError: the settings differ from those of the run in ways that affect the results.
    """
    from lang_jepa.models.precision import as_it_was

    settings = method.settings
    found: dict[str, Any] | None = None
    caught_up = ""
    if method.fabric.is_global_zero and (folder.path / SETTINGS).is_file():
        before = as_it_was(read_settings(folder.path / SETTINGS, type(settings)))
        last = folder.path / folder.layout.last
        elsewhere = method.of_ranks if sharded_checkpoint.are_of(last) else ()  # the engine compares these too
        free = method.all_free + elsewhere
        different = in_words(differing(before, settings, free), folder.may_change())
        if different and last.is_file():
            raise cannot_go_on(last, different)
        if not different and (folder.path / SUMMARY).is_file():
            found = _of_the_end(read_json(folder.path / SUMMARY, what="the summary of the run"))
            found = found if found and method.is_made(found) else None
            caught_up = method.catch_up(folder.path) if found else ""
    found = ranks.gather(found)[0]
    if found is not None:
        method.reporter.message(
            f"{folder.path} is already finished, at step {found['steps']} of {found['total']}: nothing was trained. To "
            f"train anew, name {folder.path / SETTINGS} without --resume, and another logging.log_dir."
        )
        if caught_up:
            method.reporter.message(caught_up)
    return found


def is_finished(folder: Path) -> bool:
    """Whether the summary in a run directory is that of a finished run."""
    path = folder / SUMMARY
    return path.is_file() and _of_the_end(read_json(path, what="the summary of the run")) is not None


def _of_the_end(summary: Any) -> dict[str, Any] | None:
    """Return the summary if it is well-formed and that of a finished run; else None."""
    if not isinstance(summary, dict) or summary.get("interrupted") is not False:
        return None
    steps, total = summary.get("steps"), summary.get("total")
    if not isinstance(steps, int) or not isinstance(total, int) or not 0 <= steps <= total:
        return None
    return summary if isinstance(summary.get("seconds"), int | float) else None


def _result(folder: Path, summary: Mapping[str, Any], status: int = 0) -> Result:
    """Make a result from the contents of summary.json."""
    model = summary.get("model")
    return Result(
        folder=folder,
        step=summary["steps"],
        total=summary["total"],
        interrupted=summary["interrupted"],
        seconds=summary["seconds"],
        exit_status=status,
        model=None if model is None else Path(os.path.normpath(folder / model)),
        metrics=summary.get("last_validation") or {},
        best=summary.get("best"),
        alarms=tuple(summary.get("alarms", ())),
        warnings=tuple(summary.get("warnings", ())),
    )


def resume_settings(folder: Path) -> RunSettings:
    """Return a run's settings, set to resume it in its directory, wherever that was moved, from its last checkpoint.

    A run that ended before its first checkpoint starts at step 0.

    Raises:
        LangJepaError: there is no run.
    """
    from lang_jepa.models.precision import as_it_was

    kind = settings_class(system_of(str(folder / SETTINGS)))
    settings = as_it_was(read_settings(folder / SETTINGS, kind))
    meta = settings.meta.model_copy(update={"load_checkpoint": True, "checkpoint_path": None})
    logging = settings.logging.model_copy(update={"log_dir": str(folder)})
    return settings.model_copy(update={"meta": meta, "logging": logging})
