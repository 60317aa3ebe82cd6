"""Search: is what somebody looks for among the first sentences that a query finds?

Every sentence of the searched documents is a candidate, and the first of those that a query should find counts. Vectors
are compared as `lang-jepa search` compares them, by the model's own similarity, so that nothing is chosen here.
Legend: Q queries, S sentences, D dimensions.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.text_files import chunks, text_lines
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.copying import Scores
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.intervals import mean_interval
from lang_jepa.evaluation.metrics.retrieval import Retrieval, from_scores
from lang_jepa.evaluation.metrics.similarity import Similarity, prepare
from lang_jepa.evaluation.table import LEAD, Detail, Row, detail_of, score_row

TASK = "search"
METRICS = ("recall@1", "recall@10", "mrr")
_BLOCK = 1 << 22
"""Scores held at once."""


@dataclass(frozen=True)
class Searched:
    """What is asked, and what is searched.

    Attributes:
        sentences: S, every sentence of the documents.
        queries: Q, each once.
        expected: for each query the rows of `sentences` that it should find, one at least.
        name: of the documents, the split in the rows.
        source: of documents and queries, in words.
    """

    sentences: list[str]
    queries: list[str]
    expected: list[NDArray[np.int64]]
    name: str
    source: str


def read_queries(path: Path) -> list[tuple[int, str, str]]:
    """Lines `query<TAB>expected`, or of a .jsonl file `{"query": ..., "expected": ...}`: number, query, expected.

    Raises:
        LangJepaError: it cannot be read, or a line is not of this form; names the line.
    """
    found = []
    for number, line in enumerate(text_lines(chunks(path), str(path)), start=1):
        if line:
            cells = _cells(line) if path.suffix.lower() == ".jsonl" else line.split("\t")
            if len(cells) != 2 or not all(cell.strip() for cell in cells):
                raise LangJepaError(
                    f"{path}, line {number}: expected a query, a tab, and the sentence or document id that it should "
                    'find (of a .jsonl file {"query": "...", "expected": "..."}), found ' + repr(line[:80])
                )
            found.append((number, cells[0].strip(), cells[1].strip()))
    return found


def _cells(line: str) -> list[str]:
    """The two texts of a JSON line; nothing where it is another one."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return []
    cells = [said.get("query"), said.get("expected")] if isinstance(said, dict) else []
    return [cell for cell in cells if isinstance(cell, str)]


def ask(path: Path, texts: Sequence[tuple[str, list[str]]], name: str) -> Searched:
    """The queries of a file over the sentences of documents.

    Args:
        path: of the queries, see `read_queries`; a query on several lines may find any of what they name.
        texts: id and sentences of each document.
        name: of the documents.

    Raises:
        LangJepaError: of `read_queries`; fewer than two queries; or something expected that is not there.
    """
    sentences = [sentence for _, document in texts for sentence in document]
    rows: dict[str, list[int]] = {}
    place = 0
    for identity, document in texts:
        for known in {identity, identity.rpartition(":")[0]}:  # `notes.md:0`, and the whole file
            rows.setdefault(known, []).extend(range(place, place + len(document)))
        place += len(document)
    own: dict[str, list[int]] = {}
    for row, sentence in enumerate(sentences):
        own.setdefault(" ".join(sentence.split()), []).append(row)
    asked: dict[str, set[int]] = {}
    for number, query, expected in read_queries(path):
        right = own.get(" ".join(expected.split())) or rows.get(expected)
        if not right:
            some = texts[0][0] if texts else "none"
            raise LangJepaError(
                f"{path}, line {number}: {expected!r} is no sentence of {name}, as `lang-jepa search` shows them, and "
                f"no document id there (one is {some!r})"
            )
        asked.setdefault(query, set()).update(right)
    if len(asked) < 2:
        raise LangJepaError(
            f"{path} holds {counted(len(asked), 'different query', 'different queries')}: an interval needs two at "
            "least, and it takes a few dozen to tell two encoders apart"
        )
    wanted = [np.array(sorted(right), dtype=np.int64) for right in asked.values()]
    source = f"{counted(len(asked), 'query', 'queries')} of {path} over {counted(len(sentences), 'sentence')} of {name}"
    return Searched(sentences, list(asked), wanted, name, source)


