"""The task `turns`: find the next turn of held-out conversations, beside baselines without a trained predictor.

There are four candidate sets: turns of other conversations; those of them by the same speaker; the rest of the same
conversation; and, for replies only, 1 of 100 replies (Henderson et al. 2019, arXiv 1904.06472), or of fewer if there
are not as many.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import FIRST_NAME
from lang_jepa.evaluation.baselines.copying import (
    Pairs,
    ScoresBySet,
    context_pairs,
    knn_mean,
    vector_scores,
)
from lang_jepa.evaluation.baselines.ngrams import ROW, UnitNGram
from lang_jepa.evaluation.baselines.words import bm25_scores
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.similarity import Similarity, prepare
from lang_jepa.evaluation.questions import Questions, build_questions
from lang_jepa.evaluation.scoreboard import Candidate, Choice
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.request import Conversations, Documents, Request, Result, Task, as_said
from lang_jepa.evaluation.tasks.retrieval import NextSentence

TITLES = {
    "other": "next turn, other conversations",
    "speaker": "next turn, same speaker",
    "same": "next turn, same conversation",
}
OF_LINES = {"other": "next line, other pieces", "same": "next line, same piece"}
"""Titles for a model of lines, whose files are cut into pieces."""
OTHERS, OF_REPLIES = 256, 100
"""Most candidates of a question, the true turn included."""
NEIGHBOURS = 10
"""Contexts whose next turns the nearest-neighbour baseline averages."""
TEMPERATURE = 0.1
"""Temperature of the model's cosines when n-grams are added to them: the usual one of training."""
BOTH = f"model + {ROW}"

_METRIC, _TASKS = "mrr", (TITLES["same"], OF_LINES["same"])
_RULES = {"copy-forward (model)": "last sentence", "recency mean (model)": "recency mean"}
"""Baselines of the task in the space of the model, and the equivalent rules of the tools."""


@dataclass(frozen=True)
class Asked:
    """Questions about conversations, with their speakers.

    Attributes:
        questions: the questions, on texts without speakers.
        contexts: for each question the turns before the true one, like "user: Good morning" (None without speakers).
        last, next: int64 [Q], speaker numbers of the last turn of the context and of the true turn.
    """

    questions: Questions
    contexts: list[list[str]] | None
    last: Rows
    next: Rows

    @classmethod
    def of(cls, asked: Conversations, *, window_size: int, queries: int, seed: int) -> "Asked":
        """Build questions with the candidate sets of `TITLES`, as far as speakers are known.

        Raises:
            LangJepaError: from `build_questions`.
        """
        questions = questions_of(asked, window_size=window_size, queries=queries, seed=seed)
        pairs = list(zip(questions.documents.tolist(), questions.positions.tolist(), strict=True))
        if asked.speakers is None:
            nobody = np.zeros(len(pairs), dtype=np.int64)
            return cls(questions, None, nobody, nobody)
        said = as_said(asked.documents, asked.speakers)
        contexts = [said[document][max(0, p - window_size) : p] for document, p in pairs]
        who = [(asked.speakers[document][p - 1], asked.speakers[document][p]) for document, p in pairs]
        last, following = np.array(who, dtype=np.int64).T
        drawn = _by_speaker(questions, following, OTHERS, seed)
        candidates = {"other": questions.candidates["other"], "speaker": drawn, **questions.candidates}
        return cls(replace(questions, candidates=candidates), contexts, last, following)

    def replies(self, *, seed: int) -> "Asked | None":
        """Return the questions in which the speaker changes, each with equally many candidate replies, at most 100.

        With the roles user and assistant, only the assistant's turns are replies. None if there are too few questions
        or one has no wrong reply.
        """
        if self.contexts is None:
            return None
        chosen = (self.last != self.next) & (self.next > 0)
        if (self.next == 2).any():
            chosen &= self.next == 2
        rows = np.flatnonzero(chosen)
        questions = self.questions
        documents = questions.documents[rows]
        marks = questions.choosing[rows]
        if len(np.unique(documents[~marks])) < 2 or not marks.any():
            return None
        some = replace(
            questions,
            contexts=[questions.contexts[row] for row in rows],
            context_rows=[questions.context_rows[row] for row in rows],
            true=questions.true[rows],
            documents=documents,
            positions=questions.positions[rows],
            choosing=marks,
            candidates={},
        )
        drawn = _by_speaker(some, self.next[rows], OF_REPLIES, seed)
        fewest = int((drawn >= 0).sum(1).min())
        if fewest < 2:
            return None
        some = replace(some, candidates={"reply": drawn[:, :fewest]})
        return Asked(some, [self.contexts[row] for row in rows], self.last[rows], self.next[rows])


def questions_of(asked: Conversations, *, window_size: int, queries: int, seed: int) -> Questions:
    """Build questions about conversations; no candidates are of the same one if all are just a turn and its answer."""
    same = 64 if any(len(turns) > 2 for turns in asked.documents) else 0
    return build_questions(
        asked.documents, window_size=window_size, queries=queries, same=same, choosing=asked.choosing, seed=seed
    )


def _by_speaker(questions: Questions, following: Rows, count: int, seed: int) -> Rows:
    """Return candidates [Q, C]: the true turn, then true turns of other conversations by speakers of the same role.

    All speakers whose names are not roles count as one role.
    """
    roles, generator = np.minimum(following, FIRST_NAME), np.random.default_rng(seed)
    result = np.full((len(following), count), -1, dtype=np.int64)
    result[:, 0] = questions.true
    for row in range(len(following)):
        fits = (roles == roles[row]) & (questions.documents != questions.documents[row])
        pool = np.setdiff1d(questions.true[fits], questions.true[row : row + 1])
        drawn = generator.permutation(pool)[: count - 1]
        result[row, 1 : 1 + len(drawn)] = drawn
    return result


