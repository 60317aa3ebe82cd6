"""Next-sentence retrieval on a user's own held-out documents, with every baseline that needs no other model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.baselines.copying import (
    context_means,
    recency_mean,
    ridge_path,
    tfidf_answers,
    vector_answers,
)
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.similarity import Floats, prepare, unit_rows
from lang_jepa.evaluation.questions import build_questions
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.exam import Exam, examine_models

TASKS = {"other": "next sentence, other documents", "same": "next sentence, same document"}


def corpus_rows(
    models: Mapping[str, Encoder],
    documents: Sequence[Sequence[str]],
    *,
    window_size: int,
    queries: int = 1024,
    train_documents: Sequence[Sequence[str]] | None = None,
    train_pairs: int = 4000,
    split: str = "validation",
    seed: int = 0,
) -> tuple[list[Row], dict[str, str]]:
    """Next-sentence retrieval on held-out documents: 256 candidates of other documents, 64 of the same one.

    Args:
        models: by name, the examined one first.
        documents: held-out documents, each a list of sentences. Every fourth one only chooses the similarity.
        window_size: sentences of context at most.
        queries: questions at most, spread evenly over documents.
        train_documents: training documents, for TF-IDF's weights and for ridge regression (left out without).
        train_pairs: context-target pairs from which the ridge regression learns, at most.
        split: name of the split in the rows.

    Returns:
        Rows, and the examined model's similarity per task.
    """
    questions = build_questions(documents, window_size=window_size, queries=queries, seed=seed)
    exam = Exam(questions, TASKS, split, seed=seed)
    embeddings = examine_models(exam, models)
    name, model = next(iter(models.items()))
    if train_documents is not None:
        _examine_ridge(exam, name, model, embeddings[name], train_documents, window_size, train_pairs, seed)
    train = (
        None
        if train_documents is None
        else [sentence for document in train_documents for sentence in document]
    )
    for label, note, answers in tfidf_answers(questions, train):
        exam.answer(label, [("", answers)], note=note)
    exam.chance()
    return exam.rows, {task: exam.chosen.get((kind, name), "") for kind, task in TASKS.items()}


def _examine_ridge(
    exam: Exam,
    name: str,
    model: Encoder,
    embeddings: Floats,
    train: Sequence[Sequence[str]],
    window_size: int,
    pairs: int,
    seed: int,
) -> None:
    """Ridge regression in the model's space, from the means of the last 1, 3 and 8 vectors to the next one.

    It learns what to add to the recency-weighted mean, so that a strong penalty leaves that mean and few training
    pairs do no harm; in the similarity that the recency mean chose.
    """
    kind: Any = exam.chosen["other", f"recency mean ({name})"]
    contexts, following, sentences = _train_pairs(train, window_size, pairs, seed)
    space = prepare(encode(model, sentences, name), model.statistics, kind)
    x = np.concatenate(context_means(contexts, space), axis=1)
    asked_rows, candidates = exam.questions.context_rows, prepare(embeddings, model.statistics, kind)
    asked, start = (
        np.concatenate(context_means(asked_rows, candidates), axis=1),
        recency_mean(asked_rows, candidates),
    )
    options = (
        (
            f"penalty {penalty:g}",
            vector_answers(exam.questions, unit_rows(start + ridge(asked)), candidates),
        )
        for penalty, ridge in ridge_path(x, space[following] - recency_mean(contexts, space))
    )
    exam.answer(f"ridge on means ({name})", options, note=f"{kind}, {len(x):,} training pairs")


def _train_pairs(
    train: Sequence[Sequence[str]], window_size: int, pairs: int, seed: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64], list[str]]:
    """Contexts as rows, rows of the next sentences, and the sentences; whole documents until `pairs` are there."""
    contexts: list[NDArray[np.int64]] = []
    following: list[int] = []
    sentences: list[str] = []
    for index in np.random.default_rng(seed).permutation(len(train)):
        document = train[index]
        start = len(sentences)
        sentences.extend(document)
        for position in range(1, len(document)):
            contexts.append(np.arange(start + max(0, position - window_size), start + position))
            following.append(start + position)
        if len(contexts) >= pairs:
            break
    return contexts, np.array(following, dtype=np.int64), sentences
