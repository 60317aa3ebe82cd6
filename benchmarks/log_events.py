"""How often the next event in the logs of twelve systems is found by n-grams of templates, by a model, and by both.

    python benchmarks/log_events.py --data ../shared/data/logs.parquet --model runs/log

The n-grams are counted on the first 70 % of each system's lines (the model's training data, one file per system). For
each of the other lines, given those before it, 256 candidates are drawn from among these other lines, including the
true one: does the most likely candidate have the true event? Ties count fractionally. With `--templates events` the
n-grams are of the annotators' events instead of the masked texts, as a perfect parser would give them.

"Both" is a product of experts: log p of the n-grams plus the model's logit as in training, the cosine of prediction and
candidate divided by the temperature. Nothing is fitted.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from lang_jepa.data.text.masks import mask
from lang_jepa.evaluation.baselines.ngrams import CACHE, CACHED_SHARE, ORDER, UnitNGram
from lang_jepa.evaluation.metrics.similarity import Similarity, prepare
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.training.load import load_any

CANDIDATES, SHARE = 256, 0.3
Logits = Callable[[int, NDArray[np.intp]], NDArray[np.float64]]
"""Maps the row of a line and the rows of candidates [C] to logits, float64 [C]."""


def main() -> None:
    """Print the mean over the systems for each scorer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--templates", choices=["masked", "events"], default="masked")
    parser.add_argument("--model", type=Path, help="A run of the recipe log to ask too.")
    parser.add_argument("--similarity", choices=["raw", "centred"], default="centred", help="Of the model.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = None if arguments.model is None else load_any(arguments.model)
    if model is not None:
        model.sentence_cache = SentenceCache(model.room)
    systems: dict[str, list[tuple[str, str]]] = {}
    for row in pq.read_table(arguments.data).to_pylist():
        systems.setdefault(row["system"], []).append((" ".join(row["content"].split()), row["event"]))
    found: dict[str, list[float]] = {}
    for lines in systems.values():
        texts, events = [text for text, _ in lines], np.array([event for _, event in lines])
        first = len(lines) - int(np.ceil(len(lines) * SHARE))
        templates = list(events) if arguments.templates == "events" else [mask(text) for text in texts]
        orders = ((1, 0.0), (2, 0.0), (3, 0.0), (ORDER, 0.0), (ORDER, CACHED_SHARE))
        scorers = {
            f"{order}-gram, cached share {cached}": ngram_logits(templates, first, order, cached)
            for order, cached in orders
        }
        if model is not None:
            both = [*scorers.values()][-1], model_logits(model, texts, first, arguments.similarity)
            scorers |= {"model": both[1], "model and the last": _sum(*both)}
        for name, logits in scorers.items():
            found.setdefault(name, []).append(share_right(logits, events, first))
    for name, values in found.items():
        print(f"{name:<28} {np.mean(values):.3f}   {' '.join(f'{value:.2f}' for value in values)}")
    print(f"{'systems':<28}         {' '.join(systems)}")


def ngram_logits(templates: list[str], first: int, order: int, cached: float) -> Logits:
    """Return log p under n-grams of the templates before the row `first`."""
    model = UnitNGram([templates[:first]], order=order, cached_share=cached)

    def logits(row: int, some: NDArray[np.intp]) -> NDArray[np.float64]:
        names = list(dict.fromkeys(templates[one] for one in some))
        chances = model.probabilities(templates[max(0, row - CACHE) : row], names)
        chance = dict(zip(names, chances, strict=True))
        return np.log(np.array([chance[templates[one]] for one in some]))

    return logits


def model_logits(model: EmbeddingModel, texts: list[str], first: int, kind: Similarity) -> Logits:
    """Return the cosine of each prediction from row `first` on with candidates, divided by the training temperature."""
    window, temperature = model.settings.data.window_size, model.settings.objective.contrastive_temperature
    units = prepare(model.encode(texts), model.statistics, kind)
    contexts = [texts[max(0, row - window) : row] for row in range(first, len(texts))]
    predictions = prepare(model.predict_next(contexts), model.statistics, kind, side="predictions")
    return lambda row, some: units[some] @ predictions[row - first].astype(np.float64) / temperature


def _sum(one: Logits, other: Logits) -> Logits:
    return lambda row, some: one(row, some) + other(row, some)


def share_right(logits: Logits, events: NDArray[np.str_], first: int) -> float:
    """Return the fraction of lines from `first` on whose most likely candidate has the true event."""
    generator, hits = np.random.default_rng(0), []
    rows = np.arange(first, len(events))
    for row in rows:
        others = generator.choice(rows, CANDIDATES, replace=False)
        some = np.append(others[others != row][: CANDIDATES - 1], row)
        scores = logits(row, some)
        hits.append((events[some[scores >= scores.max() - 1e-6]] == events[row]).mean())
    return float(np.mean(hits))


if __name__ == "__main__":
    main()
