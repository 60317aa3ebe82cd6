"""Search for good settings with Optuna: one process per trial; hopeless and collapsing trials are stopped early."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lang_jepa.comparison.compare import Callback, NoCallback, locked
from lang_jepa.comparison.jobs import Event, Workers
from lang_jepa.comparison.kind import setting_differences
from lang_jepa.comparison.space import LOWER_IS_BETTER, OURS, Dimension, check_aim
from lang_jepa.comparison.systems import ENCODERS
from lang_jepa.data.views import view_of
from lang_jepa.errors import LangJepaError, optional
from lang_jepa.files.atomic import check_writable, make_folder, read_json, write_json
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import build
from lang_jepa.training.collapse import CollapseMonitor
from lang_jepa.training.metrics import OTHER_NAMES

FORMAT = 2
"""Format of sweep.json; the first one had no number, and stored the recipe's name instead of its settings."""
IN_A_ROW = 5
"""Failures in a row after which the search gives up. If a quarter of the settings do not fit together, three in a row
are not unusual."""
_STARTUP = 5
"""The first trials, which are not yet compared with others."""
_FAILED = "failed"
"""User attribute of a failed trial: the full reason."""


@dataclass(frozen=True)
class Sweep:
    """What is searched for; from `make_sweep`.

    Attributes:
        settings: resolved; the same for all trials, except for what the space changes.
        space: settings that trials differ in.
        metric: on held-out data; a trial's value is its best validation after the start.
        trials: how many are to be trained to their end or stopped early; failed ones do not count.
    """

    settings: Settings
    space: tuple[Dimension, ...]
    metric: str
    trials: int

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """`minimize` if lower is better."""
        return "minimize" if self.metric in LOWER_IS_BETTER else "maximize"

    @property
    def aim(self) -> str:
        """The metric and its direction, in words."""
        return f"{self.metric} ({'lower' if self.direction == 'minimize' else 'higher'} is better)"

    def to_json(self) -> dict[str, Any]:
        """Plain data for sweep.json."""
        space = [{**asdict(one), "choices": list(one.choices)} for one in self.space]
        settings = self.settings.model_dump()
        return {"format": FORMAT, "settings": settings, "space": space, "metric": self.metric, "trials": self.trials}

    def trial_settings(self, drawn: Mapping[str, Any], folder: Path) -> Settings:
        """Return the settings of one trial.

        Args:
            drawn: values by dotted key.
            folder: its run directory.

        Raises:
            LangJepaError: the drawn values do not fit the other settings, or the metric would not be measured.
        """
        mode = "min" if self.direction == "minimize" else "max"
        tree = self.settings.model_dump()
        for key, value in drawn.items():
            section, name = key.split(".")
            tree[section][name] = value
        tree["logging"] |= {"log_dir": str(folder), "best_metric": self.metric, "best_mode": mode}
        tree["meta"] |= {"load_checkpoint": False, "checkpoint_path": None}
        settings = build(Settings, tree, where="what was drawn")
        check_aim(settings, self.metric)
        return settings


@dataclass(frozen=True)
class Found:
    """The result of a sweep.

    Attributes:
        overrides: the best trial's settings, for -o.
        value: of the metric.
        trial: its number.
        finished, stopped: how many trials were trained to their end, and stopped early.
        failed: why trials failed, a line for each reason, with the numbers of these trials.
    """

    overrides: tuple[str, ...]
    value: float
    trial: int
    finished: int
    stopped: int
    failed: Mapping[str, tuple[int, ...]]


class _Hopeless(Exception):
    """The trial is worse than others were at this step, or collapses."""


def make_sweep(settings: Settings, space: tuple[Dimension, ...], metric: str, trials: int) -> Sweep:
    """Validate what was asked for.

    Args:
        settings: the recipe's, with all overrides.
        space: settings that trials differ in.
        metric: held-out metric to optimise; the name that runs on spans have for it will do too.
        trials: see `Sweep`.

    Raises:
        LangJepaError: nothing is held out, or the metric is not one that can be optimised there.
    """
    if view_of(settings).has_other_names:
        metric = {other: name for name, other in OTHER_NAMES.items()}.get(metric, metric)
    if metric != "val/regularizer" or "objective.regularizer" not in [one.key for one in space]:
        check_aim(settings, metric)  # else trials may have the regularizer that the recipe lacks
    return Sweep(settings, space, metric, trials)


