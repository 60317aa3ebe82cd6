"""Training on a CUDA machine, in at most eight minutes: speed, fraction of peak, memory, agreement of precisions.

    python benchmarks/gpu.py --data ../shared/data/openstax.parquet
    python benchmarks/gpu.py --device cpu --small           # the same parts on a CPU, to see that they run

The parts, which can be selected with `--only`:

    encoders    steps of MiniLM's and RoBERTa-base's shapes (random weights), packed, causal, bf16 and fp32
    agreement   losses and gradients of the same batches in bf16 and fp32
    gpt         steps of a GPT of 17 million weights, eager and compiled, bf16
    fsdp        one rank with meta.strategy=fsdp against a run without: the same losses
    learning    the recipe `documents` from scratch for 1,500 steps, and the command `evaluate`

Steps are the engine's own, including data loading. Operations counted are matrix products and attention (in full); the
peak is the rate of one product of 8,192 x 8,192 matrices (1,024 on a CPU). If a part fails, the exit code is 1.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lang_jepa.comparison.budget import count_flops
from lang_jepa.settings.load import load_gpt_settings, load_settings
from lang_jepa.training.train import method_of, open_run, start

SHAPES = {"MiniLM": (384, 6, 12), "RoBERTa-base": (768, 12, 12)}
"""Width, layers and heads."""


class Bench:
    """The device, a scratch folder, and the size of the measurements.

    Args:
        options: of the command line.
        scratch: a temporary folder.
    """

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.device, self.small, self.data, self.scratch = options.device, options.small, options.data, scratch
        self.steps = 3 if self.small else 30
        self.runs = 0

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def peak(self, dtype: torch.dtype) -> float:
        """Return the operations per second of one large matrix product, the best of ten."""
        size, best = 8192 if self.device == "cuda" else 1024, 0.0
        one = torch.randn(size, size, device=self.device, dtype=dtype)
        for _ in range(10):
            self.wait()
            began = time.perf_counter()
            one @ one
            self.wait()
            best = max(best, 2.0 * size**3 / (time.perf_counter() - began))
        return best

    def engine(self, load: Callable[..., Any], recipe: str, *overrides: str) -> Any:
        """Return a run of a recipe, set up at its first step."""
        self.runs += 1
        places = (f"data.corpus_dir={self.scratch}/corpora", f"logging.log_dir={self.scratch}/run{self.runs}")
        some = ("data.limit=300" if self.small else "data.limit=20000", "optimization.max_steps=100000")
        settings = load(recipe, [*places, *some, f"meta.device={self.device}", *overrides])
        method = method_of(settings)
        return start(method, open_run(method), None)

    def speed(self, name: str, engine: Any, dtype: torch.dtype) -> None:
        """Print the time and memory of a run's step, after a few warm-up steps."""
        tokens = 0
        loss = engine.method.loss

        def counting(batch: Any, micro: Any) -> Any:
            nonlocal tokens
            tokens += tokens_of(batch)
            return loss(batch, micro)

        engine.method.loss = counting
        for _ in range(2 if self.small else 10):
            engine.next_step()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.wait()
        tokens, began = 0, time.perf_counter()
        for _ in range(self.steps):
            engine.next_step()
        self.wait()
        seconds = (time.perf_counter() - began) / self.steps
        memory = f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB" if self.device == "cuda" else "-"
        share = None  # operations inside a compiled graph cannot be counted
        if engine.method.settings.meta.compile == "none":
            share = count_flops(engine, 1) / seconds / self.peak(dtype)
        engine.close()
        of_peak = "-" if share is None else f"{100 * share:.0f} %"
        rate = tokens / self.steps / seconds
        print(f"| {name} | {1e3 * seconds:.1f} ms | {rate:,.0f} | {of_peak} | {memory} |", flush=True)


def tokens_of(batch: Any) -> int:
    """Return the number of tokens in a micro-batch's contexts and targets, or in a GPT's rows."""
    if hasattr(batch, "contexts"):
        return int(batch.contexts.sequences.lengths.sum() + batch.targets.sequences.lengths.sum())
    return int(batch.tokens.numel())


def shape(name: str, precision: str, *, small: bool) -> list[str]:
    """Return overrides for an encoder of a known shape, trained from random weights on passages."""
    width, layers, heads = (64, 2, 2) if small else SHAPES[name]
    return [
        *("data.train_file=stories", "data.tokenizer_path=trained", "data.vocab_size=8192", "data.context=causal"),
        *(f"data.batch_tokens={1024 if small else 32768}", "data.val_fraction=0.02"),
        *("model.pretrained=false", "model.architecture=roberta", f"model.num_layers={layers}"),
        *(f"model.embed_dim={width}", f"model.pred_dim={width}", f"model.num_heads={heads}"),
        *(f"model.predictor_heads={heads}", "model.dropout=0.0", f"meta.precision={precision}"),
    ]


def encoders(bench: Bench) -> None:
    """Time steps of two shapes in two precisions."""
    print("| encoder | a step | tokens a second | of the peak | memory |\n|---|---|---|---|---|")
    for name in SHAPES:
        for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
            engine = bench.engine(load_settings, "next_sentence_causal", *shape(name, precision, small=bench.small))
            bench.speed(f"{name}, {precision}", engine, dtype)


def agreement(bench: Bench) -> None:
    """Compare the first steps' losses in both precisions, and the direction of the first gradient."""
    losses, gradients = [], []
    for precision in ("fp32", "bf16"):
        engine = bench.engine(load_settings, "next_sentence_causal", *shape("MiniLM", precision, small=bench.small))
        losses.append(some_losses(engine, gradients))
        engine.close()
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    print(f"losses in fp32 {rounded(losses[0])}, in bf16 {rounded(losses[1])}")
    print(f"cosine of the first gradients {cosine:.5f}")
    if not cosine > 0.98 or abs(losses[0][0] - losses[1][0]) > 0.02 * abs(losses[0][0]):
        sys.exit("bf16 and fp32 disagree: cosine below .98, or first losses more than 2 % apart")


