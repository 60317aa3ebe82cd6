"""STS-B: does cosine order sentence pairs as people do? Spearman per split, and alignment and uniformity.

The similarity is chosen on dev and reported on test; splits are never joined, because dev
runs 6 to 9 points above test. Uniformity and alignment: Wang and Isola, arXiv 2005.10242, on the dev pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.words import TFIDF, tfidf
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.intervals import Interval, percentiles, spearman, spearman_interval
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, prepare
from lang_jepa.evaluation.table import Row, detail_of, mean_row, score_row
from lang_jepa.evaluation.tasks.public_data import Split, StsPairs, TaskData, find_stsb
from lang_jepa.evaluation.tasks.request import Request, Result, Task

TITLE = "STS-B"
REPORTED: tuple[Split, ...] = ("dev", "test")
POSITIVE = 4.0  # pairs scored above this are positives, as in SimCSE (arXiv 2104.08821, section 5)


def pair_cosines(pairs: StsPairs, embeddings: Floats) -> NDArray[np.float64]:
    """Cosine of each pair, [n].

    Args:
        pairs: one split.
        embeddings: [S, D] unit rows, one per `pairs.sentences()`.
    """
    row = {sentence: index for index, sentence in enumerate(pairs.sentences())}
    if len(embeddings) != len(row):
        raise LangJepaError(f"{len(row)} sentences in {pairs.split} but {len(embeddings)} embeddings.")
    first = embeddings[[row[sentence] for sentence in pairs.first]]
    second = embeddings[[row[sentence] for sentence in pairs.second]]
    # Rounded, so that equal pairs tie whatever order the sums were taken in.
    cosines: NDArray[np.float64] = np.round((first.astype(np.float64) * second).sum(1), 9)
    return cosines


def choose_similarity(dev: StsPairs, embeddings: Floats, statistics: Statistics) -> Similarity:
    """The similarity with the highest Spearman on dev; the first of `SIMILARITIES` when they tie.

    Raises:
        LangJepaError: given another split than dev.
    """
    if dev.split != "dev":
        raise LangJepaError(f"a similarity is chosen on dev and reported on test; '{dev.split}' was given.")
    scores = {
        kind: spearman_of(dev.scores, pair_cosines(dev, prepare(embeddings, statistics, kind)))
        for kind in statistics.similarities
    }
    return max(scores, key=lambda kind: scores[kind])


def sts_rows(
    models: Mapping[str, Encoder], data: TaskData, *, seed: int = 0
) -> tuple[list[Row], dict[str, Similarity]]:
    """Spearman on dev and test of every model in every similarity, TF-IDF and chance beside them.

    Args:
        models: by name; the first one's unchosen similarities are rows too.
        data: from `find_stsb`.

    Returns:
        The rows, and each model's similarity as chosen on dev.
    """
    rows: list[Row] = []
    chosen: dict[str, Similarity] = {}
    for position, (name, model) in enumerate(models.items()):
        embeddings = {split: encode(model, data.splits[split].sentences(), name) for split in REPORTED}
        chosen[name] = choose_similarity(data.splits["dev"], embeddings["dev"], model.statistics)
        for split in REPORTED:
            pairs = data.splits[split]
            for kind in model.statistics.similarities if position == 0 else (chosen[name],):
                best = kind == chosen[name]
                cosines = pair_cosines(pairs, prepare(embeddings[split], model.statistics, kind))
                row = spearman_row(
                    (TITLE, split, "Spearman"),
                    name,
                    cosines,
                    pairs.scores,
                    seed=seed,
                    items=[pairs.first, pairs.second] if best and position == 0 else None,
                    similarity=kind,
                    chosen=best,
                    note="similarity chosen on dev" if best else "",
                )
                rows.append(row)
    for split in REPORTED:
        rows += _tfidf_rows(data.splits[split], seed)
    return rows, chosen


def geometry_rows(models: Mapping[str, Encoder], data: TaskData, *, seed: int = 0) -> list[Row]:
    """Alignment and uniformity (Wang and Isola, arXiv 2005.10242) of every model on the dev split, and chance."""
    dev = data.splits["dev"]
    rows: list[Row] = []
    for name, model in models.items():
        unit = prepare(encode(model, dev.sentences(), name), model.statistics, "raw")
        rows += _geometry_rows(dev, name, unit, seed)
    rows += _chance_geometry(dev, next(iter(models.values())).dim)
    return rows


def spearman_of(labels: Sequence[float], cosines: NDArray[np.float64]) -> float:
    """Spearman; 0.0 for a scorer that gives every pair the same score, which orders nothing."""
    value = spearman(cosines, labels)
    return 0.0 if np.isnan(value) else value


def spearman_row(
    task: tuple[str, str, str],
    name: str,
    cosines: NDArray[np.float64],
    labels: Sequence[float],
    *,
    seed: int,
    items: object = None,
    **more: Any,
) -> Row:
    """Spearman of graded pairs with its interval, as a row.

    Args:
        task: task, split and metric.
        name: who was scored.
        cosines: [n], rounded, so that equal pairs tie.
        labels: [n] people's grades.
        seed: of the bootstrap.
        items: what tells these pairs from others, where their cosines stay with the row (None: they do not).
        more: similarity, chosen, note of the row.
    """
    constant = np.ptp(cosines) == 0
    interval = None if constant else spearman_interval(cosines, labels, seed=seed)
    if items is not None:
        more["detail"] = detail_of(cosines, labels=np.asarray(labels), items=items)
    if constant:
        more["note"] = "every pair scored alike"
    return score_row(task, name, spearman_of(labels, cosines), interval, len(cosines), **more)


def _tfidf_rows(pairs: StsPairs, seed: int) -> Iterator[Row]:
    """TF-IDF of words and of characters, and chance.

    Fitted on the scored sentences themselves: fitted on the train split, unknown words drop out and Spearman falls
    by about .035 and the baseline would be too easy to beat.
    """
    task, note = (TITLE, pairs.split, "Spearman"), "fitted on this split's sentences, without their scores"
    for name, options in TFIDF.items():
        first, second = tfidf(pairs.sentences(), pairs.first, pairs.second, **options)
        cosines = np.round(np.asarray(first.multiply(second).sum(1)).ravel(), 9)
        yield spearman_row(task, name, cosines, pairs.scores, seed=seed, note=note)
    yield score_row(task, "chance", 0.0, None, len(pairs.scores))


def _geometry_rows(dev: StsPairs, name: str, unit: Floats, seed: int) -> Iterator[Row]:
    """Alignment over the positives and uniformity over all sentences of dev, on raw unit vectors."""
    cosines = pair_cosines(dev, unit)
    distances = (2 - 2 * cosines)[np.asarray(dev.scores) > POSITIVE]
    if len(distances) < 2:
        raise LangJepaError(f"STS-B {dev.split} holds {len(distances)} pairs above {POSITIVE}: too few.")
    task = (TITLE, dev.split, "alignment (lower is better)")
    yield mean_row(task, name, distances, seed=seed, shares=False, similarity="raw", note="pairs scored above 4")
    value, interval = uniformity_with_interval(unit, seed=seed)
    yield score_row(
        (TITLE, dev.split, "uniformity (lower is better)"), name, value, interval, len(unit), similarity="raw"
    )


def uniformity_with_interval(unit: Floats, *, resamples: int = 200, seed: int = 0) -> tuple[float, Interval]:
    """Uniformity (t = 2) of unit rows [N, D] and its interval when rows are drawn with replacement.

    A row and its own copy are no pair: with weights w, the mean is w K w / ((sum w)^2 - sum w^2) over a kernel K
    with an empty diagonal.
    """
    kernel = np.exp(-2 * np.clip(2 - 2 * (unit @ unit.T), 0, None))
    np.fill_diagonal(kernel, 0)
    count = len(unit)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = np.concatenate([np.ones((1, count)), draws]).astype(np.float32)
    totals = ((weights @ kernel) * weights).sum(1, dtype=np.float64)
    pairs = weights.sum(1, dtype=np.float64) ** 2 - np.square(weights).sum(1, dtype=np.float64)
    values = np.log(totals / pairs)
    return float(values[0]), percentiles(values[1:])


def _chance_geometry(dev: StsPairs, dim: int) -> Iterator[Row]:
    """What directions drawn evenly from the sphere would give: 2, and -4 + log 0F1(D / 2; 4)."""
    from scipy.special import hyp0f1

    positives = int((np.asarray(dev.scores) > POSITIVE).sum())
    even = float(np.log(hyp0f1(dim / 2, 4.0)) - 4.0)
    for metric, value, n in (("alignment", 2.0, positives), ("uniformity", even, len(dev.sentences()))):
        task = (TITLE, dev.split, f"{metric} (lower is better)")
        yield score_row(task, "chance", value, None, n, note="directions even over the sphere")


def _score_sts(request: Request) -> Result:
    data = find_stsb(request.data_dir)
    rows, chosen = sts_rows(request.models, data, seed=request.seed)
    return Result(rows, {TITLE: data.source}, {TITLE: chosen["model"]})


def _score_geometry(request: Request) -> Result:
    data = find_stsb(request.data_dir)
    return Result(geometry_rows(request.models, data, seed=request.seed), {TITLE: data.source})


STS = Task("sts", _score_sts, data_dir="always")
AU = Task("au", _score_geometry, data_dir="always")
