"""Speed of exact search, and memory of searching and of writing an index, against plain numpy and faiss.

    python benchmarks/search.py 100000          # rows; 384 dimensions, float16
    python benchmarks/search.py 1000000 --approximate

Rows are synthetic: noisy copies of 2,000 centres. Rates are per second of CPU time, so other work on the machine does
not affect them. The naive way holds the matrix in fp32 and sorts all scores; argpartition is better plain numpy.
"""

import argparse
import resource
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lang_jepa.evaluation.metrics.similarity import unit_rows
from lang_jepa.inference.index.files import Grown, IndexArrays, IndexWriter, Progress
from lang_jepa.inference.search import ApproximateSearch, build_approximate, exact_search
from metrics import metric

DIM, TOP_K, BLOCK = 384, 10, 4096


def peak() -> float:
    """Return the peak resident memory so far, in GB (including mapped file pages)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def rows(count: int, rng: np.random.Generator, centres: Any) -> Any:
    """Return unit rows around centres, float32 [count, DIM]."""
    noise = rng.standard_normal((count, DIM), dtype=np.float32)
    return unit_rows(centres[rng.integers(len(centres), size=count)] + noise)


def write(folder: Path, count: int, rng: np.random.Generator, centres: Any) -> None:
    """Write an index of synthetic sentences block by block, as `lang-jepa index` does."""
    writer = IndexWriter(folder, DIM, "float16")
    for begin in range(0, count, BLOCK):
        numbers = range(begin, min(begin + BLOCK, count))
        texts = [f"Sentence {number} of a synthetic corpus, of about eighty letters in all." for number in numbers]
        ids = [f"document-{number}" for number in numbers]
        grown = Grown(rows(len(numbers), rng, centres), texts, list(numbers), [0] * len(texts), ids)
        writer.append(grown, Progress())
    writer.finish()


def rate(what: str, search: Callable[[Any], Any], queries: Any) -> tuple[Any, float]:
    """Print the queries per CPU second of the fastest of three calls; return its result and that rate."""
    times = []
    for _ in range(3):
        began = time.process_time()
        found = search(queries)
        times.append(time.process_time() - began)
    seconds = min(times)
    print(f"  {what:<34}{len(queries) / seconds:10.1f} queries/CPU-s   peak so far {peak():5.2f} GB", flush=True)
    return found, len(queries) / seconds


def naive(matrix: Any, queries: Any) -> Any:
    """Sort all scores."""
    return np.argsort(-(queries @ matrix.T), axis=1, kind="stable")[:, :TOP_K]


def partition(matrix: Any, queries: Any) -> Any:
    """Select the best TOP_K of all scores, then sort them."""
    scores = queries @ matrix.T
    best = np.argpartition(-scores, TOP_K, axis=1)[:, :TOP_K]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)


def main() -> None:
    """Write, search, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--approximate", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2000, DIM), dtype=np.float32)
    with TemporaryDirectory() as place:
        folder = Path(place) / "index"
        began = time.process_time()
        write(folder, arguments.rows, rng, centres)
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        print(f"{arguments.rows:,} x {DIM}, top {TOP_K}; files {size:,.0f} MB", flush=True)
        print(f"  written in {time.process_time() - began:.1f} CPU-s; peak {peak():.2f} GB", flush=True)
        matrix = IndexArrays.open(folder).vectors
        queries = rows(arguments.queries, rng, centres)
        _, ours = rate("exact, one query", lambda asked: exact_search(matrix, asked, TOP_K), queries[:1])
        (_, exact), _ = rate("exact, all at once", lambda asked: exact_search(matrix, asked, TOP_K), queries)
        if arguments.approximate:
            info = build_approximate(matrix, folder)
            print(f"  approximate: {info}, peak {peak():.2f} GB", flush=True)
            cells = ApproximateSearch.open(folder, matrix, info["probes"])
            rate("approximate, all at once", lambda asked: cells.search(asked, TOP_K), queries)
        full = np.asarray(matrix, dtype=np.float32)
        few = queries[:16]
        rate("argpartition, fp32 in memory", lambda asked: partition(full, asked), few)
        if find_spec("faiss"):
            import faiss

            flat = faiss.IndexFlatIP(DIM)
            flat.add(full)
            _, flats = rate("faiss Flat, fp32, one query", lambda asked: flat.search(asked, TOP_K), queries[:1])
            metric("exact search, one query among 100,000: queries against faiss Flat", ours / flats)
        found, _ = rate("full sort, fp32 in memory", lambda asked: naive(full, asked), few)
        print(f"  same neighbours: {(found == exact[: len(few)]).mean():.4f}")


if __name__ == "__main__":
    main()