def search_rows(models: Mapping[str, Encoder], searched: Searched, *, seed: int = 0) -> list[Row]:
    """Recall@1, recall@10 and MRR of the first expected sentence among all, by query.

    Args:
        models: by name, the examined one first; each is compared by its own `similarity` (raw, where it has none).
        searched: from `ask`.

    Returns:
        Rows of the models, of TF-IDF on words and on characters, and of chance; the first one's leads, paired by query.
    """
    rows: list[Row] = []
    lead: dict[str, NDArray[np.float64]] = {}

    def record(name: str, retrieval: Retrieval, similarity: str = "", note: str = "") -> None:
        for metric in METRICS:
            values = retrieval.values(metric)
            first = lead.setdefault(metric, values) is values
            detail = detail_of(values, items=[searched.queries, len(searched.sentences)]) if first else None
            rows.append(_row(searched, metric, name, values, seed, similarity, note, detail))
            if not first:
                paired = f"{metric}: {next(iter(models))} {LEAD}"
                rows.append(
                    _row(searched, paired, name, lead[metric] - values, seed, similarity, "paired", None)
                )

    for name, model in models.items():
        kind: Similarity = getattr(model, "similarity", "raw")
        sentences, queries = (
            prepare(encode(model, texts, name), model.statistics, kind)
            for texts in (searched.sentences, searched.queries)
        )
        record(name, ranked(searched, lambda part, q=queries, s=sentences: q[part] @ s.T), kind)  # type: ignore[misc]
    for name, score in _tfidf(searched):
        record(name, ranked(searched, score), note="fitted on the searched sentences")
    for metric, value in _chance(searched).items():
        rows.append(score_row((TASK, searched.name, metric), "chance", value, None, len(searched.queries)))
    return rows


def _row(
    searched: Searched,
    metric: str,
    name: str,
    values: NDArray[np.float64],
    seed: int,
    similarity: str,
    note: str,
    detail: Detail | None,
) -> Row:
    return score_row(
        (TASK, searched.name, metric),
        name,
        float(values.mean()),
        mean_interval(values, seed=seed, shares=not metric.endswith(LEAD)),
        len(values),
        similarity=similarity,
        note=note,
        detail=detail,
    )


def ranked(searched: Searched, score: Callable[[slice], Scores]) -> Retrieval:
    """The rank of each query's first expected sentence among it and all that are not expected.

    Args:
        score: of the queries of a slice with all sentences, [q, S].
    """
    count, step = len(searched.queries), max(1, _BLOCK // len(searched.sentences))
    parts = []
    for begin in range(0, count, step):
        part = slice(begin, min(count, begin + step))
        table = np.asarray(score(part))
        wrong = np.ones(table.shape, dtype=bool)
        for number, rows in enumerate(searched.expected[part]):
            wrong[number, rows] = False
        best = np.where(wrong, -np.inf, table).max(1, keepdims=True)
        valid = np.concatenate([np.ones_like(wrong[:, :1]), wrong], axis=1)
        parts.append(from_scores(np.concatenate([best, table], axis=1), valid, np.arange(count)[part]))
    ranks, candidates, queries, last = (
        np.concatenate([getattr(one, name) for one in parts])
        for name in ("ranks", "candidates", "documents", "last_ranks")
    )
    return Retrieval(ranks, candidates, queries, last)


def _tfidf(searched: Searched) -> Iterator[tuple[str, Callable[[slice], Scores]]]:
    """Word overlap, and overlap of character n-grams inside words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    options = {"words": {}, "characters": {"analyzer": "char_wb", "ngram_range": (3, 5)}}
    for kind, more in options.items():
        vectorizer = TfidfVectorizer(sublinear_tf=True, **more)
        sentences = vectorizer.fit_transform(searched.sentences)
        queries = vectorizer.transform(searched.queries)
        yield f"TF-IDF, {kind}", lambda part, q=queries, s=sentences: (q[part] @ s.T).toarray()  # type: ignore[misc]


def _chance(searched: Searched) -> dict[str, float]:
    """What a random order would get: the first of r expected ones among S is behind place k by the product below."""
    total = len(searched.sentences)
    place = np.arange(total)
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for right in map(len, searched.expected):
        behind = np.concatenate([[1.0], np.cumprod(np.maximum(total - right - place, 0) / (total - place))])
        values["mrr"].append(float(((behind[:-1] - behind[1:]) / (place + 1)).sum()))
        for k in (1, 10):
            values[f"recall@{k}"].append(float(1 - behind[min(k, total)]))
    return {metric: float(np.mean(each)) for metric, each in values.items()}
