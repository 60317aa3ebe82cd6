"""A comparison in a process of its own, which can be stopped and killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lang_jepa.comparison.compare import NoCallback
from lang_jepa.comparison.plan import Plan
from lang_jepa.files.atomic import write_json
from lang_jepa.training.checkpoint import LAST
from tiny import environment
from warm import Popen

_CHILD = """
import sys
from pathlib import Path
from lang_jepa.comparison.compare import compare
from lang_jepa.comparison.plan import Plan
from lang_jepa.comparison.jobs import Interrupted
from lang_jepa.files.atomic import read_json

if __name__ == "__main__":
    tree = read_json(Path(sys.argv[1]), what="plan")
    try:
        compare(Plan.from_json(tree, where="plan"), Path(sys.argv[2]), jobs=int(sys.argv[3]))
    except Interrupted:
        sys.exit(130)
"""


def colours_of(picture: Path) -> set[str]:
    """The colours of a PNG file that fill at least a hundred of its pixels."""
    import matplotlib.image
    import numpy as np

    pixels = (matplotlib.image.imread(picture)[..., :3] * 255).round().astype(np.uint8)
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return {"#" + bytes(colour).hex() for colour, count in zip(found, counts, strict=True) if count >= 100}


class Heard(NoCallback):
    """Remembers which jobs began, and what was said."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)

    def job(self, what: str, number: int, count: int) -> None:
        self.jobs.append(what)


def start_comparison(plan: Plan, folder: Path, scratch: Path, *, jobs: int = 1) -> "subprocess.Popen[bytes]":
    """Begin a comparison, or go on with it; it ends with 130 when it was stopped."""
    write_json(scratch / "plan.json", plan.to_json())
    (scratch / "child.py").write_text(_CHILD)
    command = [sys.executable, str(scratch / "child.py"), str(scratch / "plan.json"), str(folder), str(jobs)]
    return Popen(command, env=environment())


def until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Wait for something that a process is to do."""
    ends = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, f"it ended by itself with {process.returncode}"
        assert time.monotonic() < ends
        time.sleep(0.01)


def stop_and_kill(plan: Plan, folder: Path, scratch: Path, first: Path, second: Path) -> None:
    """SIGTERM as soon as the run `first` has saved, start again, and kill -9 once `second` has."""
    process = start_comparison(plan, folder, scratch)
    until((first / LAST).is_file, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 130
    process = start_comparison(plan, folder, scratch)
    until((second / LAST).is_file, process)
    process.kill()
    process.wait(120)
