"""The task `turns`: its candidate sets, what stands beside a model, and which form of a turn each model gets."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import speakers_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import context_pairs, knn_mean, recency_mean, vector_scores
from lang_jepa.evaluation.baselines.ngrams import ROW
from lang_jepa.evaluation.baselines.words import bm25_scores
from lang_jepa.evaluation.metrics.similarity import Statistics, unit_rows
from lang_jepa.evaluation.tasks import Request, evaluate
from lang_jepa.evaluation.tasks.request import Budget, Conversations
from lang_jepa.evaluation.tasks.turns import BOTH, TITLES, Asked, _with_chances

WORDS = [f"word{number}" for number in range(40)]


def _chat(number: int, generator: np.random.Generator) -> list[str]:
    return [f"{number} {turn} " + " ".join(generator.choice(WORDS, 3)) for turn in range(10)]


@pytest.fixture(scope="module")
def chats() -> Conversations:
    generator = np.random.default_rng(0)
    documents = [_chat(number, generator) for number in range(24)]
    speakers = [[1 + turn % 2 for turn in range(10)] for _ in documents]
    train = [_chat(number, generator) for number in range(100, 130)]
    return Conversations(documents, speakers, [number % 4 == 0 for number in range(24)], train, "24 chats")


class Oracle:
    """Encodes a text by a hash; knows what comes next, if it is told who speaks as it should be."""

    dim = 32

    def __init__(self, chats: Conversations, *, knows_speakers: bool) -> None:
        self.statistics, self.knows_speakers = Statistics.identity(self.dim), knows_speakers
        self.after = {a: b for one in chats.documents for a, b in pairwise(one)}

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        rows = [np.random.default_rng(list(text.encode())).standard_normal(self.dim) for text in sentences]
        return unit_rows(np.array(rows, dtype=np.float32))

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        numbers, texts = zip(*(speakers_of(context) for context in contexts), strict=True)
        assert all(all(some) == self.knows_speakers for some in numbers)
        return self.encode([self.after[context[-1]] for context in texts])


def _asked(chats: Conversations) -> Asked:
    return Asked.of(chats, window_size=4, queries=150, seed=0)


def test_candidates_of_every_set_are_what_they_are_called(chats: Conversations) -> None:
    asked = _asked(chats)
    questions = asked.questions
    owner = {text: (number, turn) for number, one in enumerate(chats.documents) for turn, text in enumerate(one)}
    assert list(questions.candidates) == ["other", "speaker", "same"]
    for kind, rows in questions.candidates.items():
        for row, document, position, following in zip(
            rows, questions.documents, questions.positions, asked.next, strict=True
        ):
            there = [owner[questions.sentences[one]] for one in row if one >= 0]
            assert there[0] == (document, position)
            assert len(there) == len(set(there)) > 1
            assert all((other == document) == (kind == "same") for other, _ in there[1:])
            if kind == "speaker":
                assert {1 + turn % 2 for _, turn in there} == {following}
    assert asked.contexts is not None
    assert asked.contexts[0] == [
        f"{('user', 'assistant')[owner[text][1] % 2]}: {text}" for text in questions.contexts[0]
    ]


def test_replies_are_the_assistants(chats: Conversations) -> None:
    replies = _asked(chats).replies(seed=0)
    assert replies is not None
    (rows,) = replies.questions.candidates.values()
    others = len(replies.questions.true) - np.bincount(replies.questions.documents).max()
    assert rows.shape[1] == min(100, others + 1) == 84
    assert (rows >= 0).all()
    turns = {text: turn for one in chats.documents for turn, text in enumerate(one)}
    assert {turns[replies.questions.sentences[one]] % 2 for one in rows[rows >= 0]} == {1}
    named = Conversations(chats.documents, [[7 + turn % 2 for turn in range(10)] for _ in chats.documents],
                          chats.choosing, chats.train, "named")  # fmt: skip
    others = _asked(named).replies(seed=0)
    assert others is not None
    assert set(others.next.tolist()) == {7, 8}
    silent = Conversations(chats.documents, None, chats.choosing, chats.train, "nobody")
    assert _asked(silent).replies(seed=0) is None
    assert list(_asked(silent).questions.candidates) == ["other", "same"]


@pytest.mark.parametrize("knows", [True, False])
def test_a_model_that_knows_finds_all_and_stands_beside_its_baselines(knows: bool, chats: Conversations) -> None:
    budget = Budget(turn_queries=150, turn_pairs=200)
    model = Oracle(chats, knows_speakers=knows)
    report = evaluate(Request(model, ["turns"], conversations=chats, window_size=4, budget=budget))
    found = {(row.task, row.name): row.value for row in report.rows if row.metric == "recall@1" and row.chosen}
    tasks = dict.fromkeys(row.task for row in report.rows)
    assert list(tasks)[3:] == ["next turn, 1 of 84 replies"]
    for task in tasks:
        assert found[task, "model"] == found[task, "model, raw"] == 1.0
        names = {name for owner, name in found if owner == task}
        wanted = {"ridge on means (model)", "nearest contexts (model)", "BM25, last 8", "TF-IDF, last 8", "chance",
                  "recency mean (model)", "copy-forward (model)"}  # fmt: skip
        assert wanted <= names
        assert all(found[task, name] < 0.9 for name in wanted)
    assert report.sources["turns"].startswith("24 chats")


def test_where_nobody_answers_another_the_report_says_so(chats: Conversations) -> None:
    alone = replace(chats, speakers=[[1] * 10 for _ in chats.documents])
    request = Request(Oracle(chats, knows_speakers=False), ["turns"], conversations=alone, window_size=4)
    report = evaluate(replace(request, budget=Budget(turn_queries=100, turn_pairs=200)))
    assert {row.task for row in report.rows} == set(TITLES.values())
    assert report.sources["turns"].endswith("; no choice among replies: too few places in which another one answers")


def test_bm25_is_the_formula(chats: Conversations) -> None:
    questions = _asked(chats).questions
    train = [text for one in chats.train for text in one]
    ((_, _, scores),) = bm25_scores(questions, train)
    texts = [*train, *questions.sentences]
    words = [re.findall(r"\b\w\w+\b", text) for text in texts]
    having = Counter(word for one in words for word in set(one))
    mean = sum(map(len, words)) / len(words)

    def score(query: list[str], text: str) -> float:
        counts = Counter(re.findall(r"\b\w\w+\b", text))
        size = counts.total()
        return sum(
            math.log(1 + (len(texts) - having[word] + 0.5) / (having[word] + 0.5))
            * counts[word] * 2.2 / (counts[word] + 1.2 * (0.25 + 0.75 * size / mean))
            for word in {w for one in query for w in re.findall(r"\b\w\w+\b", one)}
            if counts[word]
        )  # fmt: skip

    rows = questions.candidates["other"]
    for question in (0, 57):
        for column in (0, 3, 9):
            expected = score(questions.contexts[question], questions.sentences[rows[question, column]])
            assert scores["other"][question, column] == pytest.approx(expected)


def test_nearest_contexts_are_those_of_a_plain_search(chats: Conversations) -> None:
    model, questions = Oracle(chats, knows_speakers=False), _asked(chats).questions
    learnt = context_pairs(chats.train, 4, 120, 0)
    own, space = model.encode(questions.sentences), model.encode(learnt.sentences)
    scores = vector_scores(questions, knn_mean(questions.context_rows, own, learnt, space, 5), own)["same"]
    known = recency_mean(learnt.contexts, space)
    for question in (0, 30):
        asked = recency_mean([questions.context_rows[question]], own)[0]
        best = sorted(range(len(known)), key=lambda row: -float(known[row] @ asked))[:5]
        made = sum(space[learnt.following[row]] for row in best)
        candidate = own[questions.candidates["same"][question, 1]]
        assert scores[question, 1] == pytest.approx(float(made @ candidate / np.linalg.norm(made)), abs=1e-5)


def test_n_grams_stand_beside_a_model_of_lines(chats: Conversations) -> None:
    lines = [[f"step {(row + n) % 12}" for n in range(20)] for row in range(20)]
    marks = [row % 4 == 0 for row in range(20)]
    given = Conversations(lines, None, marks, lines[:4], "lines", files=[0] * 20)
    model = Oracle(given, knows_speakers=False)
    rows = evaluate(Request(model, ["turns"], conversations=given, window_size=4, budget=Budget(turn_pairs=50))).rows
    found = {(row.task, row.name): row.value for row in rows if row.metric == "recall@1" and row.chosen}
    assert all(found[task, name] == 1.0 for name in (ROW, BOTH) for task, _ in found)
    rows = evaluate(Request(Oracle(chats, knows_speakers=False), ["turns"], conversations=chats, window_size=4)).rows
    assert not {ROW, BOTH} & {row.name for row in rows}
    both = _with_chances({"other": np.array([[0.5, 0.4]])}, {"other": np.array([[0.1, 0.9]])})["other"]
    assert both.tolist() == [pytest.approx([5 + math.log(0.1), 4 + math.log(0.9)])]


def test_too_few_conversations_are_refused() -> None:
    few = Conversations([["a", "b", "c"]] * 2, None, [True, False], [["x", "y"]], "two")
    with pytest.raises(LangJepaError, match="need at least four documents"):
        Asked.of(few, window_size=4, queries=10, seed=0)


def test_conversations_of_a_turn_and_its_answer_have_questions_among_others() -> None:
    """Instructions and their answers: nothing else of the same conversation could be an answer."""
    texts = [[f"question {n}", f"answer {n}"] for n in range(12)]
    chats = Conversations(texts, [[1, 2]] * 12, [n % 4 == 0 for n in range(12)], texts, "pairs")
    asked = Asked.of(chats, window_size=4, queries=100, seed=0)
    assert set(asked.questions.candidates) == {"other", "speaker"}
    assert asked.questions.positions.tolist() == [1] * 12
    replies = asked.replies(seed=0)
    assert replies is not None
    rows = evaluate(Request(Oracle(chats, knows_speakers=True), ["turns"], conversations=chats, window_size=4)).rows
    assert {row.value for row in rows if row.name == "model" and row.metric == "recall@1"} == {1.0}
