"""Dropout whose random bits are cheap on a CPU.

`torch.nn.functional.dropout` draws one double per element on a CPU, which takes 17 to 30 % of a training step. Here one
64-bit draw decides four elements, 16 bits each, so the rate is a multiple of 1/65536. Bits come from torch's default
generator: `torch.manual_seed` fixes them, and a restored generator state repeats them, as gradient checkpointing
requires. Other devices use torch's own fused kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16
_INT64_MIN = -(1 << 63)


def _masked(x: Tensor, kept: Tensor, factor: float) -> Tensor:
    if kept.dtype is torch.int16:  # a 16-bit x: clearing its bits is four times cheaper than multiplying by a bool
        return x.view(torch.int16).bitwise_and(kept).view(x.dtype).mul_(factor)
    return (x * kept).mul_(factor)


class _Masked(torch.autograd.Function):
    """Mask x and multiply it by a factor, saving only the mask for the backward pass.

    The mask is bool, or for 16-bit types int16 with all bits set where x is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.factor = factor
        return _masked(x, kept, factor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return _masked(grads[0], kept, ctx.factor), None, None


def fast_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Zero each element with probability p and divide the others by 1 - p.

    Args:
        x: floating point, any shape.
        p: rate in [0, 1); on a CPU it is rounded to a multiple of 1/65536.
        training: if false, x is returned unchanged.

    Returns:
        A tensor like x, whose expectation is x.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p, training=True)
    level = round(p * _LEVELS)
    if level == 0:
        return x
    if level == _LEVELS:
        raise ValueError(f"dropout rate {p} rounds to 1, which leaves nothing; give at most {1 - 1 / _LEVELS}")
    count = x.numel()
    # Without explicit bounds random_() leaves the sign bit 0, so every fourth element would have 15 bits.
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(_INT64_MIN, None).view(torch.int16)[:count]
    threshold = level - _LEVELS // 2
    kept = bits.ge_(threshold).neg_() if x.element_size() == 2 else bits >= threshold
    factor = _LEVELS / (_LEVELS - level)
    masked: Tensor = _Masked.apply(x, kept.view(x.shape), factor)  # type: ignore[no-untyped-call]
    return masked


class FastDropout(nn.Dropout):
    """`nn.Dropout` with `fast_dropout`, never in place."""

    def forward(self, input: Tensor) -> Tensor:
        return fast_dropout(input, self.p, self.training)


def replace_dropout(module: nn.Module) -> None:
    """Replace every `nn.Dropout` in `module` by a `FastDropout` of the same rate and mode, in place."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                fast = FastDropout(child.p)
                fast.train(child.training)
                setattr(parent, name, fast)
