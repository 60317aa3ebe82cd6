"""LitJEPA on two processes: resumed, each goes on with its own dropout and its own place in the data."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from two_ranks import run_on_two_ranks

from lang_jepa import LitJEPA, TextDataModule
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import read_settings, save_settings
from tiny import MODES, tiny_settings

CHILD = """
import sys
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lang_jepa import LitJEPA, TextDataModule
from lang_jepa.settings.load import read_settings


def fit(folder, name, begin=None):
    trainer = Trainer(
        max_steps=4, accelerator="cpu", devices=2, strategy="ddp", limit_val_batches=0, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        callbacks=[ModelCheckpoint(folder, name + "-{step}", every_n_train_steps=2, save_top_k=-1)],
    )
    settings = read_settings(folder / "settings.yaml")
    trainer.fit(LitJEPA(settings), TextDataModule(settings), ckpt_path=begin)


for folder in map(Path, sys.argv[1:]):
    fit(folder, "whole")
    fit(folder, "resumed", folder / "whole-step=2.ckpt")
"""
DATA = {
    "corpus": ("data.num_workers=1",),
    "stream": ("data.streaming=true", "data.shuffle_buffer=6", "data.batch_size=2", "data.num_workers=1"),
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs that one pair of processes made."""
    root = tmp_path_factory.mktemp("two")
    for name, overrides in DATA.items():
        (root / name).mkdir()
        settings = tiny_settings(root / name, *MODES["concepts"], "optimization.max_steps=4", *overrides)
        save_settings(settings, root / name / "settings.yaml")
    run_on_two_ranks(CHILD, *(str(root / name) for name in DATA))
    return root


def _checkpoint(path: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path)
    return checkpoint


@pytest.mark.parametrize("data", DATA)
def test_a_resumed_trainer_equals_one_that_never_stopped(data: str, two: Path) -> None:
    whole, resumed = (_checkpoint(two / data / f"{name}-step=4.ckpt") for name in ("whole", "resumed"))
    for theirs, ours in (
        (whole["state_dict"], resumed["state_dict"]),
        (whole["lang_jepa"]["target"], resumed["lang_jepa"]["target"]),
    ):
        assert theirs.keys() == ours.keys()
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor), name
    assert whole["TextDataModule"] == resumed["TextDataModule"]
    for theirs, ours in zip(whole["lang_jepa"]["generators"], resumed["lang_jepa"]["generators"], strict=True):
        assert torch.equal(theirs[0], ours[0])


def test_every_rank_is_in_the_checkpoint(two: Path) -> None:
    half = _checkpoint(two / "stream" / "whole-step=2.ckpt")
    one, other = half["lang_jepa"]["generators"]
    assert not torch.equal(one[0], other[0])
    places = half["TextDataModule"]["positions"]
    assert [place["places"] for place in places] == [[[0, 0, 2]], [[0, 0, 2]]]  # each in its own row of parts


def test_another_number_of_processes_is_refused(two: Path, tmp_path: Path) -> None:
    """To go on, but not to validate."""
    settings = read_settings(two / "corpus" / "settings.yaml")
    trainer = Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    path = two / "corpus" / "whole-step=2.ckpt"
    metrics = trainer.validate(LitJEPA(settings), TextDataModule(settings), ckpt_path=path, verbose=False)
    assert "val/loss" in metrics[0]
    with pytest.raises(LangJepaError, match="number of processes: checkpoint 2, now 1"):
        trainer.fit(LitJEPA(settings), TextDataModule(settings), ckpt_path=path)
