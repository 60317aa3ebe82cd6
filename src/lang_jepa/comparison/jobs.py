"""Run the jobs of a comparison, each in a process of its own: the parent's side (`Workers`) and the job's side.

`python -m lang_jepa.comparison.jobs` reads jobs from standard input, one JSON object per line, and writes events to
standard output in the same form. Everything else that a job prints goes to its log.
"""

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Self, TextIO

from lang_jepa.comparison.kind import Evaluation, RunKind, check_environment, read_start, start_info
from lang_jepa.comparison.systems import kind_named
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_only, make_folder, read_json, write_json
from lang_jepa.files.run_lock import RunLock
from lang_jepa.settings.load import build
from lang_jepa.training.reporter import Silent

Event = Mapping[str, Any]
_LAST_LINES = 20


class Interrupted(Exception):
    """The comparison was asked to stop (Ctrl-C or SIGTERM); the same command resumes it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


class Workers:
    """A pool of worker processes, one for each concurrent job; a free worker takes the next job.

    Leaving the context ends them. On Ctrl-C or SIGTERM all jobs save and exit, and none is started; a second signal
    kills them. Enter the context in the main thread; in other threads signals are left alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self.number: int = signal.SIGTERM
        self._at_work: set[_Worker] = set()
        self._free: list[_Worker] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(self, *failure: object) -> None:
        for worker in self._free:
            worker.end()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ask(self) -> None:
        """Ask every job to save and exit; none is started after this."""
        self.asked = True
        for worker in tuple(self._at_work):
            worker.signal(signal.SIGTERM)

    def run(
        self,
        job: Mapping[str, Any],
        *,
        log: Path,
        lock: int,
        on_event: Callable[[Event], None],
        what: str,
        on_death: str,
    ) -> None:
        """Run one job to its end.

        Args:
            job: what to do, see `JOBS`.
            log: file that the job's output is appended to.
            lock: file descriptor of the comparison's lock, which the job holds while it lives, even if we die.
            on_event: called with every event; an exception that it raises ends the job.
            what: names the job in errors.
            on_death: a sentence for the error if the job dies: what to do then.

        Raises:
            Interrupted: we or the job were asked to stop.
            LangJepaError: the job reported an error, or died.
        """
        if self.asked:
            raise Interrupted(self.number)
        make_folder(log.parent)
        log.touch()
        error, status = "", None
        with self._worker(log, lock) as worker:
            for event in worker.events({"log": str(log), **job}):
                if event["event"] == "error":
                    error = event["text"]
                elif event["event"] == "ended":
                    status = event["status"]
                else:
                    on_event(event)
            if status is None:
                status = worker.end()
        if self.asked or status == INTERRUPTED:
            raise Interrupted(self.number)
        if error:
            raise LangJepaError(f"{what}: {error}")
        if status:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            said = "\n  ".join([f"{what} died with status {status}. {on_death}The end of {log}:", *lines])
            raise LangJepaError(said)

    @contextlib.contextmanager
    def _worker(self, log: Path, lock: int) -> "Iterator[_Worker]":
        """Yield a free worker or a new one; end it if its job is abandoned."""
        while self._free and not self._free[-1].lives:  # it was killed
            self._free.pop()
        worker = self._free.pop() if self._free else _Worker(log, lock)
        self._at_work.add(worker)
        try:
            if self.asked:  # asked while it was starting
                worker.signal(signal.SIGTERM)
            yield worker
        except BaseException:
            worker.signal(signal.SIGTERM)
            worker.end()
            raise
        else:
            self._free.append(worker)
        finally:
            self._at_work.discard(worker)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.number = number
            self.ask()
            return
        for worker in tuple(self._at_work):
            worker.signal(signal.SIGKILL)


class _Worker:
    """A process that has imported what jobs need, and forks for each job.

    It has its own session, so Ctrl-C reaches it only once, through us, and its job can save.
    """

    def __init__(self, log: Path, lock: int) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lang_jepa.comparison.jobs"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=(lock,),
                start_new_session=True,
                encoding="utf-8",
            )

    def events(self, job: Mapping[str, Any]) -> Iterator[Event]:
        """Send it a job, and yield events up to `ended`, which has the status; without one, the worker itself died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the exit status tells that it died
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            event = json.loads(line)
            yield event
            if event["event"] == "ended":
                return

    def signal(self, number: int) -> None:
        """Send a signal to the worker and its job."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Let it finish, and return its exit status."""
        self._process.communicate()  # closes its input, which ends it
        return self._process.returncode


INFO, TRAINED, EVALUATED = "facts.json", "trained.json", "evaluated.json"
SCORES, VALUES = "compared.json", "values.npz"
INTERRUPTED = 3
"""Exit status of a job that was asked to stop and can be resumed."""
_IMPORTED = (
    "lang_jepa.report.encoder_run",
    "lang_jepa.training.train",
    "lightning.fabric",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "sklearn.feature_extraction.text",
    "transformers.modeling_utils",
)
"""Most of what jobs import; the rest takes less time than a step."""
_PAUSE = 0.2
_BEGUN = (
    ".lock",
    ".*.tmp",
    ".*.old",
    "README.txt",
    "settings.yaml",
    "metrics.csv",
    "examples.txt",
    "samples.txt",
    "stopped.json",
    "checkpoint-best.pth",
    "checkpoint-epoch*.pth",
    "best_decoder.pt",
    "tensorboard",
    "wandb",
    INFO,
)
"""What a run directory holds before there is a checkpoint to resume from: deleting it loses nothing."""


