"""Baselines on words: TF-IDF of contexts, positions and pairs, BM25, shared n-grams, a bag of words, TextTiling."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.baselines.copying import RECENCY, SPANS, ScoresBySet
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.segmentation import Gaps, depths
from lang_jepa.evaluation.metrics.similarity import Statistics, row_products, unit_rows
from lang_jepa.evaluation.questions import Questions

Weights = NDArray[np.float64]
_WORD = re.compile(r"[^\W\d_]+")
TFIDF: dict[str, dict[str, Any]] = {
    "TF-IDF, words": {},
    "TF-IDF, characters": {"analyzer": "char_wb", "ngram_range": (3, 5)},
}
"""Names and options of TF-IDF on words, and on character n-grams inside words."""


def tfidf(fitted: Sequence[str], *texts: Sequence[str], **options: Any) -> list[Any]:
    """Return sparse TF-IDF unit rows [n, V] for each of several lists of texts.

    Args:
        fitted: the texts that the vocabulary and the document frequencies come from.
        texts: lists of n texts.
        options: options of scikit-learn's TfidfVectorizer.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(**options).fit(fitted)
    return [vectorizer.transform(some) for some in texts]


def sparse_scores(questions: Questions, queries: Any, sentences: Any) -> ScoresBySet:
    """Score all candidates from sparse rows: queries [Q, V], sentences [S, V]."""
    scores: ScoresBySet = {}
    for name, rows in questions.candidates.items():
        parts = []
        for start in range(0, len(rows), 256):
            table = (queries[start : start + 256] @ sentences.T).toarray()
            parts.append(np.take_along_axis(table, np.clip(rows[start : start + 256], 0, None), 1))
        scores[name] = np.concatenate(parts)
    return scores


def tfidf_scores(
    questions: Questions, train_sentences: Sequence[str] | None, spans: Sequence[int] = SPANS
) -> Iterator[tuple[str, str, ScoresBySet]]:
    """Yield TF-IDF cosines of the context's last sentences with each candidate, as (name, note, scores).

    There is one table per span, and one of their mix by the recency weights if all its spans are requested. Inverse
    document frequencies come from the evaluated sentences, and from training sentences if given. Without the evaluated
    ones, names that occur in one document only, the best clue of all, would be unknown words.
    """
    note = f"fitted on the {'training and' if train_sentences else ''} evaluated sentences".replace("  ", " ")
    last = [[" ".join(context[-span:]) for context in questions.contexts] for span in spans]
    fitted = [*(train_sentences or ()), *questions.sentences]
    sentences, *parts = tfidf(fitted, questions.sentences, *last, sublinear_tf=True)
    tails = dict(zip(spans, parts, strict=True))
    for span in spans:
        yield f"TF-IDF, last {span}", note, sparse_scores(questions, tails[span], sentences)
    if set(RECENCY) <= set(spans):
        mixed = sum(weight * tails[span] for span, weight in RECENCY.items())
        yield "TF-IDF, last 1 + 3 + 8", note, sparse_scores(questions, mixed, sentences)


def bm25(
    fitted: Sequence[str], queries: Sequence[str], texts: Sequence[str], *, k: float = 1.2, b: float = 0.75
) -> tuple[Any, Any]:
    """Return sparse rows of queries [Q, V] and texts [S, V] whose products are Okapi BM25 (Robertson and Zaragoza
    2009, equation 3.15). Each word of a query counts once.

    Args:
        fitted: the texts that document frequencies and the mean length come from.
        queries, texts: the queries, and the texts to search.
        k, b: BM25's two parameters.
    """
    from scipy.sparse import csr_matrix, diags
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer().fit(fitted)
    every = counter.transform(fitted)
    having = np.asarray((every > 0).sum(0)).ravel()
    weights = np.log1p((every.shape[0] - having + 0.5) / (having + 0.5))
    counts = counter.transform(texts).tocoo()
    lengths = np.asarray(counts.sum(1)).ravel()
    mean = max(float(every.sum() / every.shape[0]), 1e-9)
    norm = k * (1 - b + b * lengths[counts.row] / mean)
    saturated = csr_matrix((counts.data * (k + 1) / (counts.data + norm), (counts.row, counts.col)), counts.shape)
    return (counter.transform(queries) > 0).astype(np.float64), (saturated @ diags(weights)).tocsr()


def bm25_scores(
    questions: Questions, train_sentences: Sequence[str], span: int = 8
) -> Iterator[tuple[str, str, ScoresBySet]]:
    """Yield `bm25` of each candidate for the words of the last `span` sentences, as (name, note, scores).

    Args:
        questions: the questions to score.
        train_sentences: training sentences, counted in addition to the evaluated ones.
        span: number of context sentences that form the query.
    """
    asked = [" ".join(context[-span:]) for context in questions.contexts]
    rows = bm25([*train_sentences, *questions.sentences], asked, questions.sentences)
    yield f"BM25, last {span}", "fitted on the training and evaluated sentences", sparse_scores(questions, *rows)


