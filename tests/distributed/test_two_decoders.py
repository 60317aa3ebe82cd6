"""A decoder trained by two real processes against one with the joined batches."""

from pathlib import Path

import pytest
import torch
from two_ranks import run_on_two_ranks

from lang_jepa.settings.load import save_settings
from lang_jepa.training.checkpoint import load_checkpoint
from lang_jepa.training.methods.decoder import LAYOUT
from lang_jepa.training.train import train
from tiny import assert_same_checkpoint, rows_of, tiny_decoder, tiny_encoder

CHILD = """
import sys
from pathlib import Path

import torch

from lang_jepa.settings.load import load_decoder_settings
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt

if __name__ == "__main__":
    torch.seed()  # what a rank's own generator did before must not matter
    encoder, two, parts = map(Path, sys.argv[1:])
    train(load_decoder_settings(f"{two}.yaml").of(encoder))
    stopped = train(load_decoder_settings(f"{parts}.yaml").of(encoder), StopAt(2))
    assert (stopped.step, stopped.exit_status) == (2, 143), stopped
    train(resume_settings(parts).of(encoder))
"""
EQUAL = (
    "data.predicted_share=0.4",
    "data.pool_batches=2",
    "optimization.grad_accum_steps=2",
    "optimization.max_steps=4",
)


def _weights(folder: Path) -> torch.Tensor:
    return torch.cat([one.flatten() for one in load_checkpoint(folder / LAYOUT.last)["model"].values()]).double()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """And a run that was asked to stop, on its first rank alone, goes on bit for bit."""
    encoder = tiny_encoder(tmp_path / "encoder")
    for name in ("two", "parts"):
        settings = tiny_decoder(tmp_path / name, "data.batch_size=4", *EQUAL)
        save_settings(settings, tmp_path / f"{name}.yaml")
    run_on_two_ranks(CHILD, str(encoder), str(tmp_path / "two"), str(tmp_path / "parts"))
    train(tiny_decoder(tmp_path / "one", "data.batch_size=8", *EQUAL).of(encoder))
    one, two = (_weights(tmp_path / name) for name in ("one", "two"))
    # AdamW's first steps follow the sign of a gradient, also where it is only rounding.
    off = (two - one).abs() > 2e-4 + 1e-3 * one.abs()
    assert off.double().mean() < 2e-3
    assert (two - one).norm() < 1e-3 * one.norm()
    ours, theirs = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for row, found in zip(ours, theirs, strict=True):
        for column, value in row.items():
            assert found[column] == pytest.approx(value, rel=1e-3, abs=1e-4), column
    assert_same_checkpoint(tmp_path / "two" / LAYOUT.last, tmp_path / "parts" / LAYOUT.last)
    assert rows_of(tmp_path / "parts") == theirs
