"""A system of one's own on two processes: the first step is that of the joined batch."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch.nn.functional import cross_entropy
from two_ranks import run_on_two_ranks

from lang_jepa.settings.load import load_run_settings
from lang_jepa.training.train import method_of
from tiny import rows_of, write_own_system

CHILD = """
from lang_jepa.settings.load import load_run_settings
from lang_jepa.training.train import train

train(load_run_settings("bigrams.yaml", ["logging.log_dir=two", "optimization.max_steps=1"]))
"""


def test_two_ranks_weigh_by_their_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_system(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    run_on_two_ranks(CHILD)
    (row,) = [row for row in rows_of(tmp_path / "two") if "train/loss" in row]
    method = cast(Any, method_of(load_run_settings("bigrams.yaml")))
    method.open_data()
    joined = []
    for rank in range(2):
        method.fabric = SimpleNamespace(global_rank=rank)
        joined.append(method.draw(0).rows)
    rows = torch.cat(joined)
    torch.manual_seed(0)
    start = torch.nn.Embedding(256, 256)
    assert not torch.equal(*joined)
    assert row["train/loss"] == pytest.approx(float(cross_entropy(start(rows[:, 0]), rows[:, 1])), rel=1e-5)
    assert (tmp_path / "two" / "bigrams.safetensors").is_file()
