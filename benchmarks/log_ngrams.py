"""How often n-grams of templates know the next event of twelve systems' logs.

    python benchmarks/log_ngrams.py --data ../shared/data/logs.parquet

Of each system the first 70 % of the lines are counted. For each of the others, after the lines before it, 256
candidates are drawn from among them, the true one included: is the likeliest one of the true event? Ties count by their
share. With `--templates events` a template is the annotators' event, not the masked text: what a perfect parser gives.
"""

import argparse

import numpy as np
import pyarrow.parquet as pq

from lang_jepa.data.text.masks import mask
from lang_jepa.evaluation.baselines.ngrams import CACHED_SHARE, UnitNGram

CANDIDATES, SHARE = 256, 0.3


def main() -> None:
    """Print the mean over the systems for each order, without and with the cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--templates", choices=["masked", "events"], default="masked")
    arguments = parser.parse_args()
    systems: dict[str, list[tuple[str, str]]] = {}
    for row in pq.read_table(arguments.data).to_pylist():
        text = row["event"] if arguments.templates == "events" else mask(" ".join(row["content"].split()))
        systems.setdefault(row["system"], []).append((text, row["event"]))
    for order, cached in ((1, 0.0), (2, 0.0), (3, 0.0), (5, 0.0), (5, CACHED_SHARE)):
        found = {name: share_right(lines, order, cached) for name, lines in systems.items()}
        said = " ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"order {order}, cached share {cached}: {np.mean(list(found.values())):.3f}   {said}")


def share_right(lines: list[tuple[str, str]], order: int, cached: float) -> float:
    """Of the held-out lines of one system, those of which the likeliest candidate is of the true event."""
    texts, events = [text for text, _ in lines], np.array([event for _, event in lines])
    first = len(lines) - int(np.ceil(len(lines) * SHARE))
    model, generator = UnitNGram([texts[:first]], order=order, cached_share=cached), np.random.default_rng(0)
    rows, hits = np.arange(first, len(lines)), []
    for row in rows:
        others = generator.choice(rows, CANDIDATES, replace=False)
        some = np.append(others[others != row][: CANDIDATES - 1], row)
        names = list(dict.fromkeys(texts[one] for one in some))
        before = texts[max(0, row - 8) : row]
        chance = dict(zip(names, model.probabilities(before, names), strict=True))
        scores = np.array([chance[texts[one]] for one in some])
        hits.append((events[some[scores >= scores.max() - 1e-12]] == events[row]).mean())
    return float(np.mean(hits))


if __name__ == "__main__":
    main()
