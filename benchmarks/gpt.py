"""What the span loss costs a GPT's training step, whether weight 0 is the plain GPT, and how near it is to its limit.

    OMP_NUM_THREADS=1 python benchmarks/gpt.py [--recipe gpt_jepa] [-o section.key=value] [--rounds 9]

A step is forward, backward and both optimizers, with the drawing of spans. All forms take turns in one process (A B C A
B C), so that a busy machine slows all; medians of processor seconds count, and overheads are medians of the ratios to
the plain step of the same round. The plain step is written out here and knows nothing of spans. The limit is the time
that the step's matrix products alone would take at the rate that one large product reaches.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.data.tokens.token_stream import draw_spans
from lang_jepa.inference.gpt import build_gpt
from lang_jepa.models.gpt import GPT
from lang_jepa.objectives.gpt_losses import NextTokenLoss
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import load_gpt_settings
from lang_jepa.training.optim import make_gpt_optimizers

Step = Callable[[Tensor, int], None]


def make_step(settings: GPTSettings, kind: str, *, bfloat16: bool, layer: int = -1) -> Step:
    """A training step of `plain`, `weight 0` or `spans`, from the same first weights."""
    torch.manual_seed(0)
    model = build_gpt(settings)
    optimizers = make_gpt_optimizers(model, settings.optimization)
    jepa = settings.jepa.model_copy(update={"layer": layer})
    loss = NextTokenLoss(model, jepa)
    compiled = settings.meta.compile
    plain = plain_loss
    if compiled != "none":
        loss.compile(backend=compiled, dynamic=False, fullgraph=True)
        plain = torch.compile(plain_loss, backend=compiled, dynamic=False, fullgraph=True)

    def step(rows: Tensor, number: int) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            if kind == "plain":
                total = plain(model, rows)
            elif kind == "weight 0":
                total = loss(rows).total
            else:
                weight = torch.tensor(jepa.weight or 0.01)
                total = loss(rows, positions=places(settings, rows, number), weight=weight).total
        total.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def plain_loss(model: GPT, rows: Tensor) -> Tensor:
    logits = model(rows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def places(settings: GPTSettings, rows: Tensor, number: int) -> Tensor:
    jepa = settings.jepa
    numbers = np.arange(len(rows)) + number * len(rows)
    drawn = draw_spans(
        rows[:, :-1].numpy(),
        numbers,
        form=jepa.form,
        spans=jepa.spans,
        max_frac=jepa.max_span_frac,
        bos_id=1,
        seed=0,
    )
    return torch.from_numpy(drawn)


def products(settings: GPTSettings) -> float:
    """Floating-point operations of a step's matrix products: 6 for each weight and token, 12 T D / 2 a layer's
    attention (causal: half of the square)."""
    model, data = settings.model, settings.data
    gpt = build_gpt(settings)
    weights = sum(one.numel() for one in gpt.parameters() if one.ndim == 2)
    attention = 6 * data.seq_len * model.model_dim * model.num_layers
    return data.batch_tokens * (6.0 * weights + attention)


def peak(*, bfloat16: bool) -> float:
    """Operations a processor second of one large matrix product, the best of five."""
    one = torch.randn(2048, 2048, dtype=torch.bfloat16 if bfloat16 else torch.float32)
    best = 0.0
    for _ in range(5):
        began = time.process_time()
        one @ one
        best = max(best, 2.0 * 2048**3 / (time.process_time() - began))
    return best


def main(settings: GPTSettings, *, rounds: int, bfloat16: bool) -> None:
    middle = settings.model.num_layers // 2
    forms = {
        "plain": make_step(settings, "plain", bfloat16=bfloat16),
        "weight 0": make_step(settings, "weight 0", bfloat16=bfloat16),
        "spans, last state": make_step(settings, "spans", bfloat16=bfloat16),
        f"spans, layer {middle}": make_step(settings, "spans", bfloat16=bfloat16, layer=middle),
    }
    count = settings.data.batch_tokens // settings.data.seq_len
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):
        rows = torch.randint(settings.data.vocab_size, (count, settings.data.seq_len + 1), generator=generator)
        for name, step in forms.items():
            began = time.process_time()
            step(rows, number)
            if number:  # the first compiles and warms up
                seconds[name].append(time.process_time() - began)
    limit = products(settings) / peak(bfloat16=bfloat16)
    tokens = settings.data.batch_tokens
    for name, times in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(seconds["plain"], times, strict=True))
        median = statistics.median(times)
        print(
            f"{name:<18} {1e3 * median:8.1f} ms   {tokens / median:8,.0f} tokens a CPU second   "
            f"{100 * (ratio - 1):+5.1f} %   {100 * limit / median:3.0f} % of the limit"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="gpt_jepa")
    parser.add_argument("-o", "--override", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bf16", action="store_true")
    chosen = parser.parse_args()
    settings = load_gpt_settings(chosen.recipe, chosen.override)
    sys.exit(main(settings, rounds=chosen.rounds, bfloat16=chosen.bf16))