class Channel(Silent):
    """Reporter of a run that sends events to the parent.

    If the parent is gone, the broken pipe ends this process too.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._sent = 0.0

    def send(self, event: str, **values: Any) -> None:
        self._stream.write(json.dumps({"event": event, **values}) + "\n")
        self._stream.flush()

    def begin(self, *, total: int, start: int, every: int, info: list[tuple[str, str]]) -> None:
        self.send("begin", total=total, start=start)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Report a step, five times a second at most."""
        if time.monotonic() - self._sent > _PAUSE:
            self._sent = time.monotonic()
            self.send("step", step=step, loss=metrics["train/loss"])

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        self.send("validation", step=step, metrics=dict(metrics))

    def message(self, text: str) -> None:
        self.send("message", text=text)

    def warning(self, text: str) -> None:
        self.send("warning", text=text)


def measure_job(job: Mapping[str, Any], channel: Channel) -> int:
    """Measure what a step of a variant costs."""
    from lang_jepa.comparison.budget import measure

    with tempfile.TemporaryDirectory(prefix="lang-jepa-measure-") as scratch:
        measured = measure(_kind(job), _settings(job), Path(scratch) / "run", timed=job["timed"])
    channel.send("measured", seconds=measured.seconds, flops=measured.flops)
    return 0


def whole_run(job: Mapping[str, Any], channel: Channel) -> int:
    """Do what remains of one run: train it, count its FLOPs if asked to, evaluate it."""
    settings = _settings(job)
    folder = Path(settings.logging.log_dir)
    if not (folder / TRAINED).is_file() and not _train(settings, job, channel):
        return INTERRUPTED
    if job["count_flops"]:
        measure_job({**job, "timed": False}, channel)
    if not (folder / EVALUATED).is_file():
        channel.send("evaluating")
        _evaluate(folder, job)
    return 0


def _train(settings: Any, job: Mapping[str, Any], channel: Channel) -> bool:
    """Train to the end, from the last checkpoint if there is one; return False if asked to stop."""
    from lang_jepa.training.train import method_of, resume_settings, train

    folder, kind = Path(settings.logging.log_dir), _kind(job)
    if (folder / method_of(settings).layout.last).is_file():
        settings = resume_settings(folder)
    elif folder.is_dir():
        with RunLock(folder):
            check_only(folder, _BEGUN, what="a run that was stopped before its first checkpoint")
            shutil.rmtree(folder)

    def send_info(run: Any) -> None:
        info = start_info(kind, run)
        path = folder / INFO
        if run.resumed:  # its weights are no longer the initial ones
            before = read_start(path, kind)
            check_environment(info, before, what=f"the rest of {folder}", allow=job["allow_different"])
            info = before
        else:
            write_json(path, info)
        channel.send("start", info=info)

    result = train(settings, channel, on_start=send_info)
    if not result.interrupted:
        write_json(folder / TRAINED, {"steps": result.step, "alarms": list(result.alarms)})
    return not result.interrupted


def _evaluate(folder: Path, job: Mapping[str, Any]) -> None:
    """Save the scores of a finished run, and its values per question."""
    from lang_jepa.evaluation.tasks import Budget

    evaluation = Evaluation(
        tasks=tuple(job["tasks"]),
        data_dir=Path(job["data_dir"]) if job["data_dir"] else None,
        questions=Budget(**job["questions"]),
        shared=Path(job["shared"]),
        window=job["window"],
    )
    report, path = _kind(job).evaluate(folder, evaluation)
    report.save_details(folder / VALUES)
    # scores.json changes if the run is evaluated again; the verdicts need the scores that belong to their values.
    write_json(folder / SCORES, read_json(path, what="the scores of a run"))
    note = {"scores": SCORES, "values": VALUES, "tasks": job["tasks"], "window": job["window"]}
    write_json(folder / EVALUATED, note)


def trial_job(job: Mapping[str, Any], channel: Channel) -> int:
    """Train one trial of a sweep, without evaluating it."""
    return 0 if _train(_settings(job), job, channel) else INTERRUPTED


JOBS = {"measure": measure_job, "run": whole_run, "trial": trial_job}


def _kind(job: Mapping[str, Any]) -> RunKind[Any]:
    return kind_named(job["kind"])


def _settings(job: Mapping[str, Any]) -> Any:
    return build(_kind(job).settings_type, job["settings"], where="the comparison's plan")


def main() -> int:
    """Run the jobs on standard input, one per line, each in a child process; send `ended` after each.

    Imports take longer than a small job, 6 CPU-seconds. None touches a GPU, which a forked child could not use then.

    Returns:
        The exit status of a child: 0 done, 2 an error that the user can fix (sent as an `error` event), 3
        interrupted. 0 for the parent.
    """
    warnings.filterwarnings("ignore", message=".*(index_reduce|This DataLoader will create)")
    channel = Channel(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print too; the pipe carries events only
    go_offline_if_unreachable()
    for name in _IMPORTED:
        import_module(name)
    gc.freeze()  # children need not scan, and so copy, what they share with this process
    asked = list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    for line in sys.stdin:
        if not (child := os.fork()):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return INTERRUPTED if asked else _do(json.loads(line), channel)
        channel.send("ended", status=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return 0


def _do(job: Mapping[str, Any], channel: Channel) -> int:
    """Run one job in this process, with its output in the job's log and nothing to read."""
    with open(job["log"], "ab") as errors, open(os.devnull) as nothing:
        for stream, own in ((sys.stdout, errors), (sys.stderr, errors), (sys.stdin, nothing)):
            os.dup2(own.fileno(), stream.fileno())
    try:
        return JOBS[job["job"]](job, channel)
    except LangJepaError as error:
        channel.send("error", text=str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
