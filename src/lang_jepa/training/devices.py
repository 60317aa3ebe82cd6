"""One process or many: Fabric from the settings and from what torchrun says."""

import os
from typing import Any

from lang_jepa.config import Settings
from lang_jepa.errors import LostProcess
from lang_jepa.training.heartbeat import start_heartbeat, time_limit


def make_fabric(settings: Settings) -> Any:
    """`launch` with the settings of an encoder's run."""
    meta = settings.meta
    return launch(meta.device, bfloat16=meta.use_bfloat16, timeout_minutes=meta.timeout_minutes)


def launch(device: str, *, bfloat16: bool, timeout_minutes: float) -> Any:
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
        precision="bf16-mixed" if bfloat16 else "32-true",
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
