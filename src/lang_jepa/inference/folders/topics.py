"""Topics of a collection: clusters of sentences or documents, described by their most characteristic words.

Clusters are those of k-means or HDBSCAN (scikit-learn) over the model's vectors; their words are weighted by
class-based TF-IDF (Grootendorst 2022, BERTopic, https://arxiv.org/abs/2203.05794, equation 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.errors import LangJepaError, check_extra, counted
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, prepare
from lang_jepa.inference.document_reading import Progress, in_parts, numbered, silent
from lang_jepa.inference.folders.reading import Collection
from lang_jepa.settings.encoder import Settings

Of = Literal["sentences", "documents"]
Method = Literal["kmeans", "hdbscan"]

MOST = 20
"""Most topics that are tried if no number is given."""
SAMPLE = 3000
"""Most units by which the number of topics is chosen."""
ENOUGH = 20
"""Number of documents from which whole documents, not sentences, are put into topics by default."""
WORDS, TYPICAL = 8, 3
_LEAST = 4
"""Fewest units of a topic: on average, if the number of topics is chosen, and in each topic of HDBSCAN."""
_WORD = r"(?u)\b[^\W\d_][^\W\d_]+\b"


class Space(Protocol):
    """Encodes sentences into vectors that can be put into topics: an `EmbeddingModel`, or words."""

    statistics: Statistics
    settings: Settings

    @property
    def similarity_kind(self) -> Similarity:
        """How the vectors are compared."""

    @property
    def knows_speakers(self) -> bool:
        """Whether turns have their speaker in front."""

    def encode(self, texts: Sequence[str], /, *, turns: bool = False) -> Any:
        """Return the vectors of texts, float32 [n, D]."""

    def tokenize(self, sentences: Sequence[str], /, *, turns: bool = False) -> Any:
        """Return the tokens of each sentence; some may have none."""


@dataclass(frozen=True, slots=True)
class Typical:
    """A sentence near the centre of its topic: its text and its place."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Topic:
    """A cluster.

    Attributes:
        number: from 1, the largest first.
        units: how many sentences or documents it has. share: their share of all units.
        words: the most characteristic ones, best first. weights: the class-based TF-IDF of each.
        typical: its sentences closest to its mean, with different texts.
    """

    number: int
    units: int
    share: float
    words: list[str]
    weights: list[float]
    typical: list[Typical]


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence or document: the number of its topic (0: none), its place, and its text (for a document, that of its
    first sentence).
    """

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
        similarity: how the vectors were compared.
        silhouette: mean over units of how much closer the own cluster is than the next one, from -1 to 1; None with
            fewer than two topics.
        chosen: why there are this many topics, in words.
        topics: the largest first.
        outside: share of units that HDBSCAN puts into no topic.
        units: everything that was clustered, in order.
    """

    source: str
    of: Of
    method: Method
    similarity: Similarity
    silhouette: float | None
    chosen: str
    topics: list[Topic]
    outside: float
    units: list[Unit]


