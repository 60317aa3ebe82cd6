"""Operations of a GPT that run faster on a CPU than the equivalent formulas in their docstrings.

They save memory and passes over it: hand-written backward passes read what is already there, and attention and
cross-entropy work on blocks that stay in a core's cache. On other devices and in compiled graphs the formulas
themselves are computed, since a compiler fuses operations itself.

Legend: B sequences, T tokens, D width, N heads of E dimensions, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

QUERIES = 64
"""Queries in a block of attention."""
LONGEST = 1024
"""Tokens up to which attention keeps its weights for the backward pass: N * T / 2 numbers per token."""
SCORES = 2**19
"""Scores in a block of the cross-entropy: 2 MiB in fp32."""


_formulas = ContextVar("formulas", default=False)


@contextmanager
def formulas() -> Iterator[None]:
    """Compute the formulas everywhere in this context, so that operations are counted alike on all devices."""
    before = _formulas.set(True)
    try:
        yield
    finally:
        _formulas.reset(before)


def by_hand(x: Tensor) -> bool:
    """Whether a tensor is on a CPU, no graph is being compiled, and `formulas` is not active."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not _formulas.get()


def rms_norm(x: Tensor) -> Tensor:
    """Scale rows to a root mean square of 1, without a weight (arXiv 1910.07467); shape and dtype of x [..., D]."""
    return _applied(_RMSNorm, x) if by_hand(x) else functional.rms_norm(x, (x.shape[-1],))


def _applied(function: type[Function], *given: Any) -> Tensor:
    """Apply an autograd function with one output."""
    made: Tensor = function.apply(*given)  # type: ignore[no-untyped-call]
    return made


def _inverse_rms(x: Tensor) -> Tensor:
    """The inverse root mean square of rows [..., E], with the epsilon of `functional.rms_norm`: [..., 1], at least
    fp32.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    inverse: Tensor = norms.square_().div_(x.shape[-1]).add_(torch.finfo(wide).eps).rsqrt_()
    return inverse


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inverse = _inverse_rms(x)
        normed = (x * inverse).to(x.dtype)
        ctx.save_for_backward(normed, inverse)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        normed, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(gradient, normed).unsqueeze(-1) / normed.shape[-1]
        return torch.addcmul(gradient, normed, along, value=-1).mul_(inverse)


def squared_leaky_relu(x: Tensor, slope: float) -> Tensor:
    """leaky_relu(x)^2 (arXiv 2109.08668), for any shape."""
    return _applied(_SquaredReLU, x, slope) if by_hand(x) else functional.leaky_relu(x, slope).square()


class _SquaredReLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        half = functional.leaky_relu(x, slope * slope)  # of the derivative
        ctx.save_for_backward(half)
        return half * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (half,) = ctx.saved_tensors
        return gradient.mul(half).mul_(2), None


def interleaved(weight: Tensor, heads: int, pairs: int) -> Tensor:
    """Reorder the rows of a projection to heads [N * E, D] so that rotated pairs are adjacent: 0, pairs, 1,
    pairs + 1, ..., followed by the rest of each head unchanged.
    """
    rows = weight.reshape(heads, -1, weight.shape[1])
    turned = rows[:, : 2 * pairs].reshape(heads, 2, pairs, weight.shape[1]).transpose(1, 2).flatten(1, 2)
    return torch.cat([turned, rows[:, 2 * pairs :]], 1).flatten(0, 1)


def norm_and_turn(x: Tensor, gain: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Normalise heads, multiply them by their gain, and rotate them by their position.

    Args:
        x: [B, T, N, E], from `interleaved` weights; E is even.
        gain: [N].
        turn: from `Rotary.at`.

    Returns:
        [B, T, N, E] in the same order of dimensions, at least fp32.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    cosine, sine = (one.to(wide) for one in turn)
    rest = x.shape[-1] // 2 - cosine.shape[-1]
    angles = functional.pad(torch.complex(cosine, sine), (0, rest), value=1.0)[:, None]
    return _applied(_NormAndTurn, x, gain, angles)


def _times(x: Tensor, angles: Tensor) -> Tensor:
    """Multiply adjacent pairs in x [..., E], read as complex numbers, by `angles` [..., E / 2]."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * angles).flatten(-2)


