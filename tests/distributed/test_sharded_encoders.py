"""Encoders whose weights two processes share out against one process that has them all, and their checkpoints."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sharded import FSDP, NEVER, assert_same_course, run_jobs, shards_of

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import sha256
from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.encoder import Settings
from lang_jepa.training import sharded_checkpoint
from lang_jepa.training.checkpoint import BEST, LAST, load_checkpoint
from lang_jepa.training.train import resume_settings, train
from tiny import MODES, VIEWS, Silent, assert_same_run, tiny_settings

LONG = (
    "data.pool_batches=2",
    "optimization.max_steps=20",
    "optimization.lr=3e-4",
    "logging.eval_freq=10",
    "logging.checkpoint_steps=10",
    "logging.val_sentences=50",
)
EMA = (*MODES["window"], "objective.regularizer=none", "objective.center_targets=false")
OBJECTIVES = {
    "ema": EMA,
    "vicreg": (*EMA, "objective.regularizer=vicreg", "objective.center_targets=true"),
    "sigreg": (*VIEWS["spans"], "model.architecture=roberta"),
    "shared": (
        "objective.target=shared",
        "objective.target_gradient=true",
        "objective.regularizer=sigreg",
        "data.limit=11",
        "data.val_fraction=0.3",
        "data.batch_size=1",
    ),
    "contrastive": ("optimization.loss_fn=contrastive", "model.architecture=modernbert"),
}
"""`shared`: steps of an odd number of examples, of which one rank has none of its own in the last step of a pool."""
DROPOUT = (*FSDP, "model.dropout=0.1", "data.num_workers=1", "optimization.max_steps=4", "logging.checkpoint_steps=1")


def _settings(folder: Path, *overrides: str, ranks: int = 1) -> Settings:
    """Settings of a run of two ranks, or of one with twice the batch."""
    settings = tiny_settings(folder, "data.batch_size=4", *overrides)
    data = settings.data.model_copy(update={"batch_size": 2 * settings.data.batch_size // ranks})
    return settings.model_copy(update={"data": data})


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs that one pair of processes made."""
    folder = tmp_path_factory.mktemp("sharded")
    long = {name: _settings(folder / name, *LONG, *OBJECTIVES[name], *FSDP, ranks=2) for name in OBJECTIVES}
    moved = {name: _settings(folder / name, *LONG, *EMA, ranks=2) for name in ("from-ddp", "to-ddp", "to-one")}
    whole, parts = (_settings(folder / name, *DROPOUT, ranks=2) for name in ("whole", "parts"))
    run_jobs(
        [
            *((settings, NEVER, "fsdp") for settings in long.values()),
            (whole, NEVER, "fsdp"),
            (parts, 2, "fsdp"),
            (parts, NEVER, "fsdp"),
            (moved["from-ddp"], 10, "ddp"),
            (moved["from-ddp"], NEVER, "fsdp"),
            (moved["to-ddp"], 10, "fsdp"),
            (moved["to-ddp"], NEVER, "ddp"),
            (moved["to-one"], 10, "fsdp"),
        ]
    )
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that `ema` and the runs that move are compared with."""
    folder = tmp_path_factory.mktemp("whole") / "ema"
    train(_settings(folder, *LONG, *EMA))
    return folder


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_ranks_that_share_weights_equal_one(name: str, two: Path, one: Path, tmp_path: Path) -> None:
    """Loss, gradient, validation, weights and EMA over 20 steps."""
    own = one if name == "ema" else tmp_path / name
    if name != "ema":
        train(_settings(own, *LONG, *OBJECTIVES[name]))
    assert_same_course(own, two / name, within=1e-5, parts=("model", "target"))
    written = shards_of(two / name / LAST)
    sizes = [os.path.getsize(two / name / written["folder"] / f"__{rank}_0.distcp") for rank in range(2)]
    assert 0.9 < sizes[0] / sizes[1] < 1.1  # each has half of it


def test_the_model_that_rank_zero_writes_is_that_of_the_best_checkpoint(two: Path) -> None:
    target = load_checkpoint(two / "ema" / BEST)["target"]
    written = load_file(two / "ema" / "model" / "model.safetensors")
    for name, tensor in written.items():
        assert torch.equal(target[f"backbone.{name}"], tensor), name
    assert ConceptModel.load(two / "ema").encode(["A cat sat down."]).shape == (1, 32)


def test_stopped_and_resumed_bit_for_bit(two: Path) -> None:
    """With dropout, in which the ranks differ."""
    generators = load_checkpoint(two / "parts" / LAST)["generators"]
    assert not torch.equal(generators[0][0], generators[1][0])
    assert_same_run(two / "whole", two / "parts")
    left = {path.name for path in (two / "parts").glob("checkpoint-*/*")}
    assert left == {Path(shards_of(two / "parts" / name)["folder"]).name for name in (BEST, LAST)}  # no older ones


@pytest.mark.parametrize("name", ["from-ddp", "to-ddp"])
def test_weights_move_between_shared_out_and_whole(name: str, two: Path, one: Path) -> None:
    """Optimizer and EMA with them: the run goes on as one that was never moved, to rounding."""
    assert_same_course(one, two / name, within=1e-5, parts=("model", "target"))
    assert (two / name / LAST).with_suffix("").is_dir() == (name == "from-ddp")  # no shards of an earlier save are left


def test_goes_on_with_another_number_of_processes(two: Path, one: Path, tmp_path: Path) -> None:
    """Where each step has as many examples; else the position in the data would mean others."""
    shutil.copytree(two / "to-one", tmp_path / "run")
    settings = resume_settings(tmp_path / "run")
    settings = settings.model_copy(update={"meta": settings.meta.model_copy(update={"strategy": "auto"})})
    with pytest.raises(LangJepaError, match="number of processes: checkpoint 2, now 1"):
        train(settings)
    said = _Warnings()
    data = settings.data.model_copy(update={"batch_size": 2 * settings.data.batch_size})
    train(settings.model_copy(update={"data": data}), said)
    assert "2 processes with weights shared out in the checkpoint, 1 process now" in "\n".join(said.found)
    assert_same_course(one, tmp_path / "run", within=1e-5, parts=("model", "target"))


class _Warnings(Silent):
    def __init__(self) -> None:
        self.found: list[str] = []

    def warning(self, text: str) -> None:
        self.found.append(text)


def _copied(two: Path, folder: Path) -> tuple[Path, Path]:
    """The last checkpoint of a run in a folder of its own, and the folder of its shards."""
    shutil.copy(two / "ema" / LAST, folder / LAST)
    sharded_checkpoint.copy(two / "ema" / LAST, folder / LAST)
    return folder / LAST, folder / shards_of(folder / LAST)["folder"]


def test_a_damaged_shard_is_named(two: Path, tmp_path: Path) -> None:
    path, folder = _copied(two, tmp_path)
    load_checkpoint(path)
    file = folder / "__1_0.distcp"
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 1]) + good[len(good) // 2 + 1 :])
    with pytest.raises(LangJepaError, match=r"its shard .*__1_0.distcp is damaged"):
        load_checkpoint(path)
    file.unlink()
    with pytest.raises(LangJepaError, match=r"its shard .*__1_0.distcp is missing"):
        load_checkpoint(path)


def test_nothing_in_the_metadata_of_shards_is_run(two: Path, tmp_path: Path) -> None:
    """Also where whoever changed it made the checksums fit."""
    path, folder = _copied(two, tmp_path)
    (folder / ".metadata").write_bytes(pickle.dumps(_Runs(tmp_path / "ran")))
    state = torch.load(path, weights_only=True)
    state["shards"]["sha256"][".metadata"] = sha256(folder / ".metadata")
    with pytest.raises(LangJepaError, match=r"cannot be read: .*it holds posix\.mkdir"):
        sharded_checkpoint.fill(state, path)
    assert not (tmp_path / "ran").exists()


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)
