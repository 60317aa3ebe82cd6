"""Values per question: they give the scores they were kept for, and stay out of the JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from lang_jepa.evaluation.table import LEAD, Report
from lang_jepa.evaluation.tasks import Budget, Request, evaluate

BUDGET = Budget(queries=60, stories=12, train_stories=20, paraphrases=60, probe_sentences=200)


def _check(report: Report, expected: int) -> None:
    """Every headline score of the model follows from its values, and no other row keeps any."""
    kept = [row for row in report.rows if row.detail is not None]
    assert len(kept) == expected
    for row in report.rows:
        is_headline = row.name == "model" and row.chosen and not row.metric.endswith(LEAD)
        is_geometry = "lower is better" in row.metric
        assert (row.detail is not None) == (is_headline and not is_geometry)
    for row in kept:
        detail = row.detail
        assert detail is not None
        assert len(detail.values) == len(detail.clusters) == row.n
        if detail.labels is None:
            assert detail.values.mean() == pytest.approx(row.value)
        else:
            assert spearmanr(detail.values, detail.labels).statistic == pytest.approx(row.value)


def test_stories(hashed: Any) -> None:
    report = evaluate(
        Request(hashed, tasks=["stories"], budget=BUDGET, splits=("heldout",), baselines={"twin": hashed})
    )
    _check(report, expected=4 + 3 + 3)  # next sentence with its event, same story, paraphrase


def test_documents(hashed: Any, documents: list[list[str]]) -> None:
    report = evaluate(Request(hashed, tasks=["retrieval"], documents=documents, budget=BUDGET))
    _check(report, expected=3 + 3)
    clusters = {len(np.unique(row.detail.clusters)) for row in report.rows if row.detail is not None}
    assert clusters == {9}  # of twelve documents every fourth only chooses


def test_public_tasks(hashed: Any, shared_data: Path) -> None:
    report = evaluate(Request(hashed, tasks=["sts", "au", "probe"], data_dir=shared_data, budget=BUDGET))
    _check(report, expected=2 + 2)


def test_equal_questions_have_equal_names(hashed: Any, documents: list[list[str]]) -> None:
    def items(model: Any, texts: list[list[str]], **options: Any) -> list[str]:
        report = evaluate(Request(model, tasks=["retrieval"], documents=texts, budget=BUDGET, **options))
        return [row.detail.items for row in report.rows if row.detail is not None]

    plain = items(hashed, documents)
    assert plain == items(type(hashed)(16), documents)
    assert not set(plain) & set(items(hashed, documents[:-1]))
    assert not set(plain) & set(items(hashed, documents, seed=1))


def test_the_file_holds_them_and_the_json_does_not(hashed: Any, documents: list[list[str]], tmp_path: Path) -> None:
    report = evaluate(Request(hashed, tasks=["retrieval"], documents=documents, budget=BUDGET))
    report.save_details(tmp_path / "values.npz")
    report.save(tmp_path / "scores.json")
    held = np.load(tmp_path / "values.npz", allow_pickle=False)
    row = next(row for row in report.rows if row.detail is not None and row.metric == "mrr")
    key = f"{row.task}|{row.split}|mrr"
    assert row.detail is not None
    assert np.array_equal(held[f"{key}|values"], row.detail.values)
    assert np.array_equal(held[f"{key}|clusters"], row.detail.clusters)
    assert str(held[f"{key}|items"]) == row.detail.items
    assert f"{key}|labels" not in held
    assert "detail" not in json.loads((tmp_path / "scores.json").read_text())["rows"][0]
