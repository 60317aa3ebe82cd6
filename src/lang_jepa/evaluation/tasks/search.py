"""Search: is what a query asks for among the first sentences that it finds?

Every sentence of the searched documents is a candidate, and the first of those that a query should find counts. Vectors
are compared as `lang-jepa search` compares them, by the model's own similarity, so that nothing is chosen here.
Legend: Q queries, S sentences, D dimensions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lang_jepa.data.sources.text_files import chunks, text_lines
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.copying import Scores
from lang_jepa.evaluation.baselines.words import TFIDF, tfidf
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.retrieval import Retrieval, from_scores
from lang_jepa.evaluation.metrics.similarity import Similarity, prepare
from lang_jepa.evaluation.scoreboard import Option, Scoreboard, Values, interleaved
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.request import Request, Result, Searched, Task

TITLE = "search"
METRICS = ("recall@1", "recall@10", "mrr")
_BLOCK = 1 << 22
"""Scores held at once."""


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
        found = json.loads(line)
    except (ValueError, RecursionError):
        return []
    cells = [found.get("query"), found.get("expected")] if isinstance(found, dict) else []
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
    start = 0
    for identity, document in texts:
        for known in {identity, identity.rpartition(":")[0]}:  # `notes.md:0`, and the whole file
            rows.setdefault(known, []).extend(range(start, start + len(document)))
        start += len(document)
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
        models: by name, the evaluated one first; each is compared by its own `similarity` (raw, where it has none).
        searched: from `ask`.

    Returns:
        Rows of the models, of TF-IDF on words and on characters, and of chance; the first one's leads, paired by query.
    """
    count = len(searched.queries)
    items = [searched.queries, len(searched.sentences)]
    boards = {
        metric: Scoreboard(TITLE, searched.name, metric, np.arange(count), items, seed=seed) for metric in METRICS
    }

    def add(name: str, score: Callable[[slice], Scores], similarity: str = "", note: str = "") -> None:
        found = ranked(searched, score)
        for metric, board in boards.items():
            board.add(name, [Option({metric: found.values(metric)}, similarity)], note=note)

    for name, model in models.items():
        kind: Similarity = getattr(model, "similarity_kind", "raw")
        sentences, queries = (
            prepare(encode(model, texts, name), model.statistics, kind)
            for texts in (searched.sentences, searched.queries)
        )
        add(name, lambda part, q=queries, s=sentences: q[part] @ s.T, kind)  # type: ignore[misc]
    for name, options in TFIDF.items():
        texts = (searched.sentences, searched.queries)
        found, asked = tfidf(searched.sentences, *texts, sublinear_tf=True, **options)
        score = lambda part, q=asked, s=found: (q[part] @ s.T).toarray()  # noqa: E731
        add(name, score, note="fitted on the searched sentences")
    for metric, values in _chance(searched).items():
        boards[metric].add_analytic("chance", {metric: values})
    return list(interleaved(boards.values()))


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


def _chance(searched: Searched) -> dict[str, Values]:
    """What a random order would get, [Q] by metric."""
    total = len(searched.sentences)
    return chance_of_first([total] * len(searched.expected), [len(rows) for rows in searched.expected])


def chance_of_first(candidates: Sequence[int], expected: Sequence[int]) -> dict[str, Values]:
    """What a random order would get for the first of several that are expected, [Q] by metric.

    Args:
        candidates: of each question, those that are expected included.
        expected: of each question, 1 at least.
    """
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for total, right in zip(candidates, expected, strict=True):
        position = np.arange(total)
        # The product is that the first of `right` among `total` is behind rank k.
        behind = np.concatenate([[1.0], np.cumprod(np.maximum(total - right - position, 0) / (total - position))])
        values["mrr"].append(float(((behind[:-1] - behind[1:]) / (position + 1)).sum()))
        for k in (1, 10):
            values[f"recall@{k}"].append(float(1 - behind[min(k, total)]))
    return {metric: np.array(each) for metric, each in values.items()}


def _score(request: Request) -> Result:
    assert request.searched is not None
    rows = search_rows(request.models, request.searched, seed=request.seed)
    return Result(rows, {TITLE: request.searched.source})


SEARCH = Task(
    "search",
    _score,
    needs=("searched",),
    options=("documents", "queries"),
    incomplete="the task search needs --documents TEXTS to search in, and --queries FILE: on each line a query, a tab, "
    "and the sentence, or the id of the document, that it should find",
)
