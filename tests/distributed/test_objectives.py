"""Two gloo processes against one: losses and gradients equal those of the joined batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional

from lang_jepa.models.jepa import Output
from lang_jepa.objectives.distance import DISTANCES
from lang_jepa.objectives.objective import Objective
from lang_jepa.objectives.reduction import sum_over_ranks, world_size
from lang_jepa.objectives.regularizer import REGULARIZERS, VICReg
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.held_out import _everywhere

DIM = 6
ROWS = [[3, 0], [8, 4]]
"""Predictions of each rank in each of two micro-batches: unequal on purpose, none where a rank is idle."""
SEGMENTS = [[7, 0], [5, 9]]
CASES = [
    (loss_fn, regularizer, centre)
    for loss_fn in sorted(DISTANCES)
    for regularizer in sorted(REGULARIZERS)
    for centre in (False, True)
    if not (centre and loss_fn in {"mse", "contrastive"})
]


def objective(loss_fn: str, regularizer: str, centre: bool) -> Objective:
    settings = Settings.model_validate(
        {
            "model": {"embed_dim": DIM, "pred_dim": DIM, "predictor_heads": 2},
            "optimization": {"loss_fn": loss_fn},
            "objective": {
                "regularizer": regularizer,
                "center_targets": centre,
                "regularizer_weight": 0.1,
                "prediction_weight": 3.0,
            },
        }
    )
    return Objective(settings)


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)) * 0.4 + 0.3


def weight() -> Tensor:
    """The one weight of the tiny model."""
    return rows(DIM, 77).requires_grad_()


def step(learnt: Tensor, one: Objective, parts: list[tuple[Tensor, Tensor, Tensor]], count: int) -> dict[str, Any]:
    """One optimizer step's losses and gradient, over micro-batches of (context, targets, segments)."""
    found: dict[str, Any] = {"distance": 0.0, "regularizer": []}
    for context, targets, segments in parts:
        made = Output(context @ learnt, segments @ learnt)
        positions = (targets[:, 0] * 20).long()  # positions in a text, about half of them near each other
        texts = (targets[:, 1] * 4).long()  # some the same, on both ranks
        loss = one(made, targets, count=count, micro_batches=len(parts), step=4, positions=positions, texts=texts)
        loss.total.backward()
        found["distance"] += loss.distance.item()
        found["regularizer"].append(loss.regularizer.item())
    found["gradient"] = learnt.grad.clone()
    found["centre"] = None if one.centre is None else one.centre.mean.clone()
    return found


def inputs(rank: int, part: int) -> tuple[Tensor, Tensor, Tensor]:
    seed = 10 * rank + part
    return (
        rows(ROWS[rank][part], seed + 100),
        rows(ROWS[rank][part], seed + 200),
        rows(SEGMENTS[rank][part], seed + 300),
    )


def work(rank: int, folder: str) -> None:
    """All that one process does; what it found is saved for the tests."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found: dict[Any, Any] = {"world": world_size()}
    for case in CASES:
        parts = [inputs(rank, part) for part in (0, 1)]
        learnt = weight()
        result = step(learnt, objective(*case), parts, sum(map(sum, ROWS)))
        distributed.all_reduce(learnt.grad)  # DDP: the mean of the ranks' gradients
        found[case] = result | {"gradient": learnt.grad / 2}
    local = rows(2, rank).requires_grad_()
    total = sum_over_ranks(local.square())
    (total * rows(2, 9)).sum().backward()
    found["sum"] = (total.detach(), local.grad)
    shares = [torch.arange(3), torch.arange(3, 5)] if rank == 0 else [torch.arange(5, 6)]
    found["everywhere"] = _everywhere(shares)
    found["alone"] = VICReg()(rows(1 - rank, 0))
    torch.save(found, f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What two processes found, started once for all tests of this file."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]


def joined(case: tuple[str, str, bool]) -> dict[str, Any]:
    """The same step by one process, each of its micro-batches those of both ranks together."""
    parts = []
    for part in (0, 1):
        both = [inputs(rank, part) for rank in (0, 1)]
        parts.append(tuple(torch.cat(pieces) for pieces in zip(*both, strict=True)))
    return step(weight(), objective(*case), parts, sum(map(sum, ROWS)))  # type: ignore[arg-type]


def test_there_are_two(ranks: list[dict[Any, Any]]) -> None:
    assert [found["world"] for found in ranks] == [2, 2]
    assert world_size() == 1


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_equal_those_of_the_joined_batch(
    ranks: list[dict[Any, Any]], case: tuple[str, str, bool]
) -> None:
    expected = joined(case)
    mine = [found[case] for found in ranks]
    assert sum(found["distance"] for found in mine) == pytest.approx(expected["distance"], rel=1e-5)
    for found in mine:
        torch.testing.assert_close(found["gradient"], expected["gradient"], atol=1e-6, rtol=1e-4)
        assert found["regularizer"] == pytest.approx(expected["regularizer"], rel=1e-5)
    assert expected["gradient"].norm() > 0.01
    assert (expected["regularizer"][0] > 0.1) == (case[1] != "none")


@pytest.mark.parametrize("case", [case for case in CASES if case[2]])
def test_the_centre_is_equal_on_all_ranks(ranks: list[dict[Any, Any]], case: tuple[str, str, bool]) -> None:
    first, second = (found[case]["centre"] for found in ranks)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, joined(case)["centre"])
    own = functional.normalize(inputs(0, 0)[1], dim=-1).mean(0)
    assert not torch.allclose(first, own, atol=1e-2)


def test_sum_over_ranks_and_its_gradient(ranks: list[dict[Any, Any]]) -> None:
    """The gradient of the sum of both ranks' losses, on the rank that the input lives on."""
    expected = rows(2, 0).square() + rows(2, 1).square()
    for rank, found in enumerate(ranks):
        total, gradient = found["sum"]
        torch.testing.assert_close(total, expected)
        torch.testing.assert_close(gradient, 2 * 2 * rows(2, rank) * rows(2, 9))


def test_on_one_rank_the_sum_is_the_tensor_itself() -> None:
    x = rows(2, 0)
    assert sum_over_ranks(x) is x


def test_held_out_parts_are_gathered_everywhere(ranks: list[dict[Any, Any]]) -> None:
    """Unequal numbers of parts of unequal length, in the order of the ranks."""
    for found in ranks:
        assert found["everywhere"].tolist() == [0, 1, 2, 3, 4, 5]
    assert _everywhere([torch.arange(2), torch.arange(1)]).tolist() == [0, 1, 0]


def test_one_embedding_over_all_ranks_has_no_covariance(ranks: list[dict[Any, Any]]) -> None:
    assert [rank["alone"].item() for rank in ranks] == [0.0, 0.0]
