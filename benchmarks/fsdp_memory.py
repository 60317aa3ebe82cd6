"""Memory per process when two processes train an encoder with an EMA target, dominated by weights: DDP against FSDP.

    python benchmarks/fsdp_memory.py
    python benchmarks/fsdp_memory.py --width 768 --layers 12

For each strategy this prints what rank 0 holds between steps (its part of weights, target and optimizer), the gradients
of a step, and the peak resident set over some steps, above that of the process before the model was built. The resident
set is counted by the operating system and includes activations, gathered layers, DDP's buckets and torch's workspace.
At the start of a run each process builds the whole model once.

MALLOC_MMAP_THRESHOLD_ is set to 256 KiB so that glibc returns freed memory to the system; with --glibc its default
behaviour is measured, which keeps much of it.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MIB = 2**20


def main() -> None:
    """Run both strategies on two processes of this machine and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--glibc", action="store_true", help="leave the allocator as it is")
    parser.add_argument("--rank", help=argparse.SUPPRESS)  # strategy and folder, in a process started by this script
    arguments = parser.parse_args()
    if arguments.rank:
        _measure(arguments)
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for strategy in ("ddp", "fsdp"):
            found[strategy] = _two_ranks(strategy, Path(folder))
    names = ("weights", "target", "optimizer", "gradients", "peak at the start", "peak of a step")
    sys.stdout.write(f"{found['ddp']['count'] / 1e6:.1f} million weights; MiB on rank 0 of 2\n")
    for name in names:
        ddp, fsdp = (found[strategy][name] / MIB for strategy in ("ddp", "fsdp"))
        sys.stdout.write(f"{name:18} ddp {ddp:8.0f}   fsdp {fsdp:8.0f}   ratio {fsdp / ddp:.2f}\n")


def _two_ranks(strategy: str, folder: Path) -> dict[str, Any]:
    """Run two processes and return what rank 0 measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, *sys.argv, "--rank", f"{strategy},{folder}"]
    shared |= {"OMP_NUM_THREADS": "1"} | ({} if "--glibc" in sys.argv else {"MALLOC_MMAP_THRESHOLD_": "262144"})
    ranks = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    if any(rank.wait() for rank in ranks):
        sys.exit("a process failed")
    result: dict[str, Any] = json.loads((folder / f"{strategy}.json").read_text())
    return result


def _measure(arguments: argparse.Namespace) -> None:
    """Train some steps in one of the processes; rank 0 writes its measurements."""
    from lang_jepa.models.sharded import local
    from lang_jepa.settings.load import load_settings
    from lang_jepa.training.train import method_of, open_run, start

    strategy, folder = arguments.rank.split(",")
    settings = load_settings(
        "next_sentence",
        [
            *("data.train_file=stories", "data.limit=200", "data.tokenizer_path=trained", "data.vocab_size=600"),
            *("data.batch_size=2", "data.num_workers=0", "data.prepare_workers=1", f"data.corpus_dir={folder}/corpora"),
            *("model.pretrained=false", "model.architecture=bert", "model.num_heads=8", "model.predictor_heads=8"),
            *(f"model.num_layers={arguments.layers}", f"model.embed_dim={arguments.width}"),
            *(f"model.pred_dim={arguments.width}", "model.score_sample=64"),
            *("optimization.max_steps=50", "meta.device=cpu", f"meta.strategy={strategy}"),
            f"logging.log_dir={folder}/{strategy}",
        ],
    )
    method = method_of(settings)
    run = open_run(method)
    method.open_data()  # so that its memory is not counted as the model's; `start` opens it again
    before = _resident("VmRSS")
    _forget_peak()
    engine = start(method, run, None)
    begun = _resident("VmHWM") - before
    engine.next_step()  # creates the optimizer's state
    _forget_peak()
    for _ in range(arguments.steps):
        engine.next_step()
    parameters = list(method.network.parameters())
    states = [one for optimizer in method.optimizers for state in optimizer.state.values() for one in state.values()]
    found = {
        "count": sum(one.numel() for one in parameters),
        "weights": sum(local(one).nbytes for one in parameters),
        "target": sum(local(one).nbytes for one in method.target.encoder.parameters()),  # type: ignore[attr-defined]
        "optimizer": sum(local(one).nbytes for one in states),
        "gradients": sum(local(one).nbytes for one in parameters if one.requires_grad),
        "peak at the start": begun,
        "peak of a step": _resident("VmHWM") - before,
    }
    engine.close()
    if engine.is_rank_zero:
        Path(folder, f"{strategy}.json").write_text(json.dumps(found))
    method.fabric.barrier()


def _resident(name: str) -> int:
    """Return this process's resident memory in bytes: current (`VmRSS`) or peak (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
