"""Depth scores, how boundaries are picked, and TextTiling on a text whose vocabulary changes."""

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.words import cutoff, texttiling_depths
from lang_jepa.evaluation.metrics.segmentation import depths, pick, ranked, standardised


def test_depths_by_hand() -> None:
    scores = np.array([1.0, 3.0, 2.0, 5.0, 0.0])
    # The peak 5 goes down to 2 on its left and to 0 on its right; 3 goes down to 1 and to 2; a slope keeps one side.
    assert depths(scores).tolist() == [0.0, 2 + 1, 0.0, 3 + 5, 0.0]
    assert depths(np.array([1.0, 2.0, 3.0])).tolist() == [0.0, 1.0, 2.0]
    assert depths(np.array([2.0, 2.0, 2.0])).tolist() == [0.0, 0.0, 0.0]


def test_pick_keeps_segments_long_enough() -> None:
    scores = np.array([9, 0, 0, 8, 7, 0, 0, 6, 0, 0, 0], dtype=float)  # gaps 1 .. 11 of twelve sentences
    assert pick(scores, count=1).tolist() == [4]  # gap 1 would leave one sentence
    assert pick(scores, count=2).tolist() == [4, 8]  # gap 5 lies beside gap 4
    assert pick(scores, count=9).tolist() == [4, 8]  # no more fit... of those three apart
    assert pick(scores, threshold=6.5).tolist() == [4]
    assert pick(scores, threshold=99).tolist() == []
    assert pick(scores, count=0).tolist() == []
    assert pick(np.zeros(1), count=5).tolist() == []
    for bad in ({}, {"count": 1, "threshold": 1.0}, {"count": -1}):
        with pytest.raises(LangJepaError, match="either how many"):
            pick(scores, **bad)


@pytest.mark.parametrize("least", [1, 3, 6])
def test_pick_is_greedy_and_every_choice_is_a_beginning_of_one_order(least: int) -> None:
    generator = np.random.default_rng(0)
    for count in (2, 7, 13, 30):
        scores = generator.standard_normal(count - 1)
        order = ranked(scores, least).tolist()
        slow: list[int] = []
        for place in np.argsort(-scores):
            if all(abs(place + 1 - other) >= least for other in (0, count, *slow)):
                slow.append(int(place) + 1)
        assert order == slow
        assert pick(scores, count=3, least=least).tolist() == sorted(order[:3])
        above = [gap for gap in order if scores[gap - 1] >= 0.5]
        assert pick(scores, threshold=0.5, least=least).tolist() == sorted(above)


def test_standardised() -> None:
    assert standardised(np.array([1.0, 3.0])).tolist() == [-1.0, 1.0]
    assert standardised(np.full(4, 0.3)).tolist() == [0.0] * 4


def test_texttiling_finds_where_the_words_change() -> None:
    generator = np.random.default_rng(0)
    first, second = ([f"{letter}{i}" for i in "abcdefgh"] for letter in ("river", "star"))
    words = [first] * 30 + [second] * 30
    sentences = [" ".join(generator.choice(some, 8)) + "." for some in words]
    deep = texttiling_depths(sentences, width=10, block=6)
    assert len(deep) == 59
    assert abs(int(deep.argmax()) + 1 - 30) <= 1
    found = pick(deep, threshold=cutoff(deep))
    assert np.abs(found - 30).min() <= 1


def test_texttiling_of_too_little_text_finds_nothing() -> None:
    assert texttiling_depths(["One river.", "Two rivers.", "And a sea."]).tolist() == [0.0, 0.0]
    assert texttiling_depths(["Alone."]).tolist() == []
    assert pick(np.zeros(5), threshold=cutoff(np.zeros(5))).tolist() == []
