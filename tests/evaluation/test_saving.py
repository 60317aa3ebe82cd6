"""Scores on disk: another task joins those that are there, other weights replace them."""

import json
from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.table import NotSaved, Report, Row, Saver, read_report


def _row(task: str, value: float, split: str = "test") -> Row:
    return Row(task, split, "Spearman", "model", value, value - 0.1, value + 0.1, 10)


def _report(*rows: Row, **settings: int) -> Report:
    tasks = [row.task for row in rows]
    return Report(list(rows), dict.fromkeys(tasks, "raw"), dict.fromkeys(tasks, "files"), {**settings})


def _values(path: Path) -> dict[tuple[str, str], float]:
    return {(row.task, row.split): row.value for row in read_report(path).rows}


def test_a_report_survives_the_disk(tmp_path: Path) -> None:
    report = _report(_row("sts", 0.5), _row("sts", 0.4, "dev"), seed=3)
    report.save(tmp_path / "scores.json")
    assert read_report(tmp_path / "scores.json") == report


def test_other_tasks_of_the_same_weights_stay(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    Saver(path, "aa")(_report(_row("sts", 0.5), _row("probe", 0.9), budget=1))
    Saver(path, "aa")(_report(_row("sts", 0.6), _row("document", 0.7), budget=2))
    assert _values(path) == {("sts", "test"): 0.6, ("document", "test"): 0.7, ("probe", "test"): 0.9}
    found = read_report(path)
    assert found.settings == {"budget": 2, "model": "aa", "earlier": [{"budget": 1, "model": "aa"}]}
    assert found.sources == {"sts": "files", "document": "files", "probe": "files"}
    Saver(path, "aa")(_report(_row("retrieval", 0.1), budget=3))
    assert len(_values(path)) == 4
    assert [one["budget"] for one in read_report(path).settings["earlier"]] == [1, 2]


def test_while_it_grows_nothing_is_lost(tmp_path: Path) -> None:
    """An evaluation that is stopped after its first task leaves the earlier rows of its second."""
    path = tmp_path / "scores.json"
    Saver(path, "aa")(_report(_row("sts", 0.5), _row("probe", 0.9)))
    again = Saver(path, "aa")
    again(_report(_row("sts", 0.55)))
    assert _values(path) == {("sts", "test"): 0.55, ("probe", "test"): 0.9}
    again(_report(_row("sts", 0.55), _row("probe", 0.8)))
    assert _values(path) == {("sts", "test"): 0.55, ("probe", "test"): 0.8}
    assert "earlier" not in read_report(path).settings


def test_scores_of_other_weights_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    Saver(path, "aa")(_report(_row("sts", 0.5), _row("probe", 0.9)))
    Saver(path, "bb")(_report(_row("sts", 0.6)))
    assert _values(path) == {("sts", "test"): 0.6}


@pytest.mark.parametrize("text", ["[]", '{"rows": [{"task": "sts"}]}', '{"rows": [], "colour": 1}', "{"])
def test_another_file_is_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(LangJepaError, match=r"scores"):
        Saver(path, "aa")
    assert path.read_text() == text


def test_scores_from_before_weights_were_named_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    _report(_row("probe", 0.9)).save(path)
    Saver(path, "aa")(_report(_row("sts", 0.6)))
    assert json.loads(path.read_text())["settings"]["model"] == "aa"
    assert _values(path) == {("sts", "test"): 0.6}


def test_scores_that_cannot_be_saved_are_not_lost(tmp_path: Path) -> None:
    """The evaluation goes on; at its end the error has them."""
    (tmp_path / "file").touch()
    saver, scores = Saver(tmp_path / "file" / "scores.json", "a"), Report(rows=[])
    saver(scores)
    with pytest.raises(NotSaved, match=r"the scores were not saved: cannot write .*--output FILE") as raised:
        saver.end(scores)
    assert raised.value.report is scores
