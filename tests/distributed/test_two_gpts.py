"""A GPT trained by two real processes against one with the joined batches, span loss and accumulation included."""

from pathlib import Path

import pytest
import torch
from two_ranks import run_on_two_ranks

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.settings.load import save_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.train import train
from tiny import assert_same_checkpoint, rows_of, tiny_gpt

CHILD = """
import sys
from pathlib import Path

import torch

from lang_jepa.settings.load import load_gpt_settings
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt

if __name__ == "__main__":
    torch.seed()  # what a rank's own generator did before must not matter
    two, parts = map(Path, sys.argv[1:])
    train(load_gpt_settings(f"{two}.yaml"))
    stopped = train(load_gpt_settings(f"{parts}.yaml"), StopAt(3))
    assert (stopped.step, stopped.exit_status) == (3, 143), stopped
    train(resume_settings(parts))
"""
EQUAL = (
    "data.micro_batch_tokens=64",
    "jepa.weight=0.2",
    "jepa.start_frac=0.3",
    "jepa.layer=1",
    "optimization.ema_decay=0.9",
    "optimization.clip_grad=0.5",
)


def _weights(folder: Path) -> torch.Tensor:
    return torch.cat([one.flatten() for one in load_checkpoint(folder / LAST)["model"].values()]).double()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Muon iterates in bf16, which magnifies the rounding of a sum; so the weights are compared as a whole. A run that
    was asked to stop, on its first rank alone, goes on bit for bit."""
    prepare(tiny_gpt(tmp_path).data.corpus())
    for name in ("two", "parts"):
        save_settings(tiny_gpt(tmp_path / name, *EQUAL), tmp_path / f"{name}.yaml")
    run_on_two_ranks(CHILD, str(tmp_path / "two"), str(tmp_path / "parts"))
    train(tiny_gpt(tmp_path / "one", *EQUAL))
    train(tiny_gpt(tmp_path / "start", *EQUAL, "optimization.max_seconds=1e-9"))
    one, two, start = (_weights(tmp_path / name) for name in ("one", "two", "start"))
    assert float((two - one).norm() / (one - start).norm()) < 1e-2
    ours, theirs = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for row, found in zip(ours, theirs, strict=True):
        for column, value in row.items():
            assert found[column] == pytest.approx(value, rel=2e-3, abs=2e-4), column
    assert_same_checkpoint(tmp_path / "two" / LAST, tmp_path / "parts" / LAST)
    assert rows_of(tmp_path / "parts") == theirs
