"""How many stuck lines `monitor` detects, and how many false alarms it raises, on the ends of twelve systems' logs.

    python benchmarks/stuck_lines.py --data ../shared/data/logs.parquet --model runs/log --per-thousand 1 5
    python benchmarks/stuck_lines.py --data ../shared/data/logs.parquet --model runs/log --own --per-thousand 3.4 10 20

The last 30 % of each system's lines were held out of training (one file per system). The second 300 of these are
monitored: unchanged, and with ten bursts, in each of which a line is repeated eleven times more. The reference lines
are the held-out ones of all systems, or with --own the first 300 of the system's own.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from lang_jepa.inference.model import ConceptModel, own_corpus
from lang_jepa.inference.monitor import Monitor

SHARE, HALF, BURSTS, REPEATS = 0.3, 300, 10, 11


def main() -> None:
    """Print the counts of each system for each rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", type=Path, required=True, help="A run of the recipe log on these lines.")
    parser.add_argument("--own", action="store_true", help="The usual lines are the system's own.")
    parser.add_argument("--per-thousand", type=float, nargs="+", default=[1.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = ConceptModel.load(arguments.model)
    corpus = own_corpus(model)
    assert corpus is not None, "the corpus of the training is needed"
    systems: dict[str, list[str]] = {}
    for row in pq.read_table(arguments.data).to_pylist():
        systems.setdefault(row["system"], []).append(" ".join(row["content"].split()))
    for rate in arguments.per_thousand:
        total = np.zeros(3, dtype=int)
        monitor = None if arguments.own else Monitor(model, corpus, per_thousand=rate)
        for name, lines in systems.items():
            held = lines[len(lines) - int(np.ceil(len(lines) * SHARE)) :]
            one = monitor or Monitor(model, corpus, per_thousand=rate, usual=held[:HALF])
            counts = counted(one, held[HALF : 2 * HALF], name)
            total += counts
            print(f"{rate:g} in a thousand, {name}: {counts[0]} false alarms, {counts[1]} of {BURSTS} bursts found")
        print(f"{rate:g} in a thousand: {total[0]} false, {total[1]} bursts, {total[2]} alarms in them", flush=True)


def counted(monitor: Monitor, lines: list[str], name: str) -> tuple[int, int, int]:
    """Return the alarms in the unchanged lines, the bursts found, and the alarms in bursts."""
    mixed, bursts = with_bursts(lines)
    clean = monitor.score(lines, [f"{name}, as it is"] * len(lines))
    found = [one.alarm for one in monitor.score(mixed, [f"{name}, with bursts"] * len(mixed))]
    each = [sum(found[begin:end]) for begin, end in bursts]
    return sum(one.alarm for one in clean), sum(map(bool, each)), sum(each)


def with_bursts(lines: list[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the lines with bursts, and where each burst begins and ends."""
    generator = np.random.default_rng(0)
    mixed: list[str] = []
    places, done = [], 0
    for number in range(BURSTS):
        at = int(len(lines) * (number + 0.3 + 0.4 * generator.random()) / BURSTS)
        mixed += lines[done:at]
        places.append((len(mixed) - 1, len(mixed) + REPEATS))
        mixed += [lines[at - 1]] * REPEATS
        done = at
    return mixed + lines[done:], places


if __name__ == "__main__":
    main()
