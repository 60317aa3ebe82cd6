"""Muon for the layers' matrices, AdamW for embeddings, gains and gates; and a moving average of the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.models.gpt import GPT
from lang_jepa.settings.gpt import GPTOptimizationSettings
from lang_jepa.training.gpt.schedule import GPTSchedule
from lang_jepa.training.optim import check_groups


def make_optimizers(model: GPT, settings: GPTOptimizationSettings) -> list[torch.optim.Optimizer]:
    """Muon (https://kellerjordan.github.io/posts/muon) over matrices of the layers, and fused AdamW over the rest.

    Every group keeps its own rate as `peak`.

    Raises:
        LangJepaError: this torch has no Muon; or a parameter is not in exactly one group.
    """
    if not hasattr(torch.optim, "Muon"):
        raise LangJepaError(
            f"torch {torch.__version__} has no Muon optimizer, which training a GPT needs: install torch 2.9 or later"
        )
    matrices = [parameter for parameter in model.blocks.parameters() if parameter.ndim == 2]
    vectors = [parameter for parameter in model.blocks.parameters() if parameter.ndim < 2]
    heads = [] if model.head is None else [model.head.weight]
    muon = torch.optim.Muon(
        [{"params": matrices, "peak": settings.lr}],
        lr=settings.lr,
        momentum=settings.muon_momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
        ns_steps=settings.muon_ns_steps,
        adjust_lr_fn="original",
    )
    peaks = [
        ([model.embedding.weight], settings.embedding_lr),
        (heads, settings.head_lr),
        (vectors, settings.scalar_lr),
    ]
    adamw = torch.optim.AdamW(
        [{"params": parameters, "lr": peak, "peak": peak} for parameters, peak in peaks if parameters],
        betas=(settings.beta1, settings.beta2),
        weight_decay=0.0,
        fused=True,
    )
    check_groups(model, muon, adamw)
    return [muon, adamw]


def set_gpt_rates(
    optimizers: list[torch.optim.Optimizer], schedule: GPTSchedule, step: int, seconds: float
) -> float:
    """Put the step's learning rates and Muon's momentum into the groups; returns the factor on all rates."""
    factor, momentum = schedule.rate(step, seconds), schedule.momentum(step)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
            if "momentum" in group:
                group["momentum"] = momentum
    return factor


class WeightAverage:
    """An exponential moving average of a model's parameters.

    Args:
        model: its parameters are where the average begins.
        decay: share that the average keeps at each update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._average = {name: one.detach().clone() for name, one in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Follow the model, once per optimizer step."""
        for name, parameter in model.named_parameters():
            self._average[name].lerp_(parameter, 1.0 - self.decay)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Let the model have the average as its parameters for a while."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self._average[name])
            self._average[name].copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, by parameter."""
        return self._average

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Raises:
            LangJepaError: it is of other parameters.
        """
        for name, average in self._average.items():
            if name not in state or state[name].shape != average.shape:
                raise LangJepaError(f"the average of the weights does not fit these settings: look at {name}")
            average.copy_(state[name])
