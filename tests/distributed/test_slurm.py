"""Processes that srun started, without torchrun."""

import re
from pathlib import Path

import pytest
import torch
from two_ranks import start_two_ranks

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import save_settings
from lang_jepa.training.slurm import as_torchrun
from tiny import tiny_settings

STEP = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}


def test_what_slurm_says_in_the_words_of_torchrun() -> None:
    found = {
        "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "23458",
    }  # fmt: skip
    assert as_torchrun(STEP) == found
    named = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert as_torchrun({**STEP, **named}) == {name: value for name, value in found.items() if name not in named}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"},  # the shell of an interactive allocation
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
        {**STEP, "WORLD_SIZE": "8"},  # torchrun in a task of Slurm's
    ],
)
def test_nothing_is_said_of_one_process_or_torchrun(environment: dict[str, str]) -> None:
    assert as_torchrun(environment) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "4,3"}, "the same number is needed on each: set --ntasks-per-node"),
        ({"SLURM_STEP_NODELIST": None}, "Slurm runs 8 tasks, but SLURM_STEP_NODELIST is not set"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, str | None], said: str) -> None:
    environment = {name: value for name, value in {**STEP, **changes}.items() if value is not None}
    with pytest.raises(LangJepaError, match=re.escape(said)):
        as_torchrun(environment)


def test_srun_trains_one_run_as_torchrun_does(tmp_path: Path) -> None:
    """The same weights, in one run directory."""
    for name in ("torchrun", "srun"):
        settings = tiny_settings(tmp_path / name, "optimization.max_steps=3")
        prepare(settings.data)
        save_settings(settings, tmp_path / f"{name}.yaml")
        ranks = start_two_ranks("-m", "lang_jepa.cli", "train", str(tmp_path / f"{name}.yaml"), slurm=name == "srun")
        errors = [rank.communicate(timeout=170)[1].decode() for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
    one, other = (torch.load(tmp_path / n / "checkpoint-last.pth", weights_only=True) for n in ("torchrun", "srun"))
    assert one["world"] == other["world"] == 2
    assert all(torch.equal(tensor, other["model"][name]) for name, tensor in one["model"].items())
