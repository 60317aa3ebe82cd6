"""What a predictor must beat: word overlap, copying the context, and linear regression.

Every answer is a table of scores [Q, C] over the candidates of the same `Questions`. TF-IDF compares words; copying
and the recency-weighted mean use the model's own space without any predictor; ridge regression learns a linear map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.retrieval import Rows, candidate_scores
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, prepare, unit_rows
from lang_jepa.evaluation.questions import Questions

SPANS = (1, 3, 8)
RECENCY = {1: 0.2, 3: 0.3, 8: 0.5}  # weights of the means of the last 1, 3 and 8 sentences
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
Scores = NDArray[np.floating[Any]]
Answers = dict[str, Scores]
"""For each candidate set its scores [Q, C]."""


def context_means(rows: Sequence[Rows], embeddings: Floats, spans: Sequence[int] = SPANS) -> list[Floats]:
    """For each span k the mean of each context's last k embeddings (all of them when it is shorter), [Q, D].

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
    """The embedding of the last context sentence, as if it were the prediction, [Q, D]."""
    return embeddings[[row[-1] for row in rows]]


def recency_mean(rows: Sequence[Rows], embeddings: Floats) -> Floats:
    """Unit rows of .2 last + .3 mean of the last 3 + .5 mean of the last 8, [Q, D]."""
    means = context_means(rows, embeddings, tuple(RECENCY))
    mixed: Floats = np.sum([w * m for w, m in zip(RECENCY.values(), means, strict=True)], axis=0)
    return unit_rows(mixed.astype(np.float32))


def vector_answers(questions: Questions, predictions: Floats, embeddings: Floats) -> Answers:
    """Scores of predicted vectors [Q, D] against candidate vectors [S, D], unit rows both."""
    return {
        name: candidate_scores(predictions, embeddings, rows) for name, rows in questions.candidates.items()
    }


def sparse_answers(questions: Questions, queries: Any, sentences: Any) -> Answers:
    """The same for sparse rows: queries [Q, V], sentences [S, V]."""
    answers: Answers = {}
    for name, rows in questions.candidates.items():
        parts = []
        for start in range(0, len(rows), 256):
            table = (queries[start : start + 256] @ sentences.T).toarray()
            parts.append(np.take_along_axis(table, np.clip(rows[start : start + 256], 0, None), 1))
        answers[name] = np.concatenate(parts)
    return answers


def tfidf_answers(
    questions: Questions, train_sentences: Sequence[str] | None, spans: Sequence[int] = SPANS
) -> Iterator[tuple[str, str, Answers]]:
    """TF-IDF cosine of the context's last sentences with each candidate: name, note, scores.

    One answer per span, and one of their mix by the recency weights when all its spans are asked for. The inverse
    document frequencies come from the evaluated sentences, and from training sentences too where there are any:
    without the former, names that occur in one document only, the best clue of all, would be unknown words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    vectorizer.fit([*(train_sentences or ()), *questions.sentences])
    note = f"fitted on the {'training and' if train_sentences else ''} evaluated sentences".replace("  ", " ")
    sentences = vectorizer.transform(questions.sentences)
    tails: dict[int, Any] = {}
    for span in spans:
        tails[span] = vectorizer.transform([" ".join(context[-span:]) for context in questions.contexts])
        yield f"TF-IDF, last {span}", note, sparse_answers(questions, tails[span], sentences)
    if set(RECENCY) <= set(spans):
        mixed = sum(weight * tails[span] for span, weight in RECENCY.items())
        yield "TF-IDF, last 1 + 3 + 8", note, sparse_answers(questions, mixed, sentences)


@dataclass(frozen=True)
class Ridge:
    """A linear map with an intercept, fitted by least squares with an L2 penalty."""

    weights: NDArray[np.float64]
    x_mean: NDArray[np.float64]
    y_mean: NDArray[np.float64]

    def __call__(self, x: NDArray[Any]) -> Floats:
        """Predictions [n, D_out] for features [n, D_in]."""
        return ((x - self.x_mean) @ self.weights + self.y_mean).astype(np.float32)


def ridge_path(x: Any, y: Any, penalties: Sequence[float] = PENALTIES) -> Iterator[tuple[float, Ridge]]:
    """Closed-form ridge regressions of y [n, E] on x [n, D] for several penalties, from one Gram matrix in fp64.

    Args:
        x, y: dense or sparse; centred here through their means, so that sparse ones stay sparse.

    Raises:
        LangJepaError: fewer than two rows, or numbers of rows that differ.
    """
    from scipy.linalg import solve

    count = x.shape[0]
    if count != y.shape[0] or count < 2:
        raise LangJepaError(f"ridge regression needs at least two pairs: got {count} and {y.shape[0]} rows.")
    x, y = x.astype(np.float64), y.astype(np.float64)
    x_mean, y_mean = np.asarray(x.mean(0)).ravel(), np.asarray(y.mean(0)).ravel()
    gram = _dense(x.T @ x) - count * np.outer(x_mean, x_mean)
    cross = _dense(x.T @ y) - count * np.outer(x_mean, y_mean)
    for penalty in penalties:
        weights = solve(gram + penalty * np.eye(len(gram)), cross, assume_a="pos")
        yield penalty, Ridge(weights, x_mean, y_mean)


def _dense(x: Any) -> NDArray[np.float64]:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)


class WordRidge:
    """Ridge regression from the words of the last sentences to the words of the next one.

    Features are the words present in the last context sentence and, for a longer span, those present anywhere in
    the last `span` sentences. The target is the TF-IDF unit vector of the next sentence. A candidate's score is the
    cosine of the regression's output with its own TF-IDF vector, centred or whitened by the training targets, which
    lifts recall@1 on stories from about .16 to .26 over plain cosine.
    """

    KINDS: tuple[Similarity, ...] = ("centred", "whitened")

    def __init__(self, train: Sequence[Sequence[str]], *, span: int) -> None:
        """Fit on training documents (each a list of sentences)."""
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        self.spans = (1,) if span == 1 else (1, span)
        contexts = [document[:position] for document in train for position in range(1, len(document))]
        following = [sentence for document in train for sentence in document[1:]]
        self._words = CountVectorizer(binary=True).fit(following + [document[0] for document in train])
        self._tfidf = TfidfVectorizer().fit(following)
        targets = self._tfidf.transform(following)
        self._path = list(ridge_path(self._features(contexts), targets, (1.0, 10.0, 100.0)))
        # Half-way to the identity: word vectors are sparse, and full whitening would inflate the rare words.
        sample = np.random.default_rng(0).permutation(len(following))[:5000]
        self._statistics = Statistics.of(targets[sample].toarray(), shrinkage=0.5)

    def _features(self, contexts: Sequence[Sequence[str]]) -> Any:
        from scipy.sparse import hstack

        blocks = [
            self._words.transform([" ".join(context[-span:]) for context in contexts]) for span in self.spans
        ]
        return hstack(blocks, format="csr")

    def answers(self, questions: Questions) -> Iterator[tuple[str, Answers]]:
        """For each penalty and similarity, the scores of all candidates."""
        x = self._features(questions.contexts).toarray()
        sentences = self._tfidf.transform(questions.sentences).toarray()
        for kind in self.KINDS:
            candidates = prepare(sentences, self._statistics, kind)
            for penalty, ridge in self._path:
                predicted = prepare(ridge(x), self._statistics, kind)
                yield (
                    f"penalty {penalty:g}, {kind}",
                    vector_answers(questions, predicted, candidates),
                )
