"""The tasks on public data: STS-B (`sts` and `au`) and SST-2 (`probe`).

STS-B tests whether cosine orders sentence pairs as people do: Spearman for each split; alignment and uniformity on dev
(Wang and Isola, arXiv 2005.10242). The similarity is selected on dev and reported on test. Splits are never joined,
because dev scores are 6 to 9 points above test.

SST-2 tests what a linear classifier can read from frozen embeddings. The raw unit embeddings of all training sentences
are standardised by the training mean and standard deviation; an L2-regularised logistic regression (lbfgs) is fitted
for each C of a fixed grid; the C with the best dev accuracy is reported on test. The encoder is not tuned.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.words import TFIDF, tfidf
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.intervals import Interval, percentiles, rank_correlation, spearman_interval
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, prepare, row_products
from lang_jepa.evaluation.table import Row, detail_of, join, mean_row, score_row
from lang_jepa.evaluation.tasks.public_data import Labelled, Split, StsPairs, TaskData, find_sst2, find_stsb
from lang_jepa.evaluation.tasks.request import Request, Result, Task

STSB, SST2 = "STS-B", "SST-2"
REPORTED: tuple[Split, ...] = ("dev", "test")
POSITIVE = 4.0  # pairs scored above this are positives, as in SimCSE (arXiv 2104.08821, section 5)
GRID = (0.0001, 0.001, 0.01, 0.1, 1.0)
TFIDF_GRID = (0.1, 1.0, 10.0, 100.0)  # sparse unit rows are not standardised and need weaker regularisation
MAX_ITER = 1000
Correct = NDArray[np.float64]


def pair_cosines(pairs: StsPairs, embeddings: Floats) -> NDArray[np.float64]:
    """Return the cosine of each pair, [n].

    Args:
        pairs: one split.
        embeddings: [S, D] unit rows, one for each of `pairs.sentences()`.
    """
    row = {sentence: index for index, sentence in enumerate(pairs.sentences())}
    if len(embeddings) != len(row):
        raise LangJepaError(f"{len(row)} sentences in {pairs.split} but {len(embeddings)} embeddings.")
    first = embeddings[[row[sentence] for sentence in pairs.first]]
    second = embeddings[[row[sentence] for sentence in pairs.second]]
    # Rounded so that equal pairs tie, whatever the order of summation.
    cosines: NDArray[np.float64] = np.round((first.astype(np.float64) * second).sum(1), 9)
    return cosines


def choose_similarity(dev: StsPairs, embeddings: Floats, statistics: Statistics) -> Similarity:
    """Return the similarity with the highest Spearman on dev; the first of `SIMILARITIES` if they tie.

    Raises:
        LangJepaError: the split is not dev.
    """
    if dev.split != "dev":
        raise LangJepaError(f"a similarity is chosen on dev and reported on test; '{dev.split}' was given.")
    scores = {
        kind: rank_correlation(pair_cosines(dev, prepare(embeddings, statistics, kind)), dev.scores)
        for kind in statistics.similarities
    }
    return max(scores, key=lambda kind: scores[kind])


def sts_rows(
    models: Mapping[str, Encoder], data: TaskData, *, seed: int = 0
) -> tuple[list[Row], dict[str, Similarity]]:
    """Return Spearman on dev and test of every model, beside TF-IDF and chance.

    Args:
        models: encoders by name; all similarities of the first get rows, of the others the selected one.
        data: from `find_stsb`.

    Returns:
        The rows, and each model's similarity as selected on dev.
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
                    (STSB, split, "Spearman"),
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
    """Return Spearman of graded pairs with its interval, as a row.

    Args:
        task: task, split and metric.
        name: name of the scorer.
        cosines: [n], rounded so that equal pairs tie.
        labels: [n], human grades.
        seed: seed of the bootstrap.
        items: what distinguishes these pairs from others; with it the row keeps their cosines (None: it does not).
        more: similarity, chosen, note of the row.
    """
    constant = np.ptp(cosines) == 0
    interval = None if constant else spearman_interval(cosines, labels, seed=seed)
    if items is not None:
        more["detail"] = detail_of(cosines, labels=np.asarray(labels), items=items)
    if constant:
        more["note"] = "every pair scored alike"
    return score_row(task, name, rank_correlation(cosines, labels), interval, len(cosines), **more)