def sweep(plan: Sweep, folder: Path, callback: Callback | None = None) -> Found:
    """Search, or resume a search.

    A trial that fails is reported and learnt from, and the search continues.

    Args:
        plan: what to search for.
        folder: of this sweep alone; trials are in `trials/`, with Optuna's journal beside them.
        callback: called for every trial.

    Raises:
        LangJepaError: Optuna is not installed, the folder holds another sweep, no trial was trained to its end, or
            several trials in a row failed.
        Interrupted: by Ctrl-C or SIGTERM; the same call resumes.
    """
    folder = folder.absolute()
    check_writable(folder, folder=True)
    _optuna()  # before a folder is made
    make_folder(folder)
    with locked(folder / ".lock") as lock, Workers() as workers:
        _settle(plan, folder)
        search = _Search(plan, folder, callback or NoCallback(), lock, workers)
        search.take_up()
        search.to_the_end()
        return _found(search.study)


class _Search:
    """One sweep in progress.

    Args:
        plan: settled.
        folder: of the sweep.
        callback: called for every trial.
        lock: file descriptor that jobs keep open.
        workers: run the jobs.

    Attributes:
        study: Optuna's. Failed trials are stored as PRUNED, with the attribute `_FAILED`; interrupted ones as FAIL.
            Optuna's sampler ignores FAIL: it then knew nothing of settings that fail, took them for promising, and was
            seen to draw nothing else after its random start. A trial pruned before its first report counts as the
            worst of all.
    """

    def __init__(self, plan: Sweep, folder: Path, callback: Callback, lock: int, workers: Workers) -> None:
        self.plan, self.folder, self.callback, self.lock, self.workers = plan, folder, callback, lock, workers
        self.study = _study(plan, folder)

    def take_up(self) -> None:
        """Queue the trials that were killed midway once more."""
        for trial in self.study.get_trials(deepcopy=False, states=_states("RUNNING")):
            self.study.tell(trial.number, state=_states("FAIL")[0])
            self.study.enqueue_trial(trial.params)

    def to_the_end(self) -> None:
        """Run all trials that are still wanted.

        Raises:
            LangJepaError: several in a row failed. Calling it again resumes the search.
        """
        in_a_row = 0
        while (done := len(_ended(self.study))) < self.plan.trials:
            reason = self._trial(done + 1)
            in_a_row = in_a_row + 1 if reason else 0
            if in_a_row == IN_A_ROW:
                raise LangJepaError(
                    f"{IN_A_ROW} trials in a row failed, the last one because: {reason}\nIf the settings are wrong, "
                    "change --space or the recipe and give another --output; otherwise fix the cause; the same command "
                    "resumes."
                )

    def _trial(self, number: int) -> str:
        """Run the trial of that number; return why it failed, or an empty string."""
        trial, reason = self.study.ask(), ""
        drawn = {dimension.key: dimension.draw(trial) for dimension in self.plan.space}
        shown = ", ".join(f"{key}={_text(value)}" for key, value in drawn.items())
        self.callback.job(shown, number, self.plan.trials)
        try:
            value = self._train(trial, drawn, shown)
        except _Hopeless:
            self.study.tell(trial, state=_states("PRUNED")[0])
        except LangJepaError as error:
            reason = _reason(trial.number, str(error))
            trial.set_user_attr(_FAILED, str(error))
            self.study.tell(trial, state=_states("PRUNED")[0])
            self.callback.event(shown, {"event": "warning", "text": f"this trial failed: {reason}"})
        else:
            self.study.tell(trial, value)
        finally:
            self.callback.done(shown)
        for path in self._folder(trial).glob("checkpoint-*.pth"):
            path.unlink()  # those of many trials would fill the disk; the model directory stays
        return reason

    def _folder(self, trial: Any) -> Path:
        """Run directory of a trial."""
        return self.folder / "trials" / str(trial.number)

    def _train(self, trial: Any, drawn: Mapping[str, Any], shown: str) -> float:
        """Train to the end, and return the metric of the best validation.

        Raises:
            _Hopeless: it was stopped early.
            LangJepaError: the settings do not fit together, or the job failed.
        """
        metric, folder = self.plan.metric, self._folder(trial)
        settings = self.plan.trial_settings(drawn, folder).model_dump()
        job = {"job": "trial", "kind": ENCODERS.name, "settings": settings, "allow_different": True}
        monitor, validations = CollapseMonitor(""), dict[int, float]()

        def on_event(event: Event) -> None:
            self.callback.event(shown, event)
            if event["event"] == "step" and not validations:
                raise LangJepaError("too little is held out to validate on: raise data.val_fraction or data.limit")
            if event["event"] != "validation":
                return
            step, metrics = event["step"], event["metrics"]
            validations[step] = metrics[metric]
            if not math.isfinite(validations[step]):
                raise LangJepaError(f"{metric} is {validations[step]} at step {step}")
            collapses = monitor.check(step, metrics)
            # The validation before the first step is no result of training. The pruner judges a trial by its best
            # report: one that starts well would never be stopped.
            if step > 0:
                trial.report(validations[step], step)
            if collapses or (step > 0 and trial.should_prune()):
                raise _Hopeless

        log, what = folder.with_name(f"{folder.name}.log"), f"trial {trial.number}"
        self.workers.run(job, log=log, lock=self.lock, on_event=on_event, what=what, on_death="")
        best = min if self.plan.direction == "minimize" else max
        return best(value for step, value in validations.items() if step > 0)


