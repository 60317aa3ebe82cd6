"""Speed and memory of preparing a corpus: megabytes per second, and the peak over all processes.

    python benchmarks/prepare.py                            # generated stories
    python benchmarks/prepare.py PATH --tokenizer trained --workers 1 2
    python benchmarks/prepare.py PATH --tokenizer FOLDER --workers 1 2 --tasks 8    # in tasks of datatrove

The column `blocks` is the stage divided among processes: reading, splitting, tokenizing; duplicates and shards follow.
Memory is the largest sum, over this process and its workers, of the proportional set size (pages shared by several
processes are counted once), sampled four times a second. On a busy machine, look at the column with megabytes per
second of processor time.
"""

import argparse
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

from lang_jepa.data.corpus.prepare import PrepareEvent, prepare
from lang_jepa.data.corpus.tasks import Executor
from lang_jepa.settings.data import DataSettings
from metrics import metric
from speed import minilm

STORIES = 10_000
"""Number of stories if no source is named."""


def family() -> list[int]:
    """Return the IDs of this process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
    members = [os.getpid()]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def memory() -> float:
    """Return the memory of this process and its descendants together, in megabytes."""
    total = 0
    for member in family():
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total * 1024 / 1e6


def processor_seconds() -> float:
    """Return the CPU time of this process and of its finished children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


class Peak:
    """Samples memory in a thread while a `with` block runs."""

    def __enter__(self) -> "Peak":
        self.megabytes, self._stop = memory(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self.megabytes = max(self.megabytes, memory())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def main() -> None:
    """Prepare the same source once for each number of workers and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="stories", help="as data.train_file")
    parser.add_argument("--tokenizer", default="trained", help="as data.tokenizer_path, or minilm")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--tasks", type=int, help="shares of the source that datatrove's tasks read")
    parser.add_argument("--limit", type=int, help="documents at most")
    options = parser.parse_args()
    if options.tokenizer == "minilm":
        options.tokenizer = minilm()
    if options.source == "stories" and options.limit is None:
        options.limit = STORIES
    from transformers import AutoTokenizer  # noqa: F401  (two seconds of imports, which should not be measured)

    seconds: list[float] = []
    print(f"{'workers':>7} {'seconds':>8} {'blocks':>7} {'MB/s':>6} {'MB/CPU s':>8} {'peak MB':>8} {'tokens':>12}")
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as folder, Peak() as peak:
            settings = DataSettings(
                train_file=options.source,
                tokenizer_path=options.tokenizer,
                corpus_dir=folder,
                limit=options.limit,
                val_fraction=0.05,
                prepare_workers=workers,
            )
            began, times = processor_seconds(), [time.monotonic()]

            def note(event: PrepareEvent, times: list[float] = times) -> None:
                if event.stage in ("tokenizer", "assemble"):
                    times.append(time.monotonic())

            executor = None if options.tasks is None else Executor("local", options.tasks, workers)
            corpus = prepare(settings, progress=note, executor=executor)
            spent = processor_seconds() - began
        timing = corpus.manifest["timing"]
        seconds.append(timing["seconds"])
        megabytes = timing["megabytes_per_second"] * timing["seconds"]
        print(
            f"{workers:>7} {timing['seconds']:>8} {times[-1] - times[0]:>7.1f} {timing['megabytes_per_second']:>6} "
            f"{megabytes / spent:>8.2f} {peak.megabytes:>8.0f} "
            f"{corpus.train.num_tokens + corpus.validation.num_tokens:>12,}"
        )
    if options.tasks and options.workers == [1, 2]:
        metric("preparation in tasks: two workers against one", seconds[0] / seconds[1])


if __name__ == "__main__":
    main()
