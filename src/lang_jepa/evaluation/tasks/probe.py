"""SST-2: what a linear classifier reads out of frozen embeddings.

Protocol, the same for every model: the raw unit embeddings of all training sentences are standardised by the
training mean and standard deviation; an L2-regularised logistic regression (lbfgs) is fitted for each C of a fixed
grid; the C with the best dev accuracy is reported on test. Nothing of the encoder is tuned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.words import tfidf
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.table import Row, join, mean_row
from lang_jepa.evaluation.tasks.public_data import Labelled, Split, TaskData, find_sst2
from lang_jepa.evaluation.tasks.request import Request, Result, Task

TITLE = "SST-2"
GRID = (0.0001, 0.001, 0.01, 0.1, 1.0)
TFIDF_GRID = (0.1, 1.0, 10.0, 100.0)  # sparse unit rows are not standardised and need weaker regularisation
MAX_ITER = 1000
Correct = NDArray[np.float64]


def probe_rows(
    models: Mapping[str, Encoder], data: TaskData, *, train_sentences: int | None = None, seed: int = 0
) -> list[Row]:
    """Accuracy on dev and test of a frozen linear probe per model, with TF-IDF and the majority beside them.

    Args:
        models: by name.
        data: from `find_sst2`; test may be absent.
        train_sentences: at most so many training sentences, drawn by `seed` (None: all, the protocol).
    """
    splits = dict(data.splits)
    splits["train"] = _limited(splits["train"], train_sentences, seed)
    count = len(splits["train"].labels)
    note = "all training sentences" if train_sentences is None else f"{count:,} training sentences"
    if "test" not in splits:
        note = join([note, "no test labels: C chosen on this same split"])
    rows: list[Row] = []

    def add(name: str, correct: Mapping[Split, Correct], note: str, *, evaluated: bool = False) -> None:
        for split in _reported(splits):
            task, items = (TITLE, split, "accuracy"), splits[split].sentences if evaluated else None
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
    """Fit for each C, keep the best on dev (the smaller C when equal).

    Args:
        x: features [n, D] per split, dense or sparse.
        splits: the labels of the same splits.

    Returns:
        Per reported split 1.0 where the prediction is right, [n]; and the C.

    Raises:
        LangJepaError: one class only, or the fit did not converge.
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
            for split in _reported(splits)
        }
    best = max(grid, key=lambda c: (fits[c]["dev"].mean(), -c))
    return fits[best], best


def _standardised(x: Mapping[Split, NDArray[np.float32]]) -> dict[Split, NDArray[np.float32]]:
    mean, std = x["train"].mean(0), x["train"].std(0)
    # A dimension that never changes says nothing; dividing by 1 leaves it at zero.
    std = np.where(std > 0, std, 1.0).astype(np.float32)
    return {split: (matrix - mean) / std for split, matrix in x.items()}


def _limited(train: Labelled, count: int | None, seed: int) -> Labelled:
    if count is None or count >= len(train.labels):
        return train
    rows = np.random.default_rng(seed).permutation(len(train.labels))[:count]
    return Labelled("train", [train.sentences[i] for i in rows], [train.labels[i] for i in rows])


def _reported(splits: Mapping[Split, Any]) -> list[Split]:
    return [split for split in ("dev", "test") if split in splits]


def _score(request: Request) -> Result:
    data = find_sst2(request.data_dir)
    sentences = request.budget.probe_sentences
    rows = probe_rows(request.models, data, train_sentences=sentences, seed=request.seed)
    return Result(rows, {TITLE: data.source})


PROBE = Task("probe", _score, data_dir="always")