def _text(value: Any) -> str:
    """A value as YAML for -o."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, int | float) else str(value)


def _reason(number: int, text: str) -> str:
    """Why a trial failed, in one line: the error's first and, if there are more (a list, a traceback), its last."""
    lines = [line.strip() for line in text.removeprefix(f"trial {number}: ").splitlines() if line.strip()]
    return " ".join([*lines[:1], *lines[1:][-1:]])


def _optuna() -> Any:
    return optional("optuna", "sweep", "a sweep needs Optuna")


def _study(plan: Sweep, folder: Path) -> Any:
    """Open or create Optuna's study."""
    optuna = _optuna()
    journal = optuna.storages.journal.JournalFileBackend(os.fspath(folder / "journal.log"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),
        study_name="sweep",
        direction=plan.direction,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
        load_if_exists=True,
    )
    # A new seed after every interruption: the old one would suggest the first settings again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.get_trials(deepcopy=False)))
    return study


def _states(*names: str) -> tuple[Any, ...]:
    from optuna.trial import TrialState

    return tuple(TrialState[name] for name in names)


def _ended(study: Any) -> list[Any]:
    """Trials that were trained to their end or stopped early."""
    trials = study.get_trials(deepcopy=False, states=_states("COMPLETE", "PRUNED"))
    return [trial for trial in trials if _FAILED not in trial.user_attrs]


def _settle(plan: Sweep, folder: Path) -> None:
    """Save the plan, once it agrees with the one that is there, if any; only the number of trials may change.

    Raises:
        LangJepaError: the folder holds another sweep (says what differs), or other things.
    """
    path, tree = folder / "sweep.json", plan.to_json()
    if path.is_file():
        stored = read_json(path, what="the sweep's plan")
        if stored.get("format") != FORMAT:
            raise LangJepaError(
                f"{path} has format {stored.get('format', 1)}, and this version resumes format {FORMAT} only: "
                "give another --output"
            )
        lines = _differences(plan, tree, stored, where=str(path))
        if lines:
            raise LangJepaError(f"{folder} holds another sweep:\n  " + "\n  ".join(lines) + "\nGive another --output.")
    elif any(entry.name != ".lock" for entry in folder.iterdir()):
        raise LangJepaError(f"{folder} holds other things: give a new or an empty folder with --output")
    write_json(path, tree)


def _differences(plan: Sweep, tree: Mapping[str, Any], stored: Mapping[str, Any], *, where: str) -> Sequence[str]:
    """Describe what differs between a plan and the stored one; settings that are drawn anyway are left out."""
    drawn = [one.key for one in plan.space]
    lines = [f"{key}: {stored[key]} there, {tree[key]} now" for key in ("space", "metric") if stored[key] != tree[key]]
    then = build(Settings, stored["settings"], where=where)
    return [*lines, *setting_differences(then, plan.settings, ignore=["recipe", *OURS, *drawn])]


def _found(study: Any) -> Found:
    """Return the best trial, and what became of the others.

    Raises:
        LangJepaError: no trial was trained to its end.
    """
    finished = study.get_trials(deepcopy=False, states=_states("COMPLETE"))
    stopped = len(_ended(study)) - len(finished)
    if not finished:
        raise LangJepaError(f"all {stopped} trials were stopped early: widen or move --space")
    failed: dict[str, tuple[int, ...]] = {}
    for trial in study.get_trials(deepcopy=False, states=_states("PRUNED")):
        if _FAILED in trial.user_attrs:
            reason = _reason(trial.number, trial.user_attrs[_FAILED])
            failed[reason] = (*failed.get(reason, ()), trial.number)
    best = study.best_trial
    overrides = tuple(f"{key}={_text(value)}" for key, value in best.params.items())
    return Found(overrides, float(best.value), best.number, len(finished), stopped, failed)
