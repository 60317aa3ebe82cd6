"""Puts the same questions to a model and its baselines and keeps their scores as rows.

Choices (which similarity, which ridge penalty) are made per candidate set on the choosing questions and reported on
the others. Baselines in a model's space get the same choice, so that none is beaten by a bad setting.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import counted
from lang_jepa.evaluation.baselines.copying import (
    Answers,
    Scores,
    copy_forward,
    recency_mean,
    vector_answers,
)
from lang_jepa.evaluation.embedder import Embedder, Encoder, encode, predict
from lang_jepa.evaluation.metrics.intervals import mean_interval
from lang_jepa.evaluation.metrics.retrieval import TIE, Retrieval, chance, from_scores
from lang_jepa.evaluation.metrics.similarity import SIMILARITIES, Floats, prepare
from lang_jepa.evaluation.questions import Questions
from lang_jepa.evaluation.table import LEAD, Row, detail_of, join, score_row

METRICS = ("recall@1", "recall@5", "mrr")
Label = str
"""A scorer's setting: a similarity, a penalty in words, or nothing."""


class Exam:
    """Collects the rows of one set of questions.

    Args:
        questions: what everybody answers.
        tasks: for each candidate set, the task's name in the rows.
        split: the split's name in the rows.
        events: for stories, the event type of each row of `questions.sentences`, int [S]; then the share of
            top answers with the true sentence's event type is scored too, on the candidate set `other`.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        questions: Questions,
        tasks: Mapping[str, str],
        split: str,
        *,
        events: NDArray[np.int64] | None = None,
        seed: int = 0,
    ) -> None:
        self.questions, self.tasks, self.split, self.events, self.seed = questions, tasks, split, events, seed
        self.rows: list[Row] = []
        self.chosen: dict[tuple[str, str], Label] = {}
        self._lead: dict[str, tuple[str, NDArray[np.float64]]] = {}

    def answer(
        self, name: str, answers: Iterable[tuple[Label, Answers]], *, keep_all: bool = False, note: str = ""
    ) -> None:
        """Record one scorer, given its answers under each of its settings (one empty label where it has none).

        The first scorer recorded is the one examined: every later one gets a row with its lead, paired by question.

        Args:
            name: in the rows.
            answers: (setting, scores); a setting is a similarity or a penalty.
            keep_all: also rows for the settings that were not chosen.
        """
        options = list(answers)
        for kind in self.tasks:
            merits = [self._retrieval(kind, scores[kind], True).mrr for _, scores in options]
            best = int(np.argmax(merits))
            self.chosen[kind, name] = options[best][0]
            for index, (label, scores) in enumerate(options):
                if index == best or keep_all:
                    self._record(kind, name, scores[kind], label, index == best, note)

    def chance(self) -> None:
        """Record what a random order would get; analytic, so without an interval."""
        for kind, task in self.tasks.items():
            alike = np.zeros(self.questions.candidates[kind].shape)
            values = chance(self._retrieval(kind, alike, False))
            if self.events is not None and kind == "other":
                values["right event"] = self._right_events(kind, alike, self.events)
            for metric, value in values.items():
                self.rows.append(
                    score_row((task, self.split, metric), "chance", float(value.mean()), None, len(value))
                )

    def _record(self, kind: str, name: str, scores: Scores, label: Label, chosen: bool, note: str) -> None:
        retrieval = self._retrieval(kind, scores, False)
        values = {metric: retrieval.values(metric) for metric in METRICS}
        if self.events is not None and kind == "other":
            values["right event"] = self._right_events(kind, scores, self.events)
        similarity, setting = (label, "") if label in SIMILARITIES else ("", label)
        documents = counted(len(np.unique(retrieval.documents)), "document")
        where = f"{retrieval.candidates.mean():.0f} candidates, {documents}"
        text = join([where, setting, note])
        examined = chosen and self._lead.get(kind, (name,))[0] == name
        for metric, value in values.items():
            self._row(kind, metric, name, value, retrieval, similarity, chosen, text, examined)
        if kind not in self._lead and chosen:
            self._lead[kind] = (name, values["recall@1"])
        elif chosen:
            lead, best = self._lead[kind]
            metric = f"recall@1: {lead} {LEAD}"
            self._row(kind, metric, name, best - values["recall@1"], retrieval, similarity, True, "paired")

    def _row(
        self,
        kind: str,
        metric: str,
        name: str,
        values: NDArray[np.float64],
        retrieval: Retrieval,
        similarity: str,
        chosen: bool,
        note: str,
        examined: bool = False,
    ) -> None:
        clusters = retrieval.documents
        kept = detail_of(values, clusters=clusters, items=self._items(kind)) if examined else None
        self.rows.append(
            score_row(
                (self.tasks[kind], self.split, metric),
                name,
                float(values.mean()),
                mean_interval(values, clusters, seed=self.seed, shares=not metric.endswith(LEAD)),
                len(values),
                similarity=similarity,
                chosen=chosen,
                note=note,
                detail=kept,
            )
        )

    def _items(self, kind: str) -> list[object]:
        """What tells one set of reported questions from another: their answers and their candidates."""
        mask, questions = ~self.questions.choosing, self.questions
        names = [questions.sentences[row] for row in questions.true[mask]]
        return [
            names,
            questions.documents[mask].tolist(),
            (questions.candidates[kind][mask] >= 0).sum(1).tolist(),
        ]

    def _retrieval(self, kind: str, scores: Scores, choosing: bool) -> Retrieval:
        """Ranks on the choosing questions, or on the reported ones."""
        mask = self.questions.choosing == choosing
        valid = self.questions.candidates[kind][mask] >= 0
        return from_scores(scores[mask], valid, self.questions.documents[mask])

    def _right_events(self, kind: str, scores: Scores, events: NDArray[np.int64]) -> NDArray[np.float64]:
        """Per reported question, the share of its top answers (several when they tie) of the true event type."""
        mask = ~self.questions.choosing
        rows = self.questions.candidates[kind][mask]
        valid = rows >= 0
        right = (events[rows] == events[self.questions.true[mask]][:, None]) & valid
        table = np.where(valid, scores[mask], -np.inf)
        top = (table >= table.max(1, keepdims=True) - TIE) & valid
        share: NDArray[np.float64] = (top & right).sum(1) / top.sum(1)
        return share


def examine_models(exam: Exam, models: Mapping[str, Encoder]) -> dict[str, Floats]:
    """Record each model's prediction, then copy-forward and the recency-weighted mean in each model's space.

    Returns:
        The embeddings [S, D] of the questions' sentences, by model.
    """
    questions = exam.questions
    embeddings = {name: encode(model, questions.sentences, name) for name, model in models.items()}
    for position, (name, model) in enumerate(models.items()):
        if isinstance(model, Embedder):
            predicted = predict(model, questions.contexts, name)
            options = (
                (
                    kind,
                    vector_answers(
                        questions,
                        prepare(predicted, model.statistics, kind, side="predictions"),
                        prepare(embeddings[name], model.statistics, kind),
                    ),
                )
                for kind in model.statistics.similarities
            )
            exam.answer(name, options, keep_all=position == 0)
    for name, model in models.items():
        statistics = model.statistics
        spaces = {kind: prepare(embeddings[name], statistics, kind) for kind in statistics.similarities}
        for label, rule in (("copy-forward", copy_forward), ("recency mean", recency_mean)):
            answers = (
                (kind, vector_answers(questions, rule(questions.context_rows, space), space))
                for kind, space in spaces.items()
            )
            exam.answer(f"{label} ({name})", answers)
    return embeddings