class _NormAndTurn(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, angles: Tensor) -> Tensor:
        inverse = _inverse_rms(x)
        ctx.save_for_backward(x, gain, angles, inverse)
        return _times(x * (inverse * gain[:, None]), angles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, gain, angles, inverse = ctx.saved_tensors
        back = _times(gradient, angles.conj())
        along = torch.linalg.vecdot(back, x.to(back.dtype)).unsqueeze(-1) * inverse  # with the normalised heads
        by_gain = along.sum((0, 1, 3)).to(gain.dtype)
        back.addcmul_(x, along * inverse / x.shape[-1], value=-1).mul_(inverse * gain[:, None])
        return back.to(x.dtype), by_gain, None


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention in which the last query sees all keys.

    Args:
        query: [B, N, T, E].
        key, value: [B, K, T or more, E], K a divisor of N.

    Returns:
        [B, N, T, E] in the value's dtype.
    """
    new, seen = query.shape[2], key.shape[2]
    if by_hand(query) and 1 < new <= LONGEST and new == seen:
        with torch.autocast("cpu", enabled=False):
            return _attend_in_blocks(query, key, value)
    mask = None
    if new not in (1, seen):
        mask = torch.ones(new, seen, dtype=torch.bool, device=query.device).tril(seen - new)
    return functional.scaled_dot_product_attention(
        query.to(value.dtype),
        key.to(value.dtype),
        value,
        attn_mask=mask,
        is_causal=mask is None and new > 1,
        enable_gqa=key.shape[1] != query.shape[1],
    )


def _attend_in_blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`attend` in blocks of queries, each multiplied only with the keys that it may see; scores are at least fp32."""
    (batch, heads, length, size), shared = query.shape, key.shape[1]
    wide = torch.promote_types(query.dtype, torch.float32)
    query = query.to(wide).reshape(batch, shared, heads // shared, length, size)
    keys = key.to(wide).reshape(batch * shared, length, size).mT
    values = value.reshape(batch * shared, length, size)
    parts = []
    for start in range(0, length, QUERIES):
        stop = min(start + QUERIES, length)
        some = query[:, :, :, start:stop].reshape(batch * shared, -1, size)
        unseen = query.new_full((stop - start, stop - start), float("-inf")).triu(1)
        bias = functional.pad(unseen, (start, 0)).repeat(heads // shared, 1)
        scores = torch.baddbmm(bias, some, keys[:, :, :stop], alpha=size**-0.5)
        attended = scores.softmax(-1).to(value.dtype) @ values[:, :stop]
        parts.append(attended.view(batch, heads, stop - start, size))
    return torch.cat(parts, 2)


def cross_entropy(states: Tensor, weight: Tensor, targets: Tensor, cap: float | None) -> Tensor:
    """Mean of -log softmax(cap * tanh(scores / cap)) at the targets, with scores = states weight^T, in nats; without a
    cap, of the scores themselves. Scores and their gradients exist for one block of states at a time.

    Args:
        states: [B, T, D].
        weight: [V, D].
        targets: int64 [B, T].
        cap: of the scores (None: no cap).

    Returns:
        fp32 scalar. Gradients are computed along with it, so call this only if they are needed.
    """
    low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    return _applied(_CrossEntropy, states.flatten(0, 1), weight, targets.flatten(), cap, low)


class _CrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, cap: float | None, dtype: torch.dtype
    ) -> Tensor:
        by_states, by_weight = torch.empty_like(states), torch.zeros_like(weight)
        total, low = torch.zeros(()), weight.to(dtype)
        rows = max(1, SCORES // len(weight))
        for part, wanted, out in zip(*(torch.split(one, rows) for one in (states, targets, by_states)), strict=True):
            part = part.to(dtype)
            loss, slope = _loss_and_slope((part @ low.mT).float(), wanted, cap)
            total += loss
            slope = slope.to(dtype)
            out.copy_(slope @ low)
            by_weight += slope.mT @ part
        ctx.save_for_backward(by_states, by_weight)
        ctx.count = len(targets)
        return total / len(targets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        by_states, by_weight = ctx.saved_tensors
        factor = gradient / ctx.count
        return by_states * factor, by_weight * factor, None, None, None


def _loss_and_slope(scores: Tensor, targets: Tensor, cap: float | None) -> tuple[Tensor, Tensor]:
    """The sum of the cross-entropies of scores [n, V] (fp32, overwritten), and its derivative with respect to them."""
    logits = scores if cap is None else scores.div_(cap).tanh_() * cap
    likely = logits.log_softmax(-1)
    loss = functional.nll_loss(likely, targets, reduction="sum")
    slope = likely.exp_().scatter_add_(1, targets[:, None], likely.new_full((len(targets), 1), -1.0))
    return loss, slope if cap is None else torch.ops.aten.tanh_backward(slope, scores)
