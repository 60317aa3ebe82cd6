"""A warm process that gets a signal as soon as a file is there."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tiny import environment
from warm import Popen


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def signal_once(command: Sequence[str], there: Path, number: signal.Signals, *, cwd: Path | None = None) -> Ended:
    """Run a command in a process group of its own, and send the whole group a signal once the file `there` exists."""
    child = Popen(
        command,
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not there.is_file():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline, f"no {there.name} after five minutes"
            time.sleep(0.002)
        os.killpg(child.pid, number)
        out, err = child.communicate(timeout=300)
    finally:
        child.kill()
    return Ended(child.returncode, out, err)
