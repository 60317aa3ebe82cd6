"""Two real processes against one: equal weights at the start, the same run as one process with the joined batches."""

import json
from pathlib import Path

import pytest
import torch
from two_ranks import run_on_two_ranks

from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import save_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.metrics import TIMES, read_metrics
from lang_jepa.training.train import train
from tiny import VIEWS, assert_same_run, tiny_settings

CHILD = """
import json, sys
from pathlib import Path

import torch

from lang_jepa.settings.load import read_settings
from lang_jepa.training.engine import Engine
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt


def note_start(run, begin=Engine.begin):
    target = run.method.target
    own = target.encoder.state_dict() if target.own else {}
    tensors = {"model": run.method.jepa.state_dict(), "target": own}
    torch.save(tensors, run.folder.path / f"start-{run.fabric.global_rank}.pt")
    begin(run)


if __name__ == "__main__":
    Engine.begin = note_start
    for job in json.loads(sys.argv[1]):
        torch.seed()  # what a rank's own generator did before must not matter
        folder = Path(job["folder"])
        settings = resume_settings(folder) if job["resume"] else read_settings(folder.with_suffix(".yaml"))
        result = train(settings, StopAt(job["stop"]))
        assert result.step == (job["stop"] if job["stop"] >= 0 else result.total)
"""
NEVER = -1
DROPOUT = ("model.dropout=0.1", "data.num_workers=1", "optimization.max_steps=4")
ODD = ("data.limit=11", "data.val_fraction=0.3", "optimization.max_steps=6")
OBJECTIVES = {
    "centred": ("objective.center_targets=true",),
    "vicreg": (
        "data.context=window",
        "model.predictor=attention_query",
        "objective.regularizer=vicreg",
        "optimization.grad_accum_steps=2",
        "optimization.max_steps=4",
    ),
    "lejepa": (*VIEWS["spans"], "optimization.max_steps=4"),
    "masked": VIEWS["masked"],
    "contrastive": (*ODD, "optimization.loss_fn=contrastive", "optimization.max_steps=3"),
    "odd": (*ODD, "objective.regularizer=vicreg", "objective.center_targets=true"),
}
"""`odd`: batches of one of an odd number of examples, so that one rank has none of its own in some step."""
SIZES = {"odd": 1}


def _settings(folder: Path, batch_size: int, *overrides: str) -> Settings:
    """Pools of two steps, so that a run goes through several."""
    return tiny_settings(folder, f"data.batch_size={batch_size}", "data.pool_batches=2", *overrides)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs that one pair of processes made, started as torchrun would start them."""
    folder = tmp_path_factory.mktemp("two")
    sizes = {name: SIZES.get(name, 5) for name in OBJECTIVES}
    jobs = [(name, _settings(folder / name, sizes[name], *OBJECTIVES[name]), NEVER) for name in OBJECTIVES]
    jobs += [(name, _settings(folder / name, 5, *DROPOUT), stop) for name, stop in (("whole", NEVER), ("parts", 2))]
    for name, settings, _ in jobs:
        save_settings(settings, folder / f"{name}.yaml")
    plan = [{"folder": str(folder / name), "stop": stop, "resume": False} for name, _, stop in jobs]
    plan.append({"folder": str(folder / "parts"), "stop": NEVER, "resume": True})
    plan.append({"folder": str(folder / "whole"), "stop": NEVER, "resume": True})  # which is finished
    run_on_two_ranks(CHILD, json.dumps(plan))
    return folder


def _flat(parts: dict[str, dict[str, torch.Tensor]]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for part in ("model", "target") for tensor in parts[part].values()]).double()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_ranks_equal_one(name: str, two: Path, tmp_path: Path) -> None:
    """Weights, target and figures of one process with twice the batch. Adam turns a gradient's rounding error into
    steps where the gradient is nearly zero, so the weights are compared as a whole and not one by one."""
    starts = [_flat(torch.load(two / name / f"start-{rank}.pt")) for rank in range(2)]
    assert torch.equal(*starts)
    train(_settings(tmp_path / "one", 2 * SIZES.get(name, 5), *OBJECTIVES[name]))
    one, other = (_flat(load_checkpoint(folder / LAST)) for folder in (tmp_path / "one", two / name))
    assert float((other - one).norm() / (one - starts[0]).norm()) < 5e-3
    ours, theirs = (read_metrics(folder / "metrics.csv") for folder in (tmp_path / "one", two / name))
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for row, found in zip(ours, theirs, strict=True):
        for column in row.keys() - {*TIMES, "train/padding_share"}:  # padding is within a rank's pass
            assert found[column] == pytest.approx(row[column], rel=1e-3, abs=3e-4), column


def test_stopped_and_resumed_on_two_ranks(two: Path) -> None:
    """With dropout, in which the ranks differ: each must get its own generator and loader position back."""
    generators = load_checkpoint(two / "parts" / LAST)["generators"]
    assert not torch.equal(generators[0][0], generators[1][0])
    rows = [row["train/step"] for row in read_metrics(two / "parts" / "metrics.csv") if "train/loss" in row]
    assert rows == [1, 2, 3, 4]
    assert_same_run(two / "whole", two / "parts")