def _tfidf_rows(pairs: StsPairs, seed: int) -> Iterator[Row]:
    """Yield the rows of TF-IDF on words and on characters, and of chance.

    TF-IDF is fitted on the scored sentences: fitted on the train split, it would lose unknown words and about .035 of
    Spearman, and the baseline would be too easy to beat.
    """
    task, note = (STSB, pairs.split, "Spearman"), "fitted on this split's sentences, without their scores"
    for name, options in TFIDF.items():
        first, second = tfidf(pairs.sentences(), pairs.first, pairs.second, **options)
        cosines = np.round(row_products(first, second), 9)
        yield spearman_row(task, name, cosines, pairs.scores, seed=seed, note=note)
    yield score_row(task, "chance", 0.0, None, len(pairs.scores))


def _geometry_rows(dev: StsPairs, name: str, unit: Floats, seed: int) -> Iterator[Row]:
    """Yield alignment over the positives and uniformity over all sentences of dev, on raw unit vectors."""
    cosines = pair_cosines(dev, unit)
    distances = (2 - 2 * cosines)[np.asarray(dev.scores) > POSITIVE]
    if len(distances) < 2:
        raise LangJepaError(f"STS-B {dev.split} holds {len(distances)} pairs above {POSITIVE}: too few.")
    task = (STSB, dev.split, "alignment (lower is better)")
    yield mean_row(task, name, distances, seed=seed, shares=False, similarity="raw", note="pairs scored above 4")
    value, interval = uniformity_with_interval(unit, seed=seed)
    yield score_row(
        (STSB, dev.split, "uniformity (lower is better)"), name, value, interval, len(unit), similarity="raw"
    )


