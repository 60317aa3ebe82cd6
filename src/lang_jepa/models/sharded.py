"""Weights that the processes of a run share out among them (FSDP2): each holds some rows of every tensor, as a DTensor.

A tensor is recognised by what it can do, so that nothing here loads torch's distributed tensors.
"""

from typing import Any

from torch import Tensor


def is_sharded(tensor: Any) -> bool:
    """Whether this process holds only a part of a tensor."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, detached: some of its rows (none, maybe), or all of one that is not sharded.
    Writing to it changes the tensor.
    """
    part: Any = tensor.detach()
    whole: Tensor = part.to_local() if is_sharded(part) else part
    return whole


def shared_out(whole: Tensor, like: Tensor) -> Tensor:
    """A tensor that is whole on every process in the form of another one of its shape; as it is, where it has that."""
    if not is_sharded(like) or is_sharded(whole):
        return whole
    from torch.distributed.tensor import distribute_tensor

    placed: Any = like
    return distribute_tensor(whole.to(like.device), placed.device_mesh, placed.placements, src_data_rank=None)
