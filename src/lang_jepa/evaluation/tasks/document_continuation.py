"""Which sentence comes next: the true one among sentences of its own document outside the context."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lang_jepa.evaluation.baselines.copying import tfidf_answers
from lang_jepa.evaluation.baselines.document_rules import PAST, Places, Reading, Rule, learned
from lang_jepa.evaluation.embedder import Encoder
from lang_jepa.evaluation.metrics.retrieval import candidate_scores, chance, from_scores
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.evaluation.questions import Questions
from lang_jepa.evaluation.tasks.document_contest import Contest, Entry, Values

METRICS = ("MRR", "recall@1")
_NAMES = {"MRR": "mrr", "recall@1": "recall@1"}
_SET = "same"


def continuation_rows(
    models: Mapping[str, Encoder],
    embeddings: Mapping[str, Floats],
    questions: Questions,
    *,
    task: str,
    split: str,
    seed: int,
) -> Contest:
    """MRR and recall@1 of all scorers; the examined model first.

    Args:
        models, embeddings: by name; embeddings [S, D] of `questions.sentences`.
        questions: of `build_questions`; their candidates of the same document are ranked.
        task, split: in the rows.
        seed: of the bootstrap.
    """
    contest = Contest(
        task,
        METRICS,
        questions.documents,
        questions.choosing,
        lower=False,
        split=split,
        items=[questions.sentences, questions.true.tolist(), questions.candidates[_SET].tolist()],
        seed=seed,
    )
    places = Places(
        questions.sentences, questions.context_rows, [rows[:0] for rows in questions.context_rows]
    )
    note = f"{(questions.candidates[_SET] >= 0).sum(1).mean():.0f} candidates"
    for position, (name, model) in enumerate(models.items()):
        own = position == 0
        reading = Reading(model, places, embeddings[name], name)
        rules = reading.rules(PAST)
        predicting = [rule for rule in rules if learned(rule)]
        if predicting:
            contest.enter(name, _entries(reading, questions, predicting), own=own, note=note)
        for rule in rules:
            if not learned(rule):
                contest.enter(f"{rule} ({name})", _entries(reading, questions, [rule]), own=own, note=note)
    for name, note, answers in tfidf_answers(questions, None):
        contest.enter(name, [Entry(_values(questions, answers[_SET]))], note=note)
    alike = from_scores(
        np.zeros(questions.candidates[_SET].shape), questions.candidates[_SET] >= 0, questions.documents
    )
    expected = chance(alike)
    contest.enter("chance", [Entry({metric: expected[name] for metric, name in _NAMES.items()})])
    return contest


def _entries(reading: Reading, questions: Questions, rules: Sequence[Rule]) -> Iterator[Entry]:
    for rule in rules:
        for kind in reading.statistics.similarities:
            scores = candidate_scores(
                reading.expected(rule, kind), reading.space(kind), questions.candidates[_SET]
            )
            yield Entry(_values(questions, scores), kind, {}, rule)


def _values(questions: Questions, scores: object) -> dict[str, Values]:
    found = from_scores(scores, questions.candidates[_SET] >= 0, questions.documents)  # type: ignore[arg-type]
    return {metric: found.values(name) for metric, name in _NAMES.items()}
