"""Running a job of a comparison in a process of its own, and listening to it."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from lang_jepa.comparison.worker import INTERRUPTED
from lang_jepa.errors import LangJepaError

Event = Mapping[str, Any]
_LAST_LINES = 20


class Interrupted(Exception):
    """The comparison was asked to stop (Ctrl-C or SIGTERM); the same command goes on."""


def run_job(
    job: Mapping[str, Any], *, log: Path, lock: int, tell: Callable[[Event], None], what: str
) -> None:
    """Run one job to its end.

    Args:
        job: see `lang_jepa.comparison.worker`.
        log: file that its standard error is appended to.
        lock: file descriptor of the comparison's lock, which the job keeps while it lives, even without us.
        tell: called with every event; what it raises ends the job.
        what: names the job in errors.

    Raises:
        Interrupted: we or the job were asked to stop.
        LangJepaError: the job told of a mistake, or died.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    error = ""
    with log.open("ab") as errors, _Job(job, errors, lock) as process:
        for event in process.events():
            if event["event"] == "error":
                error = event["text"]
            else:
                tell(event)
        status = process.wait()
    if process.stopped or status == INTERRUPTED:
        raise Interrupted
    if error:
        raise LangJepaError(f"{what}: {error}")
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        raise LangJepaError(
            f"{what} died with status {status}; the same command goes on from its last checkpoint. "
            f"The end of {log}:\n  " + "\n  ".join(lines)
        )


class _Job:
    """A child process that is asked to stop when we are.

    It has a session of its own, so that Ctrl-C reaches it once, through us, and it can save.
    """

    def __init__(self, job: Mapping[str, Any], errors: Any, lock: int) -> None:
        self.job, self.errors, self.lock = job, errors, lock
        self.stopped = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Job":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lang_jepa.comparison.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            pass_fds=(self.lock,),
            start_new_session=True,
            encoding="utf-8",
        )
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._stop)
        assert self.process.stdin is not None
        # A job that died at once is told of by its status.
        with contextlib.suppress(BrokenPipeError), self.process.stdin as stream:
            json.dump(self.job, stream)
        return self

    def events(self) -> Any:
        """Events until the process closes its side."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        self.process.terminate()  # once: it saves and ends; a second signal to us acts on it at once
        signal.signal(number, self._kill)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        self.process.kill()

    def __exit__(self, *failure: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
