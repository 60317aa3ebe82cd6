"""Muon over many matrices at a time, whole or sharded by rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lang_jepa.models.sharded import shared_out

if TYPE_CHECKING:
    from torch.optim import Muon
else:
    Muon = getattr(torch.optim, "Muon", torch.optim.Optimizer)  # see `make_gpt_optimizers`


class StackedMuon(Muon):
    """`torch.optim.Muon` with fewer matrix products and the same results. Its state is that of torch's optimizer.

    The Newton-Schulz iterations run on matrices of equal shape as one batch.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one update; return the result of `closure`, which is called first, as in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        from torch.optim._muon import _adjust_lr

        for group in self.param_groups:
            parameters = [one for one in group["params"] if one.grad is not None]
            if not parameters:
                continue
            gradients = [one.grad for one in parameters]
            for one in parameters:
                if "momentum_buffer" not in self.state[one]:
                    self.state[one]["momentum_buffer"] = torch.zeros_like(one)
            buffers = [self.state[one]["momentum_buffer"] for one in parameters]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            updates = buffers
            if group["nesterov"]:
                pairs = zip(gradients, buffers, strict=True)
                updates = [gradient.lerp(buffer, group["momentum"]) for gradient, buffer in pairs]
            updates = self._orthogonal(updates, group["ns_coefficients"], group["ns_steps"], group["eps"])
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for one, update in zip(parameters, updates, strict=True):
                one.add_(update, alpha=-_adjust_lr(group["lr"], group["adjust_lr_fn"], one.shape))
        return loss

    def _orthogonal(self, updates: list[Tensor], *how: Any) -> list[Tensor]:
        """Apply `orthogonal`, whose other arguments are `how`."""
        return orthogonal(updates, *how)


class ShardedMuon(StackedMuon):
    """Muon over matrices sharded by rows. Momentum stays sharded; an update is gathered and orthogonalised on every
    process, which then takes its own rows. The result is that of Muon on whole matrices, and only one matrix at a time
    is held whole.
    """

    def _orthogonal(self, updates: list[Any], *how: Any) -> list[Tensor]:
        from torch.optim._muon import _zeropower_via_newtonschulz

        return [shared_out(_zeropower_via_newtonschulz(one.full_tensor(), *how), one) for one in updates]


def orthogonal(
    matrices: Sequence[Tensor], coefficients: tuple[float, float, float], steps: int, eps: float
) -> list[Tensor]:
    """Bring each matrix's singular values near 1, by iterations in bf16
    (https://kellerjordan.github.io/posts/muon): X <- a X + (b A + c A^2) X with A = X X^T.

    Args:
        matrices: of any shapes.
        coefficients: a, b, c.
        steps: number of iterations.
        eps: smallest norm by which a matrix is divided.

    Returns:
        bf16 matrices, in the order and shapes of the input.
    """
    a, b, c = coefficients
    alike: dict[tuple[int, int], list[int]] = {}
    for number, matrix in enumerate(matrices):
        alike.setdefault((min(matrix.shape), max(matrix.shape)), []).append(number)
    done: dict[int, Tensor] = {}
    for numbers in alike.values():
        tall = [matrices[number].shape[0] > matrices[number].shape[1] for number in numbers]
        stack = torch.stack([matrices[n].mT if t else matrices[n] for n, t in zip(numbers, tall, strict=True)])
        stack = stack.bfloat16()
        stack /= torch.linalg.vector_norm(stack, dim=(1, 2), keepdim=True).clamp(min=eps)
        for _ in range(steps):
            gram = stack @ stack.mT
            stack = torch.baddbmm(stack, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), stack, beta=a)
        done |= {n: one.mT if t else one for n, t, one in zip(numbers, tall, stack, strict=True)}
    return [done[number] for number in range(len(matrices))]
