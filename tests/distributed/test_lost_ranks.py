"""A process that hangs or is dead ends the other one, with one readable line and exit code 1."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from two_ranks import start_two_ranks

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.settings.load import save_settings
from lang_jepa.training.metrics import STEP, read_metrics
from tiny import tiny_settings, write_parquet

LONG = ("optimization.max_steps=1000000", "logging.eval_freq=1000000", "logging.checkpoint_steps=1000000")

OWN_SETTINGS = """
import os, sys

from lang_jepa.cli import app as cli

sys.argv = ["lang-jepa", "train", os.path.join(sys.argv[1], os.environ["RANK"] + ".yaml")]
cli.main()
"""
"""A run of which each process reads settings of its own."""


def _steps(folder: Path) -> float:
    file = folder / "metrics.csv"
    return max((row[STEP] for row in read_metrics(file)), default=0) if file.is_file() else 0


def test_hung_and_dead(tmp_path: Path) -> None:
    """The first process hangs, in which the store lives that the other one listens at, so the other one ends; when the
    first goes on, the other is dead."""
    folder = tmp_path / "run"
    settings = tiny_settings(folder, "meta.timeout_minutes=0.1", *LONG)
    prepare(settings.data)
    save_settings(settings, tmp_path / "run.yaml")
    ranks = start_two_ranks("-m", "lang_jepa.cli", "train", str(tmp_path / "run.yaml"))
    try:
        limit = time.monotonic() + 120
        while _steps(folder) < 2:
            assert [rank.poll() for rank in ranks] == [None, None]
            assert time.monotonic() < limit
            time.sleep(0.1)
        ranks[0].send_signal(signal.SIGSTOP)
        of_other = ranks[1].communicate(timeout=60)[1].decode()
        ranks[0].send_signal(signal.SIGCONT)
        of_first = ranks[0].communicate(timeout=60)[1].decode()
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert [rank.returncode for rank in ranks] == [1, 1]
    silent = "no heartbeat from process 0 for 5 s (meta.timeout_minutes): it hangs"
    # Its collective and its heartbeat both find the other one lost, whichever is first.
    gone = r"another process of this run is gone|process 1 has (died|failed)"
    for said, words in ((of_other, re.escape(silent)), (of_first, gone)):
        lines = [line for line in said.splitlines() if line.startswith("error")]
        assert len(lines) == 1, said
        assert re.search(words, lines[0]), said
        assert "--resume" in lines[0]
        assert "Traceback" not in said


def said_at_the_end(ranks: Sequence[subprocess.Popen[bytes]]) -> list[str]:
    """What two ranks wrote to standard error, of which the second ended by a mistake of its own."""
    try:
        said = [rank.communicate(timeout=170)[1].decode() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [1, 2], said
    return said


def test_one_that_fails_ends_the_other_where_it_waits(tmp_path: Path) -> None:
    """For the data, outside of any collective, where nothing else would tell it."""
    prepare(tiny_settings(tmp_path / "run").data)
    (tmp_path / "short.txt").write_text("Hm.")
    for rank, text in enumerate(("stories", str(tmp_path / "short.txt"))):
        settings = tiny_settings(tmp_path / "run", "meta.timeout_minutes=0.1", f"data.train_file={text}")
        save_settings(settings, tmp_path / f"{rank}.yaml")
    ranks = start_two_ranks("-c", OWN_SETTINGS, str(tmp_path))
    said = said_at_the_end(ranks)
    first, second = ([line for line in text.splitlines() if line.startswith("error")] for text in said)
    assert ["short.txt" in line for line in second] == [True]
    assert [bool(re.search(r"process 1 has failed: .*short\.txt.*--resume", line)) for line in first] == [True]
    assert "Traceback" not in said[0]


def test_a_share_with_nothing_to_train_on_is_named_by_all(tmp_path: Path) -> None:
    """Also by the process whose share is whole, and which is lost in a collective."""
    texts = write_parquet(tmp_path / "texts", documents=40, files=1)
    (texts / "short.json").write_text(json.dumps([{"text": "Hm."}] * 50))
    stream = (f"data.train_file={texts}", "data.streaming=true", "data.shuffle_buffer=20", "logging.val_sentences=20")
    save_settings(tiny_settings(tmp_path / "run", *stream, "data.batch_size=2"), tmp_path / "run.yaml")
    ranks = start_two_ranks("-m", "lang_jepa.cli", "train", str(tmp_path / "run.yaml"))
    said = said_at_the_end(ranks)
    for text in said:
        (line,) = [line for line in text.splitlines() if line.startswith("error")]
        assert "share 2 of 2" in line
        assert "of its parts (1 of 2) all documents are rejected" in line
        assert "data.streaming=false" in line
