"""The comparison itself: measure, train and evaluate every run, and resume where it was left."""

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from lang_jepa.comparison.budget import Measured
from lang_jepa.comparison.estimate import Estimate, in_time
from lang_jepa.comparison.jobs import EVALUATED, INFO, TRAINED, Event, Interrupted, Workers
from lang_jepa.comparison.kind import StartInfo, check_environment, check_pair, read_start, setting_differences
from lang_jepa.comparison.outcome import outcome
from lang_jepa.comparison.page import write_page, write_pictures
from lang_jepa.comparison.plan import Plan, Variant, refuse_different_settings, run_folder, settle
from lang_jepa.errors import LangJepaError, check_extra, counted
from lang_jepa.files.atomic import check_writable, make_folder, open_lock, read_json, write_json
from lang_jepa.settings.load import read_settings

REPORT, PAGE, SHARED = "report.json", "report.html", "shared"
_PATIENCE = 30.0
# Another variant may change the number of validations, and they select nothing.
_VALIDATIONS = ("logging.eval_freq",)
_FREE = ("meta.load_checkpoint", "meta.checkpoint_path", "logging.log_dir", "recipe", *_VALIDATIONS)


class Callback(Protocol):
    """Called as a comparison progresses, from several threads if several jobs run at once."""

    def job(self, what: str, number: int, count: int) -> None:
        """Job `number` of `count` begins."""
        return

    def event(self, what: str, event: Event) -> None:
        """The job reports an event (see `lang_jepa.comparison.jobs`)."""
        return

    def done(self, what: str) -> None:
        """The job has ended, successfully or not."""
        return

    def message(self, text: str) -> None:
        """There is something to know: what is to be done, and how long it will take."""
        return


class NoCallback(Callback):
    """Does nothing."""


def compare(plan: Plan, folder: Path, callback: Callback | None = None, *, jobs: int = 1) -> dict[str, Any]:
    """Do what remains of a comparison, and report.

    If it is killed at any time and called again with the same plan, the result is the same: finished runs are not
    repeated, and an interrupted run resumes from its last checkpoint.

    Args:
        plan: from `make_plan`.
        folder: of this comparison alone; `report.json`, `report.html` and its pictures are written there.
        callback: called as the comparison progresses.
        jobs: runs at the same time. The cost of a step is always measured by one job alone.

    Returns:
        The report, as in report.json.

    Raises:
        LangJepaError: the extra `evaluate` is not installed; or the folder holds another comparison, runs are not on
            equal terms, a task could judge nothing, or a job failed.
        Interrupted: by Ctrl-C or SIGTERM; all finished work is kept.
    """
    check_extra("evaluate", "compare")
    refuse_different_settings(plan)
    data_dir = Path(plan.data_dir) if plan.data_dir else None
    plan.kind.check_tasks({one.name: one.settings for one in plan.variants}, plan.tasks, data_dir)
    folder = folder.absolute()  # jobs may start elsewhere
    check_writable(folder, folder=True)
    make_folder(folder)
    with locked(folder / ".lock") as lock, Workers() as workers:
        work = _Work(settle(plan, folder), folder, callback or NoCallback(), lock, workers)
        work.measure()
        work.run_all(jobs)
        report = outcome(work.plan, folder)
    write_json(folder / REPORT, report)
    write_page(report, folder / PAGE)
    write_pictures(report, folder)
    return report


