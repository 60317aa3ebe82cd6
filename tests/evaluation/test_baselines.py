"""Baselines against naive loops and scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge as SkRidge

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import (
    WordRidge,
    context_means,
    copy_forward,
    recency_mean,
    ridge_path,
)
from lang_jepa.evaluation.baselines.words import tfidf_scores
from lang_jepa.evaluation.metrics.retrieval import from_scores
from lang_jepa.evaluation.metrics.similarity import unit_rows
from lang_jepa.evaluation.questions import build_questions

ROWS = [np.array([3]), np.array([0, 1]), np.arange(10)]


@pytest.fixture
def table() -> np.ndarray:
    return unit_rows(np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32))


def test_context_means_equal_the_loop(table: np.ndarray) -> None:
    for span, means in zip((1, 3, 8), context_means(ROWS, table), strict=True):
        np.testing.assert_allclose(means, [table[rows[-span:]].mean(0) for rows in ROWS], atol=1e-6)


def test_copy_and_recency(table: np.ndarray) -> None:
    np.testing.assert_array_equal(copy_forward(ROWS, table), table[[3, 1, 9]])
    mixed = 0.2 * table[9] + 0.3 * table[7:10].mean(0) + 0.5 * table[2:10].mean(0)
    np.testing.assert_allclose(recency_mean(ROWS, table)[2], mixed / np.linalg.norm(mixed), atol=1e-6)
    # One sentence of context: the mean of everything is that sentence.
    np.testing.assert_allclose(recency_mean(ROWS, table)[0], table[3], atol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_ridge_equals_scikit_learn(sparse: bool) -> None:
    generator = np.random.default_rng(1)
    x = generator.standard_normal((40, 6)) * (generator.random((40, 6)) < 0.5)
    y = x @ generator.standard_normal((6, 3)) + generator.standard_normal((40, 3)) + 2
    fitted = dict(ridge_path(csr_matrix(x) if sparse else x, y, (0.5, 20.0)))
    for penalty, ridge in fitted.items():
        np.testing.assert_allclose(ridge(x), SkRidge(alpha=penalty).fit(x, y).predict(x), atol=1e-5)


def test_ridge_refuses_rows_that_do_not_match() -> None:
    with pytest.raises(LangJepaError, match="pairs"):
        list(ridge_path(np.ones((3, 2)), np.ones((4, 2))))


def test_tfidf_equals_plain_cosines(documents: list[list[str]]) -> None:
    q = build_questions(documents, window_size=8, queries=40, other=10)
    answers = {name: (note, scores) for name, note, scores in tfidf_scores(q, None)}
    assert list(answers) == ["TF-IDF, last 1", "TF-IDF, last 3", "TF-IDF, last 8", "TF-IDF, last 1 + 3 + 8"]
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(q.sentences)
    note, scores = answers["TF-IDF, last 3"]
    query = vectorizer.transform([" ".join(q.contexts[5][-3:])])
    candidates = vectorizer.transform([q.sentences[i] for i in q.candidates["other"][5]])
    np.testing.assert_allclose(scores["other"][5], (candidates @ query.T).toarray().ravel(), atol=1e-9)
    assert note == "fitted on the evaluated sentences"
    assert "training and evaluated" in next(tfidf_scores(q, ["Some training text."]))[1]


def test_word_ridge_learns_which_word_follows_which() -> None:
    chains = [("egg", "hen"), ("rain", "mud"), ("fire", "ash"), ("seed", "tree"), ("milk", "cheese")]
    train = [[f"{name} saw {a}", f"then {b} came", f"bye {name}"] for a, b in chains for name in ("ann", "bob", "eve")]
    held = [[f"{name} saw {a}", f"then {b} came", f"bye {name}"] for a, b in chains for name in ("dan", "flo")]
    q = build_questions(held, window_size=2, queries=100, exclude="last")
    ask = (q.positions == 1) & ~q.choosing
    best = max(
        from_scores(scores["other"][ask], q.candidates["other"][ask] >= 0, q.documents[ask]).recall(1)
        for _, found in WordRidge(train, spans=(1,)).scores(q)
        for _, scores in found
    )
    assert best == 1.0


def test_word_ridges_fitted_together_score_as_each_alone() -> None:
    documents = [[f"{a} {b} {c}" for b in "pqrs" for c in (a, b)] for a in ("one", "two", "six", "ten", "four", "five")]
    q = build_questions(documents, window_size=4, queries=30)
    together = dict(WordRidge(documents, spans=(1, 3)).scores(q))
    for span, found in together.items():
        ((_, alone),) = WordRidge(documents, spans=(span,)).scores(q)
        for (setting, scores), (expected, reference) in zip(found, alone, strict=True):
            assert setting == expected
            np.testing.assert_array_equal(scores["other"], reference["other"])
    assert (together[1][0][1]["other"] != together[3][0][1]["other"]).any()
