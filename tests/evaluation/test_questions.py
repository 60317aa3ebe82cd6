"""The questions: contexts, candidates and the choosing part."""

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.questions import build_questions


def test_contexts_precede_the_true_sentence_and_keep_to_the_window(documents: list[list[str]]) -> None:
    q = build_questions(documents, window_size=4, queries=100)
    for index, (d, p) in enumerate(zip(q.documents, q.positions, strict=True)):
        assert q.contexts[index] == documents[d][max(0, p - 4) : p]
        assert q.sentences[q.true[index]] == documents[d][p]
        assert [q.sentences[row] for row in q.context_rows[index]] == q.contexts[index]


def test_questions_are_spread_evenly_over_documents(documents: list[list[str]]) -> None:
    lengths = np.bincount(build_questions(documents, window_size=4, queries=30).documents)
    assert lengths.sum() == 30
    assert lengths.min() >= 2
    assert lengths.max() <= 3


def test_candidates_of_other_documents_are_their_true_sentences(documents: list[list[str]]) -> None:
    q = build_questions(documents, window_size=4, queries=60, other=20)
    owner = {s: number for number, document in enumerate(documents) for s in document}
    for index, row in enumerate(q.candidates["other"]):
        assert row[0] == q.true[index]
        assert len(set(row)) == 20
        assert all(owner[q.sentences[i]] != q.documents[index] for i in row[1:])
        assert set(row[1:]) <= set(q.true)


@pytest.mark.parametrize(("exclude", "out"), [("window", 4), ("last", 1)])
def test_candidates_of_the_same_document_leave_out_the_context(
    documents: list[list[str]], exclude: str, out: int
) -> None:
    q = build_questions(documents, window_size=4, queries=60, exclude=exclude)  # type: ignore[arg-type]
    for index, row in enumerate(q.candidates["same"]):
        d, p = q.documents[index], q.positions[index]
        banned = set(documents[d][max(0, p - out) : p])
        assert {q.sentences[i] for i in row[row >= 0]} == set(documents[d]) - banned


def test_a_wrong_candidate_never_has_the_true_text(documents: list[list[str]]) -> None:
    shared = [["Once.", "It rained.", f"Then {i}.", "The end.", f"Really {i}."] for i in range(8)]
    q = build_questions(shared, window_size=2, queries=100)
    for rows in q.candidates.values():
        assert (rows[:, 1:] != rows[:, :1]).all()


def test_every_fourth_document_chooses_by_default(documents: list[list[str]]) -> None:
    q = build_questions(documents, window_size=4, queries=60)
    np.testing.assert_array_equal(q.choosing, q.documents % 4 == 0)
    marks = [d == 3 for d in range(12)]
    np.testing.assert_array_equal(
        build_questions(documents, window_size=4, queries=60, choosing=marks).choosing, q.documents == 3
    )


def test_seeded_and_small(documents: list[list[str]]) -> None:
    first, second = (build_questions(documents, window_size=4, queries=10, other=5, seed=3) for _ in range(2))
    assert first.sentences == second.sentences
    np.testing.assert_array_equal(first.candidates["other"], second.candidates["other"])
    assert len(first.sentences) < sum(map(len, documents))


def test_refusals(documents: list[list[str]]) -> None:
    with pytest.raises(LangJepaError, match="empty sentence"):
        build_questions([*documents, ["A.", " "]], window_size=4, queries=10)
    with pytest.raises(LangJepaError):
        build_questions(documents[:1], window_size=4, queries=10)
    with pytest.raises(LangJepaError, match="more or longer documents"):
        build_questions(documents[:2], window_size=4, queries=10)
    with pytest.raises(LangJepaError):
        build_questions([["One."], ["Two."]], window_size=4, queries=10)
