"""2n steps equal n steps, a stop, and n steps more: weights, target, optimizer, generators, loader and metrics."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import (
    MODES,
    StopAt,
    assert_same_run,
    environment,
    tiny_settings,
    train_in_two_parts,
    write_parquet,
)

from lang_jepa.config import Settings
from lang_jepa.errors import LangJepaError
from lang_jepa.settings import read_settings, save_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.train import resume_settings, train

STREAM = ("data.streaming=true", "data.shuffle_buffer=6", "data.batch_size=2")


@pytest.mark.parametrize("mode", MODES)
def test_stopped_and_resumed_equals_uninterrupted(mode: str, tmp_path: Path) -> None:
    train(tiny_settings(tmp_path / "whole", *MODES[mode]))
    train_in_two_parts(tiny_settings(tmp_path / "parts", *MODES[mode]), stop=3)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_where_it_stopped(workers: int, tmp_path: Path) -> None:
    """With dropout, so that what loader processes draw from the generator would show."""
    source = write_parquet(tmp_path / "texts", documents=40, files=2)
    overrides = (*STREAM, f"data.train_file={source}", f"data.num_workers={workers}", *MODES["concepts"])
    train(tiny_settings(tmp_path / "whole", *overrides))
    train_in_two_parts(tiny_settings(tmp_path / "parts", *overrides), stop=3)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_loader_processes_change_nothing(tmp_path: Path) -> None:
    """A corpus' order is one for all; a stop loses what loader processes had read ahead, and nothing else."""
    overrides = (*MODES["concepts"], "data.num_workers=2")
    train(tiny_settings(tmp_path / "whole", *overrides))
    train_in_two_parts(tiny_settings(tmp_path / "parts", *overrides), stop=4)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_stop_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    overrides = (*MODES["concepts"], "data.batch_size=16")
    settings = tiny_settings(tmp_path / "whole", *overrides)
    train(settings)
    ends = [row["train/step"] for row in read_metrics(tmp_path / "whole" / "metrics.csv") if "epoch/loss" in row]
    assert ends, "the run is shorter than an epoch"
    assert ends[0] < 6
    train_in_two_parts(tiny_settings(tmp_path / "parts", *overrides), stop=int(ends[0]))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
