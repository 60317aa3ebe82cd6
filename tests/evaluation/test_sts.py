"""STS-B scoring: equality with scipy, choice on dev only, known anchors."""

from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics import geometry
from lang_jepa.evaluation.metrics.similarity import Statistics, prepare, unit_rows
from lang_jepa.evaluation.tasks.public import (
    choose_similarity,
    pair_cosines,
    sts_rows,
    uniformity_with_interval,
)
from lang_jepa.evaluation.tasks.public_data import StsPairs, TaskData, find_stsb


def planted(split: str, count: int = 60, seed: int = 0) -> tuple[StsPairs, dict[str, np.ndarray]]:
    """Pairs whose score is the angle between their vectors, around a large common offset."""
    generator = np.random.default_rng(seed)
    pairs, vectors = StsPairs(split, [], [], []), {}  # type: ignore[arg-type]
    for index in range(count):
        score = 5 * index / (count - 1)
        a = generator.standard_normal(8)
        b = score / 5 * a + (1 - score / 5) * generator.standard_normal(8)
        first, second = f"{split} first number {index}", f"{split} second one {index}"
        pairs.first.append(first)
        pairs.second.append(second)
        pairs.scores.append(score)
        vectors[first], vectors[second] = a, b
    return pairs, vectors


def test_cosines_follow_the_pairs_even_when_sentences_repeat() -> None:
    pairs = StsPairs("dev", ["a", "a", "c"], ["b", "c", "a"], [1, 2, 2])
    vectors = unit_rows(np.array([[1, 0], [0, 1], [1, 1]], np.float32))
    assert pairs.sentences() == ["a", "c", "b"]
    np.testing.assert_allclose(pair_cosines(pairs, vectors), [np.sqrt(0.5), 0, 0], atol=1e-6)


def test_the_similarity_that_undoes_a_nuisance_direction_is_chosen() -> None:
    dev, vectors = planted("dev")
    generator = np.random.default_rng(9)
    # One direction that says nothing about the meaning holds nearly all of the variance.
    noisy = [vectors[s] + 30 * generator.standard_normal() * np.ones(8) for s in dev.sentences()]
    embeddings = unit_rows(np.stack(noisy).astype(np.float32))
    assert choose_similarity(dev, embeddings, Statistics.of(embeddings, shrinkage=0.0)) == "whitened"
    assert choose_similarity(dev, embeddings, Statistics.identity(8)) == "raw"


def test_choosing_on_another_split_is_refused() -> None:
    test, vectors = planted("test")
    embeddings = unit_rows(np.stack([vectors[s] for s in test.sentences()]).astype(np.float32))
    with pytest.raises(LangJepaError, match="chosen on dev"):
        choose_similarity(test, embeddings, Statistics.identity(8))


def test_rows_agree_with_scipy_and_stand_beside_baselines(encoding: type) -> None:
    parts, vectors = {}, {}
    for seed, split in enumerate(("train", "dev", "test")):
        parts[split], more = planted(split, seed=seed)
        vectors |= more
    model = encoding(lambda s: unit_rows(vectors[s][None].astype(np.float32))[0], 8)
    rows, chosen = sts_rows({"model": model}, TaskData(parts, "here"))
    assert chosen == {"model": "raw"}
    test = parts["test"]
    cosines = pair_cosines(test, prepare(model.encode(test.sentences()), model.statistics, "raw"))
    expected = scipy.stats.spearmanr(cosines, test.scores).statistic
    found = {(r.split, r.metric, r.name): r for r in rows if r.chosen}
    row = found["test", "Spearman", "model"]
    assert row.value == pytest.approx(expected, abs=1e-9)
    assert row.low < row.value < row.high
    assert row.n == 60
    for split in ("dev", "test"):
        assert {name for s, m, name in found if (s, m) == (split, "Spearman")} == {
            "model", "TF-IDF, words", "TF-IDF, characters", "chance",
        }  # fmt: skip
    assert not any(split == "train" for split, _, _ in found)


def test_a_collapsed_encoder_scores_zero_and_says_why(encoding: type) -> None:
    parts = {split: planted(split)[0] for split in ("train", "dev", "test")}
    model = encoding(lambda _: np.full(4, 0.5, np.float32), 4)
    rows, _ = sts_rows({"model": model}, TaskData(parts, "here"))
    row = next(r for r in rows if (r.name, r.split, r.metric) == ("model", "test", "Spearman"))
    assert row.value == 0.0
    assert row.low is None
    assert "alike" in row.note


def test_nan_embeddings_are_refused(encoding: type) -> None:
    parts = {split: planted(split)[0] for split in ("train", "dev", "test")}
    model = encoding(lambda _: np.full(4, np.nan, np.float32), 4)
    with pytest.raises(LangJepaError, match="embeddings of model hold NaN"):
        sts_rows({"model": model}, TaskData(parts, "here"))


def test_uniformity_agrees_with_geometry_and_its_interval_holds_it() -> None:
    x = unit_rows(np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32))
    value, (low, high) = uniformity_with_interval(x)
    assert value == pytest.approx(geometry.uniformity(torch.from_numpy(x)), abs=1e-5)
    assert low < value < high
    # Even directions: -4 + log 0F1(D / 2; 4).
    assert value == pytest.approx(float(np.log(scipy.special.hyp0f1(6, 4.0))) - 4, abs=0.03)


def test_tfidf_on_real_pairs_lies_at_its_known_value(shared_data: Path, hashed: object) -> None:
    rows, _ = sts_rows({"model": hashed}, find_stsb(shared_data))  # type: ignore[dict-item]
    values = {(r.name, r.split): r.value for r in rows if r.metric == "Spearman" and r.chosen}
    assert values["TF-IDF, words", "dev"] == pytest.approx(0.756, abs=0.005)
    assert values["TF-IDF, words", "test"] == pytest.approx(0.691, abs=0.005)
    assert values["TF-IDF, characters", "dev"] > values["TF-IDF, words", "dev"]
    # A random direction per sentence knows equal sentences only.
    assert abs(values["model", "test"]) < 0.12
