"""GPTs whose weights two processes share out against one process, Muon against torch's, and a save that is killed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sharded import FSDP, NEVER, assert_same_course, run_jobs, weights
from two_ranks import run_on_two_ranks, start_two_ranks

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import save_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.train import resume_settings, train
from tiny import assert_same_checkpoint, rows_of, tiny_gpt

EQUAL = (
    "data.micro_batch_tokens=64",
    "jepa.weight=0.2",
    "jepa.start_frac=0.3",
    "jepa.layer=1",
    "model.loop_layers=[1]",
    "model.loop_starts=[0.5]",
    "optimization.ema_decay=0.9",
    "optimization.clip_grad=0.5",
    "optimization.max_steps=20",
    "logging.eval_freq=10",
    "logging.checkpoint_steps=10",
)
SLOW = (*EQUAL, "optimization.lr=1e-6", "optimization.embedding_lr=1e-2", "optimization.scalar_lr=1e-2")
"""Muon iterates in bf16, which magnifies the rounding of a sum of gradients by a thousand: here it hardly moves. Adam
turns the rounding of a gradient that is nearly zero into whole steps."""
UNTIED = (*EQUAL, "model.tie_embeddings=false", "optimization.ema_decay=null")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs that one pair of processes made."""
    folder = tmp_path_factory.mktemp("gpts")
    prepare(tiny_gpt(folder).data.corpus())
    slow, whole, parts, to_one = (
        tiny_gpt(folder / name, *overrides, *FSDP)
        for name, overrides in (("slow", SLOW), ("whole", UNTIED), ("parts", UNTIED), ("to-one", SLOW))
    )
    run_jobs(
        [
            (slow, NEVER, "fsdp"),
            (whole, NEVER, "fsdp"),
            (parts, 13, "fsdp"),
            (parts, NEVER, "fsdp"),
            (to_one, 10, "fsdp"),
        ]
    )
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "slow"
    train(tiny_gpt(folder, *SLOW))
    return folder


def test_two_ranks_that_share_weights_equal_one(two: Path, one: Path) -> None:
    """Span loss, looped layers, micro-batches, clipping, the weights' average, validation and what it writes."""
    assert_same_course(one, two / "slow", within=1e-5, parts=("model", "average"))
    assert (two / "slow" / "samples.txt").read_text() == (one / "samples.txt").read_text()


def test_with_muon_at_its_usual_rate(two: Path, tmp_path: Path) -> None:
    """To what bf16 makes of rounding; the weights as a whole."""
    train(tiny_gpt(tmp_path / "one", *UNTIED))
    train(tiny_gpt(tmp_path / "start", *UNTIED, "optimization.max_seconds=1e-9"))
    learnt, found, start = (
        weights(folder / LAST, "model") for folder in (tmp_path / "one", two / "whole", tmp_path / "start")
    )
    assert float((found - learnt).norm() / (learnt - start).norm()) < 3e-2
    for row, there in zip(rows_of(tmp_path / "one"), rows_of(two / "whole"), strict=True):
        if "val/loss" in row:
            assert there["val/loss"] == pytest.approx(row["val/loss"], rel=1e-3)


def test_stopped_and_resumed_bit_for_bit(two: Path) -> None:
    assert_same_checkpoint(two / "whole" / LAST, two / "parts" / LAST)
    assert rows_of(two / "whole") == rows_of(two / "parts")


def test_the_model_is_that_of_the_last_checkpoint(two: Path) -> None:
    average = load_checkpoint(two / "slow" / LAST)["average"]
    written = load_file(two / "slow" / "model" / "model.safetensors")
    assert written
    assert all(torch.equal(average[name], tensor) for name, tensor in written.items())


def test_goes_on_with_one_process(two: Path, one: Path, tmp_path: Path) -> None:
    """A step has the same tokens whatever the number of processes."""
    shutil.copytree(two / "to-one", tmp_path / "run")
    settings = resume_settings(tmp_path / "run")
    assert isinstance(settings, GPTSettings)
    meta = settings.meta.model_copy(update={"strategy": "auto"})
    data = settings.data.model_copy(update={"micro_batch_tokens": 128})
    train(settings.model_copy(update={"meta": meta, "data": data}))
    assert_same_course(one, tmp_path / "run", within=1e-5, parts=("model", "average"))