def find_topics(
    model: Space,
    found: Collection,
    *,
    of: Of | None = None,
    method: Method = "kmeans",
    count: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> TopicMap:
    """Cluster the sentences or documents of a collection.

    Args:
        model: encodes the sentences.
        found: the documents.
        of: sentences, or documents by the mean of their sentences (None: documents, if there are `ENOUGH`).
        method: clustering method; HDBSCAN finds the number of clusters itself.
        count: topics of k-means (None: 2 to `MOST`, at most one per four units, by the best silhouette).
        seed: seed of k-means and of samples.
        progress: called with the progress made.

    Raises:
        LangJepaError: the extra `evaluate` is not installed; or fewer different units than topics, or a count for
            HDBSCAN.
    """
    check_extra("evaluate", "topics")
    if method == "hdbscan" and count is not None:
        raise LangJepaError("HDBSCAN finds the number of topics itself: leave out the number, or use kmeans")
    sentences = _Sentences.read(model, found, progress)
    of = of or ("documents" if sentences.documents >= ENOUGH else "sentences")
    owners = sentences.owners if of == "documents" else np.arange(len(sentences.texts))
    vectors = _means(sentences.vectors, owners)
    distinct = len(np.unique(vectors, axis=0))
    if distinct < (least := count or 3):
        raise LangJepaError(
            f"{counted(distinct, f'different {of[:-1]}')} cannot be put into topics, {least} or more are needed: give "
            "more text"
        )
    clusters, chosen = _clusters(vectors, method, count, max(2, min(MOST, distinct // _LEAST)), seed, progress)
    labels = _by_size(clusters)
    topics = _topics(sentences, labels, owners, model.settings.data.language)
    first = np.unique(owners, return_index=True)[1].tolist()  # the first sentence of each unit
    names = sentences.names if of == "documents" else sentences.places
    units = [Unit(label, names[row], sentences.texts[row]) for label, row in zip(labels.tolist(), first, strict=True)]
    silhouette, outside = _silhouette(vectors, labels, seed), float((labels == 0).mean())
    return TopicMap(found.source, of, method, model.similarity_kind, silhouette, chosen, topics, outside, units)


@dataclass(frozen=True)
class _Sentences:
    """All sentences with a token: texts, places, names and numbers of their documents, and unit vectors [n, D]."""

    texts: list[str]
    places: list[str]
    names: list[str]
    vectors: Floats
    owners: Ints

    @property
    def documents(self) -> int:
        return int(self.owners.max()) + 1

    @classmethod
    def read(cls, model: Space, found: Collection, progress: Progress) -> "_Sentences":
        every = found.units
        tokens = model.tokenize(every, turns=model.knows_speakers) if every else []
        kept = [place for place, ids in zip(found.places(), tokens, strict=True) if len(ids)]
        if not kept:
            raise LangJepaError(f"no document of {found.source} has text that this model can read")
        texts = [one.units[position] for one, position in kept]
        distinct, rows = numbered(texts)
        encode = partial(model.encode, turns=model.knows_speakers)
        encoded = in_parts(encode, [distinct], len(model.statistics.mean), "sentences read", progress)
        space = prepare(encoded, model.statistics, model.similarity_kind)[rows]
        names = [one.name for one, _ in kept]
        places = [one.where(position) for one, position in kept]
        return cls(texts, places, names, space, numbered(names)[1])


def _means(vectors: Floats, owners: Ints) -> Floats:
    """Return the unit means [U, D] of the vectors of each owner (0 .. U - 1)."""
    sums = np.zeros((int(owners.max()) + 1, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, owners, vectors)
    means: Floats = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return means


def _clusters(
    vectors: Floats, method: Method, count: int | None, most: int, seed: int, progress: Progress
) -> tuple[Ints, str]:
    """Return a label for each row (-1: none), and why there are this many clusters."""
    from sklearn.cluster import HDBSCAN, KMeans

    if method == "hdbscan":
        least = min(_LEAST, max(2, len(vectors) // 2))
        labels: Ints = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(vectors).astype(np.int64)
        if labels.max() < 0:
            raise LangJepaError("HDBSCAN finds no dense group in these texts: use kmeans, or give more text")
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
    """Renumber labels from 1, the largest cluster first; 0 for none."""
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
    """Return the words of each class by class-based TF-IDF, best first: tf of the word in the class x log(1 + A / f).

    f is how often the word occurs in all classes, A the mean number of words of a class. English function words are
    left out; in other languages the weighting alone has to push them down.

    Args:
        classes: all text of each class.
        language: language of the texts.
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


def _topics(sentences: _Sentences, labels: Ints, owners: Ints, language: str) -> list[Topic]:
    """Return the clusters with their words, and the sentences of each that are closest to its mean."""
    numbers, own = range(1, int(labels.max()) + 1), labels[owners]
    rows = [np.flatnonzero(own == number) for number in numbers]
    words = telling_words([" ".join(sentences.texts[row] for row in some) for some in rows], language)
    found = []
    for number, some, best in zip(numbers, rows, words, strict=True):
        vectors = sentences.vectors[some]
        typical: dict[str, Typical] = {}
        for row in some[np.argsort(-(vectors @ vectors.mean(0)), kind="stable")].tolist():
            typical.setdefault(sentences.texts[row], Typical(sentences.texts[row], sentences.places[row]))
            if len(typical) == TYPICAL:
                break
        units = int((labels == number).sum())
        named, weights = [word for word, _ in best], [weight for _, weight in best]
        found.append(Topic(number, units, units / len(labels), named, weights, list(typical.values())))
    return found
