"""Vectors with their surroundings: against a loop over units, at the ends of documents and of the weight."""

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.context_vectors import mixed, with_neighbours
from lang_jepa.evaluation.metrics.similarity import unit_rows


def test_with_neighbours_is_the_mix_of_each_unit_with_the_mean_around_it() -> None:
    vectors = unit_rows(np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32))
    documents = np.array([0, 0, 0, 0, 0, 0, 1, 2, 2, 7, 7])
    for weight, reach in ((0.3, 2), (0.7, 1), (0.5, 30)):
        found = with_neighbours(vectors, documents, weight, reach)
        for row in range(11):
            around = [
                other
                for other in range(max(0, row - reach), min(11, row + reach + 1))
                if other != row and documents[other] == documents[row]
            ]
            wanted = vectors[row]
            if around:
                wanted = (1 - weight) * vectors[row] + weight * vectors[around].mean(0)
            np.testing.assert_allclose(found[row], wanted / np.linalg.norm(wanted), atol=1e-6)


def test_a_weight_of_nothing_keeps_the_units_and_one_of_all_takes_only_the_others() -> None:
    vectors = unit_rows(np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32))
    np.testing.assert_allclose(with_neighbours(vectors, np.zeros(6, dtype=np.int64), 0.0), vectors, atol=1e-6)
    np.testing.assert_allclose(mixed(vectors, vectors[::-1], 1.0), vectors[::-1], atol=1e-6)
    assert with_neighbours(vectors[:1], np.zeros(1, dtype=np.int64), 0.5).shape == (1, 4)
    assert with_neighbours(vectors[:0], np.zeros(0, dtype=np.int64), 0.5).shape == (0, 4)


def test_what_does_not_fit_is_refused() -> None:
    vectors = np.eye(3, dtype=np.float32)
    numbers = np.zeros(3, dtype=np.int64)
    with pytest.raises(LangJepaError, match="between 0 and 1"):
        with_neighbours(vectors, numbers, 1.5)
    with pytest.raises(LangJepaError, match="one number per unit"):
        with_neighbours(vectors, numbers[:2], 0.5)
    with pytest.raises(LangJepaError, match="reach=0"):
        with_neighbours(vectors, numbers, 0.5, reach=0)
    with pytest.raises(LangJepaError, match="one shape"):
        mixed(vectors, vectors[:2], 0.5)
    with pytest.raises(LangJepaError, match="NaN"):
        mixed(vectors, np.full_like(vectors, np.nan), 0.5)
