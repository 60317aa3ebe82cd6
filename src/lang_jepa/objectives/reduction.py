"""Differentiable sums over ranks.

DDP averages gradients over ranks. A loss that is a function of global sums has the same value on every rank, and its
true gradient results only if the backward pass of the sum also adds up the gradients of all ranks.
"""

from typing import Any

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """Return the number of processes that train together (1 outside distributed runs)."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum a tensor over all ranks, differentiably. With one rank, return the tensor itself."""
    if world_size() == 1:
        return x
    total: Tensor = _SumOverRanks.apply(x)  # type: ignore[no-untyped-call]
    return total


def rows_of_all_ranks(x: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all ranks, [N, ...] in rank order, differentiably, and how many precede this rank's own.

    Args:
        x: this rank's rows, [n, ...]; n may differ between ranks.
    """
    if world_size() == 1:
        return x, 0
    counts = torch.zeros(world_size(), dtype=torch.int64, device=x.device)
    counts[distributed.get_rank()] = len(x)
    distributed.all_reduce(counts)
    before = int(counts[: distributed.get_rank()].sum())
    after = int(counts.sum()) - before - len(x)
    empty = [x.new_zeros((count, *x.shape[1:])) for count in (before, after)]
    return sum_over_ranks(torch.cat([empty[0], x, empty[1]])), before
