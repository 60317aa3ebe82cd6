"""What the tests of shared-out weights have in common: runs of several systems, one after the other, on two ranks."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from two_ranks import run_on_two_ranks

from lang_jepa.settings.load import save_settings
from lang_jepa.settings.run import RunSettings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.metrics import TIMES
from tiny import rows_of

CHILD = """
import json, sys
from pathlib import Path

import torch

from lang_jepa.settings.load import read_settings, settings_class
from lang_jepa.settings.recipes import system_of
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt

if __name__ == "__main__":
    for name, stop, strategy in json.loads(sys.argv[1]):
        torch.seed()  # what a rank's own generator did before must not matter
        folder = Path(name)
        own = folder.with_suffix(".yaml")
        if (folder / "settings.yaml").is_file():
            settings = resume_settings(folder)
        else:
            settings = read_settings(own, settings_class(system_of(str(own))))
        settings = settings.model_copy(update={"meta": settings.meta.model_copy(update={"strategy": strategy})})
        result = train(settings, StopAt(stop))
        assert result.step == (stop if stop >= 0 else result.total)
"""
NEVER = -1
FSDP = ("meta.strategy=fsdp",)
Job = tuple[RunSettings, int, str]
"""Settings, the step to stop at, and meta.strategy. Of a folder that has a run already it goes on."""


def run_jobs(jobs: Iterable[Job]) -> None:
    """Train on two ranks."""
    plan = []
    for settings, stop, strategy in jobs:
        folder = Path(settings.logging.log_dir)
        save_settings(settings, folder.with_suffix(".yaml"))
        plan.append((str(folder), stop, strategy))
    run_on_two_ranks(CHILD, json.dumps(plan), seconds=400)


def weights(path: Path, *parts: str) -> torch.Tensor:
    """All numbers of some parts of a checkpoint, float64 [N]."""
    state = load_checkpoint(path)
    return torch.cat([one.flatten().double() for part in parts for one in state[part].values()])


def assert_same_course(one: Path, other: Path, *, within: float, parts: tuple[str, ...]) -> None:
    """Two runs measured the same at every step, and learnt the same, to rounding: relative to the numbers, or to 1."""
    ours, theirs = rows_of(one), rows_of(other)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for row, found in zip(ours, theirs, strict=True):
        for column in row.keys() - {*TIMES, "train/padding_share"}:  # padding is within a rank's pass
            assert found[column] == pytest.approx(row[column], rel=within, abs=within), (row["train/step"], column)
    learnt, found_there = (weights(folder / LAST, *parts) for folder in (one, other))
    assert float((found_there - learnt).norm() / learnt.norm()) < within


def shards_of(path: Path) -> dict[str, Any]:
    """What a checkpoint says of its shards."""
    with path.open("rb") as file:
        found: dict[str, Any] = torch.load(file, weights_only=True)["shards"]
    return found
