"""What the processes of a run tell each other, and the random state that each of them has."""

import os
from typing import Any

import torch
from torch import Tensor, distributed

from lang_jepa.errors import LangJepaError, LostProcess
from lang_jepa.training.heartbeat import start_heartbeat, time_limit


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


def of_rank_zero(fabric: Any, number: float) -> float:
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


def rounds_to_bf16(device: str, precision: str) -> bool:
    """Whether a run computes in bf16: it says so, or leaves it to the device and that has it."""
    if precision == "auto":
        return device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return precision == "bf16"


def launch(device: str, *, precision: str, timeout_minutes: float) -> Any:
    """A launched Fabric: this process alone, or one of torchrun's (DDP; NCCL on GPUs, gloo on CPUs), whose signs of
    life the others hear from here on.

    Raises:
        LostProcess: the processes did not find each other.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy  # type: ignore[attr-defined]
    from torch.distributed import DistError

    world = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=world // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        strategy=DDPStrategy(timeout=time_limit(timeout_minutes)) if world > 1 else "auto",
        precision="bf16-mixed" if rounds_to_bf16(device, precision) else "32-true",
    )
    try:
        fabric.launch()
        start_heartbeat(rank=fabric.global_rank, world=fabric.world_size, minutes=timeout_minutes)
    except DistError as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise LostProcess(
            f"the {world} processes of this run did not find each other at {place} (MASTER_ADDR, MASTER_PORT) within "
            f"{time_limit(timeout_minutes)}"
        ) from error
    return fabric
