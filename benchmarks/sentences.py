"""Speed of the sentence splitters on one thread, in megabytes of UTF-8 text per second.

    python benchmarks/sentences.py                          # generated stories
    python benchmarks/sentences.py ../shared/data/openstax.parquet ../shared/data/classics.parquet

Measures our rules, and sentencex without the wrapper; without arguments, on 5,000 built-in stories.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sentencex import get_sentence_boundaries

from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.settings.data import DataSettings
from metrics import metric

ROUNDS = 3
STORIES = 5000
"""Number of stories if no file is named."""


def measure(split: Callable[[str], int], texts: list[str]) -> tuple[float, int]:
    """Return the lowest processor seconds of several rounds, and the number of sentences."""
    best, count = float("inf"), 0
    for _ in range(ROUNDS):
        start = time.process_time()
        count = sum(map(split, texts))
        best = min(best, time.process_time() - start)
    return best, count


def splitters() -> dict[str, Callable[[str], int]]:
    """Return functions that count the sentences of a text."""
    rules = make_splitter(DataSettings())
    return {
        "rules": lambda text: len(rules.spans(text)),
        "sentencex": lambda text: len(get_sentence_boundaries("en", text)),
    }


def main(paths: list[str]) -> None:
    """Measure every splitter on every file."""
    for path in paths or ["stories"]:
        limit = None if paths else 5000
        source = open_source(DataSettings(train_file=path, limit=limit))
        texts = [document.text for document in source.documents(Counter())]
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        rates = {}
        for name, split in splitters().items():
            seconds, count = measure(split, texts)
            rates[name] = megabytes / seconds
            print(f"{Path(path).name}  {name:<10} {megabytes / seconds:6.1f} MB/s  {count / seconds:9,.0f} sentences/s")
    if not paths:
        metric("splitting sentences: speed of our rules against sentencex", rates["rules"] / rates["sentencex"])


if __name__ == "__main__":
    main(sys.argv[1:])
