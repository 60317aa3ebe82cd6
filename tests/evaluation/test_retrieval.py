"""Ranks, ties, candidate draws and refusals of next-sentence retrieval."""

import numpy as np
import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.intervals import mean_interval
from lang_jepa.evaluation.metrics.retrieval import (
    candidate_scores,
    chance,
    from_scores,
    next_sentence_retrieval,
    other_candidates,
    pooled_candidates,
    rank_candidates,
)
from lang_jepa.evaluation.metrics.similarity import unit_rows


def unit(rows: int, dims: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((rows, dims)).astype(np.float32))


def test_ranks_equal_scipy_average_ranks() -> None:
    from scipy.stats import rankdata

    scores = np.random.default_rng(0).integers(0, 5, (200, 12)).astype(float)
    ranks = from_scores(scores, np.ones_like(scores, bool), np.arange(200)).ranks
    np.testing.assert_array_equal(ranks, [rankdata(-row)[0] for row in scores])


def test_absent_candidates_count_for_nothing() -> None:
    scores = np.array([[0.5, 0.9, 0.1, 0.7]])
    valid = np.array([[True, False, True, True]])
    found = from_scores(scores, valid, [0])
    assert found.ranks[0] == 2
    assert found.candidates[0] == 3


def test_a_constant_embedder_gets_the_middle_rank_and_no_hit() -> None:
    same = np.ones((40, 3), np.float32) / np.sqrt(3)
    found = next_sentence_retrieval(same, same, np.arange(40) // 4, candidates=9)
    np.testing.assert_array_equal(found.ranks, 5.0)
    assert found.recall(1) == 0.0


def test_a_tie_that_reaches_beyond_place_k_is_no_hit() -> None:
    """Three are tied for places 4 to 6, whose mean is 5: the true one may as well be the sixth."""
    scores = np.array([[0.5, 0.9, 0.8, 0.7, 0.5, 0.5, 0.1], [0.5, 0.9, 0.8, 0.7, 0.5, 0.1, 0.1]])
    found = from_scores(scores, np.ones_like(scores, dtype=bool), [0, 1])
    assert found.ranks.tolist() == [5.0, 4.5]
    assert found.hits(5).tolist() == [0.0, 1.0]
    assert found.hits(4).tolist() == [0.0, 0.0]
    assert found.hits(5)[1] == 1.0


def test_equal_targets_in_other_rows_tie_despite_rounding() -> None:
    targets = np.repeat(unit(6, 33, 1), 2, axis=0)
    # The two copies of a vector belong to different documents.
    found = next_sentence_retrieval(targets, targets, np.arange(12) % 2, candidates=12)
    np.testing.assert_array_equal(found.ranks, 1.5)


def test_perfect_predictions_and_their_report() -> None:
    targets = unit(300, 32, 2)
    found = next_sentence_retrieval(targets, targets, np.arange(300) // 10, candidates=64)
    assert found.metrics() == {
        "recall@1": 1.0,
        "recall@5": 1.0,
        "mrr": 1.0,
        "queries": 300.0,
        "candidates": 64.0,
        "documents": 30.0,
    }
    assert mean_interval(found.values("recall@1"), found.documents, shares=True) == pytest.approx(
        (30 / (30 + 1.96**2), 1.0), abs=1e-5
    )


def test_random_predictions_score_chance_within_error() -> None:
    found = next_sentence_retrieval(unit(2000, 16, 3), unit(2000, 16, 4), np.arange(2000) // 20, candidates=16)
    expected = {name: float(values.mean()) for name, values in chance(found).items()}
    assert expected["recall@1"] == 1 / 16
    assert expected["mrr"] == pytest.approx(sum(1 / k for k in range(1, 17)) / 16)
    assert found.recall(1) == pytest.approx(1 / 16, abs=4 * np.sqrt(1 / 16 / 2000))
    assert found.recall(5) == pytest.approx(5 / 16, abs=4 * np.sqrt(0.22 / 2000))
    assert found.mrr == pytest.approx(expected["mrr"], abs=0.025)


def test_other_candidates_come_from_other_documents_without_repetition() -> None:
    documents = np.random.default_rng(5).integers(0, 7, 120)
    rows = other_candidates(documents, np.arange(120), candidates=50, seed=1)
    assert rows.shape == (120, 50)
    np.testing.assert_array_equal(rows[:, 0], np.arange(120))
    for query, row in enumerate(rows):
        assert len(set(row)) == 50
        assert (documents[row[1:]] != documents[query]).all()
    np.testing.assert_array_equal(rows, other_candidates(documents, np.arange(120), candidates=50, seed=1))
    assert (rows != other_candidates(documents, np.arange(120), candidates=50, seed=2)).any()


def test_draws_are_even_over_the_other_targets() -> None:
    documents = np.arange(40) // 2
    counts = np.zeros(40)
    for seed in range(200):
        row = other_candidates(documents, [0], candidates=11, seed=seed)[0, 1:]
        counts[row] += 1
    assert counts[:2].sum() == 0
    # 2,000 draws over 38 targets: 53 each, standard deviation 6.
    assert counts[2:].min() > 28
    assert counts[2:].max() < 80


def test_scarce_candidates_are_reported_not_repeated() -> None:
    found = next_sentence_retrieval(unit(5, 4, 6), unit(5, 4, 7), [0, 0, 0, 1, 1], candidates=256)
    np.testing.assert_array_equal(found.candidates, [3, 3, 3, 4, 4])


def test_pools_are_kept_whole_or_sampled_and_never_hold_the_true_row_twice() -> None:
    pools = [np.array([0, 1, 2, 2]), np.arange(50)]
    rows = pooled_candidates(pools, [0, 7], candidates=10, seed=0)
    assert set(rows[0][rows[0] >= 0]) == {0, 1, 2}
    assert rows[0, 0] == 0
    assert len(set(rows[1])) == 10
    assert rows[1, 0] == 7


def test_same_document_retrieval_ranks_inside_the_pool() -> None:
    targets = np.eye(4, dtype=np.float32)
    predictions = unit_rows(np.array([[0.6, 0.8, 0, 0], [0, 0.1, 0.9, 0.5]], np.float32))
    rows = pooled_candidates([[1, 3], [3]], [0, 2], candidates=64, seed=0)
    found = rank_candidates(predictions, targets, rows, [0, 1])
    np.testing.assert_array_equal(found.ranks, [2, 1])
    np.testing.assert_array_equal(found.candidates, [3, 2])
    np.testing.assert_array_equal(found.documents, [0, 1])


@pytest.mark.parametrize("count", [70, 700], ids=["by a matrix product", "row by row"])
def test_scores_equal_the_naive_gather_and_tensors_equal_arrays(count: int) -> None:
    predictions, targets = unit(30, 8, 8), unit(count, 8, 9)
    rows = np.random.default_rng(10).integers(0, count, (30, 20))
    rows[3, 7:] = -1
    naive = np.einsum("qd,qcd->qc", predictions, targets[rows])
    there = rows >= 0
    np.testing.assert_allclose(candidate_scores(predictions, targets, rows)[there], naive[there], atol=1e-6)
    as_tensors = rank_candidates(torch.from_numpy(predictions), torch.from_numpy(targets), rows, np.arange(30))
    np.testing.assert_array_equal(as_tensors.ranks, rank_candidates(predictions, targets, rows, np.arange(30)).ranks)


def test_refusals() -> None:
    good = unit(6, 4, 11)
    broken = good.copy()
    broken[2, 1] = np.nan
    with pytest.raises(LangJepaError, match="NaN"):
        next_sentence_retrieval(broken, good, np.arange(6))
    with pytest.raises(LangJepaError, match="other documents"):
        next_sentence_retrieval(good, good, np.zeros(6))
    with pytest.raises(LangJepaError, match="give one pool per query"):
        pooled_candidates([[1]], [0, 2], candidates=5, seed=0)
    with pytest.raises(LangJepaError, match="as wide as"):
        next_sentence_retrieval(good[:, :3], good, np.arange(6))
    with pytest.raises(LangJepaError, match="leave such queries out"):
        pooled_candidates([[3]], [3], candidates=5, seed=0)
    with pytest.raises(LangJepaError, match="at least 2"):
        next_sentence_retrieval(good, good, np.arange(6), candidates=1)
    with pytest.raises(LangJepaError, match="two"):
        mean_interval([1.0], [0], shares=True)
