"""SIGReg by cos and sin at every knot under autograd against ours: time and memory of forward and backward.

    OMP_NUM_THREADS=1 python benchmarks/sigreg.py [--rounds 20]

Both draw their directions and run in turn (A B A B) in one process, so that a busy machine slows both; the median of
the rounds is reported. Memory is the peak of one forward and backward pass in a separate process.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lang_jepa.objectives.regularizer import SIGReg
from metrics import metric

N, D, K = 256, 384, 1024
Form = Callable[[Tensor], Tensor]


def plain(z: Tensor) -> Tensor:
    """Compute the formula literally, with an [N, K, 17] tensor for cos and one for sin."""
    directions = SIGReg(K).draw(z, 0)
    knots = torch.linspace(0, 3, 17)
    target = torch.exp(-knots.square() / 2)
    weights = torch.full_like(knots, 2 * 3 / 16)
    weights[[0, -1]] = 3 / 16
    angles = (z @ directions.T).unsqueeze(-1) * knots
    errors = (angles.cos().mean(0) - target).square() + angles.sin().mean(0).square()
    return len(z) * (errors @ (weights * target)).mean()


def ours(z: Tensor) -> Tensor:
    return SIGReg(K)(z)


FORMS: dict[str, Form] = {"plain": plain, "ours": ours}


def step(form: Form) -> Tensor:
    z = torch.randn(N, D, generator=torch.Generator().manual_seed(1)).requires_grad_()
    form(z).backward()
    assert z.grad is not None
    return z.grad


def peak(name: str | None) -> float:
    """Return the peak resident megabytes (Linux) of a process that makes one step of a form (None: two products)."""
    step(FORMS[name] if name else lambda z: (z @ z.T).sum())
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(rounds: int) -> None:
    torch.testing.assert_close(step(plain), step(ours), atol=1e-5, rtol=1e-3)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        empty, *used = (pool.apply(peak, (name,)) for name in (None, *FORMS))
    seconds: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(rounds):
        for name, form in FORMS.items():
            began = time.perf_counter()
            step(form)
            seconds[name].append(time.perf_counter() - began)
    for (name, times), memory in zip(seconds.items(), used, strict=True):
        print(f"{name:<6} {1e3 * statistics.median(times):7.1f} ms   {memory - empty:6.0f} MB")
    ratio = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    print(f"N {N}, D {D}, K {K}, {torch.get_num_threads()} thread(s): {ratio:.1f} times faster")
    metric("SIGReg, forward and backward: speed against cos and sin at each knot", ratio)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    sys.exit(main(parser.parse_args().rounds))
