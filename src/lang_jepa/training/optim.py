"""AdamW over parameter groups, with the checks that catch a parameter nobody trains."""

import math
from itertools import chain

import torch
from torch import nn

from lang_jepa.errors import LangJepaError
from lang_jepa.models.jepa import Jepa
from lang_jepa.settings.encoder import OptimizationSettings
from lang_jepa.training.schedule import Schedule


def make_optimizer(model: Jepa, settings: OptimizationSettings) -> torch.optim.AdamW:
    """`adamw` for an encoder and its predictor."""
    return adamw(model, model.encoder, settings)


def adamw(model: nn.Module, encoder: nn.Module, settings: OptimizationSettings) -> torch.optim.AdamW:
    """Fused AdamW with one group per (decayed?, learning-rate factor, encoder?).

    Matrices are decayed; biases, norms and token embeddings are not (a rare token would shrink in the many steps
    that give it no gradient).
    """
    embeddings = {id(module.weight) for module in encoder.modules() if isinstance(module, nn.Embedding)}
    in_encoder = {id(parameter) for parameter in encoder.parameters()}
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        factor = settings.encoder_lr_multiplier if id(parameter) in in_encoder else 1.0
        if id(parameter) in embeddings:
            factor *= settings.embedding_lr_multiplier
        decayed = parameter.ndim >= 2 and id(parameter) not in embeddings
        groups.setdefault((decayed, factor, id(parameter) in in_encoder), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": parameters, "decayed": decayed, "factor": factor, "encoder": theirs}
            for (decayed, factor, theirs), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=settings.lr,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        fused=True,
    )
    check_groups(model, optimizer)
    return optimizer


def check_groups(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    """Every trainable parameter is in exactly one group of all these optimizers.

    Raises:
        LangJepaError: names parameters that are in none or in several.
    """
    places: dict[int, int] = {}
    for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
        for parameter in group["params"]:
            places[id(parameter)] = places.get(id(parameter), 0) + 1
    wrong = [
        f"{name} (in {places.get(id(parameter), 0)} groups)"
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and places.get(id(parameter), 0) != 1
    ]
    if wrong:
        raise LangJepaError("these parameters are not in exactly one optimizer group: " + ", ".join(wrong))


def check_gradients(model: nn.Module) -> None:
    """Every trainable parameter has a gradient after the first backward pass.

    Raises:
        LangJepaError: names the parameters without one: they are trained by nothing.
    """
    lonely = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    if lonely:
        raise LangJepaError(
            "no gradient reached these parameters in the first step, so the loss does not depend on them: "
            + ", ".join(lonely)
        )


def clip_gradients(model: nn.Module, limit: float | None) -> float:
    """Clip the gradient to a global norm (None: leave it), and return its norm before."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if limit is not None:
        nn.utils.clip_grads_with_norm_(list(model.parameters()), limit, norm)
    return float(norm)


def non_finite(step: int, loss: float, norm: float) -> str:
    """What is wrong where the loss or its gradient's norm is not finite: no update may be made; else nothing."""
    if math.isfinite(loss) and math.isfinite(norm):
        return ""
    return f"step {step}: the loss is {loss} and its gradient's norm {norm}; the update was not made."


def set_rates(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> float:
    """Put the step's learning rate and weight decay into the groups; returns the learning rate."""
    rate, decay = schedule.learning_rate(step), schedule.weight_decay(step)
    waiting = step < schedule.settings.predictor_warmup_steps
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if waiting and group["encoder"] else rate * group["factor"]
        group["weight_decay"] = decay if group["decayed"] else 0.0
    return rate
