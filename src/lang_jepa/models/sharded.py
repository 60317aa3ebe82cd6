"""Weights sharded over the processes of a run (FSDP2): each holds some rows of every tensor, as a DTensor.

Sharded tensors are recognised by duck typing, so that torch's distributed tensors need not be imported.
"""

from typing import Any

from torch import Tensor


def is_sharded(tensor: Any) -> bool:
    """Whether this process holds only a part of a tensor."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, detached: some rows (possibly none), or all of a tensor that is not sharded.
    Writing to it changes the tensor.
    """
    part: Any = tensor.detach()
    whole: Tensor = part.to_local() if is_sharded(part) else part
    return whole


def shared_out(whole: Tensor, like: Tensor) -> Tensor:
    """Shard a tensor that is whole on every process like another of the same shape; unchanged if it already matches."""
    if not is_sharded(like) or is_sharded(whole):
        return whole
    from torch.distributed.tensor import distribute_tensor

    placed: Any = like
    return distribute_tensor(whole.to(like.device), placed.device_mesh, placed.placements, src_data_rank=None)
