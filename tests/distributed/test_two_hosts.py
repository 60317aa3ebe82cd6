"""Two hosts, a process on each, train one run: while the network is away, and when one of them hangs or is killed."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Hosts, Processes, steps, two_hosts, wait_for, why_not
from sharded import FSDP, NEVER, run_jobs

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import save_settings
from tiny import MODES, assert_same_run, tiny_settings, write_parquet

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"), pytest.mark.slow]
LIMIT = 170
"""Seconds after which a process counts as one that waits for ever."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    try:
        with two_hosts() as made:
            yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"hosts cannot be made here: {error.stderr.strip()}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes of one host make of both runs."""
    folder = tmp_path_factory.mktemp("one-host")
    write_parquet(folder / "texts", documents=40, files=2)
    prepare(_of_corpus(folder).data)
    run_jobs(
        [
            (_of_corpus(folder), NEVER, "auto"),
            (_of_stream(folder, f"data.train_file={folder / 'texts'}"), NEVER, "fsdp"),
        ]
    )
    return folder


def _of_corpus(folder: Path) -> Settings:
    seldom = ("logging.eval_freq=30", "logging.checkpoint_steps=30")
    return tiny_settings(folder / "corpus", *MODES["concepts"], "optimization.max_steps=40", *seldom)


def _of_stream(folder: Path, *overrides: str) -> Settings:
    stream = ("data.streaming=true", "data.shuffle_buffer=6", "data.batch_size=2")
    often = ("optimization.max_steps=60", "logging.eval_freq=30", "logging.checkpoint_steps=8")
    return tiny_settings(folder / "stream", *MODES["concepts"], *stream, *often, *FSDP, *overrides)


def _written(settings: Settings) -> str:
    """The file of some settings."""
    file = Path(settings.logging.log_dir).with_suffix(".yaml")
    save_settings(settings, file)
    return str(file)


def _ended_well(processes: Processes) -> None:
    errors = [process.communicate(timeout=LIMIT)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors


def test_two_hosts_train_one_run(hosts: Hosts, undisturbed: Path, tmp_path: Path) -> None:
    """It is that of one host, bit for bit, also when the network is away for 20 seconds: TCP sends again what was lost,
    after pauses that double."""
    two = hosts.train(tmp_path, _written(_of_corpus(tmp_path)))
    try:
        wait_for(tmp_path / "corpus", 5, two)
        hosts.turn("down")
        time.sleep(20)
        assert steps(tmp_path / "corpus") < 40
        hosts.turn("up")
        _ended_well(two)
    finally:
        hosts.turn("up")
        hosts.end(two)
    assert_same_run(undisturbed / "corpus", tmp_path / "corpus")


def test_a_host_that_is_lost_ends_the_other(hosts: Hosts, undisturbed: Path, tmp_path: Path) -> None:
    """Weights shared out, on a stream: one host hangs, the run goes on; the other one is killed, the run goes on; it
    ends as if nothing had happened."""
    folder, texts = tmp_path / "stream", f"data.train_file={undisturbed / 'texts'}"
    options = (_written(_of_stream(tmp_path, texts, "meta.timeout_minutes=0.15")),)
    for step, number, sign, words in (
        (13, 0, signal.SIGSTOP, "no heartbeat from process 0 for 8 s"),
        (29, 1, signal.SIGKILL, "another process of this run is gone|process 1 has (died|failed)"),
    ):
        both = hosts.train(tmp_path, *options)
        try:
            wait_for(folder, step, both)
            hosts.send(hosts.names[number], sign)
            left = both[1 - number]
            said = left.communicate(timeout=LIMIT)[1].decode()
        finally:
            hosts.end(both)
        assert left.returncode == 1
        (line,) = [line for line in said.splitlines() if line.startswith("error")]
        assert re.search(words, line), said
        assert "--resume" in line
        assert steps(folder) < 60
        options = (str(folder), "--resume")
    last = hosts.train(tmp_path, *options)
    try:
        _ended_well(last)
    finally:
        hosts.end(last)
    assert_same_run(undisturbed / "stream", folder)