def some_losses(engine: Any, gradients: list[torch.Tensor] | None = None) -> list[float]:
    """Return the losses of five steps as the run reports them; append the first step's gradient to `gradients`."""
    found: list[float] = []
    step = engine.train_step

    def noting(batches: Any, count: int) -> dict[str, float]:
        metrics: dict[str, float] = step(batches, count)
        found.append(metrics["train/loss"])
        return metrics

    optimizer = engine.method.optimizers[0]

    def keep(*_: Any) -> None:
        if gradients is not None and not found:
            ours = [one.grad.flatten().float() for one in engine.method.network.parameters() if one.grad is not None]
            gradients.append(torch.cat(ours))

    hook = optimizer.register_step_pre_hook(keep)
    engine.train_step = noting
    for _ in range(5):
        engine.next_step()
    hook.remove()
    return found


def rounded(numbers: Sequence[float]) -> str:
    """Format numbers for display."""
    return " ".join(f"{one:.4f}" for one in numbers)


def gpt(bench: Bench) -> None:
    """Time steps at the size of the competition, eager and compiled."""
    width, layers = (64, 2) if bench.small else (512, 9)
    sizes = [
        *("data.train_file=stories", f"data.vocab_size={400 if bench.small else 1024}"),
        *(f"data.seq_len={64 if bench.small else 1024}", f"data.batch_tokens={512 if bench.small else 65536}"),
        *(f"model.model_dim={width}", f"model.num_layers={layers}", f"model.num_heads={width // 64 * 2 or 2}"),
        *("model.num_kv_heads=1" if bench.small else "model.num_kv_heads=4", "meta.precision=bf16"),
    ]
    print("| GPT, bf16 | a step | tokens a second | of the peak | memory |\n|---|---|---|---|---|")
    for compiled in ("none", "inductor"):
        engine = bench.engine(load_gpt_settings, "gpt_jepa", *sizes, f"meta.compile={compiled}")
        weights = sum(one.numel() for one in engine.method.network.parameters()) / 1e6
        bench.speed(f"{weights:.1f} M weights, compile {compiled}", engine, torch.bfloat16)


def fsdp(bench: Bench) -> None:
    """Check that one rank holding all shards computes the same as a run without sharding."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    losses = []
    for strategy in ("auto", "fsdp"):
        sizes = shape("MiniLM", "fp32", small=bench.small)
        engine = bench.engine(load_settings, "next_sentence_causal", *sizes, f"meta.strategy={strategy}")
        losses.append(some_losses(engine))
        engine.close()
    print(f"losses without {rounded(losses[0])}, with fsdp {rounded(losses[1])}")
    if max(abs(a - b) for a, b in zip(*losses, strict=True)) > 1e-4:
        sys.exit("one rank under fsdp has other losses than a run without it")


def learning(bench: Bench) -> None:
    """Train from scratch and evaluate with the commands that users type."""
    run, sizes = (
        bench.scratch / "learning",
        ["optimization.max_steps=1500", "data.batch_size=32", "meta.precision=bf16"],
    )
    if bench.small:
        sizes = ["optimization.max_steps=20", "data.limit=60", "data.vocab_size=600", "data.val_fraction=0.2"]
    places = [f"data.train_file={bench.data}", f"data.corpus_dir={bench.scratch}/corpora", f"logging.log_dir={run}"]
    chosen = [word for one in [*places, *sizes] for word in ("-o", one)]
    for command in (
        ["train", "documents", "-o", f"meta.device={bench.device}", *chosen],
        ["evaluate", str(run), "--tasks", "retrieval"],
    ):
        print("lang-jepa", " ".join(command), flush=True)
        done = subprocess.run([sys.executable, "-m", "lang_jepa.cli", *command], capture_output=True, text=True)
        print(done.stdout[-2500:], flush=True)
        if done.returncode:
            sys.exit(done.stderr[-2000:])


PARTS = {"encoders": encoders, "agreement": agreement, "gpt": gpt, "fsdp": fsdp, "learning": learning}
LIMITS = {"encoders": 100, "agreement": 40, "gpt": 100, "fsdp": 40, "learning": 200}
"""Time limit of each part in seconds, eight minutes in all; three times as much on a CPU."""


def main() -> int:
    """Run the parts one after another, each in its own process, so that one may fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--data", default="stories", help="text of the part `learning`, for example openstax.parquet")
    parser.add_argument("--small", action="store_true", help="tiny sizes, a few steps")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device here: with --device cpu --small the same parts run on a CPU")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, Path(scratch))
        if options.part:
            PARTS[options.part](bench)
            return 0
        name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
        half, full = (bench.peak(dtype) / 1e12 for dtype in (torch.bfloat16, torch.float32))
        print(f"{name}, torch {torch.__version__}: peak {half:.2f} TFLOP/s in bf16, {full:.2f} in fp32")
    factor = 1 if options.device == "cuda" else 3
    failed = [part for part in options.only if not succeeds(part, factor * LIMITS[part])]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


def succeeds(part: str, limit: int) -> bool:
    """Run a part within its time limit and report the outcome."""
    print(f"\n{part}", flush=True)
    began = time.perf_counter()
    try:
        code = subprocess.run([sys.executable, *sys.argv, "--part", part], timeout=limit).returncode
    except subprocess.TimeoutExpired:
        print(f"{part} took more than {limit} seconds")
        code = 1
    print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