MUON = """
import torch
from torch import nn

from lang_jepa.models.sharded import shared_out
from lang_jepa.training.muon import ShardedMuon
from lang_jepa.training.ranks import launch
from lang_jepa.training.sharding import shard

if __name__ == "__main__":
    fabric = launch("cpu", precision="fp32", timeout_minutes=1, strategy="fsdp")
    torch.manual_seed(fabric.global_rank)  # rank 0's weights count
    model = nn.Sequential(nn.Linear(7, 5, bias=False), nn.Linear(5, 1, bias=False), nn.Linear(1, 12, bias=False))
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(7, 5, bias=False), nn.Linear(5, 1, bias=False), nn.Linear(1, 12, bias=False))
    shard(fabric, *model)
    options = dict(lr=0.03, momentum=0.9, weight_decay=0.1, adjust_lr_fn="original")
    ours, theirs = ShardedMuon(model.parameters(), **options), torch.optim.Muon(whole.parameters(), **options)
    for _ in range(4):
        for mine, other in zip(model.parameters(), whole.parameters(), strict=True):
            other.grad = torch.randn_like(other)
            mine.grad = shared_out(other.grad.clone(), mine)
        ours.step(), theirs.step()
    for mine, other in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine.full_tensor(), other), (mine.full_tensor() - other).abs().max()
        buffers = [optimizer.state[one]["momentum_buffer"] for optimizer, one in ((ours, mine), (theirs, other))]
        assert torch.equal(buffers[0].full_tensor(), buffers[1])
"""


def test_muon_of_shared_out_matrices_is_torchs_bit_for_bit() -> None:
    """Of matrices with more and fewer rows than columns, of an odd number of rows, and of a single one."""
    run_on_two_ranks(MUON)


KILLED = """
import os, sys
from pathlib import Path

from torch.distributed.checkpoint.filesystem import FileSystemWriter

from lang_jepa.settings.load import load_gpt_settings
from lang_jepa.training.train import train


def write_half(self, plan, planner, write=FileSystemWriter.write_data):
    if "step-4" in str(self.path) and os.environ["RANK"] == "1":
        (Path(self.path) / "__1_0.distcp").write_bytes(b"half of it")
        os.kill(os.getpid(), 9)
    return write(self, plan, planner)


if __name__ == "__main__":
    FileSystemWriter.write_data = write_half
    train(load_gpt_settings(sys.argv[1]))
"""


def test_a_killed_save_leaves_the_one_before(two: Path, tmp_path: Path) -> None:
    """kill -9 of one rank in the middle of its file: the other ends, and the run goes on from the save before."""
    short = (*UNTIED, *FSDP, "optimization.max_steps=6", "logging.checkpoint_steps=2", "logging.eval_freq=6")
    short = (*short, "meta.timeout_minutes=0.3")
    settings = tiny_gpt(tmp_path / "killed", *short)
    save_settings(settings, tmp_path / "killed.yaml")
    ranks = start_two_ranks("-c", KILLED, str(tmp_path / "killed.yaml"))
    try:
        said = [rank.communicate(timeout=120)[1].decode() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert ranks[1].returncode == -9, said
    assert ranks[0].returncode == 1, said
    assert load_checkpoint(tmp_path / "killed" / LAST)["step"] == 2
    run_jobs([(settings, NEVER, "fsdp"), (tiny_gpt(tmp_path / "whole", *short), NEVER, "fsdp")])
    assert_same_checkpoint(tmp_path / "killed" / LAST, tmp_path / "whole" / LAST)
    assert json.loads((tmp_path / "killed" / "summary.json").read_text())["steps"] == 6
    assert [path.name for path in (tmp_path / "killed" / "checkpoint-last").iterdir()] == ["step-6"]
