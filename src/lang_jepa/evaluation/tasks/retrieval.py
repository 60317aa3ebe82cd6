"""The task `retrieval`: find the next sentence of held-out documents, beside baselines without a predictor.

`NextSentence` scores such questions, also those about the built-in stories, with one scoreboard per candidate set.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import counted
from lang_jepa.evaluation.baselines.copying import (
    Pairs,
    Scores,
    ScoresBySet,
    context_pairs,
    copy_forward,
    means_ridge,
    recency_mean,
    vector_scores,
)
from lang_jepa.evaluation.baselines.words import tfidf_scores
from lang_jepa.evaluation.embedder import Embedder, Encoder, as_read, encode, predict
from lang_jepa.evaluation.metrics.retrieval import TIE, Retrieval, chance, from_scores
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, prepare
from lang_jepa.evaluation.questions import Questions, build_questions
from lang_jepa.evaluation.scoreboard import Option, Scoreboard, Values, interleaved
from lang_jepa.evaluation.table import RAW, Row
from lang_jepa.evaluation.tasks.request import Documents, Request, Result, Task

TITLES = {"other": "next sentence, other documents", "same": "next sentence, same document"}
METRICS = ("recall@1", "recall@5", "mrr")


class NextSentence:
    """Next-sentence questions and the scores of all scorers on them.

    Args:
        questions: the questions that every scorer answers.
        titles: for each candidate set, the task's name in the rows.
        split: the split's name in the rows.
        events: for stories, the event type of each row of `questions.sentences`, int [S]; the share of top candidates
            with the true sentence's event type is then scored too, on the candidate set `other`.
        spoken: the contexts like "user: Good morning", for models that read speakers (None: no speakers are known).
        seed: seed of the bootstrap.
    """

    def __init__(
        self,
        questions: Questions,
        titles: Mapping[str, str],
        split: str,
        *,
        events: NDArray[np.int64] | None = None,
        spoken: Sequence[Sequence[str]] | None = None,
        seed: int = 0,
    ) -> None:
        self.questions, self.events, self.spoken = questions, events, spoken
        self.predicted: list[tuple[Similarity, ScoresBySet]] = []  # of the evaluated model
        mask = ~questions.choosing
        names, documents = ([questions.sentences[row] for row in questions.true[mask]], questions.documents[mask])
        size = counted(len(np.unique(documents)), "document")
        self.boards = {}
        for kind, title in titles.items():
            counts = (questions.candidates[kind][mask] >= 0).sum(1)
            self.boards[kind] = Scoreboard(
                title,
                split,
                "mrr",
                questions.documents,
                [names, documents.tolist(), counts.tolist()],
                choosing=questions.choosing,
                leads=METRICS[:1],
                about=f"{counts.mean():.0f} candidates, {size}",
                seed=seed,
            )

    @property
    def rows(self) -> list[Row]:
        """The rows of all candidate sets, scorer by scorer."""
        return list(interleaved(self.boards.values()))

    def similarity(self, name: str) -> dict[str, str]:
        """Return, for each task, the similarity selected for a scorer; empty if it was not scored there."""
        boards = self.boards.values()
        return {board.task: board.chosen[name].similarity if name in board.chosen else "" for board in boards}

    def add(
        self, name: str, options: Iterable[tuple[str, str, ScoresBySet]], *, every: bool = False, note: str = ""
    ) -> None:
        """Record a scorer, given similarity, penalty (either may be empty) and scores for each of its settings."""
        found = list(options)
        for kind, board in self.boards.items():
            choices = (
                Option(self._values(kind, scores[kind]), similarity, {"penalty": penalty} if penalty else {})
                for similarity, penalty, scores in found
            )
            board.add(name, choices, every=every, note=note)

    def add_models(self, models: Mapping[str, Encoder], *, raw: bool = False) -> dict[str, Floats]:
        """Record each model's prediction, then copy-forward and the recency-weighted mean in each model's space.

        Args:
            models: encoders by name, the evaluated one first.
            raw: also record the evaluated model's raw cosine as a row: a selected similarity can hide a collapse.

        Returns:
            The embeddings [S, D] of the questions' sentences, by model.
        """
        questions = self.questions
        embeddings = {name: encode(model, questions.sentences, name) for name, model in models.items()}
        spaces = {
            name: {kind: prepare(embeddings[name], model.statistics, kind) for kind in model.statistics.similarities}
            for name, model in models.items()
        }
        for position, (name, model) in enumerate(models.items()):
            if isinstance(model, Embedder):
                contexts: Sequence[Sequence[str]] = as_read(model, self.spoken, questions.contexts)
                made, moments = predict(model, contexts, name), model.statistics
                predicted = [
                    (kind, "", vector_scores(questions, prepare(made, moments, kind, side="predictions"), space))
                    for kind, space in spaces[name].items()
                ]
                self.add(name, predicted, every=position == 0)
                if position == 0:
                    self.predicted = [(kind, scores) for kind, _, scores in predicted]
                if raw and position == 0:
                    self.add(name + RAW, [one for one in predicted if one[0] == "raw"])
        for name in models:
            for label, rule in (("copy-forward", copy_forward), ("recency mean", recency_mean)):
                options = (
                    (kind, "", vector_scores(questions, rule(questions.context_rows, space), space))
                    for kind, space in spaces[name].items()
                )
                self.add(f"{label} ({name})", options)
        return embeddings

    def add_ridge(self, name: str, embeddings: Floats, learnt: Pairs, space: Floats, kind: Similarity) -> None:
        """Record ridge regression in a model's space; see `means_ridge`."""
        questions = self.questions
        path = means_ridge(questions.context_rows, embeddings, learnt, space)
        options = (("", penalty, vector_scores(questions, made, embeddings)) for penalty, made in path)
        self.add(f"ridge on means ({name})", options, note=f"{kind}, {len(learnt.contexts):,} training pairs")

    def add_words(self, train: Sequence[str] | None, spans: tuple[int, ...] = (1, 3, 8)) -> None:
        """Record TF-IDF on the last sentences of the context; see `tfidf_scores`."""
        for name, note, scores in tfidf_scores(self.questions, train, spans):
            self.add(name, [("", "", scores)], note=note)

    def add_chance(self) -> None:
        """Record the expected scores of a random order, which are analytic and have no interval."""
        for kind, board in self.boards.items():
            alike = np.zeros(self.questions.candidates[kind].shape)
            board.add_analytic("chance", chance(self._ranks(kind, alike)) | self._right_events(kind, alike))

    def _ranks(self, kind: str, scores: Scores) -> Retrieval:
        return from_scores(scores, self.questions.candidates[kind] >= 0, self.questions.documents)

    def _values(self, kind: str, scores: Scores) -> dict[str, Values]:
        ranks = self._ranks(kind, scores)
        return {metric: ranks.values(metric) for metric in METRICS} | self._right_events(kind, scores)

    def _right_events(self, kind: str, scores: Scores) -> dict[str, Values]:
        """Return, per question, the share of its top candidates (several if they tie) with the true event type."""
        if self.events is None or kind != "other":
            return {}
        rows, events = self.questions.candidates[kind], self.events
        valid = rows >= 0
        right = (events[rows] == events[self.questions.true][:, None]) & valid
        table = np.where(valid, scores, -np.inf)
        top = (table >= table.max(1, keepdims=True) - TIE) & valid
        return {"right event": (top & right).sum(1) / top.sum(1)}


