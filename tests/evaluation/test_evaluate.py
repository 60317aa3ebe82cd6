"""The runner and its report."""

import json
from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation import tasks as module
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks import TASKS, Budget, Request, evaluate
from lang_jepa.evaluation.tasks.request import NEEDS, Result, Task


def test_a_report_survives_the_file_and_the_table(tmp_path: Path, hashed: object, documents: list[list[str]]) -> None:
    report = evaluate(Request(hashed, tasks=["retrieval"], documents=documents, window_size=4))  # type: ignore[arg-type]
    report.save(tmp_path / "scores.json")
    read = json.loads((tmp_path / "scores.json").read_text())
    assert read == json.loads(json.dumps(report.to_json()))
    assert len(read["rows"]) == len(report.rows)
    assert read["settings"]["seed"] == 0
    assert read["sources"]["retrieval"] == "12 held-out documents, overlap with training unknown"
    header, *cells = report.table()
    assert all(len(row) == len(header) for row in cells)
    assert len(report.table(everything=True)) == len(report.rows) + 1 > len(cells) + 1
    value = report.value("next sentence, other documents", "validation", "mrr", "model")
    assert any(
        row[:4] == ("next sentence, other documents", "validation", "mrr", "model [raw]") and row[4] == f"{value:.3f}"
        for row in cells
    )
    with pytest.raises(LangJepaError, match="no score"):
        report.value("next sentence, other documents", "validation", "mrr", "nobody")


def test_overlap_with_training_is_said(hashed: object, documents: list[list[str]]) -> None:
    report = evaluate(
        Request(
            hashed,
            tasks=["retrieval"],
            documents=documents[:8],
            train_documents=documents[6:],
            budget=Budget(queries=60),  # type: ignore[arg-type]
        )
    )
    assert report.sources["retrieval"] == "8 held-out documents, 25.0 % of their sentences occur in training"


def test_equal_seeds_give_equal_reports(hashed: object, documents: list[list[str]]) -> None:
    first, second, third = (
        evaluate(Request(hashed, tasks=["retrieval"], documents=documents, seed=seed, budget=Budget(queries=50))).rows  # type: ignore[arg-type]
        for seed in (1, 1, 2)
    )
    assert first == second
    assert first != third


def test_refusals(hashed: object, tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match="unknown task glue: choose from sts"):
        evaluate(Request(hashed, tasks=["sts", "glue"]))  # type: ignore[arg-type]
    with pytest.raises(LangJepaError, match="unknown task"):
        evaluate(Request(hashed, tasks=[]))  # type: ignore[arg-type]
    with pytest.raises(LangJepaError, match="held-out documents"):
        evaluate(Request(hashed, tasks=["retrieval"]))  # type: ignore[arg-type]
    with pytest.raises(LangJepaError, match="cannot be called 'model'"):
        evaluate(Request(hashed, tasks=["sts"], baselines={"model": hashed}))  # type: ignore[arg-type, dict-item]
    with pytest.raises(LangJepaError, match="task data not found"):
        evaluate(Request(hashed, tasks=["sts"], data_dir=tmp_path))  # type: ignore[arg-type]


def test_what_is_done_is_handed_out_after_each_task(hashed: object, shared_data: Path) -> None:
    seen: list[tuple[set[str], list[str]]] = []
    evaluate(
        Request(
            hashed,  # type: ignore[arg-type]
            tasks=["au", "sts"],
            data_dir=shared_data,
            on_task=lambda report: seen.append(
                ({row.metric.split()[0] for row in report.rows}, list(report.settings["unfinished"]))
            ),
        )
    )
    assert seen == [({"alignment", "uniformity"}, ["sts"]), ({"alignment", "uniformity", "Spearman"}, [])]


def test_every_task_names_what_it_lacks(hashed: object) -> None:
    needing = {need for task in TASKS.values() for need in task.needs}
    assert needing == {*NEEDS}
    for name, task in TASKS.items():
        assert name == task.name
        if task.needs:
            with pytest.raises(LangJepaError, match=f"the task {name} needs {NEEDS[task.needs[0]].split(':')[0][:20]}"):
                evaluate(Request(hashed, [name]))  # type: ignore[arg-type]


def test_a_task_is_one_entry_of_the_table(hashed: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(request: Request) -> Result:
        row = Row("length", "test", "letters", "model", 4.0, 3.0, 5.0, request.budget.queries)
        return Result([row], {"own": "nowhere"})

    monkeypatch.setitem(module.TASKS, "own", Task("own", score, needs=("documents",)))
    request = Request(hashed, ["own"], documents=[["a"]], notes={"own": "made up"}, budget=Budget(queries=7))  # type: ignore[arg-type]
    report = evaluate(request)
    assert report.value("length", "test", "letters", "model") == 4.0
    assert (report.rows[0].n, report.sources, report.settings["unfinished"]) == (
        7,
        {"own": "nowhere; made up"},
        [],
    )
