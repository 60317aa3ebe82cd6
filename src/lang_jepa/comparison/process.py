"""Running a job of a comparison in a process of its own, and listening to it."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from lang_jepa.comparison.worker import INTERRUPTED
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import make_folder

Event = Mapping[str, Any]
_LAST_LINES = 20


class Interrupted(Exception):
    """The comparison was asked to stop (Ctrl-C or SIGTERM); the same command goes on.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


class Stopper:
    """Asks all jobs at work to save and end, at Ctrl-C or SIGTERM; a second signal kills them.

    Enter it in the main thread; elsewhere signals are left alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self.number: int = signal.SIGTERM
        self._at_work: set[subprocess.Popen[str]] = set()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stopper":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(self, *failure: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ask(self) -> None:
        """Let every job save and end; none begins after this."""
        self.asked = True
        for process in tuple(self._at_work):
            process.terminate()

    @contextlib.contextmanager
    def watching(self, process: "subprocess.Popen[str]") -> Iterator[None]:
        """While a job is at work."""
        self._at_work.add(process)
        try:
            if self.asked:  # asked while it was started
                process.terminate()
            yield
        finally:
            self._at_work.discard(process)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.number = number
            self.ask()
            return
        for process in tuple(self._at_work):
            process.kill()


def run_job(
    job: Mapping[str, Any],
    *,
    log: Path,
    lock: int,
    tell: Callable[[Event], None],
    what: str,
    on_death: str,
    stopper: Stopper,
) -> None:
    """Run one job to its end.

    Args:
        job: see `lang_jepa.comparison.worker`.
        log: file that its standard error is appended to.
        lock: file descriptor of the comparison's lock, which the job keeps while it lives, even without us.
        tell: called with every event; what it raises ends the job.
        what: names the job in errors.
        on_death: what to do if it dies, a sentence for the error.
        stopper: may ask it to end.

    Raises:
        Interrupted: we or the job were asked to stop.
        LangJepaError: the job told of a mistake, or died.
    """
    if stopper.asked:
        raise Interrupted(stopper.number)
    make_folder(log.parent)
    error = ""
    with log.open("ab") as errors, _started(job, errors, lock) as process, stopper.watching(process):
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "error":
                error = event["text"]
            else:
                tell(event)
        status = process.wait()
    if stopper.asked or status == INTERRUPTED:
        raise Interrupted(stopper.number)
    if error:
        raise LangJepaError(f"{what}: {error}")
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        raise LangJepaError(f"{what} died with status {status}. {on_death}The end of {log}:\n  " + "\n  ".join(lines))


@contextlib.contextmanager
def _started(job: Mapping[str, Any], errors: Any, lock: int) -> Iterator["subprocess.Popen[str]"]:
    """A child process that is ended with the block.

    It has a session of its own, so that Ctrl-C reaches it once, through us, and it can save.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "lang_jepa.comparison.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        pass_fds=(lock,),
        start_new_session=True,
        encoding="utf-8",
    )
    try:
        assert process.stdin is not None
        # A job that died at once is told of by its status.
        with contextlib.suppress(BrokenPipeError), process.stdin as stream:
            json.dump(job, stream)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
