"""Sentences that do not belong: how unlike what its neighbours let expect a sentence is.

The score of a sentence is minus the cosine with what a rule expects at its place; the figure is the area under the ROC
curve within each document.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lang_jepa.evaluation.baselines.document_rules import BOTH, Places, Reading, Rule, learned
from lang_jepa.evaluation.baselines.document_words import WordSpace, recency_weights, sparse_cosines
from lang_jepa.evaluation.embedder import Encoder
from lang_jepa.evaluation.metrics.segmentation import auc
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.evaluation.tasks.document_contest import Contest, Entry, Values
from lang_jepa.evaluation.tasks.document_data import Made

METRICS = ("AUC",)


def intruder_rows(
    models: Mapping[str, Encoder],
    embeddings: Mapping[str, Floats],
    sentences: list[str],
    made: Made,
    *,
    reach: int,
    task: str,
    split: str,
    seed: int,
) -> Contest:
    """AUC of all scorers on documents with intruders; the examined model first.

    Args:
        models, embeddings: by name; embeddings [S, D] of `sentences`.
        made: of `material.with_intruders`.
        reach: sentences on either side that a predictor is shown at most.
        task, split: in the rows.
        seed: of the bootstrap.
    """
    contest = Contest.over(made, sentences, task=task, metrics=METRICS, split=split, seed=seed)
    places = Places.of(sentences, made.documents, reach=reach)
    for position, (name, model) in enumerate(models.items()):
        own = position == 0
        reading = Reading(model, places, embeddings[name], name)
        rules = reading.rules(BOTH)
        predicting = [rule for rule in rules if learned(rule)]
        if predicting:
            contest.enter(name, _entries(reading, made, predicting), own=own)
        for rule in rules:
            if not learned(rule):
                contest.enter(f"{rule} ({name})", _entries(reading, made, [rule]), own=own)
    contest.enter("TF-IDF, both sides", [_words(sentences, made, places)])
    contest.enter("chance", [Entry({"AUC": np.full(len(made), 0.5)})])
    return contest


def _entries(reading: Reading, made: Made, rules: Sequence[Rule]) -> Iterator[Entry]:
    own = np.concatenate(made.documents)
    for rule in rules:
        for kind in reading.statistics.similarities:
            expected = reading.expected(rule, kind)
            scores = -np.einsum("qd,qd->q", expected, reading.space(kind)[own], dtype=np.float64)
            yield Entry({"AUC": _aucs(scores, made)}, kind, {}, rule)


def _aucs(scores: Values, made: Made) -> Values:
    """AUC in every document; its first sentence, of which the past says nothing, is left out."""
    ends = np.cumsum([len(rows) for rows in made.documents])[:-1]
    values = []
    for one, rows, places in zip(np.split(scores, ends), made.documents, made.truth, strict=True):
        positive = np.zeros(len(rows), dtype=bool)
        positive[places] = True
        values.append(auc(one[1:], positive[1:]))
    return np.array(values)


def _words(sentences: list[str], made: Made, places: Places) -> Entry:
    """TF-IDF cosine with the recency-weighted sums of the neighbours on both sides."""
    space = WordSpace(sentences)
    sides = ([rows[::-1] for rows in places.before], places.after)
    near = sum(space.sums(rows, recency_weights) for rows in sides)
    own = space.table[np.concatenate(made.documents)]
    return Entry({"AUC": _aucs(-sparse_cosines(near, own), made)})
