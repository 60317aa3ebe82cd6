"""The task `search`: whether a query's expected sentence is among the first that a search finds.

Every sentence of the searched documents is a candidate; the highest-ranked of a query's expected sentences counts.
Vectors are compared by the model's own similarity, as in `lang-jepa search`, so nothing is selected here.
Shapes: Q queries, S sentences, D dimensions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.data.sources.text_files import chunks, text_lines
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.copying import Scores
from lang_jepa.evaluation.baselines.words import TFIDF, tfidf
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.retrieval import Retrieval, from_scores
from lang_jepa.evaluation.metrics.similarity import Similarity, dense, prepare
from lang_jepa.evaluation.scoreboard import Option, Scoreboard, Values, interleaved
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.request import Request, Result, Searched, Task

TITLE = "search"
METRICS = ("recall@1", "recall@10", "mrr")
Scorer = Callable[[slice], Scores]
"""Maps a slice of the queries to their scores with all sentences, [q, S]."""
_BLOCK = 1 << 22
"""Most scores held in memory at once."""


def read_queries(path: Path) -> list[tuple[int, str, str]]:
    """Read lines `query<TAB>expected`, or of .jsonl `{"query": ..., "expected": ...}`: line number, query, expected.

    Raises:
        LangJepaError: the file cannot be read, or a line has another form; the message names the line.
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
    """Return the two texts of a JSON line; fewer if it has another form."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return []
    cells = [found.get("query"), found.get("expected")] if isinstance(found, dict) else []
    return [cell for cell in cells if isinstance(cell, str)]


def ask(path: Path, texts: Sequence[tuple[str, list[str]]], name: str) -> Searched:
    """Match the queries of a file with the sentences of documents.

    Args:
        path: file of queries, see `read_queries`; a query on several lines may find anything that one of them names.
        texts: id and sentences of each document.
        name: name of the documents.

    Raises:
        LangJepaError: from `read_queries`; fewer than two queries; or an expected sentence or id that does not exist.
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
                f"{path}, line {number}: {expected!r} is neither a sentence of {name} (as `lang-jepa search` shows "
                f"them) nor a document id (one is {some!r})"
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
    """Return recall@1, recall@10 and MRR of each query's first expected sentence among all.

    Args:
        models: encoders by name, the evaluated one first; each compares by its own `similarity_kind` (raw without one).
        searched: queries and sentences, from `ask`.

    Returns:
        Rows of the models, of TF-IDF on words and on characters, and of chance; and the first model's paired leads.
    """
    count = len(searched.queries)
    items = [searched.queries, len(searched.sentences)]
    boards = {
        metric: Scoreboard(TITLE, searched.name, metric, np.arange(count), items, seed=seed) for metric in METRICS
    }

    def add(name: str, score: Scorer, similarity: str = "", note: str = "") -> None:
        found = ranked(searched, score)
        for metric, board in boards.items():
            board.add(name, [Option({metric: found.values(metric)}, similarity)], note=note)

    for name, model in models.items():
        kind: Similarity = getattr(model, "similarity_kind", "raw")
        sentences, queries = (
            prepare(encode(model, texts, name), model.statistics, kind)
            for texts in (searched.sentences, searched.queries)
        )
        add(name, products(queries, sentences), kind)
    for name, options in TFIDF.items():
        texts = (searched.sentences, searched.queries)
        found, asked = tfidf(searched.sentences, *texts, sublinear_tf=True, **options)
        add(name, products(asked, found), note="fitted on the searched sentences")
    right = [len(rows) for rows in searched.expected]
    for metric, values in chance_of_first([len(searched.sentences)] * count, right).items():
        boards[metric].add_analytic("chance", {metric: values})
    return list(interleaved(boards.values()))


def products(queries: Any, sentences: Any) -> Scorer:
    """Return scores that are dot products of dense or sparse vectors."""
    return lambda part: dense(queries[part] @ sentences.T)


def ranked(searched: Searched, score: Scorer) -> Retrieval:
    """Rank each query's best expected sentence among the sentences that it does not expect."""
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


def chance_of_first(candidates: Sequence[int], expected: Sequence[int]) -> dict[str, Values]:
    """Return the expected scores of a random order for the first of several right answers, [Q] by metric.

    Args:
        candidates: number of candidates of each question, the right ones included.
        expected: number of right ones of each question, at least 1.
    """
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for total, right in zip(candidates, expected, strict=True):
        position = np.arange(total)
        # The products are the probabilities that the first of `right` among `total` is behind rank k.
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
