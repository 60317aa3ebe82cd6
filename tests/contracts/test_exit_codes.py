"""Ended before the loop, and by an output that nobody reads any more. One system stands for all: the code is one."""

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from systems import SYSTEMS, Inputs

from lang_jepa.files.run_lock import LOCK
from lang_jepa.training.checkpoint import load_checkpoint
from stopping import signal_once
from tiny import environment
from warm import Popen

ENCODER = SYSTEMS[0]


def _read_lines(command: Sequence[str], count: int) -> tuple[int, str]:
    """Exit status and standard error of a command whose output is closed after some lines."""
    child = Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    for _ in range(count):
        child.stdout.readline()
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    return child.wait(300), said


def test_interrupted_before_the_loop(inputs: Inputs, tmp_path: Path) -> None:
    """Nothing is left of it."""
    command = ENCODER.command(ENCODER.make(tmp_path / "run", (), inputs), inputs)
    ended = signal_once(command, tmp_path / "run" / LOCK, signal.SIGINT)
    assert ended.status == 130
    assert ended.err.startswith(
        "interrupted: ended before it was done. What was finished is kept: run the command again"
    )
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("words", ["--version", "--help", "train --help", "recipes", "train", "prepare"])
def test_a_full_output_is_no_full_disk(words: str, inputs: Inputs, tmp_path: Path) -> None:
    """And ends as a closed one does."""
    command = ENCODER.command(ENCODER.make(tmp_path / "run", (), inputs), inputs)
    more = [words, command[-1]] if words in ("train", "prepare") else words.split()
    with open("/dev/full", "w") as full:  # written at the end, when the buffer of Python is emptied
        ended = subprocess.run(
            [*command[:3], *more],
            env=environment({"PYTHONUNBUFFERED": ""}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 128 + signal.SIGPIPE, ended.stderr
    assert re.match("error: the output could not be written|the output was closed, or is full: ", ended.stderr)
    assert "disk" not in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_closed_output_saves_and_stops(inputs: Inputs, tmp_path: Path) -> None:
    settings = ENCODER.make(tmp_path / "run", ("optimization.max_steps=60",), inputs)
    status, said = _read_lines(ENCODER.command(settings, inputs), 30)
    assert status == 128 + signal.SIGPIPE
    at = load_checkpoint(tmp_path / "run" / ENCODER.last)["step"]
    assert said == f"Stopped at step {at} of 60; it is saved: resume with --resume\n"
    assert 0 < at < 60
