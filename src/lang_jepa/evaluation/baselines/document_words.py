"""Places of documents by TF-IDF: what words alone expect."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.baselines.copying import RECENCY
from lang_jepa.evaluation.metrics.retrieval import Rows

Weights = NDArray[np.float64]


class WordSpace:
    """TF-IDF rows of sentences, and weighted sums of them.

    Args:
        sentences: [S]; the document frequencies are those of these sentences.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.table: Any = TfidfVectorizer(sublinear_tf=True).fit_transform(sentences)

    def sums(self, rows: Sequence[Rows], weigh: Callable[[int], Weights]) -> Any:
        """For each list of rows their weighted sum, sparse [Q, V]; zeros for an empty list.

        Args:
            rows: nearest sentence first.
            weigh: number of rows to their weights, nearest first.
        """
        from scipy.sparse import csr_matrix

        counts = np.array([len(some) for some in rows])
        values = np.concatenate([weigh(count) for count in counts.tolist()] or [np.zeros(0)])
        columns = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
        starts = np.concatenate([[0], np.cumsum(counts)])
        return csr_matrix((values, columns, starts), shape=(len(rows), self.table.shape[0])) @ self.table


def recency_weights(count: int) -> Weights:
    """Weights of the recency-weighted mean, nearest first, [count]."""
    weights = np.zeros(count)
    for span, weight in RECENCY.items():
        reach = min(span, count)
        weights[:reach] += weight / max(1, reach)
    return weights


def sparse_cosines(one: Any, other: Any) -> Weights:
    """Cosine of each pair of rows, float64 [Q]; 0 where a row is empty."""
    product = np.asarray(one.multiply(other).sum(1)).ravel()
    norms = [np.sqrt(np.asarray(x.multiply(x).sum(1)).ravel()) for x in (one, other)]
    scale = norms[0] * norms[1]
    cosines: Weights = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return cosines


def ngram_overlaps(sentences: Sequence[str], n: int) -> Weights:
    """Share of word n-grams that two sentences have in common (Jaccard), of all pairs, float64 [S, S].

    Args:
        sentences: S of them; words are lower-cased. A sentence of fewer words has no n-gram and overlaps with none.
        n: words in a row.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(ngram_range=(n, n), binary=True, token_pattern=r"\w+")
    try:
        table = vectorizer.fit_transform(sentences)
    except ValueError:  # none of them has an n-gram
        return np.zeros((len(sentences), len(sentences)))
    common = (table @ table.T).toarray().astype(np.float64)
    sizes = common.diagonal()
    total = sizes[:, None] + sizes[None, :] - common
    overlaps: Weights = np.divide(common, total, out=np.zeros_like(common), where=total > 0)
    return overlaps