class WordSpace:
    """TF-IDF rows of sentences, and weighted sums of them.

    Args:
        sentences: [S], the sentences, which also give the document frequencies.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        (self.table,) = tfidf(sentences, sentences, sublinear_tf=True)

    def sums(self, rows: Sequence[Rows], weigh: Callable[[int], Weights]) -> Any:
        """Return the weighted sum of each list of rows, sparse [Q, V]; zeros for an empty list.

        Args:
            rows: lists of rows, nearest sentence first.
            weigh: maps the number of rows to their weights, nearest first.
        """
        from scipy.sparse import csr_matrix

        counts = np.array([len(some) for some in rows])
        values = np.concatenate([weigh(count) for count in counts.tolist()] or [np.zeros(0)])
        columns = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
        starts = np.concatenate([[0], np.cumsum(counts)])
        return csr_matrix((values, columns, starts), shape=(len(rows), self.table.shape[0])) @ self.table


def recency_weights(count: int) -> Weights:
    """Return the weights of the recency-weighted mean, nearest first, [count]."""
    weights = np.zeros(count)
    for span, weight in RECENCY.items():
        reach = min(span, count)
        weights[:reach] += weight / max(1, reach)
    return weights


def sparse_cosines(one: Any, other: Any) -> Weights:
    """Return the cosine of each pair of rows, float64 [Q]; 0 if a row is empty."""
    product = row_products(one, other)
    norms = [np.sqrt(row_products(x, x)) for x in (one, other)]
    scale = norms[0] * norms[1]
    cosines: Weights = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return cosines


def ngram_overlaps(sentences: Sequence[str], n: int) -> Weights:
    """Return the Jaccard overlap of the word n-grams of all pairs of sentences, float64 [S, S].

    Args:
        sentences: [S]; words are lower-cased. A sentence of fewer than n words has no n-gram and no overlap.
        n: number of consecutive words.
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


class BagOfWords:
    """Counts of words and word pairs, hashed to a fixed width: no order beyond pairs, no learning.

    Args:
        dim: number of buckets. The hash gives half of the words a negative sign, so collisions cancel on average.
    """

    def __init__(self, dim: int = 1024) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.dim, self.statistics = dim, Statistics.identity(dim)
        self._vectorizer = HashingVectorizer(n_features=dim, ngram_range=(1, 2))

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [n, D], unit rows; a text without words gives a zero row."""
        return unit_rows(self._vectorizer.transform(sentences).toarray().astype(np.float32))


def texttiling_depths(sentences: Sequence[str], *, width: int = 20, block: int = 10, smoothing: int = 2) -> Gaps:
    """Return the TextTiling depth of each gap between sentences, float64 [n - 1]; 0 where no pseudo-sentence ends near.

    Hearst 1997 (Text segmentation into multi-paragraph subtopic passages), by blocks of words: split the text into
    pseudo-sentences of `width` words; at each gap between them, take the cosine of the word counts of the `block`
    pseudo-sentences on either side; smooth; compute depth scores. A boundary moves to the nearest gap between real
    sentences. Words are lower-cased and stop words left out. Hearst also stems, which is not done here.

    Args:
        sentences: the n sentences of one document.
        width: words in a pseudo-sentence (Hearst's w).
        block: pseudo-sentences in a block (Hearst's k).
        smoothing: number of gaps on either side over which scores are averaged (one round).
    """
    words = [_words(sentence) for sentence in sentences]
    ends = np.cumsum([len(one) for one in words])
    scores = _block_scores([word for one in words for word in one], width, block)
    result = np.zeros(max(0, len(sentences) - 1))
    if not len(scores):
        return result
    smooth = np.array([scores[max(0, i - smoothing) : i + smoothing + 1].mean() for i in range(len(scores))])
    deep = depths(-smooth)
    for number, depth in enumerate(deep):
        gap = int(np.argmin(np.abs(ends[:-1] - (number + 1) * width))) if len(result) else -1
        if gap >= 0:
            result[gap] = max(result[gap], depth)
    return result


def cutoff(deep: Gaps) -> float:
    """Return Hearst's threshold for boundaries, mean - deviation / 2 of the depths above 0 (1 if there are none)."""
    real = deep[deep > 0]
    return float(max(real.mean() - real.std() / 2, np.nextafter(0, 1))) if len(real) else 1.0


def _words(sentence: str) -> list[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return [word for word in _WORD.findall(sentence.lower()) if word not in ENGLISH_STOP_WORDS]


def _block_scores(words: list[str], width: int, block: int) -> NDArray[np.float64]:
    """Return the cosine of the blocks on both sides of each gap between pseudo-sentences."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    counts = np.zeros((len(words) // width, max(1, len(numbers))))
    for position, word in enumerate(words[: len(counts) * width]):
        counts[position // width, numbers[word]] += 1
    scores = []
    for gap in range(1, len(counts)):
        size = min(block, gap, len(counts) - gap)
        left, right = counts[gap - size : gap].sum(0), counts[gap : gap + size].sum(0)
        scores.append(left @ right / np.sqrt((left @ left) * (right @ right)))
    return np.array(scores)
