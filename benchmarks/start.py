"""Time of a command that reads one text: `lang-jepa infer` against sentence-transformers, as whole processes.

    python benchmarks/start.py [--rounds 5]

Both load a small model from disk and encode one sentence, in turn; nearly all the CPU seconds are spent on imports.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from metrics import metric
from speed import minilm

TEXT = "The dog barked."
PEER = """import sys
from sentence_transformers import SentenceTransformer
SentenceTransformer(sys.argv[1], trust_remote_code=False).encode([sys.argv[2]])
"""


def seconds(command: list[str]) -> float:
    """Return the CPU seconds of a process, which must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Train the smallest model that can be loaded, then run both commands in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        small = (
            "data.limit=200",
            "data.vocab_size=600",
            "optimization.max_steps=2",
            f"data.corpus_dir={folder}/corpora",
        )
        options = [word for one in (*small, f"logging.log_dir={run}") for word in ("-o", one)]
        jepa = [sys.executable, "-m", "lang_jepa.cli"]
        subprocess.run([*jepa, "train", "concepts", *options], check=True, stdout=subprocess.DEVNULL)
        forms = {
            "lang-jepa infer": [*jepa, "infer", str(run), "--text", TEXT],
            "sentence-transformers": [sys.executable, "-c", PEER, minilm(), TEXT],
        }
        taken: dict[str, list[float]] = {name: [] for name in forms}
        for number in range(rounds + 1):
            for name, command in forms.items():
                spent = seconds(command)
                if number:  # the first round fills the file system's cache
                    taken[name].append(spent)
    for name, times in taken.items():
        print(f"{name:<22} {statistics.median(times):.2f} CPU-s")
    ratio = statistics.median(a / b for a, b in zip(*taken.values(), strict=True))
    metric("start of `infer`: CPU seconds against sentence-transformers on one text", ratio)


if __name__ == "__main__":
    main()
