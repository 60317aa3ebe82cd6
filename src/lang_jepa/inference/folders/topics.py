"""Topics of a collection: clusters of sentences or documents, named by their most telling words.

Clusters are those of k-means or HDBSCAN (scikit-learn) over the model's vectors; their words are weighted by
class-based TF-IDF (Grootendorst 2022, BERTopic, https://arxiv.org/abs/2203.05794, equation 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Floats, prepare
from lang_jepa.inference.document_reading import Progress, silent
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.folders.reading import Collection

Of = Literal["sentences", "documents"]
Method = Literal["kmeans", "hdbscan"]
OF, METHODS = get_args(Of), get_args(Method)

MOST = 20
"""Topics that are tried, where nobody says how many."""
SAMPLE = 3000
"""Units by which the number of topics is chosen, at most."""
WORDS, TYPICAL = 8, 3
_PART = 2048
"""Sentences encoded between two calls of the progress."""
_LEAST_CLUSTER = 5
"""Units of a cluster of HDBSCAN, at least."""
_WORD = r"(?u)\b[^\W\d_][^\W\d_]+\b"


@dataclass(frozen=True, slots=True)
class Typical:
    """A unit near the middle of its topic: its text, and where it stands."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Topic:
    """A cluster.

    Attributes:
        number: from 1, the largest first.
        units: how many sentences or documents it has. share: of all units.
        words: the most telling ones, best first. weights: of each its class-based TF-IDF.
        typical: units nearest to its mean, of different texts.
    """

    number: int
    units: int
    share: float
    words: list[str]
    weights: list[float]
    typical: list[Typical]


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence or document, where it stands, and the number of its topic (0: none)."""

    topic: int
    place: str
    text: str


@dataclass(frozen=True, slots=True)
class TopicMap:
    """The topics of a collection.

    Attributes:
        source: what was read, in words.
        of: what was clustered.
        method: how.
        similarity: of the vectors.
        silhouette: mean over units of how much nearer its own cluster is than the next one, from -1 to 1; None with
            fewer than two topics.
        chosen: why there are so many, in words.
        topics: the largest first.
        outside: share of units that HDBSCAN gives to no topic.
        units: all that was clustered, in order.
    """

    source: str
    of: Of
    method: Method
    similarity: str
    silhouette: float | None
    chosen: str
    topics: list[Topic]
    outside: float
    units: list[Unit]


def find_topics(
    model: EmbeddingModel,
    found: Collection,
    *,
    of: Of = "sentences",
    method: Method = "kmeans",
    count: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> TopicMap:
    """Cluster what a collection says.

    Args:
        model: encodes the sentences.
        found: the documents.
        of: sentences, or documents by the mean of their sentences.
        method: of clustering; HDBSCAN finds the number of clusters itself.
        count: topics of k-means (None: between 2 and `MOST`, those with the best silhouette).
        seed: of k-means and of samples.
        progress: called with how far it is.

    Raises:
        LangJepaError: fewer different units than topics, or a count for HDBSCAN.
    """
    if method == "hdbscan" and count is not None:
        raise LangJepaError("HDBSCAN finds the number of topics itself: leave out the number, or take kmeans")
    texts, places, vectors = _units(model, found, of, progress)
    distinct = len(set(texts))
    if distinct < (least := count or 3):
        raise LangJepaError(
            f"{distinct} different {of} are too few for topics, {least} or more are needed: give more text"
        )
    found_labels, chosen = _clusters(vectors, method, count, min(MOST, distinct - 1), seed, progress)
    labels = _by_size(found_labels)
    numbers = range(1, int(labels.max()) + 1)
    classes = [" ".join(texts[row] for row in np.flatnonzero(labels == number)) for number in numbers]
    words = telling_words(classes, model.settings.data.language)
    topics = [_topic(number, labels, vectors, texts, places, words[number - 1]) for number in numbers]
    return TopicMap(
        found.source,
        of,
        method,
        model.similarity,
        _silhouette(vectors, labels, seed),
        chosen,
        topics,
        float((labels == 0).mean()),
        list(map(Unit, labels.tolist(), places, texts)),
    )


def _units(model: EmbeddingModel, found: Collection, of: Of, progress: Progress) -> tuple[list[str], list[str], Floats]:
    """Texts, places and unit vectors [n, D] of what is clustered; sentences without a token are left out."""
    units = [(one, position) for one, position in found.places()]
    texts = [one.units[position] for one, position in units]
    tokens = model.tokenize(texts, turns=model.knows_speakers)
    units = [unit for unit, ids in zip(units, tokens, strict=True) if len(ids)]
    texts = [one.units[position] for one, position in units]
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct, encoded = list(rows), []
    for begin in range(0, len(distinct), _PART):
        progress("sentences read", begin, len(distinct))
        encoded.append(model.encode(distinct[begin : begin + _PART], turns=model.knows_speakers))
    progress("sentences read", len(distinct), len(distinct))
    space = prepare(np.concatenate(encoded), model.statistics, model.similarity)
    vectors = space[[rows[text] for text in texts]]
    if of == "sentences":
        return texts, [one.where(position) for one, position in units], vectors
    owners = [one for one, _ in units]
    names = list(dict.fromkeys(one.name for one in owners))
    number = {name: row for row, name in enumerate(names)}
    sums = np.zeros((len(names), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, [number[one.name] for one in owners], vectors)
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    whole = {one.name: " ".join(one.units) for one in found.documents}
    return [whole[name] for name in names], names, means


def _clusters(
    vectors: Floats, method: Method, count: int | None, most: int, seed: int, progress: Progress
) -> tuple[Ints, str]:
    """A label for each row, -1 for none, and why there are so many."""
    from sklearn.cluster import HDBSCAN, KMeans

    if method == "hdbscan":
        least = min(_LEAST_CLUSTER, max(2, len(vectors) // 2))
        labels: Ints = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(vectors).astype(np.int64)
        if labels.max() < 0:
            raise LangJepaError("HDBSCAN finds no dense group in these texts: take kmeans, or give more text")
        return labels, f"as HDBSCAN finds them, of {least} or more each"
    why = "as asked"
    if count is None:
        from sklearn.metrics import silhouette_score

        rng = np.random.default_rng(seed)
        some = vectors[np.sort(rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False))]
        scores = {}
        for number in range(2, min(most, len(np.unique(some, axis=0)) - 1) + 1):
            progress("numbers of topics tried", number - 2, most - 1)
            fitted = KMeans(number, n_init=3, random_state=seed).fit_predict(some)
            if len(set(fitted)) == number:
                scores[number] = float(silhouette_score(some, fitted))
        count = max(scores, key=lambda number: scores[number]) if scores else 2
        why = f"the best silhouette of 2 to {max(scores, default=2)} topics"
    return KMeans(count, n_init=10, random_state=seed).fit_predict(vectors).astype(np.int64), why


def _by_size(labels: Ints) -> Ints:
    """Labels from 1, the largest cluster first; 0 for none."""
    values, sizes = np.unique(labels[labels >= 0], return_counts=True)
    order = values[np.argsort(-sizes, kind="stable")].tolist()
    new = {old: rank for rank, old in enumerate(order, start=1)}
    return np.array([new.get(label, 0) for label in labels.tolist()], dtype=np.int64)


def _silhouette(vectors: Floats, labels: Ints, seed: int) -> float | None:
    from sklearn.metrics import silhouette_score

    known = labels > 0
    if not 2 <= len(np.unique(labels[known])) < known.sum():
        return None
    size = SAMPLE if known.sum() > SAMPLE else None
    return float(silhouette_score(vectors[known], labels[known], sample_size=size, random_state=seed))


def telling_words(classes: Sequence[str], language: str = "en") -> list[list[tuple[str, float]]]:
    """Of each class its words by class-based TF-IDF, best first: tf of the word in the class x log(1 + A / f).

    f is how often the word occurs in all classes, A the mean number of words of a class. English function words are
    left out; in other languages the weighting alone has to push them down.

    Args:
        classes: all text of each.
        language: of the texts.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    stop = "english" if language == "en" else None
    counter = CountVectorizer(token_pattern=_WORD, stop_words=stop)
    try:
        counts: NDArray[Any] = counter.fit_transform(classes).toarray().astype(np.float64)
    except ValueError:  # no word is left
        return [[] for _ in classes]
    words = counter.get_feature_names_out()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    weights = shares * np.log1p(counts.sum() / len(classes) / counts.sum(0))
    best = [np.argsort(-row, kind="stable")[:WORDS] for row in weights]
    return [
        [(str(words[i]), float(row[i])) for i in rows if row[i] > 0] for rows, row in zip(best, weights, strict=True)
    ]


def _topic(
    number: int,
    labels: Ints,
    vectors: Floats,
    texts: Sequence[str],
    places: Sequence[str],
    words: Sequence[tuple[str, float]],
) -> Topic:
    rows = np.flatnonzero(labels == number)
    near = vectors[rows] @ vectors[rows].mean(0)
    typical: dict[str, Typical] = {}
    for row in rows[np.argsort(-near, kind="stable")].tolist():
        typical.setdefault(texts[row], Typical(texts[row], places[row]))
        if len(typical) == TYPICAL:
            break
    found, weights = [word for word, _ in words], [weight for _, weight in words]
    return Topic(number, len(rows), len(rows) / len(labels), found, weights, list(typical.values()))
