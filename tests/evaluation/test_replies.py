"""The task `replies`: which turns are replies, who chooses which, and what a chosen one is worth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import speakers_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.replies import nearest, voted, votes
from lang_jepa.evaluation.metrics.similarity import Statistics, unit_rows
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks import Request, evaluate
from lang_jepa.evaluation.tasks.replies import LABEL, TITLE, WORDS, ask
from lang_jepa.evaluation.tasks.request import Budget, Conversations

ACTS = ("greet", "offer", "thank")


def _chats(first: int, count: int) -> tuple[list[list[str]], list[list[str]]]:
    """Conversations in which nothing in the words of a question says which act answers it, and their acts."""
    texts, acts = [], []
    for number in range(first, first + count):
        chosen = np.random.default_rng(number).choice(ACTS, 4).tolist()
        pairs = [(f"ask{number}x{turn}", f"{act} reply{number}x{turn}") for turn, act in enumerate(chosen)]
        texts.append([text for pair in pairs for text in pair])
        acts.append([label for act in chosen for label in ("", act)])
    return texts, acts


@pytest.fixture(scope="module")
def chats() -> Conversations:
    (held, acts), (train, theirs) = _chats(0, 16), _chats(100, 20)
    who = [[1 + turn % 2 for turn in range(8)]]
    choosing = [number % 4 == 0 for number in range(16)]
    return Conversations(held, who * 16, choosing, train, "16 chats", who * 20, acts, theirs)


class Hashed:
    """Encodes a text by a hash."""

    dim = 32

    def __init__(self) -> None:
        self.statistics = Statistics.identity(self.dim)

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        rows = [np.random.default_rng(list(text.encode())).standard_normal(self.dim) for text in sentences]
        return unit_rows(np.array(rows, dtype=np.float32))


class Oracle(Hashed):
    """Also knows which act answers, if it is told who speaks as it should be."""

    def __init__(self, chats: Conversations, *, knows_speakers: bool) -> None:
        super().__init__()
        self.knows_speakers = knows_speakers
        assert chats.labels is not None
        assert chats.train_labels is not None
        pairs = zip([*chats.documents, *chats.train], [*chats.labels, *chats.train_labels], strict=True)
        self.act = {text: act for texts, acts in pairs for text, act in zip(texts, acts[1:], strict=False)}

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        numbers, texts = zip(*(speakers_of(context) for context in contexts), strict=True)
        assert all(all(some) == self.knows_speakers for some in numbers)
        return self.encode([self.act.get(context[-1], "offer") for context in texts])


def test_a_vote_is_the_mean_similarity_weighted_by_how_like_the_places_are() -> None:
    generator = np.random.default_rng(0)
    asked, known, said = (unit_rows(generator.normal(size=(n, 6)).astype(np.float32)) for n in (7, 30, 30))
    rows, likeness = nearest(asked, known, 4)
    won = voted(rows, likeness, said)
    for question in range(7):
        products = [float(asked[question] @ one) for one in known]
        best = sorted(range(30), key=lambda row: -products[row])[:4]
        assert rows[question].tolist() == best
        assert likeness[question] == pytest.approx([products[row] for row in best], abs=1e-6)
        weights = [max(products[row], 1e-6) for row in best]
        wanted = [
            sum(weight * float(said[one] @ said[row]) for weight, row in zip(weights, best, strict=True)) / sum(weights)
            for one in best
        ]
        found = votes(said[best] @ said[best].T, likeness[question])
        assert found == pytest.approx(wanted, abs=1e-5)
        assert won[question] == best[int(np.argmax(wanted))]
    assert nearest(asked, known[:2], 4)[0].shape == (7, 2)


def test_replies_are_the_assistants_or_anothers_or_every_turn(chats: Conversations) -> None:
    asked, bank, who = ask(chats, 3, Budget())
    assert who == "what the assistant answers"
    assert len(asked.replies) == 64
    assert len(bank.replies) == 80
    row = asked.replies.index(chats.documents[1][3])
    assert asked.contexts[row] == chats.documents[1][:3]
    assert asked.spoken is not None
    assert asked.spoken[row][1:] == [f"assistant: {chats.documents[1][1]}", "user: ask1x1"]
    assert (asked.documents[row], asked.labels) == (1, [text.split()[0] for text in asked.replies])

    named = [[7, 7, 8, 8, 7, 7, 8, 8]]
    others, _, who = ask(replace(chats, speakers=named * 16, train_speakers=named * 20, labels=None), 3, Budget())
    assert who == "what another speaker answers"
    assert len(others.replies) == 48
    silent = replace(chats, speakers=None, train_speakers=None, labels=None, train_labels=None)
    every, bank, who = ask(silent, 3, Budget())
    assert (who, every.spoken, bank.labels) == ("every turn but the first", None, None)
    assert len(every.replies) == 16 * 7
    few, bank, _ = ask(silent, 3, Budget(turn_queries=20, turn_pairs=30))
    assert (len(few.replies), len(bank.replies)) == (20, 30)
    assert len({*few.documents.tolist()}) == 16


def test_too_few_conversations_or_labels_are_refused(chats: Conversations) -> None:
    with pytest.raises(LangJepaError, match="needs replies in at least two held-out conversations"):
        ask(
            replace(chats, speakers=[[1, 2] * 4] * 2, documents=chats.documents[:2], choosing=[True, False]),
            3,
            Budget(),
        )
    none = [["" for _ in one] for one in chats.documents]
    with pytest.raises(LangJepaError, match=r"more conversations \(with labels\)"):
        ask(replace(chats, labels=none), 3, Budget())


@pytest.mark.parametrize("knows", [True, False])
def test_a_model_that_knows_what_answers_is_right_and_stands_beside_the_others(
    knows: bool, chats: Conversations
) -> None:
    models = {"untrained": Oracle(chats, knows_speakers=knows), "other": Hashed()}
    request = Request(
        Oracle(chats, knows_speakers=knows), ["replies"], models, conversations=chats, budget=Budget(turn_queries=500)
    )
    report = evaluate(request)
    rows: dict[tuple[str, str], Row] = {(row.metric, row.name): row for row in report.rows}
    by_other = "similarity by other"
    assert {metric for metric, _ in rows if "minus" not in metric} == {LABEL, WORDS, by_other}
    assert {row.task for row in report.rows} == {TITLE}
    assert rows[LABEL, "model"].value == rows[LABEL, "model, one context"].value == 1.0
    assert rows[LABEL, "model"].n == 48
    for name in (
        "nearest contexts (model)",
        "nearest context (other)",
        "nearest contexts (TF-IDF)",
        "nearest context (BM25)",
    ):
        assert 0.1 < rows[LABEL, name].value < 0.65
        assert rows[f"{LABEL}: model minus this", name].low > 0
    assert rows[LABEL, "chance"].value == pytest.approx(1 / 3, abs=0.02)
    assert rows[LABEL, "best of the bank"].value == 1
    assert "which holds 0.0 % of the true ones, 3 labels" in report.sources["replies"]


def test_similarities_are_those_of_the_chosen_replies(chats: Conversations) -> None:
    """Of the most frequent reply and of the bank's best, against a loop; without labels words choose."""
    train = [*chats.train, *[["ask", "offer again"]] * 3]
    speakers = [*(chats.train_speakers or []), *[[1, 2]] * 3]
    given = replace(chats, train=train, train_speakers=speakers, labels=None, train_labels=None)
    other = Hashed()
    report = evaluate(Request(Oracle(chats, knows_speakers=False), ["replies"], {"other": other}, conversations=given))
    value = {(row.metric, row.name): row.value for row in report.rows}
    asked, bank, _ = ask(given, 8, Budget())
    true = [text for text, document in zip(asked.replies, asked.documents, strict=True) if not given.choosing[document]]
    products = other.encode(true) @ other.encode(bank.replies).T
    metric = "similarity by other"
    constant = products[:, bank.replies.index("offer again")].mean()
    assert value[metric, "most frequent reply"] == pytest.approx(constant, abs=1e-5)
    assert value[metric, "best of the bank"] == pytest.approx(products.max(1).mean(), abs=1e-5)
    assert value[metric, "chance"] == pytest.approx(products.mean(), abs=1e-5)
    assert LABEL not in {metric for metric, _ in value}
    assert value[WORDS, "best of the bank"] > value[WORDS, "model"] > value[WORDS, "chance"] > 0
