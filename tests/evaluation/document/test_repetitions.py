"""Planted paraphrases: where they stand, who finds them, and that what chooses is not what is reported."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.words import ngram_overlaps
from lang_jepa.evaluation.metrics.segmentation import average_precision
from lang_jepa.evaluation.metrics.similarity import Floats, Statistics, unit_rows
from lang_jepa.evaluation.scoreboard import Scoreboard
from lang_jepa.evaluation.tasks.document import RULE, repetitions
from lang_jepa.evaluation.tasks.document_data import APART, Sources, with_repetitions
from lang_jepa.evaluation.tasks.public_data import StsPairs
from lang_jepa.evaluation.tasks.request import Grouped

DIM = 16


def noise(text: str) -> Floats:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


class ByMeaning:
    """Reads the part of a sentence before the comma, or (blind) the whole."""

    def __init__(self, *, blind: bool = False) -> None:
        self.dim, self.statistics, self.blind = DIM, Statistics.identity(DIM), blind

    def encode(self, sentences: Sequence[str]) -> Floats:
        return unit_rows(np.stack([noise(text if self.blind else text.split(",")[0]) for text in sentences]))


def pairs(name: str, count: int = 30) -> StsPairs:
    same = [(f"{name} {i}, one way", f"{name} {i}, another", 5.0) for i in range(count)]
    related = [(f"{name} {i} so, one way", f"{name} {i} no, one way", 2.0) for i in range(count)]
    return StsPairs("test", *map(list, zip(*same, *related, strict=True)))


@pytest.fixture(scope="module")
def sources() -> Sources:
    texts = [[f"Document {d} sentence {s}" for s in range(10)] for d in range(24)]
    return Sources.of(Grouped(texts, ["book"] * 24, [d % 3 == 0 for d in range(24)]))


def board(sources: Sources, model: ByMeaning) -> Scoreboard:
    sentences, made = with_repetitions(sources, pairs("Chosen"), pairs("Told"))
    vectors = {"model": model.encode(sentences)}
    return repetitions({"model": model}, vectors, sentences, made, seed=0)


def test_pairs_stand_apart_in_order_and_never_on_both_sides(sources: Sources) -> None:
    sentences, made = with_repetitions(sources, pairs("Chosen"), pairs("Told"))
    assert len(made) == 24
    for rows, truth, chooses in zip(made.documents, made.truth, made.choosing, strict=True):
        texts = [sentences[row] for row in rows]
        (place,) = truth
        first = texts.index(texts[place].replace("another", "one way"))
        assert place - first >= APART, "pairs planted later only push the two further apart"
        assert len(texts) == 14
        assert any("Chosen" in text for text in texts) == bool(chooses)
        assert any("Told" in text for text in texts) != bool(chooses)


def test_who_reads_the_meaning_finds_them_and_its_threshold_is_kept(sources: Sources) -> None:
    found = board(sources, ByMeaning())
    value = {(row.metric, row.name): row.value for row in found.rows}
    assert value["average precision", "model"] == 1
    assert value["found", "model"] == 1
    assert value["false alarms", "model"] == 0
    assert value["average precision", "n-gram overlap"] < 1
    assert value["average precision", "chance"] < 0.6
    choice = found.choice()
    assert choice.predictor is None
    assert (choice.used.rule, choice.describe().count("no predictor")) == (RULE, 1)
    assert 0.5 < choice.used.setting["threshold"] <= 1


def test_who_reads_words_alone_does_not(sources: Sources) -> None:
    value = {row.metric: row.value for row in board(sources, ByMeaning(blind=True)).rows if row.name == "model"}
    assert value["average precision"] < 0.6


def test_pairs_of_one_kind_are_not_enough(sources: Sources) -> None:
    one = StsPairs("dev", ["a b"], ["c d"], [5.0])
    with pytest.raises(LangJepaError, match="pairs of the same meaning and pairs of another"):
        with_repetitions(sources, one, one)


def test_average_precision_by_hand() -> None:
    assert average_precision([3, 2, 1, 0], [True, False, True, False]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([1, 1, 1, 1], [True, False, False, False]) == 0.25, "ties are no help"
    with pytest.raises(LangJepaError, match="at least one positive"):
        average_precision([1.0], [False])


def test_ngram_overlaps_by_hand() -> None:
    found = ngram_overlaps(["The cat sat", "the cat ran", "it"], 2)
    assert found[0, 1] == pytest.approx(1 / 3)
    assert found[2].tolist() == [0, 0, 0]
    assert ngram_overlaps(["it", "so"], 2).tolist() == [[0, 0], [0, 0]]