@dataclass(frozen=True)
class _Learnt:
    """What the learnt baselines share: training contexts, the embeddings [n, D] of their sentences by model, and
    n-grams of lines.
    """

    pairs: Pairs
    embeddings: Mapping[str, NDArray[np.float32]]
    sentences: Sequence[str]
    ngrams: UnitNGram | None

    @classmethod
    def of(cls, request: Request, train: Documents, *, lines: bool) -> "_Learnt":
        pairs = context_pairs(train, request.window_size, request.budget.turn_pairs, request.seed)
        made = {name: encode(model, pairs.sentences, name) for name, model in request.models.items()}
        ngrams = UnitNGram(train) if lines else None
        return cls(pairs, made, [sentence for document in train for sentence in document], ngrams)


def _rows(request: Request, asked: Asked, titles: Mapping[str, str], learnt: _Learnt) -> list[Row]:
    """Return the rows of some candidate sets."""
    board = NextSentence(asked.questions, titles, "held out", seed=request.seed, spoken=asked.contexts)
    embeddings = board.add_models(request.models, raw=True)
    for name, model in request.models.items():
        _add_learned(board, name, model, embeddings[name], learnt)
    for name, note, scores in bm25_scores(asked.questions, learnt.sentences):
        board.add(name, [("", "", scores)], note=note)
    if learnt.ngrams is not None:
        chances = learnt.ngrams.scores(asked.questions)
        board.add(ROW, [("", "", chances)], note=f"{len(learnt.ngrams):,} n-grams")
        options = [(kind, "", _with_chances(scores, chances)) for kind, scores in board.predicted]
        board.add(BOTH, options, note=f"cosine / {TEMPERATURE} + log p")
    board.add_words(learnt.sentences)
    board.add_chance()
    return board.rows


def _with_chances(cosines: ScoresBySet, chances: ScoresBySet) -> ScoresBySet:
    """Return log scores of a product of experts: the model's softmax and the n-grams."""
    least = np.finfo(np.float64).tiny  # for entries that are not candidates
    return {name: cosines[name] / TEMPERATURE + np.log(np.maximum(chances[name], least)) for name in cosines}


def _add_learned(
    board: NextSentence, name: str, model: Encoder, embeddings: NDArray[np.float32], learnt: _Learnt
) -> None:
    """Add ridge regression and nearest contexts in a model's space, by the similarity selected for its recency mean."""
    chosen = next(iter(board.boards.values())).chosen[f"recency mean ({name})"].similarity
    kind: Similarity = chosen  # type: ignore[assignment]
    own = prepare(embeddings, model.statistics, kind)
    space = prepare(learnt.embeddings[name], model.statistics, kind)
    board.add_ridge(name, own, learnt.pairs, space, kind)
    nearest = knn_mean(board.questions.context_rows, own, learnt.pairs, space, NEIGHBOURS)
    options = [("", "", vector_scores(board.questions, nearest, own))]
    board.add(f"nearest contexts ({name})", options, note=f"{kind}, mean of what followed {NEIGHBOURS}")


def _score(request: Request) -> Result:
    given = request.conversations
    assert given is not None
    asked = Asked.of(given, window_size=request.window_size, queries=request.budget.turn_queries, seed=request.seed)
    titles = OF_LINES if request.unit == "line" else TITLES
    named = {name: title for name, title in titles.items() if name in asked.questions.candidates}
    learnt = _Learnt.of(request, given.train, lines=given.files is not None)
    rows = _rows(request, asked, named, learnt)
    replies = asked.replies(seed=request.seed)
    if replies is not None:
        count = replies.questions.candidates["reply"].shape[1]
        rows += _rows(request, replies, {"reply": f"next turn, 1 of {count} replies"}, learnt)
    reported = [texts for texts, chooses in zip(given.documents, given.choosing, strict=True) if not chooses]
    source = f"{given.source}{request.overlap(reported)}"
    if replies is None and request.unit != "line":
        source += "; no choice among replies: too few places in which another one answers"
    return Result(rows, {TURNS.name: source})


def _questions(request: Request) -> Questions:
    given = request.conversations
    assert given is not None
    window, queries = request.window_size, request.budget.turn_queries
    return questions_of(given, window_size=window, queries=queries, seed=request.seed)


TURNS = Task("turns", _score, needs=("conversations",), options=("documents",), asks_next=True, enough=_questions)


def choices_of_turns(rows: Iterable[Row]) -> dict[str, Choice]:
    """Choose the rule by which `next` and `surprise` expect a turn: the best at finding the conversation's next turn.

    Args:
        rows: of an evaluation; those computed in this process have details.

    Returns:
        The choice of the tool `next`; empty if the task `turns` is not among the rows.
    """
    asked = [row for row in rows if row.task in _TASKS and row.metric == _METRIC and row.chosen]
    own = [row for row in asked if row.name == "model" and row.detail is not None]
    others = [Candidate(_RULES[row.name], row.similarity, {}, row.value) for row in asked if row.name in _RULES]
    if not own or not others:
        return {}
    (row,) = own
    assert row.detail is not None
    way = Candidate("prediction", row.similarity, {}, row.value)
    documents, baseline = len(np.unique(row.detail.clusters)), max(others, key=lambda one: one.merit)
    return {"next": Choice(f"{row.task}, MRR", False, documents, way, baseline)}
