"""The evaluation task `document`: segmentation, intruders, continuation, repetitions, and what the tools should use."""

from collections.abc import Mapping

import numpy as np

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.document_rules import REACH
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.evaluation.questions import build_questions
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.document_choice import Choice, Tool, choice_of
from lang_jepa.evaluation.tasks.document_contest import Contest, TooFew
from lang_jepa.evaluation.tasks.document_continuation import continuation_rows
from lang_jepa.evaluation.tasks.document_data import (
    FAR,
    INTRUDER_EVERY,
    PIECE,
    From,
    Grouped,
    Sources,
    joined,
    with_intruders,
)
from lang_jepa.evaluation.tasks.document_data import SEGMENTS as PIECES
from lang_jepa.evaluation.tasks.document_intruders import intruder_rows
from lang_jepa.evaluation.tasks.document_repetitions import Pairs, repetition_rows, with_repetitions
from lang_jepa.evaluation.tasks.document_segmentation import segmentation_rows

SEGMENTS = {True: "topic boundaries, same group", False: "topic boundaries, other groups"}
INTRUDERS: dict[From, str] = {
    "same group": "intruders, same group",
    "same document": "intruders, same document",
}
CONTINUATION = "continuation, same document"
REPETITIONS = "repetitions"
DECIDE: dict[Tool, str] = {
    "segment": SEGMENTS[True],
    "outliers": INTRUDERS["same document"],
    "next": CONTINUATION,
    "redundant": REPETITIONS,
}
"""The contest that decides for each tool: the harder ones."""


def document_rows(
    models: Mapping[str, Encoder],
    grouped: Grouped,
    *,
    window_size: int,
    queries: int = 1024,
    pairs: tuple[Pairs, Pairs] | None = None,
    split: str = "validation",
    seed: int = 0,
) -> tuple[list[Row], dict[str, str], dict[str, Choice]]:
    """All tasks.

    Args:
        models: by name, the examined one first.
        grouped: held-out documents; nothing is reported of those that choose.
        window_size: sentences of context at most.
        queries: continuation questions at most.
        pairs: graded sentence pairs, those that choose and those that are reported (None: no repetitions).
        split: name of the split in the rows.
        seed: of every draw.

    Returns:
        The rows; for each contest the examined model's similarity; and what the tools should use.

    Raises:
        LangJepaError: too few or too short documents; says how many there must be.
    """
    try:
        return _all_rows(models, grouped, window_size, queries, pairs, split, seed)
    except TooFew as error:
        raise LangJepaError(f"{error}: {_needed(grouped)}") from error


def _needed(grouped: Grouped) -> str:
    """What the tasks take, and what there is."""
    long = INTRUDER_EVERY + FAR + 1
    said = []
    for chooses, sets in ((True, 1), (False, 2)):
        lengths = [
            len(one) for one, mark in zip(grouped.documents, grouped.choosing, strict=True) if mark == chooses
        ]
        fit, rich = sum(size >= PIECE[0] for size in lengths), sum(size >= long for size in lengths)
        said.append(
            f"{PIECES * sets} documents of one folder with {PIECE[0]} sentences or more, {sets} of them with {long}, "
            f"to {'choose on' if chooses else 'report'} (of the {len(lengths)} that there are, {fit} have {PIECE[0]} "
            f"and {rich} have {long})"
        )
    return f"the task document needs {' and '.join(said)}. Hold out more documents, or longer ones"


def _all_rows(
    models: Mapping[str, Encoder],
    grouped: Grouped,
    window_size: int,
    queries: int,
    pairs: tuple[Pairs, Pairs] | None,
    split: str,
    seed: int,
) -> tuple[list[Row], dict[str, str], dict[str, Choice]]:
    """What `document_rows` returns."""
    sources = Sources.of(grouped)
    embeddings = {name: encode(model, sources.sentences, name) for name, model in models.items()}
    contests: dict[str, Contest] = {}
    reach = max(REACH, window_size)
    several = len(set(sources.groups.tolist())) > 1
    for same_group, task in SEGMENTS.items():
        if same_group or several:
            made = joined(sources, same_group=same_group, seed=seed)
            contests[task] = segmentation_rows(
                models, embeddings, sources.sentences, made, reach=reach, task=task, split=split, seed=seed
            )
    for where, task in INTRUDERS.items():
        made = with_intruders(sources, where=where, seed=seed)
        contests[task] = intruder_rows(
            models, embeddings, sources.sentences, made, reach=reach, task=task, split=split, seed=seed
        )
    questions = build_questions(
        grouped.documents,
        window_size=window_size,
        queries=queries,
        other=0,
        choosing=sources.choosing.tolist(),
        seed=seed,
    )
    row_of = {sentence: row for row, sentence in enumerate(sources.sentences)}
    asked = [row_of[sentence] for sentence in questions.sentences]
    contests[CONTINUATION] = continuation_rows(
        models,
        {name: vectors[asked] for name, vectors in embeddings.items()},
        questions,
        task=CONTINUATION,
        split=split,
        seed=seed,
    )
    if pairs is not None:
        contests[REPETITIONS] = _repetitions(models, embeddings, sources, pairs, split=split, seed=seed)
    rows = [row for contest in contests.values() for row in contest.rows]
    choices: dict[str, Choice] = {
        tool: choice_of(contests[task]) for tool, task in DECIDE.items() if task in contests
    }
    similarity = {
        f"{row.task}, {row.metric}": row.similarity for row in rows if row.name == "model" and row.detail
    }
    return rows, similarity, choices


def _repetitions(
    models: Mapping[str, Encoder],
    embeddings: Mapping[str, Floats],
    sources: Sources,
    pairs: tuple[Pairs, Pairs],
    *,
    split: str,
    seed: int,
) -> Contest:
    """The planted pairs are encoded too."""
    sentences, made = with_repetitions(sources, *pairs, seed=seed)
    planted = sentences[len(sources.sentences) :]
    every = {
        name: np.concatenate([embeddings[name], encode(model, planted, name)])
        for name, model in models.items()
    }
    return repetition_rows(models, every, sentences, made, task=REPETITIONS, split=split, seed=seed)
