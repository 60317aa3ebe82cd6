"""What is in a text: copies, topics or kinds of lines, what does not belong, and three searches; as plain data.

Every finding has its place, as `path:line` if the file has lines. Nothing here is trained.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.comparison.trial.recognise import Kind
from lang_jepa.data.text.masks import mask
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.document_rules import REACH
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.inference.document import Using, continuations
from lang_jepa.inference.document_reading import Progress, silent
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.folders.duplicates import find_duplicates
from lang_jepa.inference.folders.reading import Collection, Placed
from lang_jepa.inference.folders.study import FolderStudy, Passage, study_folder
from lang_jepa.inference.folders.topics import Space, find_topics, telling_words

Found = dict[str, Any]
"""Plain data, as JSON has it."""

SHOWN = 8
"""Copies, sentences, passages and kinds shown, at most."""
_TOPICS, _SEARCHES, _HITS, _CANDIDATES, _PLACES = 12, 3, 3, 1500, 6
_LEAST_WORDS, _FEW = 4, 3
_EXPECTED = 2
"""Units shown as expected instead, for each surprising one."""


def about(found: Collection) -> Found:
    """How much text there is: documents, units, lengths in words, and what was left out and why."""
    units = [len(one.units) for one in found.documents]
    words = [len(unit.split()) for unit in found.units]
    longest = max(found.documents, key=lambda one: len(one.units))
    return {
        "source": found.source,
        "documents": len(found.documents),
        "units": sum(units),
        "characters": sum(len(one.text) for one in found.documents),
        "units_each": _quartiles(units),
        "words_each": _quartiles(words),
        "longest": [longest.name, len(longest.units)],
        "rejected": sorted(found.losses.rejected.items()),
        "left_out": sorted(found.losses.left_out.items()),
    }


def _quartiles(values: Sequence[int]) -> list[int]:
    """Median, and the ends of the middle nine tenths."""
    return [int(np.percentile(values, share)) for share in (50, 5, 95)] if values else [0, 0, 0]


def copies(found: Collection) -> Found:
    """Find documents that repeat others, and sentences that occur in several places."""
    judged = find_duplicates(found)
    exact = [one for one in judged.duplicates if one.kind.startswith("exact")]
    return {
        "exact": len(exact),
        "near": len(judged.duplicates) - len(exact),
        "different": judged.kept,
        "repeated": len(judged.sentences),
        "documents": [
            {"document": one.document, "original": one.original, "kind": one.kind, "share": one.share}
            for one in judged.duplicates[:SHOWN]
        ],
        "sentences": [
            {"text": one.sentence, "times": one.times, "places": one.places[:_PLACES]}
            for one in judged.sentences[:SHOWN]
        ],
    }


def topics(space: Space, found: Collection, progress: Progress = silent) -> Found | None:
    """Find topics of the sentences or documents; None if the text is too short for any."""
    try:
        mapped = find_topics(space, found, progress=progress)
    except LangJepaError:  # too few different sentences, which the page says
        return None
    return {
        "of": mapped.of,
        "count": len(mapped.topics),
        "chosen": mapped.chosen,
        "topics": [
            {
                "words": one.words[:6],
                "share": one.share,
                "units": one.units,
                "typical": [{"text": near.text, "place": near.place} for near in one.typical[:2]],
            }
            for one in mapped.topics[:_TOPICS]
        ],
    }


def kinds(found: Collection) -> Found:
    """Find a log's kinds of lines, those that differ in more than numbers, times and addresses: frequent and unique."""
    places: dict[str, list[tuple[Placed, int]]] = {}
    for one, position in found.places():
        places.setdefault(_kind(one.units[position]), []).append((one, position))
    total = sum(map(len, places.values()))
    ranked = sorted(places.items(), key=lambda pair: -len(pair[1]))
    once = [pair for pair in ranked if len(pair[1]) == 1]
    return {
        "count": len(ranked),
        "topics": _kinds(ranked[:_TOPICS], total),
        "once": len(once),
        "rare": _kinds(once[:SHOWN], total),
    }


def _kinds(some: Sequence[tuple[str, list[tuple[Placed, int]]]], total: int) -> list[Found]:
    """Kinds of lines with their share of all, their most telling words, and the first line of each."""
    if not some:
        return []
    words = telling_words([re.sub(r"<\w+>", " ", kind) for kind, _ in some])
    return [
        {
            "text": kind,
            "share": len(at) / total,
            "units": len(at),
            "words": [word for word, _ in said[:4]],
            "typical": [{"text": at[0][0].units[at[0][1]], "place": _where(at[0])}],
        }
        for (kind, at), said in zip(some, words, strict=True)
    ]


def _kind(unit: str) -> str:
    return " ".join(mask(unit).split())


