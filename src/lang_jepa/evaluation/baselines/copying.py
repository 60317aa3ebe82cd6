"""Baselines for a predictor in the model's own space: copying the context, and linear regression.

Scores are a table [Q, C] over the candidates of the same `Questions`. Copying the last sentence and the
recency-weighted mean of the context need no predictor; ridge regression learns a linear map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.replies import nearest
from lang_jepa.evaluation.metrics.retrieval import Rows, candidate_scores
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, dense, prepare, unit_rows
from lang_jepa.evaluation.questions import Questions

SPANS = (1, 3, 8)
RECENCY = {1: 0.2, 3: 0.3, 8: 0.5}  # weights of the means of the last 1, 3 and 8 sentences
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
Scores = NDArray[np.floating[Any]]
ScoresBySet = dict[str, Scores]
"""Scores [Q, C] by candidate set."""


def context_means(rows: Sequence[Rows], embeddings: Floats, spans: Sequence[int] = SPANS) -> list[Floats]:
    """Return, for each span k, the mean of each context's last k embeddings (all if it is shorter), [Q, D].

    Args:
        rows: each context as rows of `embeddings`, oldest first.
        embeddings: [S, D] unit rows.
    """
    means = []
    for span in spans:
        tails = [row[-span:] for row in rows]
        lengths = np.array([len(tail) for tail in tails])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        sums = np.add.reduceat(embeddings[np.concatenate(tails)], starts, axis=0)
        means.append((sums / lengths[:, None]).astype(np.float32))
    return means


def copy_forward(rows: Sequence[Rows], embeddings: Floats) -> Floats:
    """Return the embedding of the last context sentence as the prediction, [Q, D]."""
    return embeddings[[row[-1] for row in rows]]


def recency_mean(rows: Sequence[Rows], embeddings: Floats) -> Floats:
    """Return the recency-weighted mean: unit rows of .2 last + .3 mean of last 3 + .5 mean of last 8, [Q, D]."""
    means = context_means(rows, embeddings, tuple(RECENCY))
    mixed: Floats = np.sum([w * m for w, m in zip(RECENCY.values(), means, strict=True)], axis=0)
    return unit_rows(mixed.astype(np.float32))


def vector_scores(questions: Questions, predictions: Floats, embeddings: Floats) -> ScoresBySet:
    """Score predicted vectors [Q, D] against candidate vectors [S, D], both unit rows."""
    return {name: candidate_scores(predictions, embeddings, rows) for name, rows in questions.candidates.items()}


@dataclass(frozen=True)
class Ridge:
    """A linear map with an intercept, fitted by least squares with an L2 penalty."""

    weights: NDArray[np.float64]
    x_mean: NDArray[np.float64]
    y_mean: NDArray[np.float64]

    def __call__(self, x: NDArray[Any]) -> Floats:
        """Return predictions [n, D_out] for features [n, D_in]."""
        return ((x - self.x_mean) @ self.weights + self.y_mean).astype(np.float32)


def ridge_path(x: Any, y: Any, penalties: Sequence[float] = PENALTIES) -> Iterator[tuple[float, Ridge]]:
    """Fit closed-form ridge regressions of y [n, E] on x [n, D] for several penalties, from one Gram matrix in fp64.

    Args:
        x, y: dense or sparse; centred implicitly through their means, so sparse ones stay sparse.

    Raises:
        LangJepaError: there are fewer than two rows, or numbers of rows differ.
    """
    count = x.shape[0]
    if count != y.shape[0] or count < 2:
        raise LangJepaError(f"ridge regression needs at least two pairs: got {count} and {y.shape[0]} rows.")
    x, y = x.astype(np.float64), y.astype(np.float64)
    x_mean, y_mean = np.asarray(x.mean(0)).ravel(), np.asarray(y.mean(0)).ravel()
    gram = dense(x.T @ x) - count * np.outer(x_mean, x_mean)
    cross = dense(x.T @ y) - count * np.outer(x_mean, y_mean)
    for penalty in penalties:
        factor = torch.linalg.cholesky(torch.from_numpy(gram + penalty * np.eye(len(gram))))
        yield penalty, Ridge(torch.cholesky_solve(torch.from_numpy(cross), factor).numpy(), x_mean, y_mean)


class WordRidge:
    """Ridge regressions from the words of the last sentences to the words of the next one.

    Features are the words present in the last context sentence and, for a longer span, those present anywhere in the
    last `span` sentences. The target is the TF-IDF unit vector of the next sentence. A candidate's score is the cosine
    of the regression's output and its own TF-IDF vector, both centred or whitened by the training targets. Compared
    with the plain cosine, this raises recall@1 on stories from about .16 to .26.

    Args:
        train: training documents, each a list of sentences.
        spans: spans to fit a regression for.
    """

    KINDS: tuple[Similarity, ...] = ("centred", "whitened")
    PENALTIES = (1.0, 10.0, 100.0)

    def __init__(self, train: Sequence[Sequence[str]], *, spans: Sequence[int]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        contexts = [document[:position] for document in train for position in range(1, len(document))]
        following = [sentence for document in train for sentence in document[1:]]
        self._words = CountVectorizer(binary=True).fit(following + [document[0] for document in train])
        self._tfidf = TfidfVectorizer().fit(following)
        targets = self._tfidf.transform(following)
        self._paths = {
            span: list(ridge_path(self._features(contexts, span), targets, self.PENALTIES)) for span in spans
        }
        # Half-way to the identity: word vectors are sparse, and full whitening would inflate rare words.
        sample = np.random.default_rng(0).permutation(len(following))[:5000]
        self._statistics = Statistics.of(targets[sample].toarray(), shrinkage=0.5)

    def _features(self, contexts: Sequence[Sequence[str]], span: int) -> Any:
        from scipy.sparse import hstack

        tails = [[" ".join(context[-reach:]) for context in contexts] for reach in sorted({1, span})]
        return hstack([self._words.transform(tail) for tail in tails], format="csr")

    def scores(self, questions: Questions) -> Iterator[tuple[int, list[tuple[str, ScoresBySet]]]]:
        """Yield each span with the scores of all candidates by penalty and similarity."""
        sentences = self._tfidf.transform(questions.sentences).toarray()
        spaces = {kind: prepare(sentences, self._statistics, kind) for kind in self.KINDS}
        for span, path in self._paths.items():
            x = self._features(questions.contexts, span).toarray()
            made = [(penalty, ridge(x)) for penalty, ridge in path]
            found = []
            for kind, space in spaces.items():
                for penalty, vectors in made:
                    scores = vector_scores(questions, prepare(vectors, self._statistics, kind), space)
                    found.append((f"{penalty:g}, {kind}", scores))
            yield span, found


@dataclass(frozen=True)
class Pairs:
    """Contexts of training documents with the sentences that followed.

    Attributes:
        contexts: each as rows of `sentences`, oldest first.
        following: int64 [n], row of the sentence after each context.
        sentences: all sentences of the documents they come from.
    """

    contexts: list[NDArray[np.int64]]
    following: NDArray[np.int64]
    sentences: list[str]


def means_ridge(
    contexts: Sequence[Rows], embeddings: Floats, learnt: Pairs, space: Floats
) -> Iterator[tuple[str, Floats]]:
    """Predict by ridge regression in a model's space, from the means of the last 1, 3 and 8 vectors to the next one.

    The regression learns what to add to the recency-weighted mean. A strong penalty leaves just that mean, so few
    training pairs do no harm.

    Args:
        contexts: each context as rows of `embeddings`, oldest first.
        embeddings: [S, D] unit rows.
        learnt: training contexts.
        space: unit rows of `learnt.sentences`, in the same space.

    Returns:
        For each penalty, the predictions, unit rows [Q, D].
    """
    x = np.concatenate(context_means(learnt.contexts, space), axis=1)
    asked = np.concatenate(context_means(contexts, embeddings), axis=1)
    start = recency_mean(contexts, embeddings)
    for penalty, ridge in ridge_path(x, space[learnt.following] - recency_mean(learnt.contexts, space)):
        yield f"{penalty:g}", unit_rows(start + ridge(asked))


def knn_mean(contexts: Sequence[Rows], embeddings: Floats, learnt: Pairs, space: Floats, count: int) -> Floats:
    """Predict the mean of the sentences that followed the `count` most similar training contexts, unit rows [Q, D].

    Contexts are compared by the cosine of their recency-weighted means. Args as in `means_ridge`.
    """
    rows, _ = nearest(recency_mean(contexts, embeddings), recency_mean(learnt.contexts, space), count)
    total = np.zeros((len(rows), space.shape[1]), dtype=np.float32)
    for column in learnt.following[rows].T:  # one neighbour of all questions at a time, not [Q, count, D] at once
        total += space[column]
    return unit_rows(total)


def context_pairs(train: Sequence[Sequence[str]], window_size: int, pairs: int, seed: int) -> Pairs:
    """Collect contexts and the sentences after them from whole documents, ordered by `seed`, until `pairs` exist."""
    contexts: list[NDArray[np.int64]] = []
    following: list[int] = []
    sentences: list[str] = []
    for index in np.random.default_rng(seed).permutation(len(train)):
        document = train[index]
        start = len(sentences)
        sentences.extend(document)
        for position in range(1, len(document)):
            contexts.append(np.arange(start + max(0, position - window_size), start + position))
            following.append(start + position)
        if len(contexts) >= pairs:
            break
    return Pairs(contexts, np.array(following, dtype=np.int64), sentences)
