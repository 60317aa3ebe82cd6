"""The evaluation task `document`: segmentation, intruders and continuation, and what the tools should use."""

from collections.abc import Mapping

from lang_jepa.evaluation.document.choice import Choice, Tool, choice_of
from lang_jepa.evaluation.document.contest import Contest
from lang_jepa.evaluation.document.continuation import continuation_rows
from lang_jepa.evaluation.document.intruders import intruder_rows
from lang_jepa.evaluation.document.material import From, Grouped, Sources, joined, with_intruders
from lang_jepa.evaluation.document.rules import REACH
from lang_jepa.evaluation.document.segmentation import segmentation_rows
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.questions import build_questions
from lang_jepa.evaluation.table import Row

SEGMENTS = {True: "topic boundaries, same group", False: "topic boundaries, other groups"}
INTRUDERS: dict[From, str] = {
    "same group": "intruders, same group",
    "same document": "intruders, same document",
}
CONTINUATION = "continuation, same document"
DECIDE: dict[Tool, str] = {
    "segment": SEGMENTS[True],
    "outliers": INTRUDERS["same document"],
    "next": CONTINUATION,
}
"""The contest that decides for each tool: the harder ones."""


def document_rows(
    models: Mapping[str, Encoder],
    grouped: Grouped,
    *,
    window_size: int,
    queries: int = 1024,
    split: str = "validation",
    seed: int = 0,
) -> tuple[list[Row], dict[str, str], dict[str, Choice]]:
    """All three tasks.

    Args:
        models: by name, the examined one first.
        grouped: held-out documents; nothing is reported of those that choose.
        window_size: sentences of context at most.
        queries: continuation questions at most.
        split: name of the split in the rows.
        seed: of every draw.

    Returns:
        The rows; for each contest the examined model's similarity; and what the tools should use.

    Raises:
        LangJepaError: too few or too short documents.
    """
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
    rows = [row for contest in contests.values() for row in contest.rows]
    choices: dict[str, Choice] = {tool: choice_of(contests[task]) for tool, task in DECIDE.items()}
    similarity = {
        f"{row.task}, {row.metric}": row.similarity for row in rows if row.name == "model" and row.detail
    }
    return rows, similarity, choices