def corpus_rows(
    models: Mapping[str, Encoder],
    documents: Documents,
    *,
    window_size: int,
    queries: int = 1024,
    train_documents: Documents | None = None,
    train_pairs: int = 4000,
    seed: int = 0,
) -> tuple[list[Row], dict[str, str]]:
    """Score next-sentence retrieval on held-out documents: 256 candidates of other documents, 64 of the same one.

    Args:
        models: encoders by name, the evaluated one first.
        documents: held-out documents, each a list of sentences. Every fourth is only used to select the similarity.
        window_size: most sentences of context.
        queries: most questions, spread evenly over documents.
        train_documents: training documents for TF-IDF weights and ridge regression (None: no ridge regression).
        train_pairs: most context-target pairs from which the ridge regression learns.
        seed: seed of every draw.

    Returns:
        Rows, and the evaluated model's similarity per task.
    """
    questions = build_questions(documents, window_size=window_size, queries=queries, seed=seed)
    asked = NextSentence(questions, TITLES, "validation", seed=seed)
    embeddings = asked.add_models(models)
    name, model = next(iter(models.items()))
    train = None
    if train_documents is not None:
        # In the similarity that was selected for the recency-weighted mean.
        kind: Similarity = asked.boards["other"].chosen[f"recency mean ({name})"].similarity  # type: ignore[assignment]
        learnt = context_pairs(train_documents, window_size, train_pairs, seed)
        space = prepare(encode(model, learnt.sentences, name), model.statistics, kind)
        asked.add_ridge(name, prepare(embeddings[name], model.statistics, kind), learnt, space, kind)
        train = [sentence for document in train_documents for sentence in document]
    asked.add_words(train)
    asked.add_chance()
    return asked.rows, asked.similarity(name)


def _score(request: Request) -> Result:
    documents = request.documents
    assert documents is not None
    rows, similarity = corpus_rows(
        request.models,
        documents,
        window_size=request.window_size,
        queries=request.budget.queries,
        train_documents=request.train_documents,
        train_pairs=request.budget.ridge_pairs,
        seed=request.seed,
    )
    source = f"{len(documents):,} held-out documents{request.overlap(documents)}"
    return Result(rows, {RETRIEVAL.name: source}, similarity)


RETRIEVAL = Task("retrieval", _score, needs=("documents",), asks_next=True)
