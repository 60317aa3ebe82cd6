"""Cost of the span loss in a GPT's training step, equality of weight 0 with the plain GPT, and distance to the limit.

    OMP_NUM_THREADS=1 python benchmarks/gpt.py [--recipe gpt_jepa] [-o section.key=value] [--rounds 9]

A step consists of drawing spans, forward, backward and both optimizers. All forms take turns in one process (A B C A B
C), so that a busy machine slows all of them; reported are medians of processor seconds, and as overheads the medians of
the ratios to the plain step of the same round. The plain step is written out here and knows nothing of spans. The limit
is the time that the step's matrix products alone would take at the rate of one large product.

    OMP_NUM_THREADS=1 python benchmarks/gpt.py --nanogpt FOLDER [--bf16] [--rounds 9]

compares with nanoGPT instead (FOLDER: a checkout of https://github.com/karpathy/nanoGPT): of the same width, depth and
number of heads, with the same vocabulary, length and batches, no dropout, no biases, tied embeddings, the mean
cross-entropy of every token, and the AdamW of its `configure_optimizers`; ours with the recipe's optimizers, and with
AdamW alone. The differences: ours has shared key and value heads, rotary positions, normalised queries and keys, gains,
gates, squared leaky ReLU and capped logits; nanoGPT has learnt positions, LayerNorm and GELU.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.tokens.token_stream import draw_spans
from lang_jepa.inference.gpt import build_gpt
from lang_jepa.models.gpt import GPT
from lang_jepa.objectives.gpt_losses import NextTokenLoss
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import load_gpt_settings
from lang_jepa.training.optim import make_gpt_optimizers
from metrics import metric

Step = Callable[[Tensor, int], None]


def make_step(settings: GPTSettings, kind: str, *, bfloat16: bool, layer: int = -1) -> Step:
    """Return a training step of `plain`, `weight 0` or `spans`, from the same initial weights."""
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


def products(settings: GPTSettings, gpt: nn.Module) -> float:
    """Return the floating-point operations of a step's matrix products: per token, 6 for each weight and 12 T D / 2 for
    each layer's attention (causal: half of the square). Position tables are in no product."""
    model, data = settings.model, settings.data
    weights = sum(one.numel() for name, one in gpt.named_parameters() if one.ndim == 2 and "wpe" not in name)
    attention = 6 * data.seq_len * model.model_dim * model.num_layers
    return data.batch_tokens * (6.0 * weights + attention)


def peak(*, bfloat16: bool) -> float:
    """Return the operations per processor second of one large matrix product, the best of five."""
    one = torch.randn(2048, 2048, dtype=torch.bfloat16 if bfloat16 else torch.float32)
    best = 0.0
    for _ in range(5):
        began = time.process_time()
        one @ one
        best = max(best, 2.0 * 2048**3 / (time.process_time() - began))
    return best


def span_forms(settings: GPTSettings, *, bfloat16: bool) -> dict[str, Step]:
    """Return steps of the plain GPT and of variants with the span loss."""
    middle = settings.model.num_layers // 2
    return {
        "plain": make_step(settings, "plain", bfloat16=bfloat16),
        "weight 0": make_step(settings, "weight 0", bfloat16=bfloat16),
        "spans, last state": make_step(settings, "spans", bfloat16=bfloat16),
        f"spans, layer {middle}": make_step(settings, "spans", bfloat16=bfloat16, layer=middle),
    }


def compared_forms(settings: GPTSettings, folder: Path, *, bfloat16: bool) -> dict[str, Step]:
    """Return steps of nanoGPT, and of ours with the recipe's optimizers and with AdamW alone."""
    model, data = settings.model, settings.data
    sys.path.insert(0, str(folder))
    nano = importlib.import_module("model")
    torch.manual_seed(0)
    config = nano.GPTConfig(
        block_size=data.seq_len,
        vocab_size=data.vocab_size,
        n_layer=model.num_layers,
        n_head=model.num_heads,
        n_embd=model.model_dim,
        dropout=0.0,
        bias=False,
    )
    theirs = nano.GPT(config)
    forms = {
        "nanoGPT": step_of(
            lambda rows: theirs(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())[1],
            [theirs.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")],
            bfloat16=bfloat16,
        )
    }
    sizes: dict[str, nn.Module] = {"nanoGPT": theirs}
    for name in ("ours", "ours, AdamW"):
        torch.manual_seed(0)
        sizes[name] = gpt = build_gpt(settings)
        loss = NextTokenLoss(gpt, settings.jepa)
        optimizers = make_gpt_optimizers(gpt, settings.optimization)
        if name != "ours":
            optimizers = [torch.optim.AdamW(gpt.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)]
        forms[name] = step_of(lambda rows, loss=loss: loss(rows).total, optimizers, bfloat16=bfloat16)
    for name, gpt in sizes.items():
        count = sum(one.numel() for one in gpt.parameters())
        print(f"{name:<18} {count:11,} parameters   {products(settings, gpt) / 1e9:6.1f} GFLOP a step")
    return forms


def step_of(loss: Callable[[Tensor], Tensor], optimizers: list[torch.optim.Optimizer], *, bfloat16: bool) -> Step:
    """Return a step that minimises the loss of rows of tokens."""

    def step(rows: Tensor, number: int) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total = loss(rows)
        total.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def main(settings: GPTSettings, nanogpt: Path | None, *, rounds: int, bfloat16: bool) -> None:
    if nanogpt is None:
        forms = span_forms(settings, bfloat16=bfloat16)
    else:
        forms = compared_forms(settings, nanogpt, bfloat16=bfloat16)
    first = next(iter(forms))
    count = settings.data.batch_tokens // settings.data.seq_len
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):
        rows = torch.randint(settings.data.vocab_size, (count, settings.data.seq_len + 1), generator=generator)
        for name, step in forms.items():
            began = time.process_time()
            step(rows, number)
            if number:  # the first round compiles and is warm-up
                seconds[name].append(time.process_time() - began)
    limit = products(settings, build_gpt(settings)) / peak(bfloat16=bfloat16)
    tokens = settings.data.batch_tokens
    ratios = {}
    for name, times in seconds.items():
        ratios[name] = ratio = statistics.median(b / a for a, b in zip(seconds[first], times, strict=True))
        median = statistics.median(times)
        print(
            f"{name:<18} {1e3 * median:8.1f} ms   {tokens / median:8,.0f} tokens a CPU second   "
            f"{100 * (ratio - 1):+5.1f} %   x {1 / ratio:.2f}   {100 * limit / median:3.0f} % of the limit"
        )
    if nanogpt is None:
        metric("GPT: step with the span loss against one without", ratios["spans, last state"] / ratios["weight 0"])
    else:
        kind = "bf16" if bfloat16 else "fp32"
        metric(f"GPT, {kind}: tokens a CPU second against nanoGPT's model", 1 / ratios["ours"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="gpt_jepa")
    parser.add_argument("-o", "--override", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--nanogpt", type=Path, help="compare with nanoGPT: the folder that holds its model.py")
    chosen = parser.parse_args()
    settings = load_gpt_settings(chosen.recipe, chosen.override)
    sys.exit(main(settings, chosen.nanogpt, rounds=chosen.rounds, bfloat16=chosen.bf16))
