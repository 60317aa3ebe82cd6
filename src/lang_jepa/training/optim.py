"""AdamW, Muon, their state in checkpoints, and a moving average of weights; a check for parameters left untrained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.models.gpt import GPT
from lang_jepa.models.sharded import is_sharded, local, shared_out
from lang_jepa.settings.encoder import EncoderOptimizationSettings
from lang_jepa.settings.gpt import GPTOptimizationSettings
from lang_jepa.training.muon import ShardedMuon, StackedMuon
from lang_jepa.training.schedule import GPTSchedule, Schedule
from lang_jepa.training.sharding import total_norm


def adamw(model: nn.Module, encoder: nn.Module, settings: EncoderOptimizationSettings) -> torch.optim.AdamW:
    """Fused AdamW with one group per (decayed?, learning-rate factor, encoder?).

    Weight decay applies to matrices, but not to biases, norms and token embeddings (a rare token would shrink in the
    many steps that give it no gradient).
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
    return torch.optim.AdamW(
        [
            {"params": parameters, "decayed": decayed, "factor": factor, "encoder": theirs}
            for (decayed, factor, theirs), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=settings.lr,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        fused=True,
    )


def check_gradients(model: nn.Module) -> None:
    """Check that every trainable parameter has a gradient after the first backward pass.

    Raises:
        LangJepaError: some have none, so nothing trains them; they are named.
    """
    lonely = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    if lonely:
        raise LangJepaError(
            "no gradient reached these parameters in the first step, so the loss does not depend on them: "
            + ", ".join(lonely)
        )


def clip_gradients(model: nn.Module, limit: float | None) -> float:
    """Clip the gradient to a global norm (None: leave it), and return its norm before clipping."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    parts = [local(gradient) for gradient in gradients]
    norm = (total_norm if any(map(is_sharded, gradients)) else nn.utils.get_total_norm)(parts)
    if limit is not None:
        torch._foreach_mul_(parts, (limit / (norm + 1e-6)).clamp(max=1.0))
    return float(norm)


def non_finite(step: int, loss: float, norm: float, parts: Mapping[str, float] | None = None) -> str:
    """Return what is wrong if the loss or its gradient's norm is not finite and no update may be made; else "".

    Args:
        step: number of the step that the update would have completed.
        loss, norm: of the step.
        parts: other values measured in it; those that are not finite are named.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return ""
    odd = [f"{name} {value}" for name, value in (parts or {}).items() if not math.isfinite(value)]
    also = f" ({', '.join(odd)})" if odd else ""
    return f"step {step}: the loss is {loss} and its gradient's norm {norm}{also}; the update was not made."


def set_rates(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> float:
    """Set the step's learning rate and weight decay in all groups; return the learning rate."""
    rate, decay = schedule.learning_rate(step), schedule.weight_decay(step)
    waiting = step < schedule.settings.predictor_warmup_steps
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if waiting and group["encoder"] else rate * group["factor"]
        group["weight_decay"] = decay if group["decayed"] else 0.0
    return rate


def make_gpt_optimizers(model: GPT, settings: GPTOptimizationSettings) -> list[torch.optim.Optimizer]:
    """Make Muon (https://kellerjordan.github.io/posts/muon) for the layers' matrices, and fused AdamW for the rest.

    Every group stores its peak learning rate as `peak`.

    Raises:
        LangJepaError: this torch has no Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise LangJepaError(
            f"torch {torch.__version__} has no Muon optimizer, which training a GPT needs: install torch 2.9 or later"
        )
    matrices = [parameter for parameter in model.blocks.parameters() if parameter.ndim == 2]
    vectors = [parameter for parameter in model.blocks.parameters() if parameter.ndim < 2]
    heads = [] if model.head is None else [model.head.weight]
    muon = (ShardedMuon if any(map(is_sharded, matrices)) else StackedMuon)(
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
    return [muon, adamw]


def set_gpt_rates(
    optimizers: Sequence[torch.optim.Optimizer], schedule: GPTSchedule, step: int, seconds: float
) -> float:
    """Set the step's learning rates and Muon's momentum in all groups; return the factor on all rates."""
    factor, momentum = schedule.rate(step, seconds), schedule.momentum(step)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
            if "momentum" in group:
                group["momentum"] = momentum
    return factor


def optimizer_states(optimizers: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what a checkpoint stores of optimizers: the class and the state of each."""
    return [{"class": _class_of(one), **one.state_dict()} for one in optimizers]


def load_optimizers(optimizers: Sequence[Any], states: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Load what `optimizer_states` returned; `path` is that of the checkpoint.

    Raises:
        LangJepaError: it belongs to other optimizers, groups or parameters, or a tensor has another shape.
    """
    if len(states) != len(optimizers):
        raise LangJepaError(f"{path} has {len(states)} optimizers, not {len(optimizers)}")
    for optimizer, state in zip(optimizers, states, strict=True):
        try:
            _load_optimizer(optimizer, state)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise LangJepaError(f"an optimizer in {path} does not fit these settings: {error}") from error


def _load_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    now = _class_of(optimizer)
    if (then := state.get("class", now)) != now:  # earlier versions did not save it
        raise ValueError(f"it belongs to {then}, and this run has {now}")
    sizes = [len(group["params"]) for group in state["param_groups"]]
    if sizes != [len(group["params"]) for group in optimizer.param_groups]:
        raise ValueError(f"its groups have {sizes} parameters")
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for number, entries in state["state"].items():
        shapes = {tuple(one.shape) for one in entries.values() if isinstance(one, torch.Tensor) and one.dim()}
        if shapes - {tuple(parameters[number].shape)}:
            raise ValueError(f"parameter {number} has the shape {tuple(parameters[number].shape)}, not {shapes}")
    wanted = [set(group) for group in optimizer.param_groups]
    optimizer.load_state_dict({**state, "state": _placed(state["state"], parameters)})
    for group, names in zip(optimizer.param_groups, wanted, strict=True):
        if lacking := sorted(names - set(group)):
            raise ValueError(f"it belongs to another optimizer, without {', '.join(lacking)}")


def _placed(state: Mapping[int, Mapping[str, Any]], parameters: Sequence[Tensor]) -> dict[int, dict[str, Any]]:
    """Shard each parameter's state as the parameter is; counters stay whole."""
    return {
        number: {
            name: shared_out(one, parameters[number]) if isinstance(one, Tensor) and one.dim() else one
            for name, one in entries.items()
        }
        for number, entries in state.items()
    }


def _class_of(optimizer: Any) -> str:
    name = type(getattr(optimizer, "optimizer", optimizer)).__name__  # the optimizer inside Fabric's wrapper
    return name.removeprefix("Sharded").removeprefix("Stacked")  # these have the same state


class WeightAverage:
    """An exponential moving average of a model's parameters.

    Args:
        model: its parameters are the initial average.
        decay: weight of the old average at each update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._average = {name: one.detach().clone() for name, one in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average from the model, once per optimizer step."""
        for name, parameter in model.named_parameters():
            self._average[name].lerp_(parameter, 1.0 - self.decay)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Use the average as the model's parameters inside the `with` block."""
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
        """Return the average of each parameter, by name."""
        return self._average

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            LangJepaError: a parameter is missing or has another shape.
        """
        for name, average in self._average.items():
            if name not in state or state[name].shape != average.shape:
                raise LangJepaError(f"the average of the weights does not fit these settings: look at {name}")
            average.copy_(shared_out(state[name], average))
