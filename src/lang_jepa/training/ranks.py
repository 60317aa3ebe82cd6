"""What the processes of a run tell each other, and the random state that each of them has."""

from typing import Any

import torch
from torch import Tensor, distributed

from lang_jepa.errors import LangJepaError


def agree(fabric: Any, predictions: int, stopping: bool) -> tuple[int, bool]:
    """(predictions of all ranks, whether any rank was asked to stop): one small sum, and none on one rank."""
    if fabric.world_size == 1:
        return predictions, stopping
    numbers = torch.tensor([predictions, int(stopping)], device=fabric.device)
    distributed.all_reduce(numbers)
    return int(numbers[0]), bool(numbers[1])


def total(fabric: Any, sums: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, in place."""
    if fabric.world_size > 1:
        distributed.all_reduce(sums)
    return sums


def of_chief(fabric: Any, number: float) -> float:
    """The first rank's number on all ranks."""
    if fabric.world_size == 1:
        return number
    sent = torch.tensor(number, dtype=torch.float64, device=fabric.device)
    distributed.broadcast(sent, 0)
    return float(sent)


def gather(fabric: Any, own: Any) -> list[Any]:
    """Every rank's plain data, in the order of the ranks."""
    if fabric.world_size == 1:
        return [own]
    ranks: list[Any] = [None] * fabric.world_size
    distributed.all_gather_object(ranks, own)
    return ranks


def generators(fabric: Any) -> list[Tensor | None]:
    """State of this rank's generators: the CPU's, and the GPU's where it computes on one."""
    return [
        torch.get_rng_state(),
        torch.cuda.get_rng_state() if fabric.device.type == "cuda" else None,
    ]


def set_generators(state: list[Tensor | None]) -> None:
    """Take up what `generators` gave."""
    try:
        own, cuda = state
        if own is not None:
            torch.set_rng_state(own)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LangJepaError(f"the state of the random generators is damaged: {error}") from error
