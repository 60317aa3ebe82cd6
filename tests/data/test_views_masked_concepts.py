"""Every sentence from its neighbours: what each question reads, and that none reads its own answer."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plain import PREFIX, SUFFIX, made_up, picked, split_of, unpacked

from lang_jepa.data.views.masked import MaskedConceptsView


def view_of(documents: list[list[list[int]]], *, window: int, passage: int) -> MaskedConceptsView:
    return MaskedConceptsView(
        split_of(documents), window=window, passage=passage, prefix=PREFIX, suffix=SUFFIX, max_length=64
    )


@hypothesis_settings(max_examples=60, deadline=None)
@given(window=st.integers(1, 5), passage=st.integers(3, 9), seed=st.integers(0, 999))
def test_every_question_reads_the_neighbours_of_its_passage(window: int, passage: int, seed: int) -> None:
    documents = made_up(seed)
    view = view_of(documents, window=window, passage=passage)
    asked = []
    for example in range(view.count):
        batch = view.batch(np.array([example]))
        shown = unpacked(batch.contexts.sequences)
        count = len(shown)
        assert batch.contexts.passages.tolist() == [count]
        assert count <= passage
        answers = picked(batch.targets)
        first = int(batch.sentence_ids.min())
        for row, number, answer in zip(
            batch.contexts.windows.tolist(), batch.sentence_ids.tolist(), answers, strict=True
        ):
            place = number - first
            assert shown[place] == answer
            before, after = row[:window], row[window:]
            reach = range(max(0, place - window), place), range(place + 1, min(count, place + window + 1))
            read = [one for one in before if one >= 0], [one for one in after if one >= 0]
            assert read in ((list(reach[0]), []), ([], list(reach[1])), (list(reach[0]), list(reach[1])))
            assert read != ([], [])
            assert place not in row
            # The nearest sentence stands beside the middle.
            assert before[-1] in (-1, place - 1)
            assert after[0] in (-1, place + 1)
            asked.append((number, bool(read[0]), bool(read[1])))
    assert len(set(asked)) == len(asked), "no question twice"
    assert len(asked) == view.targets
    starts = view.starts
    inner = [n for a, b in pairwise(starts) if b - a > 1 for n in range(int(a), int(b))]
    assert {number for number, *_ in asked} == set(inner)


def test_questions_read_the_last_sentences_alone() -> None:
    documents = [[[10 * d + s] for s in range(6)] for d in range(1, 4)]
    view = view_of(documents, window=4, passage=9)
    contexts = view.questions(np.array([0, 6, 12]), np.array([6, 2, 3]))
    shown = unpacked(contexts.sequences)
    texts = [[shown[row][1:-2] for row in rows if row >= 0] for rows in contexts.windows.tolist()]
    assert texts == [[[12], [13], [14], [15]], [[20], [21]], [[30], [31], [32]]]
    assert contexts.windows[:, 4:].max() == -1
    assert contexts.windows[1].tolist()[:2] == [-1, -1]


def test_documents_of_one_sentence_are_left_out() -> None:
    view = view_of([[[1]], [[2], [3]]], window=2, passage=4)
    assert view.count == 1
    assert view.targets == 2
    batch = view.batch(np.array([0]))
    assert sorted(batch.sentence_ids.tolist()) == [1, 2]