def surprises(
    model: EmbeddingModel, found: Collection, using: Using, *, kind: Kind, progress: Progress = silent
) -> Found:
    """Find the most surprising passages, what was expected instead, and what fits least between its neighbours.

    Args:
        model: with a cache of sentences, since units are compared often.
        found: the documents.
        using: prediction, a baseline, or whichever was measured to be better.
        kind: of the text. In logs, lines that differ in numbers alone count as one candidate, and only the most
            surprising of them is shown. In documents, passages that fit least between both neighbours are found too,
            and scores are relative to their document, see `_from_means`.
        progress: called with the progress.
    """
    studied = study_folder(model, found, using=using, progress=progress)
    if kind == "documents":
        studied = replace(studied, passages=_from_means(studied.passages), documents=[])
    same = _kind if kind == "logs" else str
    distinct = list({same(unit): unit for unit in found.units}.values())
    candidates = distinct[:: -(-len(distinct) // _CANDIDATES)]
    by_name = {one.name: one for one in found.documents}
    most = []
    ranked = _first_of_each(studied.ranked(), same)
    high = [one for one in ranked if (one.surprise or 0.0) > 0]
    for number, one in enumerate(high if len(high) >= _FEW else ranked[:_FEW]):
        progress("what was expected instead", number, SHOWN)
        expected = _expected(model, by_name[one.document], one, candidates, using)
        most.append(_passage(one, [same(text) for text in expected]))
    outside = sorted((one for one in studied.passages if one.out_of_place is not None), key=lambda one: -_fit(one))
    listed = _first_of_each(outside, same) if kind == "documents" else []
    return {
        "used": studied.used,
        "against": studied.against,
        "judged": sum(one.surprise is not None for one in studied.passages),
        "most": most,
        "outside": [_passage(one, []) | {"score": _fit(one)} for one in listed if _fit(one) > 0],
        "documents": _documents(studied),
    }


def _from_means(passages: Sequence[Passage]) -> list[Passage]:
    """Subtract each document's mean: text that was trained on surprises less throughout than text that was held out."""
    found = []
    for _, group in groupby(passages, key=lambda one: one.document):
        own = list(group)
        surprises = _less_mean([one.surprise for one in own])
        fits = _less_mean([one.out_of_place for one in own])
        found += [
            replace(one, surprise=surprise, out_of_place=fit)
            for one, surprise, fit in zip(own, surprises, fits, strict=True)
        ]
    return found


def _less_mean(scores: Sequence[float | None]) -> list[float | None]:
    known = [score for score in scores if score is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [None if score is None else score - mean for score in scores]


def _fit(one: Passage) -> float:
    return one.out_of_place or 0.0


def _first_of_each(passages: Sequence[Passage], same: Any) -> list[Passage]:
    """The first `SHOWN` of different kinds, skipping texts as short as headings and "Yes."."""
    first: dict[str, Passage] = {}
    for one in passages:
        if len(first) == SHOWN:
            break
        if len(one.text.split()) >= _LEAST_WORDS:
            first.setdefault(same(one.text), one)
    return list(first.values())


def _passage(one: Passage, expected: list[str]) -> Found:
    return {
        "place": one.place,
        "text": one.text,
        "before": one.before,
        "score": one.surprise,
        "expected": expected,
    }


def _expected(
    model: EmbeddingModel, document: Placed, one: Passage, candidates: Sequence[str], using: Using
) -> list[str]:
    """The units that fit best in the place of a surprising one, by the method that found it surprising."""
    before = document.units[: document.units.index(one.text, one.position)][-64:]
    if not before:
        return []
    ranked, _ = continuations(model, before, candidates, using=using)
    said = {one.text, *before[-REACH:]}
    return [near.sentence for near in ranked if near.sentence not in said][:_EXPECTED]


def _documents(studied: FolderStudy) -> list[Found]:
    """The documents whose passages are most surprising on average; none if there are only a few documents."""
    known = [one for one in studied.documents if one.mean is not None and one.units > 2]
    ranked = sorted(known, key=lambda one: -(one.mean or 0.0))[:5] if len(known) > 5 else []
    return [{"document": one.document, "mean": one.mean, "units": one.units} for one in ranked]


def queries_of(mapped: Found | None, count: int = _SEARCHES) -> list[str]:
    """Return queries for a search: the first words of the largest topics, all different."""
    asked = [" ".join(_different(one["words"])[:3]) for one in (mapped or {}).get("topics", []) if one["words"]]
    return list(dict.fromkeys(asked))[:count]


def _different(words: Sequence[str]) -> list[str]:
    """Drop words that begin like an earlier one: flight, flights."""
    return [word for i, word in enumerate(words) if not any(word[:5] == one[:5] for one in words[:i])]


def searches(space: Space, found: Collection, queries: Sequence[str], *, logs: bool) -> list[Found]:
    """Find the units most similar to each query, with different texts, and their places."""
    places = [pair for pair, ids in zip(found.places(), _tokens(space, found), strict=True) if len(ids)]
    if not places or not queries:
        return []
    same = _kind if logs else str
    texts = [one.units[position] for one, position in places]
    distinct = {same(text): row for row, text in reversed(list(enumerate(texts)))}
    rows = sorted(distinct.values())
    vectors = _vectors(space, [texts[row] for row in rows])
    results = []
    for query, scores in zip(queries, _vectors(space, queries, turns=False) @ vectors.T, strict=True):
        best = np.argsort(-scores, kind="stable")[:_HITS].tolist()
        hits = [{"score": float(scores[i]), "text": texts[rows[i]], "place": _where(places[rows[i]])} for i in best]
        results.append({"query": query, "hits": hits})
    return results


def _tokens(space: Space, found: Collection) -> Any:
    return space.tokenize(found.units, turns=space.knows_speakers)


def _vectors(space: Space, texts: Sequence[str], *, turns: bool | None = None) -> Any:
    said = space.knows_speakers if turns is None else turns
    return prepare(space.encode(texts, turns=said), space.statistics, space.similarity_kind)


def _where(pair: tuple[Placed, int]) -> str:
    return pair[0].where(pair[1])


def relative(found: Collection) -> Collection:
    """Return the documents with paths relative to the current folder, as they are typed, if they are below it."""
    here = Path.cwd()

    def short(path: str) -> str:
        whole = Path(path)
        return str(whole.relative_to(here)) if path and whole.is_absolute() and whole.is_relative_to(here) else path

    documents = [replace(one, name=short(one.name), path=short(one.path)) for one in found.documents]
    return replace(found, documents=documents)
