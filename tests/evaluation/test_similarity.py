"""Statistics of training embeddings, and the four similarities."""

from pathlib import Path

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Predictable, Statistics, prepare, unit_rows


@pytest.fixture
def cloud() -> np.ndarray:
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((6, 6)) * np.array([3, 2, 1, 1, 0.5, 0.1])[:, None]
    return (generator.standard_normal((4000, 6)) @ mixing + 5).astype(np.float32)


def test_whitening_gives_unit_covariance(cloud: np.ndarray) -> None:
    statistics = Statistics.of(cloud, shrinkage=0.0)
    white = (cloud - statistics.mean) @ statistics.whitening
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(6), atol=2e-3)
    np.testing.assert_allclose(statistics.whitening, statistics.whitening.T, atol=1e-5)
    assert statistics.count == 4000


def test_full_shrinkage_only_rescales(cloud: np.ndarray) -> None:
    whitening = Statistics.of(cloud, shrinkage=1.0).whitening
    np.testing.assert_allclose(whitening, whitening[0, 0] * np.eye(6), atol=1e-6)


def test_few_or_equal_rows_stay_finite() -> None:
    generator = np.random.default_rng(1)
    few = Statistics.of(generator.standard_normal((5, 64)))
    collapsed = Statistics.of(np.ones((30, 8)))
    for statistics in (few, collapsed):
        assert np.isfinite(statistics.whitening).all()
    assert np.isfinite(prepare(np.ones((3, 8)), collapsed, "whitened")).all()


def test_prepare_centres_with_the_training_mean_not_with_its_own_input(cloud: np.ndarray) -> None:
    statistics = Statistics.of(cloud)
    some = cloud[:7]
    expected = (some - cloud.mean(0)) / np.linalg.norm(some - cloud.mean(0), axis=1, keepdims=True)
    np.testing.assert_allclose(prepare(some, statistics, "centred"), expected, atol=1e-4)
    raw = prepare(some, statistics, "raw")
    np.testing.assert_allclose(raw, some / np.linalg.norm(some, axis=1, keepdims=True), atol=1e-6)
    for kind in ("raw", "centred", "whitened"):
        np.testing.assert_allclose(np.linalg.norm(prepare(some, statistics, kind), axis=1), 1, atol=1e-5)


def test_identity_makes_all_similarities_raw(cloud: np.ndarray) -> None:
    statistics = Statistics.identity(6)
    raw = prepare(cloud[:9], statistics, "raw")
    for kind in ("centred", "whitened"):
        np.testing.assert_array_equal(prepare(cloud[:9], statistics, kind), raw)


def test_zero_rows_stay_zero() -> None:
    np.testing.assert_array_equal(unit_rows(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))


def test_save_and_load_bit_for_bit(tmp_path: Path, cloud: np.ndarray) -> None:
    statistics = Statistics.of(cloud)
    statistics.save(tmp_path / "statistics.safetensors")
    loaded = Statistics.load(tmp_path / "statistics.safetensors")
    np.testing.assert_array_equal(loaded.mean, statistics.mean)
    np.testing.assert_array_equal(loaded.whitening, statistics.whitening)
    assert loaded.count == 4000


def test_absent_and_damaged_statistics_are_errors(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match="no score statistics"):
        Statistics.load(tmp_path / "absent.safetensors")
    (tmp_path / "half.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(LangJepaError, match="damaged"):
        Statistics.load(tmp_path / "half.safetensors")


def test_refusals(cloud: np.ndarray) -> None:
    statistics = Statistics.of(cloud)
    with pytest.raises(LangJepaError, match="another model"):
        prepare(np.ones((2, 5)), statistics, "centred")
    with pytest.raises(LangJepaError, match="unknown similarity"):
        prepare(cloud, statistics, "euclidean")  # type: ignore[arg-type]
    broken = cloud[:3].copy()
    broken[1, 2] = np.nan
    with pytest.raises(LangJepaError, match="1 of 3 rows"):
        prepare(broken, statistics, "raw")
    with pytest.raises(LangJepaError, match="shrinkage"):
        Statistics.of(cloud, shrinkage=1.5)


@pytest.fixture
def predictable() -> tuple[np.ndarray, np.ndarray]:
    """Predictions that know the first three of eight directions of what came, through a noise and a mixing."""
    generator = np.random.default_rng(2)
    came = generator.standard_normal((6000, 8)) + 1
    known = np.concatenate([came[:, :3] + generator.standard_normal((6000, 3)), np.ones((6000, 5))], 1)
    return (known @ generator.standard_normal((8, 8))).astype(np.float32), came.astype(np.float32)


def test_concepts_become_the_regression_of_whitened_predictions(
    predictable: tuple[np.ndarray, np.ndarray],
) -> None:
    predictions, came = predictable
    mixed = predictions + np.random.default_rng(3).standard_normal(predictions.shape)
    space = Predictable.of(mixed, came, shrinkage=0.0)
    white = (mixed - space.prediction_mean) @ space.predictions
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(8), atol=2e-2)
    solution, *_ = np.linalg.lstsq(came - came.mean(0), white, rcond=None)
    np.testing.assert_allclose(space.concepts, solution, atol=1e-4)


def test_predictable_ignores_what_no_context_predicts(predictable: tuple[np.ndarray, np.ndarray]) -> None:
    predictions, came = predictable
    statistics = Statistics.of(came, predictable=Predictable.of(predictions, came))
    assert statistics.similarities == ("raw", "centred", "whitened", "predictable")
    generator = np.random.default_rng(4)
    one = (generator.standard_normal((200, 8)) + 1).astype(np.float32)
    rest = generator.standard_normal((200, 5)) + 1
    other = np.concatenate([one[:, :3], rest], 1).astype(np.float32)
    cosines = {
        kind: (prepare(one, statistics, kind) * prepare(other, statistics, kind)).sum(1).mean()
        for kind in ("whitened", "predictable")
    }
    assert cosines["predictable"] > 0.95
    assert cosines["whitened"] < 0.5


def test_predictions_and_concepts_meet_in_one_space(predictable: tuple[np.ndarray, np.ndarray]) -> None:
    predictions, came = predictable
    statistics = Statistics.of(came, predictable=Predictable.of(predictions, came))
    asked = prepare(predictions[:300], statistics, "predictable", side="predictions")
    scores = asked @ prepare(came[:300], statistics, "predictable").T
    rank = (scores > scores.diagonal()[:, None]).sum(1).mean()
    plain = prepare(predictions[:300], statistics, "centred") @ prepare(came[:300], statistics, "centred").T
    assert rank < 75  # of 300, three known directions under as much noise; chance is 150
    assert rank < (plain > plain.diagonal()[:, None]).sum(1).mean()


def test_predictable_needs_a_predictor(cloud: np.ndarray) -> None:
    statistics = Statistics.of(cloud)
    assert "predictable" not in statistics.similarities
    with pytest.raises(LangJepaError, match="predictor"):
        prepare(cloud, statistics, "predictable")
    with pytest.raises(LangJepaError, match="one shape"):
        Predictable.of(cloud[:10], cloud)


def test_predictable_is_saved(predictable: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    statistics = Statistics.of(predictable[1], predictable=Predictable.of(*predictable))
    statistics.save(tmp_path / "statistics.safetensors")
    loaded = Statistics.load(tmp_path / "statistics.safetensors")
    for side, rows in zip(("predictions", "concepts"), predictable, strict=True):
        kept = prepare(rows[:5], loaded, "predictable", side=side)
        np.testing.assert_array_equal(kept, prepare(rows[:5], statistics, "predictable", side=side))
