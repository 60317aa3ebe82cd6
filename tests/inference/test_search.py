"""Exact search is a full sort, however the matrix is cut, stored or asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import unit_rows
from lang_jepa.inference import search
from lang_jepa.inference.search import exact_search

Rows = NDArray[np.float32]


def unit(count: int, dim: int, seed: int) -> Rows:
    return unit_rows(np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32))


def full_sort(matrix: Rows, queries: Rows, top_k: int) -> NDArray[np.int64]:
    """Row numbers by product in fp64 and then by number, from a sort of all."""
    products = (queries.astype(np.float64)[:, None] * matrix.astype(np.float64)[None]).sum(-1)
    order = [sorted(range(len(matrix)), key=lambda row, one=one: (-round(one[row], 12), row)) for one in products]
    return np.array(order)[:, :top_k]


@pytest.mark.parametrize("top_k", [1, 7, 90, 200])
def test_equals_a_full_sort(top_k: int) -> None:
    matrix, queries = unit(90, 12, 0), unit(5, 12, 1)
    scores, rows = exact_search(matrix, queries, top_k)
    assert rows.tolist() == full_sort(matrix, queries, top_k).tolist()
    assert scores == pytest.approx(np.take_along_axis(queries @ matrix.T, rows, 1), abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_blocks_mapping_and_company_change_nothing(dtype: type, tmp_path: Path) -> None:
    matrix, queries = unit(120, 24, 2).astype(dtype), unit(260, 24, 3)
    np.save(tmp_path / "matrix.npy", matrix)
    mapped = np.load(tmp_path / "matrix.npy", mmap_mode="r")
    scores, rows = exact_search(matrix, queries, 10)
    for block in (7, 64, 119):
        again = exact_search(mapped, queries, 10, block_rows=block)
        assert np.array_equal(again[0], scores)
        assert np.array_equal(again[1], rows)
    alone = exact_search(matrix, queries[:1], 10)
    assert np.array_equal(alone[0], scores[:1])
    assert np.array_equal(alone[1], rows[:1])


@pytest.mark.parametrize("well", [True, False], ids=["by fp16 products", "by fp32 products"])
def test_one_query_among_rows_nearer_to_each_other_than_fp16_can_tell(
    well: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = unit(1, 384, 7)
    matrix = unit_rows(query + 0.004 * unit(3000, 384, 8)).astype(np.float16)  # cosines within 1e-5, fp16 steps 5e-4
    monkeypatch.setattr(search, "_sums_in_fp32", lambda width: well)
    for block in (20, 8192):
        assert exact_search(matrix, query, 10, block_rows=block)[1].tolist() == full_sort(matrix, query, 10).tolist()


def test_products_that_are_summed_in_fp16_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def summed_in_fp16(rows: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy((rows * vector).numpy().cumsum(1)[:, -1])

    monkeypatch.setattr(torch, "mv", summed_in_fp16)
    assert not any(search._sums_in_fp32.__wrapped__(width) for width in (64, 128, 384, 768))
    monkeypatch.setattr(torch, "mv", lambda rows, vector: (rows.float() @ vector.float()).half())
    assert all(search._sums_in_fp32.__wrapped__(width) for width in (4, 128, 384, 768, 4096))


def test_no_rows_give_no_neighbours() -> None:
    scores, rows = exact_search(np.zeros((0, 4), dtype=np.float16), unit(1, 4, 0), 3)
    assert scores.shape == rows.shape == (1, 0)


@pytest.mark.parametrize("block", [5, 17, 1000])
def test_of_equal_rows_the_first_come_first(block: int) -> None:
    few = unit(4, 384, 4)
    matrix = np.tile(few, (40, 1))  # each row forty times, everywhere
    scores, rows = exact_search(matrix, few[:2], 10, block_rows=block)
    assert rows.tolist() == [[4 * i for i in range(10)], [4 * i + 1 for i in range(10)]]
    assert len(set(scores[0].tolist())) == 1


def test_bad_questions_are_errors() -> None:
    matrix = unit(9, 4, 0)
    with pytest.raises(LangJepaError, match="NaN"):
        exact_search(matrix, np.full((1, 4), np.nan, dtype=np.float32), 1)
    with pytest.raises(LangJepaError, match="5 wide, the searched rows 4"):
        exact_search(matrix, unit(1, 5, 0), 1)
    with pytest.raises(LangJepaError, match="top_k must be at least 1"):
        exact_search(matrix, unit(1, 4, 0), 0)


def test_approximate_search_finds_what_it_says(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    from lang_jepa.inference.search import WANTED_RECALL, ApproximateSearch, build_approximate

    matrix = unit(3000, 16, 5).astype(np.float16)
    found = build_approximate(matrix, tmp_path)
    assert found["recall@10"] >= WANTED_RECALL
    assert 1 < found["probes"] < found["cells"]
    approximate = ApproximateSearch.open(tmp_path, matrix, found["probes"])
    queries = unit(200, 16, 6)
    truth, exact_rows = exact_search(matrix, queries, 10)
    scores, rows = approximate.search(queries, 10)
    same = (rows[:, :, None] == exact_rows[:, None]).any(2).mean()
    assert same > 0.85, "far below what was measured at building"
    best = rows[:, 0] == exact_rows[:, 0]
    assert np.array_equal(scores[best, 0], truth[best, 0]), "scores of what is found are the exact ones"
    approximate.set_probes(found["cells"])
    assert np.array_equal(approximate.search(queries, 10)[1], exact_rows)
