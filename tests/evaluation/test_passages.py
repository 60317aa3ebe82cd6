"""The task `passages`: which units answer, what surroundings add, and what chance would find."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lang_jepa.data.sources.columns import Asked, Questioned
from lang_jepa.data.sources.conversations import speakers_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.evaluation.tasks.passages import TITLES, ask, passage_rows
from lang_jepa.evaluation.tasks.request import Passages
from lang_jepa.evaluation.tasks.search import chance_of_first

SIZE = 12
ANSWER = 6
"""The unit that answers: it says "yes" in every document, between two units about the subject."""


def _meeting(number: int) -> list[str]:
    texts = [f"chat {number} {unit}" for unit in range(SIZE)]
    texts[ANSWER - 1] = texts[ANSWER + 1] = f"subject {number}"
    texts[ANSWER] = f"yes {number}"
    return texts


@pytest.fixture(scope="module")
def asked() -> Passages:
    texts = [(f"m{number}", _meeting(number)) for number in range(8)]
    spoken = [[f"#{7 + row % 2}: {unit}" for row, unit in enumerate(units)] for _, units in texts]
    one = {f"m{n}": Questioned((Asked(f"what of {n}?", ((ANSWER, ANSWER),)),), None) for n in range(8)}
    return ask("talks/meetings.parquet", texts, spoken, one)


class Subjects:
    """Gives every text a direction of its own, and a question that of its subject."""

    dim = 128

    def __init__(self, asked: Passages) -> None:
        self.statistics, self.asked = Statistics.identity(self.dim), asked
        self.number: dict[str, int] = {}

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        keys = [f"subject {text[8:-1]}" if text.startswith("what of") else text for text in sentences]
        return np.eye(self.dim, dtype=np.float32)[[self.number.setdefault(key, len(self.number)) for key in keys]]


class Foreseeing(Subjects):
    """Also expects an echo of the last unit, but not after the subject has been left."""

    knows_speakers = True

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        numbers, texts = zip(*(speakers_of(context) for context in contexts), strict=True)
        assert all(all(number >= 5 for number in some) for some in numbers)
        assert max(map(len, texts)) == 3
        return self.encode([some[-2 if some[-2:][0].startswith("yes") else -1] for some in texts])


def test_a_unit_is_found_by_what_is_around_it(asked: Passages) -> None:
    """The answer alone has nothing of the question; its neighbours, and what is expected at its position, have."""
    rows = passage_rows({"model": Foreseeing(asked), "other": Subjects(asked)}, asked, window_size=3)
    value = {(row.task, row.name, row.metric): row.value for row in rows}
    for title in TITLES.values():
        assert value[title, "model", "recall@1"] == value[title, "other", "recall@1"] == 0
        tied = (3 + (SIZE if title == TITLES["same"] else 8 * SIZE)) / 2  # with all that are about something else
        assert value[title, "model", "mrr"] == pytest.approx(1 / tied)
        for name in ("model", "other"):  # behind the two units about the subject
            assert value[title, f"{name} + neighbours", "mrr"] == pytest.approx(1 / 3)
        assert value[title, "model + prediction", "recall@1"] == 1
    names = {row.name for row in rows}
    assert "other + prediction" not in names
    assert {"BM25", "BM25 + neighbours", "TF-IDF", "TF-IDF + neighbours", "chance"} <= names
    (n,) = {row.n for row in rows}
    assert n == 6
    about = {row.task: row.note for row in rows if (row.name, row.metric) == ("model + neighbours", "mrr")}
    assert about[TITLES["same"]].startswith("12 units, 6 documents; share 0.")
    assert about[TITLES["all"]].startswith("96 units")


def test_only_units_of_its_own_document_count_in_the_first_table(asked: Passages) -> None:
    """Two units say the subject and tie; that another document says it too matters among all documents alone."""
    units = list(asked.units)
    documents = asked.documents
    for number in range(8):
        units[int(np.flatnonzero(documents == (number + 1) % 8)[0])] = f"subject {number}"
    expected = [rows - 1 for rows in asked.expected]
    found = [
        {row.task: row.value for row in passage_rows({"model": Subjects(asked)}, one) if row.name == "model"
         and row.metric == "mrr"}
        for one in (replace(asked, expected=expected), replace(asked, expected=expected, units=units))
    ]  # fmt: skip
    same, every = TITLES["same"], TITLES["all"]
    assert [one[same] for one in found] == pytest.approx([2 / 3, 2 / 3])
    assert [one[every] for one in found] == pytest.approx([2 / 3, 1 / 2])


def test_spans_become_rows_and_questions_without_an_answer_are_left_out() -> None:
    texts = [(f"m{number}", ["a", "b", "c"]) for number in range(4)]
    numbers = (0, 2, 3)  # message 1 has no text
    every = (Asked("x?", ((1, 2),)), Asked("y?", ((9, 9),)), Asked("z?", ((0, 0), (3, 5))))
    found = ask("m.jsonl", texts, None, {identity: Questioned(every, numbers) for identity, _ in texts})
    assert found.queries == ["x?", "z?"] * 4
    assert [rows.tolist() for rows in found.expected[2:4]] == [[4], [3, 5]]
    assert found.owners.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.source == "8 questions about 4 of 4 documents of m.jsonl (12 units); 4 left out that no unit answers"


def test_what_cannot_be_asked_is_refused() -> None:
    texts = [(f"m{number}", ["a", "b", "c"]) for number in range(4)]
    asked = {"m0": Questioned((Asked("x?", ((0, 0),)),), None)}
    with pytest.raises(LangJepaError, match=r"m.jsonl has questions about 1 document, but at least 4 are needed"):
        ask("m.jsonl", texts, None, asked)
    with pytest.raises(LangJepaError, match=r"m0 of m.jsonl has 2 messages with text .* 3 units"):
        ask("m.jsonl", texts, None, {"m0": Questioned(asked["m0"].questions, (0, 1))})


def test_chance_of_several_right_ones_is_that_of_drawing_without_repetition() -> None:
    found = chance_of_first([4, 20], [2, 3])
    assert found["recall@1"] == pytest.approx([2 / 4, 3 / 20])
    assert found["recall@10"] == pytest.approx([1, 1 - (10 * 9 * 8) / (20 * 19 * 18)])
    assert found["mrr"][0] == pytest.approx(1 / 2 + (1 / 2) * (2 / 3) / 2 + (1 / 2) * (1 / 3) / 3)
