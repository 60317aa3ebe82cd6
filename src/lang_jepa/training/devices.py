"""One process or many: Fabric from the settings and from what torchrun says."""

import os
from typing import Any

from lang_jepa.config import Settings


def make_fabric(settings: Settings) -> Any:
    """`launch` with the settings of an encoder's run."""
    return launch(settings.meta.device, bfloat16=settings.meta.use_bfloat16)


def launch(device: str, *, bfloat16: bool) -> Any:
    """A launched Fabric: this process alone, or one of torchrun's (DDP; NCCL on GPUs, gloo on CPUs)."""
    from lightning.fabric import Fabric

    world = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=world // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if bfloat16 else "32-true",
    )
    fabric.launch()
    return fabric
