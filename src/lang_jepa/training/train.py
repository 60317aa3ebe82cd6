"""From settings to a finished run directory, of any system."""

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
from lang_jepa.training import ranks, shards
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
"""The class of each built-in system; one of your own is named the same way in `system`."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        folder: the run directory.
        step, total: optimizer steps done and planned.
        interrupted: it was asked to stop; go on with --resume.
        seconds: wall-clock time of the training loop.
        exit_status: of a command that ends with it: 0, or 128 and the number of the signal that interrupted.
        model: the model directory; None where there is none, or training was interrupted.
        metrics: of the last validation.
        best: of the validation whose weights the model has, its `metric`, `step` and `value` (None: the last one's).
        alarms: what was wrong in training, in words.
        warnings: what is wrong with the outcome, in words.
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
    """The system that the settings are of, not yet built. In its own settings, which a run keeps wherever it goes on,
    meta.precision is never `auto` but what that is on this machine.

    Raises:
        LangJepaError: its class cannot be imported, is no `Method`, or lacks some of it.
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
    """Train a system and write what it makes; of a run that is over, say so. Every process of a run calls this.

    Args:
        settings: resolved, of any system.
        reporter: called as it goes (rank 0 only); None is silent.
        on_start: called on every rank when the run stands as it starts, or goes on, before its first step.
        lock: on the run directory, where the caller holds it already.

    Raises:
        LangJepaError: see `Engine.fit`; the run cannot work; another process trains in the run directory; the data or a
            checkpoint cannot be used.
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
    """The processes of a run, which the method learns of, and its directory."""
    from lang_jepa.training.ranks import launch

    meta = method.settings.meta
    method.fabric = launch(
        meta.device, precision=meta.precision, timeout_minutes=meta.timeout_minutes, strategy=meta.strategy
    )
    method.reporter = (reporter or Silent()) if method.fabric.is_global_zero else Silent()
    return RunFolder(Path(method.settings.logging.log_dir), method.layout)


def start(method: "Method[Any]", folder: RunFolder, lock: RunLock | None) -> "Engine":
    """A run that stands at its first step, or where its last checkpoint left it, in a directory that is ready.

    Raises:
        LangJepaError: the data or a checkpoint cannot be used.
    """
    from lang_jepa.training.contract import texts
    from lang_jepa.training.engine import Engine

    method.open_data()
    meet("data")  # which may be prepared on some machine for hours
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
    """The summary of a run that is over, which is shown; None: there is work to do.

    Every rank calls it before anything is prepared, and the first one's folder decides.

    Args:
        method: with whose settings a run is to go on.
        folder: of the run.

    Raises:
        LangJepaError: the settings are others than those of the run, in what touches the numbers.
    """
    from lang_jepa.models.precision import as_it_was

    settings = method.settings
    found: dict[str, Any] | None = None
    if method.fabric.is_global_zero and (folder.path / SETTINGS).is_file():
        before = as_it_was(read_settings(folder.path / SETTINGS, type(settings)))
        last = folder.path / folder.layout.last
        free = method.all_free + (method.of_ranks if shards.are_of(last) else ())  # the engine compares these too
        different = in_words(differing(before, settings, free), folder.may_change())
        if different and last.is_file():
            raise cannot_go_on(last, different)
        if not different and (folder.path / SUMMARY).is_file():
            found = _of_the_end(read_json(folder.path / SUMMARY, what="the summary of the run"))
            found = found if found and method.is_made(found) else None
    found = ranks.gather(method.fabric, found)[0]
    if found is not None:
        method.reporter.message(
            f"{folder.path} is already finished, at step {found['steps']} of {found['total']}: nothing was done. To "
            f"train anew, name {folder.path / SETTINGS} without --resume, and another logging.log_dir."
        )
    return found


def _of_the_end(summary: Any) -> dict[str, Any] | None:
    """A summary that says of a run that it is over, in the form in which it was written; else None."""
    if not isinstance(summary, dict) or summary.get("interrupted") is not False:
        return None
    steps, total = summary.get("steps"), summary.get("total")
    if not isinstance(steps, int) or not isinstance(total, int) or not 0 <= steps <= total:
        return None
    return summary if isinstance(summary.get("seconds"), int | float) else None


def _result(folder: Path, summary: Mapping[str, Any], status: int = 0) -> Result:
    """A result from what summary.json says."""
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
    """Settings of a run directory of any system, set to go on in it, wherever it was moved, from its last checkpoint.

    A run that was ended before its first checkpoint starts at step 0.

    Raises:
        LangJepaError: there is no run.
    """
    from lang_jepa.models.precision import as_it_was

    kind = settings_class(system_of(str(folder / SETTINGS)))
    settings = as_it_was(read_settings(folder / SETTINGS, kind))
    meta = settings.meta.model_copy(update={"load_checkpoint": True, "checkpoint_path": None})
    logging = settings.logging.model_copy(update={"log_dir": str(folder)})
    return settings.model_copy(update={"meta": meta, "logging": logging})
