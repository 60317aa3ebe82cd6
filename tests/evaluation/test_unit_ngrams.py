"""N-grams of units: against probabilities by plain counting, sums of one, unknown units, the cache, repetitions."""

import math

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.ngrams import CACHE, CACHED_SHARE, UnitNGram
from lang_jepa.evaluation.questions import build_questions

TRAIN = [["a", "b", "c", "a", "b", "d", "a", "a", "b", "c"], ["c", "a", "b", "c", "d"]]
KNOWN = ("a", "b", "c", "d")


def _counted(before: list[str], unit: str, order: int) -> float:
    """Witten and Bell's formula by looking through the text for each history again."""
    p = 1 / (len(KNOWN) + 1)
    for size in range(min(order - 1, len(before)) + 1):
        history = before[len(before) - size :]
        after = [one[at + size] for one in TRAIN for at in range(len(one) - size) if one[at : at + size] == history]
        if after:
            p = (after.count(unit) + len({*after}) * p) / (len(after) + len({*after}))
    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("before", ["", "a", "a b", "c a b", "d d d", "a new b", "b c a b c a b"])
def test_probabilities_are_those_of_plain_counting(order: int, before: str) -> None:
    units = [*KNOWN, "new"]
    found = UnitNGram(TRAIN, order=order, cached_share=0).probabilities(before.split(), units)
    assert found == pytest.approx([_counted(before.split(), unit, order) for unit in units])
    assert sum(found) == pytest.approx(1)


def test_the_cache_has_its_share_of_the_last_events() -> None:
    plain, cached = UnitNGram(TRAIN, cached_share=0), UnitNGram(TRAIN)
    before = ["x", *(["new", "a", "b", "b", "a", "c", "d", "d"])]
    assert len(before) == CACHE + 1
    for unit in (*KNOWN, "new", "x", "other"):
        share = before[-CACHE:].count(unit) / CACHE
        wanted = (1 - CACHED_SHARE) * plain.probabilities(before, [unit])[0] + CACHED_SHARE * share
        assert cached.probabilities(before, [unit])[0] == pytest.approx(wanted)
    assert cached.probabilities([], KNOWN) == plain.probabilities([], KNOWN)


def test_surprise_is_that_of_each_unit_after_those_before() -> None:
    model, line = UnitNGram(TRAIN), ["a", "b", "new", "new", "c", "a", "b", "c", "d", "a", "b", "d"]
    whole = model.surprise(line)
    for at, unit in enumerate(line):
        assert whole[at] == pytest.approx(-math.log(model.probabilities(line[:at], [unit])[0]))
    for cut in (1, 5, 11):
        np.testing.assert_allclose(model.surprise(line[cut:], line[:cut]), whole[cut:])
    assert model.surprise([]).shape == (0,)


def test_a_unit_that_is_often_repeated_may_be() -> None:
    model = UnitNGram(TRAIN)
    pairs = sum(len(one) - 1 for one in TRAIN)
    usual = 1.5 / (pairs + 1)  # "a a" is the only repetition
    assert math.exp(-model.repetition("new")) == pytest.approx(usual)
    assert math.exp(-model.repetition("a")) == pytest.approx((1 + usual) / (5 + 1))
    assert math.exp(-model.repetition("b")) == pytest.approx(usual / (4 + 1))


def test_a_run_adds_up_what_its_repetitions_are() -> None:
    model, line = UnitNGram(TRAIN), ["a", "b", "b", "b", "new", "new", "a"]
    b, new = model.repetition("b"), model.repetition("new")
    assert model.runs(line) == pytest.approx([0, 0, b, 2 * b, 0, new, 0])
    for cut in (2, 3, 5):
        first = model.runs(line[:cut])
        assert model.runs(line[cut:], line[cut - 1], first[-1]) == model.runs(line)[cut:]


def test_candidates_are_scored_by_their_probability() -> None:
    generator = np.random.default_rng(0)
    documents = [generator.choice(list("abcdefgh"), 20).tolist() for _ in range(6)]
    questions = build_questions(documents, window_size=8, queries=30, other=5)
    model = UnitNGram(documents[:2])
    for kind, table in model.scores(questions).items():
        rows = questions.candidates[kind]
        for context, row, scores in zip(questions.contexts, rows, table, strict=True):
            texts = [questions.sentences[one] for one in row if one >= 0]
            assert scores[row >= 0].tolist() == model.probabilities(context, texts)
            assert not scores[row < 0].any()


@pytest.mark.parametrize(
    ("train", "more"), [([], {}), ([[]], {}), (TRAIN, {"order": 0}), (TRAIN, {"cached_share": 1.0})]
)
def test_what_cannot_be_counted_is_refused(train: list[list[str]], more: dict[str, int]) -> None:
    with pytest.raises(LangJepaError, match="n-grams"):
        UnitNGram(train, **more)  # type: ignore[arg-type]
