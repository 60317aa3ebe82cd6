"""How well a trained decoder tells held-out sentences from their concepts, beside controls that know less.

This is a property of the encoder and its decoder, and no evidence that the encoder learnt anything: an untrained
encoder forgets less of the wording and is decoded better. What a prediction is worth is asked in `told_event`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.embedder import Teller
from lang_jepa.evaluation.intervals import cluster_draws, mean_interval, percentiles, ratio_interval
from lang_jepa.evaluation.rouge import rouge_l
from lang_jepa.evaluation.table import Row, detail_of, score_row

FORCED, TOLD = "decode: words given so far", "decode: reconstruction"
NOTE = "decodability is no evidence of learning: an untrained encoder is decoded better"
Floats = NDArray[np.float64]


def decode_rows(
    model: Teller,
    documents: Sequence[Sequence[str]],
    *,
    train_documents: Sequence[Sequence[str]] | None = None,
    beside: Mapping[str, Teller] | None = None,
    sentences: int = 1024,
    split: str = "validation",
    seed: int = 0,
) -> list[Row]:
    """Teacher-forced figures and greedy reconstructions of held-out sentences, with intervals over documents.

    Args:
        model: encodes and tells.
        documents: held-out documents, each a list of sentences.
        train_documents: where the nearest training sentence is looked for (None: that baseline is left out).
        beside: other encoders with decoders of their own, by name (the untrained start); each in its own space.
        sentences: scored at most, spread evenly over all.
        split: name of the split in the rows.
        seed: of shuffling and intervals.

    Returns:
        Rows for `model`, `shuffled concept` (of another sentence), `zero concept` (what the decoder knows of the
        language alone), `nearest training sentence`, and those beside.
    """
    texts, clusters = _spread(documents, sentences)
    concepts = model.encode(texts)
    others = _shifted(len(texts), seed)
    controls = {
        "model": concepts,
        "shuffled concept": concepts[others],
        "zero concept": np.zeros_like(concepts),
    }
    rows: list[Row] = []
    for name, read in controls.items():
        told = model.decode(read)
        rows += _forced_rows(model, name, read, texts, clusters, split, seed)
        rows += _text_rows(model, name, told, texts, concepts, clusters, split, seed)
    if train_documents:
        pool = list(dict.fromkeys(text for document in train_documents for text in document))
        nearest = np.argmax(concepts @ model.encode(pool).T, axis=1)
        told = [pool[index] for index in nearest]
        note = f"among {len(pool):,}"
        name = "nearest training sentence"
        rows += _text_rows(model, name, told, texts, concepts, clusters, split, seed, note=note)
    for name, other in (beside or {}).items():
        own = other.encode(texts)
        rows += _forced_rows(other, name, own, texts, clusters, split, seed)
        rows += _text_rows(other, name, other.decode(own), texts, own, clusters, split, seed)
    return rows


def _spread(documents: Sequence[Sequence[str]], count: int) -> tuple[list[str], NDArray[np.int64]]:
    """Up to `count` sentences, evenly spread over all, and the number of each one's document."""
    texts = [text for document in documents for text in document]
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    rows = np.unique(np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(np.int64))
    return [texts[row] for row in rows], owner[rows]


def _shifted(count: int, seed: int) -> NDArray[np.int64]:
    """A permutation without a fixed point (for count >= 2)."""
    order = np.random.default_rng(seed).permutation(count)
    shifted = np.empty(count, dtype=np.int64)
    shifted[order] = np.roll(order, 1)
    return shifted


def _forced_rows(
    model: Teller,
    name: str,
    concepts: NDArray[np.float32],
    texts: Sequence[str],
    clusters: NDArray[np.int64],
    split: str,
    seed: int,
) -> list[Row]:
    """Token accuracy, perplexity and bits per byte, each a sum over a sum."""
    scores = model.score_texts(concepts, texts)
    size = np.array([len(text.encode()) for text in texts], dtype=np.float64)
    rows = []
    for metric, above, below in (
        ("token accuracy", scores.right, scores.tokens),
        ("perplexity", scores.nats, scores.tokens),
        ("bits per byte", scores.nats / math.log(2), size),
    ):
        value = float(above.sum() / below.sum())
        interval = ratio_interval(above, below, clusters, seed=seed)
        if metric == "perplexity":  # a mean of nats, and its ends, under a monotone map
            value, interval = math.exp(value), type(interval)(math.exp(interval.low), math.exp(interval.high))
        note = NOTE if name == "model" else ""
        rows.append(score_row((FORCED, split, metric), name, value, interval, len(texts), note=note))
    return rows


def _text_rows(
    model: Teller,
    name: str,
    told: Sequence[str],
    texts: Sequence[str],
    concepts: NDArray[np.float32],
    clusters: NDArray[np.int64],
    split: str,
    seed: int,
    *,
    note: str = "",
) -> list[Row]:
    """Exact match, ROUGE-L, concept cosine (means over sentences) and BLEU (of the corpus)."""
    means: Mapping[str, Floats] = {
        "exact match": np.array(
            [one == other for one, other in zip(told, texts, strict=True)], dtype=np.float64
        ),
        "ROUGE-L": rouge_l(told, texts),
        "concept cosine": _cosines(model, told, concepts),
    }
    rows = []
    for metric, values in means.items():
        interval = mean_interval(values, clusters, seed=seed, shares=metric == "exact match")
        detail = detail_of(values, clusters=clusters, items=list(texts)) if name == "model" else None
        value = float(values.mean())
        rows.append(
            score_row((TOLD, split, metric), name, value, interval, len(texts), note=note, detail=detail)
        )
    value, low, high = bleu(told, texts, clusters, seed=seed)
    rows.append(Row(TOLD, split, "BLEU", name, value, low, high, len(texts), note=note))
    return rows


def _cosines(model: Teller, told: Sequence[str], concepts: NDArray[np.float32]) -> Floats:
    """Raw cosine of each original's concept and its reconstruction's; 0 where nothing was told."""
    result = np.zeros(len(told))
    filled = [i for i, text in enumerate(told) if text.strip()]
    if filled:
        again = model.encode([told[i] for i in filled])
        result[filled] = (again * concepts[filled]).sum(1)
    return result


def bleu(
    told: Sequence[str], texts: Sequence[str], clusters: NDArray[np.int64], *, seed: int, resamples: int = 500
) -> tuple[float, float, float]:
    """Corpus BLEU of 0 to 100 (sacreBLEU's defaults: 13a tokens, exponential smoothing), and its 95 % interval.

    BLEU is a function of sums over sentences, so a resample is a weighted sum of the sums of its documents.
    """
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(effective_order=True)  # for single sentences, whose counts are all that is taken
    found = [scorer.sentence_score(one, [text]) for one, text in zip(told, texts, strict=True)]
    counts = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found], dtype=np.int64)

    def score(sums: NDArray[np.int64]) -> float:
        right, total = sums[:4].tolist(), sums[4:8].tolist()
        return float(BLEU.compute_bleu(right, total, int(sums[8]), int(sums[9]), smooth_method="exp").score)

    draws, labels = cluster_draws(clusters, len(texts), resamples=resamples, seed=seed)
    of_cluster = np.zeros((draws.shape[1], counts.shape[1]), dtype=np.int64)
    np.add.at(of_cluster, labels, counts)
    interval = percentiles(np.array([score(sums) for sums in draws @ of_cluster]))
    return score(counts.sum(0)), interval.low, interval.high