class _Work:
    """One comparison in progress.

    Args:
        plan: settled.
        folder: of the comparison.
        callback: called for every job.
        lock: file descriptor that jobs keep open.
        workers: run the jobs.
    """

    def __init__(self, plan: Plan, folder: Path, callback: Callback, lock: int, workers: Workers) -> None:
        self.plan, self.folder, self.callback, self.lock, self.workers = plan, folder, callback, lock, workers
        self.count = len(plan.seeds) * len(plan.variants)
        self.window = plan.kind.window([one.settings for one in plan.variants])
        self.guard = threading.Lock()
        self.info: dict[tuple[str, int], StartInfo] = {}
        self.estimate = Estimate({}, 1)

    def measure(self) -> None:
        """Measure the cost of a step of each variant, if the budget needs it before training."""
        if self.plan.budget.kind == "steps":
            return
        for number, variant in enumerate(self.plan.variants, start=1):
            if variant.measured is None:
                what = f"measuring {variant.name}"
                self.callback.job(what, number, len(self.plan.variants))
                timed = self.plan.budget.kind == "minutes"
                settings = variant.settings.model_dump()
                job = {"job": "measure", "kind": self.plan.kind.name, "settings": settings, "timed": timed}
                self._do(job, variant, None, self.folder / "runs" / variant.name / "measure.log", what)

    def run_all(self, jobs: int) -> None:
        """Do all runs, `jobs` at a time; the first failure ends the others, which save."""
        pairs = [(variant, seed) for seed in self.plan.seeds for variant in self.plan.variants]
        self._announce(pairs, jobs)

        def do(number: int, variant: Variant, seed: int) -> None:
            if self.workers.asked:
                raise Interrupted(self.workers.number)
            try:
                self.run(variant, seed, number)
            except BaseException:
                self.workers.ask()  # before this thread takes the next run
                raise

        with ThreadPoolExecutor(jobs) as pool:
            runs = [pool.submit(do, number, *pair) for number, pair in enumerate(pairs, start=1)]
            wait(runs, return_when=FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
        failures = [failure for run in runs if not run.cancelled() and (failure := run.exception())]
        for failure in sorted(failures, key=lambda one: isinstance(one, Interrupted)):
            raise failure

    def _announce(self, pairs: Sequence[tuple[Variant, int]], jobs: int) -> None:
        """Say how many runs there are, what each may cost, and what is known about the time."""
        plan, names = self.plan, [variant.name for variant, seed in pairs if not self._is_done(variant, seed)]
        self.estimate = Estimate(Counter(names), jobs)
        if not names:
            return
        said = f"{counted(len(plan.variants), 'variant')} x {counted(len(plan.seeds), 'seed')}"
        said = f"{counted(len(pairs), 'run')} ({said}) of {plan.budget} each"
        if plan.budget.kind != "steps":
            said += ": " + ", ".join(f"{one.name} {counted(plan.steps(one), 'step')}" for one in plan.variants)
        said += "."
        if len(names) < len(pairs):
            said += f" {len(pairs) - len(names):,} done before, {len(names):,} to do."
        if plan.budget.kind == "minutes":
            seconds = 60 * plan.budget.amount * len(names) / min(jobs, len(names))
            said += f" Training takes about {in_time(seconds)} by the measured steps; evaluation comes on top."
        else:
            said += " The first run will tell how long they take."
        self.callback.message(said)

    def _is_done(self, variant: Variant, seed: int) -> bool:
        run = run_folder(self.folder, variant.name, seed)
        return evaluated(run, self.window) and self.plan.variant(variant.name).measured is not None

    def run(self, variant: Variant, seed: int, number: int) -> None:
        """Do what remains of one run."""
        folder = run_folder(self.folder, variant.name, seed)
        what = f"{variant.name}, seed {seed}"
        settings = self.plan.run_settings(variant, seed, self.folder)
        _check_folder(folder, settings, self.plan.kind.settings_type)
        if (folder / TRAINED).is_file():
            self._check(variant, seed, read_start(folder / INFO, self.plan.kind))
        if self._is_done(variant, seed):
            return
        count_flops = self.plan.variant(variant.name).measured is None
        if not evaluated(folder, self.window):
            (folder / EVALUATED).unlink(missing_ok=True)
        with self.guard:
            self.estimate.begin(variant.name, seed)
        self.callback.job(what, number, self.count)
        job = {
            "job": "run",
            "kind": self.plan.kind.name,
            "settings": settings.model_dump(),
            "count_flops": count_flops,
            "allow_different": self.plan.allow_different,
            "tasks": list(self.plan.tasks),
            "data_dir": self.plan.data_dir,
            "questions": asdict(self.plan.questions),
            "window": self.window,
            "shared": str(self.folder / SHARED),
        }
        try:
            self._do(job, variant, seed, folder.with_name(f"{folder.name}.log"), what)
        except LangJepaError as error:
            if variant.name == self.plan.baseline.name:
                raise
            raise LangJepaError(
                f"{error}\nWithout {variant.name} the same command continues with the others."
            ) from error
        with self.guard:
            said = self.estimate.done(variant.name, seed)
        self.callback.message(said)

    def _do(self, job: Mapping[str, Any], variant: Variant, seed: int | None, log: Path, what: str) -> None:
        """Run one job in its own process; save the costs it measures, and check what its run starts with."""

        def on_event(event: Event) -> None:
            if event["event"] == "measured":
                with self.guard:
                    measured = Measured(event["seconds"], event["flops"])
                    self.plan = self.plan.with_measured(variant.name, measured)
                    write_json(self.folder / "plan.json", self.plan.to_json())
            elif event["event"] == "start" and seed is not None:
                self._check(variant, seed, event["info"])
            if seed is not None:
                with self.guard:
                    said = self.estimate.event(variant.name, seed, event)
                if said:
                    self.callback.message(said)
            self.callback.event(what, event)

        try:
            self.workers.run(
                job,
                log=log,
                lock=self.lock,
                on_event=on_event,
                what=what,
                on_death="The same command resumes from its last checkpoint. ",
            )
        finally:
            self.callback.done(what)

    def _check(self, variant: Variant, seed: int, info: StartInfo) -> None:
        """Check a run's environment against the very first run's, and runs of a seed against the baseline's."""
        with self.guard:
            if self.info:
                first, what = next(iter(self.info.values())), f"{variant.name}, seed {seed}"
                check_environment(info, first, what=what, allow=self.plan.allow_different)
            self.info[variant.name, seed] = info
            baseline = self.plan.baseline
            paired = self.info.get((baseline.name, seed))
            if paired is None:  # it is starting at the same time, and will check this one
                return
            others = self.plan.variants[1:] if variant.name == baseline.name else (variant,)
            for other in others:
                theirs = self.info.get((other.name, seed))
                if theirs is not None:
                    expected = self.plan.kind.expected_equal(other.settings, baseline.settings)
                    check_pair(theirs, paired, expected, what=f"{other.name}, seed {seed}")


def evaluated(run: Path, window: int | None) -> bool:
    """Whether a run was evaluated with this length of context; a new variant can bring a longer one."""
    path = run / EVALUATED
    return path.is_file() and read_json(path, what="the note of a run's evaluation").get("window", window) == window


def _check_folder(folder: Path, settings: BaseModel, kind: type[BaseModel]) -> None:
    """Refuse a run directory that was made with other settings than the plan's.

    Raises:
        LangJepaError: with the settings that differ.
    """
    path = folder / "settings.yaml"
    if not path.is_file():
        return
    lines = setting_differences(read_settings(path, kind), settings, ignore=_FREE)
    if lines:
        raise LangJepaError(
            f"the run in {folder} was made with other settings than the plan says:\n  " + "\n  ".join(lines) + "\n"
            "Remove that folder to train it again, or give another --output."
        )


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the comparison's lock; its jobs inherit it, so a job that outlives a killed parent is waited for.

    Raises:
        LangJepaError: another process holds it for longer than such a job takes to notice.
    """
    descriptor = open_lock(path)
    try:
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise LangJepaError(
                        f"another process is at work on {path.parent}: wait for it, or give another --output"
                    ) from None
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)
