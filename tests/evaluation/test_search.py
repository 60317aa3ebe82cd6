"""Queries over documents: who is first, what counts as found, and what chance would find."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.evaluation.tasks.search import METRICS, ask, chance_of_first, search_rows

TEXTS = [("a.md:0", ["The cat sat.", "It rained."]), ("b.md:0", ["Taxes rose.", "It rained.", "He paid."])]


def write(folder: Path, *lines: str, name: str = "queries.tsv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_first_expected_sentence_counts(encoding: type, tmp_path: Path) -> None:
    """One query finds its sentence second; a document is found by any of its sentences, a text wherever it stands."""
    queries = write(tmp_path, "feline\tThe  cat sat.", "money\tb.md", "", "wet\tIt rained.", "wet\tHe paid.")
    asked = ask(queries, TEXTS, "texts")
    assert [rows.tolist() for rows in asked.expected] == [[0], [2, 3, 4], [1, 3, 4]]

    places = {
        "feline": [0.6, 0.8],
        "The cat sat.": [0, 1],
        "It rained.": [1, 0],
        "money": [1, 0],
        "wet": [0, 1],
    }
    far = {"Taxes rose.": [0.8, 0.6], "He paid.": [-1, 0]}

    def rule(text: str) -> Floats:
        return np.array((places | far)[text], dtype=np.float32)

    rows = search_rows({"model": encoding(rule, 2)}, asked)
    value = {(row.name, row.metric): row.value for row in rows}
    # feline: Taxes (.96) before the cat (.8). money: "It rained." of b ties with that of a. wet: cat and taxes, then rain.
    assert value["model", "mrr"] == pytest.approx((1 / 2 + 1 / 1.5 + 1 / 3) / 3)
    assert value["model", "recall@1"] == 0
    assert {row.name for row in rows} == {"model", "TF-IDF, words", "TF-IDF, characters", "chance"}


def test_chance_is_the_mean_over_all_orders(tmp_path: Path) -> None:
    asked = ask(write(tmp_path, "x\tb.md:0", "y\tIt rained.", "z\tThe cat sat."), TEXTS, "texts")
    orders = list(itertools.permutations(range(5)))
    first = [1 / (1 + min(order.index(row) for row in rows)) for rows in asked.expected for order in orders]
    expected = chance_of_first([len(asked.sentences)] * 3, [len(rows) for rows in asked.expected])
    found = {metric: values.mean() for metric, values in expected.items()}
    assert found["mrr"] == pytest.approx(np.mean(first))
    assert found["recall@1"] == pytest.approx(np.mean([3, 2, 1]) / 5)
    assert found["recall@10"] == 1
    assert set(found) == set(METRICS)


@pytest.mark.parametrize(
    ("lines", "name", "message"),
    [
        (["one\tThe cat sat.", "two"], "q.tsv", "line 2: expected a query, a tab"),
        (['{"query": "one"}'], "q.jsonl", "line 1: expected a query"),
        (["one\tThe dog sat.", "two\ta.md"], "q.tsv", "line 1: 'The dog sat.' is neither a sentence of texts"),
        (['{"query": "one", "expected": "a.md"}'], "q.jsonl", "holds 1 different query: an"),
    ],
)
def test_what_cannot_be_asked_is_refused(lines: list[str], name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=message):
        ask(write(tmp_path, *lines, name=name), TEXTS, "texts")