def uniformity_with_interval(unit: Floats, *, resamples: int = 200, seed: int = 0) -> tuple[float, Interval]:
    """Return the uniformity (t = 2) of unit rows [N, D] and its interval from a bootstrap over rows.

    A row and its own copy are not a pair: with weights w, the mean is w K w / ((sum w)^2 - sum w^2) over a kernel K
    with a zero diagonal.
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
    """Yield the expectation for directions uniform on the sphere: 2, and -4 + log 0F1(D / 2; 4)."""
    from scipy.special import hyp0f1

    positives = int((np.asarray(dev.scores) > POSITIVE).sum())
    even = float(np.log(hyp0f1(dim / 2, 4.0)) - 4.0)
    for metric, value, n in (("alignment", 2.0, positives), ("uniformity", even, len(dev.sentences()))):
        task = (STSB, dev.split, f"{metric} (lower is better)")
        yield score_row(task, "chance", value, None, n, note="directions even over the sphere")


def _score_sts(request: Request) -> Result:
    data = find_stsb(request.data_dir)
    rows, chosen = sts_rows(request.models, data, seed=request.seed)
    return Result(rows, {STSB: data.source}, {STSB: chosen["model"]})


def _score_geometry(request: Request) -> Result:
    """Score alignment and uniformity (Wang and Isola, arXiv 2005.10242) of every model on dev, and of chance."""
    data = find_stsb(request.data_dir)
    dev = data.splits["dev"]
    rows: list[Row] = []
    for name, model in request.models.items():
        unit = prepare(encode(model, dev.sentences(), name), model.statistics, "raw")
        rows += _geometry_rows(dev, name, unit, request.seed)
    rows += _chance_geometry(dev, request.model.dim)
    return Result(rows, {STSB: data.source})


def probe_rows(
    models: Mapping[str, Encoder], data: TaskData, *, train_sentences: int | None = None, seed: int = 0
) -> list[Row]:
    """Return the accuracy on dev and test of a linear probe on each frozen model, beside TF-IDF and the majority class.

    Args:
        models: encoders by name.
        data: from `find_sst2`; test may be absent.
        train_sentences: most training sentences, drawn by `seed` (None: all, as in the protocol).
    """
    splits = dict(data.splits)
    splits["train"] = _limited(splits["train"], train_sentences, seed)
    count = len(splits["train"].labels)
    note = "all training sentences" if train_sentences is None else f"{count:,} training sentences"
    if "test" not in splits:
        note = join([note, "no test labels: C chosen on this same split"])
    rows: list[Row] = []

    def add(name: str, correct: Mapping[Split, Correct], note: str, *, evaluated: bool = False) -> None:
        for split in _probed(splits):
            task, items = (SST2, split, "accuracy"), splits[split].sentences if evaluated else None
            rows.append(mean_row(task, name, correct[split], seed=seed, note=note, items=items))

    def add_fitted(name: str, x: Mapping[Split, Any], grid: tuple[float, ...], *, evaluated: bool = False) -> None:
        correct, best = fit_probe(x, splits, grid)
        add(name, correct, join([f"C = {best:g} chosen on dev", note]), evaluated=evaluated)

    for position, (name, model) in enumerate(models.items()):
        x = {split: encode(model, part.sentences, name) for split, part in splits.items()}
        add_fitted(name, _standardised(x), GRID, evaluated=position == 0)
    texts = [part.sentences for part in splits.values()]
    tables = tfidf(splits["train"].sentences, *texts, ngram_range=(1, 2), sublinear_tf=True)
    add_fitted("TF-IDF", dict(zip(splits, tables, strict=True)), TFIDF_GRID)
    majority = int(np.bincount(splits["train"].labels).argmax())
    right = {split: (np.asarray(part.labels) == majority).astype(np.float64) for split, part in splits.items()}
    add("majority class", right, "")
    return rows


def fit_probe(
    x: Mapping[Split, Any], splits: Mapping[Split, Labelled], grid: tuple[float, ...]
) -> tuple[dict[Split, Correct], float]:
    """Fit a probe for each C and keep the best on dev (the smaller C if equal).

    Args:
        x: features [n, D] per split, dense or sparse.
        splits: the same splits with labels.

    Returns:
        Per reported split, 1.0 where the prediction is right, [n]; and the C.

    Raises:
        LangJepaError: there is only one class, or the fit did not converge.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(set(splits["train"].labels)) < 2:
        raise LangJepaError("a probe needs training sentences of at least two classes.")
    fits = {}
    for c in grid:
        model = LogisticRegression(C=c, max_iter=MAX_ITER)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(x["train"], splits["train"].labels)
            except ConvergenceWarning as warning:
                raise LangJepaError(f"the probe with C={c} did not converge: {warning}") from warning
        fits[c] = {
            split: (model.predict(x[split]) == np.asarray(splits[split].labels)).astype(np.float64)
            for split in _probed(splits)
        }
    best = max(grid, key=lambda c: (fits[c]["dev"].mean(), -c))
    return fits[best], best


def _standardised(x: Mapping[Split, NDArray[np.float32]]) -> dict[Split, NDArray[np.float32]]:
    mean, std = x["train"].mean(0), x["train"].std(0)
    # A constant dimension carries no information; dividing by 1 leaves it at zero.
    std = np.where(std > 0, std, 1.0).astype(np.float32)
    return {split: (matrix - mean) / std for split, matrix in x.items()}


def _limited(train: Labelled, count: int | None, seed: int) -> Labelled:
    if count is None or count >= len(train.labels):
        return train
    rows = np.random.default_rng(seed).permutation(len(train.labels))[:count]
    return Labelled("train", [train.sentences[i] for i in rows], [train.labels[i] for i in rows])


def _probed(splits: Mapping[Split, Any]) -> list[Split]:
    return [split for split in ("dev", "test") if split in splits]


def _score_probe(request: Request) -> Result:
    data = find_sst2(request.data_dir)
    sentences = request.budget.probe_sentences
    rows = probe_rows(request.models, data, train_sentences=sentences, seed=request.seed)
    return Result(rows, {SST2: data.source})


STS = Task("sts", _score_sts, data_dir="always", find_data=find_stsb)
AU = Task("au", _score_geometry, data_dir="always", find_data=find_stsb)
PROBE = Task("probe", _score_probe, data_dir="always", find_data=find_sst2)
