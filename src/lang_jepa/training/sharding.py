"""Training with weights sharded over the processes (`meta.strategy=fsdp`): torch's FSDP2 (Zhao et al. 2023, arXiv
2304.11277).

A sharded module gathers its weights when it is called and frees them afterwards; its gradients are averaged over the
processes, each of which keeps its own rows. So every process must call the same modules equally often: a pass that
only one of them makes would wait for the others for ever.
"""

from itertools import chain
from typing import Any

from torch import Tensor, distributed, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.models.sharded import is_sharded
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.settings.run import FSDP


def strategy_of(name: str, world: int, timeout: Any) -> Any:
    """Return Lightning's strategy for several processes."""
    from lightning.fabric.strategies import DDPStrategy, ModelParallelStrategy  # type: ignore[attr-defined]

    if name != FSDP:
        return DDPStrategy(timeout=timeout)
    # The modules are already sharded, by `shard`: optimizers are built on sharded weights.
    return ModelParallelStrategy(
        lambda module, mesh: module, data_parallel_size=world, tensor_parallel_size=1, timeout=timeout
    )


def shard(fabric: Any, *modules: nn.Module) -> None:
    """Shard the weights of modules, as they are on rank 0, over all processes.

    Args:
        fabric: launched, with `meta.strategy=fsdp`.
        modules: each shards the weights that modules earlier in the list have not. Training and validation may use
            them only through `forward`. A module without weights of its own is left alone.
    """
    from torch.distributed.fsdp import fully_shard

    for module in modules:
        module.to(fabric.device)
        for tensor in chain(module.parameters(), module.buffers()):
            if not is_sharded(tensor):
                distributed.broadcast(tensor.detach(), 0)
    for module in modules:
        if any(not is_sharded(parameter) for parameter in module.parameters()):
            module.register_forward_hook(_own_storage)  # before the hook of FSDP2
            # The root, too, frees its weights after a forward pass: target and checkpoints need them sharded.
            fully_shard(module, mesh=mesh_of(fabric), reshard_after_forward=True)


def _own_storage(module: nn.Module, given: Any, output: Any) -> Any:
    """Return the output, copied if it is a view: one written to in place would silently lose its backward hook."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def mesh_of(fabric: Any) -> Any:
    """Return the DeviceMesh of the processes that shard the weights; None if every process has all of them."""
    mesh = getattr(fabric.strategy, "device_mesh", None)
    return None if mesh is None else mesh["data_parallel"]


def layers_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the layers of a transformer: the entries of its longest module list."""
    lists = [list(module) for module in backbone.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])


def check_all_sharded(module: nn.Module) -> None:
    """Check that every weight is sharded: otherwise its gradient would differ between the processes.

    Raises:
        LangJepaError: some are not; they are named.
    """
    if whole := [name for name, one in module.named_parameters() if not is_sharded(one)]:
        raise LangJepaError(f"meta.strategy=fsdp: build did not share out {', '.join(whole[:5])}")


def total_norm(parts: list[Tensor]) -> Tensor:
    """Return the norm of a gradient of which each process holds a part: an fp32 scalar, equal on all processes."""
    return sum_over_ranks(nn.utils.get_total_norm(parts).double().square()).sqrt().float()
