"""A search for good settings with Optuna: one process per trial, hopeless and collapsing trials stopped early."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lang_jepa.comparison.compare import Listener, Silent, locked
from lang_jepa.comparison.encoder_runs import ENCODERS
from lang_jepa.comparison.process import Event, Stopper, run_job
from lang_jepa.comparison.space import Dimension
from lang_jepa.config import Settings
from lang_jepa.errors import LangJepaError
from lang_jepa.files import read_json, write_json
from lang_jepa.settings import load_settings
from lang_jepa.training.metrics import COLUMNS
from lang_jepa.training.watch import CollapseWatch

_STARTUP = 5
"""Trials that are not compared with others yet."""


@dataclass(frozen=True)
class Sweep:
    """What is searched for.

    Attributes:
        recipe: name or path of the recipe.
        overrides: settings changed in all trials.
        space: settings that trials differ in.
        metric: figure of held-out data; a trial's value is that of its best look.
        trials: finished or stopped early, in all.
    """

    recipe: str
    overrides: tuple[str, ...]
    space: tuple[Dimension, ...]
    metric: str
    trials: int

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """`minimize` for losses, `maximize` for everything else."""
        return "minimize" if "loss" in self.metric else "maximize"


@dataclass(frozen=True)
class Found:
    """What a sweep ended with.

    Attributes:
        overrides: the best trial's settings, for -o.
        value: of the metric.
        trial: its number.
        finished, stopped: trials trained to their end, and stopped early.
    """

    overrides: tuple[str, ...]
    value: float
    trial: int
    finished: int
    stopped: int


class _Hopeless(Exception):
    """The trial is worse than others were at this step, or collapses."""


def sweep(plan: Sweep, folder: Path, listener: Listener | None = None) -> Found:
    """Search, or go on searching.

    Args:
        plan: what for.
        folder: of this sweep alone; trials stand in `trials/`, Optuna's journal beside them.
        listener: told of every trial.

    Raises:
        LangJepaError: Optuna is not installed, the folder holds another sweep, the metric is not measured, no trial
            got to its end, a trial failed.
        Interrupted: by Ctrl-C or SIGTERM; the same call goes on.
    """
    if not plan.metric.startswith("val/") or plan.metric not in COLUMNS:
        known = ", ".join(name for name in COLUMNS if name.startswith("val/"))
        raise LangJepaError(
            f"the metric '{plan.metric}' is not measured on held-out data; choose one of {known}"
        )
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock") as lock, Stopper() as stopper:
        _settle(plan, folder)
        study = _study(plan, folder)
        for trial in study.get_trials(deepcopy=False, states=_states("RUNNING")):
            study.tell(
                trial.number, state=_states("FAIL")[0]
            )  # killed in the middle: the same settings again
            study.enqueue_trial(trial.params)
        while (
            done := len(study.get_trials(deepcopy=False, states=_states("COMPLETE", "PRUNED")))
        ) < plan.trials:
            _trial(plan, folder, study, listener or Silent(), lock, done, stopper)
        return _found(study)


def _trial(
    plan: Sweep, folder: Path, study: Any, listener: Listener, lock: int, done: int, stopper: Stopper
) -> None:
    """One trial, trained until its end or until it is hopeless."""
    trial = study.ask()
    drawn = {dimension.key: dimension.draw(trial) for dimension in plan.space}
    place = folder / "trials" / str(trial.number)
    shown = ", ".join(f"{key}={_text(value)}" for key, value in drawn.items())
    listener.job(shown, done + 1, plan.trials)
    settings = _settings(plan, drawn, place).model_dump()
    job = {"job": "trial", "kind": ENCODERS.name, "settings": settings, "allow_different": True}
    watch, values = CollapseWatch(""), []

    def tell(event: Event) -> None:
        listener.event(shown, event)
        if event["event"] == "look":
            step, figures = event["step"], event["figures"]
            values.append(figures[plan.metric])
            trial.report(values[-1], step)
            if watch.look(step, figures) or (step > 0 and trial.should_prune()):
                raise _Hopeless

    try:
        log, what = place.with_name(f"{place.name}.log"), f"trial {trial.number}"
        run_job(job, log=log, lock=lock, tell=tell, what=what, stopper=stopper)
    except _Hopeless:
        study.tell(trial, state=_states("PRUNED")[0])
    else:
        best = min if plan.direction == "minimize" else max
        study.tell(
            trial, best(values[1:] or values)
        )  # the look before the first step is no result of training
    finally:
        listener.done(shown)
    for path in place.glob("checkpoint-*.pth"):
        path.unlink()  # of many trials they would fill the disk; the model directory stays


def _settings(plan: Sweep, drawn: dict[str, Any], place: Path) -> Settings:
    best = "min" if plan.direction == "minimize" else "max"
    changes = [
        *plan.overrides,
        *(f"{key}={_text(value)}" for key, value in drawn.items()),
        f"logging.log_dir={place}",
        f"logging.best_metric={plan.metric}",
        f"logging.best_mode={best}",
        "meta.load_checkpoint=false",
    ]
    return load_settings(plan.recipe, changes)


def _text(value: Any) -> str:
    """A value as YAML for -o."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, int | float) else str(value)


def _study(plan: Sweep, folder: Path) -> Any:
    """Optuna's study, opened or begun."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise LangJepaError("a sweep needs Optuna: pip install 'lang-jepa[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(os.fspath(folder / "journal.log"))),
        study_name="sweep",
        direction=plan.direction,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
        load_if_exists=True,
    )
    # Another seed after every interruption: the same one would suggest the first settings again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.get_trials(deepcopy=False)))
    return study


def _states(*names: str) -> tuple[Any, ...]:
    from optuna.trial import TrialState

    return tuple(TrialState[name] for name in names)


def _settle(plan: Sweep, folder: Path) -> None:
    """Keep the plan, or hold it against the one that is there; only the number of trials may change."""
    path = folder / "sweep.json"
    tree = {**asdict(plan), "overrides": list(plan.overrides), "space": [_plain(one) for one in plan.space]}
    if path.is_file():
        stored = read_json(path, what="the sweep's plan")
        lines = [f"{key}: {stored[key]} there, {tree[key]} now" for key in tree if stored[key] != tree[key]]
        lines = [line for line in lines if not line.startswith("trials:")]
        if lines:
            raise LangJepaError(
                f"{folder} holds another sweep:\n  " + "\n  ".join(lines) + "\nGive another --output."
            )
    elif any(entry.name != ".lock" for entry in folder.iterdir()):
        raise LangJepaError(f"{folder} holds other things: give a new or an empty folder with --output")
    write_json(path, tree)


def _plain(one: Dimension) -> dict[str, Any]:
    return {**asdict(one), "choices": list(one.choices)}


def _found(study: Any) -> Found:
    finished = study.get_trials(deepcopy=False, states=_states("COMPLETE"))
    stopped = len(study.get_trials(deepcopy=False, states=_states("PRUNED")))
    if not finished:
        raise LangJepaError(f"all {stopped} trials were stopped early: widen or move --space")
    best = study.best_trial
    overrides: Sequence[str] = [f"{key}={_text(value)}" for key, value in best.params.items()]
    return Found(tuple(overrides), float(best.value), best.number, len(finished), stopped)
