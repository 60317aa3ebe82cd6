"""Kill training at random moments, resume it, and compare the result bit for bit with an uninterrupted run.

    python scripts/reliability/kill.py [TIMES] [--seed N]

Each time a tiny run of one of the systems (encoder on a corpus, on a stream, on cached concepts; decoder; GPT) is
started as a separate command, killed with SIGKILL at a random time after training has begun, resumed and killed again
(up to three times), then resumed to its end. Weights, optimizer, generators, position in the data, metrics and the
exported model must equal those of the uninterrupted run, and no temporary files may be left. Prints `N of N`.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "contracts")]
os.environ["OMP_NUM_THREADS"] = "1"  # a different order of summation would round differently
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from systems import SYSTEMS, Inputs, System  # noqa: E402

from lang_jepa.training.checkpoint import load_checkpoint  # noqa: E402
from tiny import assert_same_checkpoint, environment, rows_of  # noqa: E402

STEPS = 60


def main() -> int:
    """Return 0 if every run was resumed as if nothing had happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    draw, good, kills = random.Random(chosen.seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="lang-jepa-kill-") as scratch:
        place = Path(scratch)
        inputs = Inputs.make(place / "inputs")
        wholes: dict[str, Path] = {}
        for number in range(chosen.times):
            system = SYSTEMS[number % len(SYSTEMS)]
            if system.name not in wholes:
                wholes[system.name] = _train(system, place / f"whole-{len(wholes)}", inputs)
            killed, problem = _once(system, place / str(number), wholes[system.name], inputs, draw)
            kills, good = kills + killed, good + (not problem)
            print(f"{number + 1:3}  {system.name:28} killed {killed} times  {problem or 'the same'}", flush=True)
    print(f"{good} of {chosen.times} ({kills} kills)")
    return 0 if good == chosen.times else 1


def _settings(system: System, folder: Path, inputs: Inputs) -> Any:
    return system.make(folder, (f"{system.steps}={STEPS}",), inputs)


def _train(system: System, folder: Path, inputs: Inputs) -> Path:
    system.begin(_settings(system, folder, inputs), None, inputs)
    return folder


def _once(system: System, folder: Path, whole: Path, inputs: Inputs, draw: random.Random) -> tuple[int, str]:
    """Return how often a run was killed, and how it differs from the uninterrupted one in the end."""
    command = system.command(_settings(system, folder, inputs), inputs)
    killed = 0
    for time_of in range(draw.randint(1, 3)):
        killed += _killed([*command, "--resume"] if time_of else command, folder, draw.expovariate(4))
    system.begin(system.resume(folder), None, inputs)
    try:
        _compare(system, whole, folder)
    except AssertionError as difference:
        return killed, str(difference) or "it differs"
    return killed, ""


def _killed(command: Sequence[str], folder: Path, after: float) -> bool:
    """Start a command and kill it `after` seconds after its metrics change; return whether it was still alive."""
    began = time.time()
    child = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = folder / "metrics.csv"
    while child.poll() is None and not (metrics.is_file() and metrics.stat().st_mtime >= began):
        time.sleep(0.005)
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def _compare(system: System, whole: Path, parts: Path) -> None:
    assert load_checkpoint(parts / system.last)["step"] == STEPS, "it did not end"
    for name in (system.last, system.best):
        assert_same_checkpoint(whole / name, parts / name)
    assert rows_of(whole) == rows_of(parts), "metrics.csv"
    for path in (whole / "model").glob("*.safetensors"):
        assert path.read_bytes() == (parts / "model" / path.name).read_bytes(), path.name
    left = [path.name for path in parts.rglob(".*") if path.suffix in (".tmp", ".old")]
    assert not left, f"left behind: {', '.join(left)}"


if __name__ == "__main__":
    sys.exit(main())
