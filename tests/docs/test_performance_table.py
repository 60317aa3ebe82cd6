"""The table of speeds: what counts as worse than its record, what is read from a benchmark, and what a page keeps."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAME = "SIGReg, forward and backward: speed against cos and sin at each knot"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with a page, a record and a benchmark of its own, whose metric is in a file."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("table")
    (tmp_path / "sigreg.py").write_text(
        f"from pathlib import Path\nprint('metric: {NAME} =', Path(__file__).with_name('value').read_text())"
    )
    (tmp_path / "page.md").write_text(f"# Title\n\nBefore.\n\n{module.BEGIN}\n\nold\n\n{module.END}\n\nAfter.\n")
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(module, "RECORD", tmp_path / "record.json")
    monkeypatch.setattr(module, "processor", lambda: "a processor")
    return module


def measure(table: ModuleType, monkeypatch: pytest.MonkeyPatch, value: str, *options: str) -> int:
    (table.HERE / "value").write_text(value)
    monkeypatch.setattr(sys, "argv", ["table.py", "--only", "sigreg.py", *options])
    return int(table.main())


def recorded(table: ModuleType) -> float:
    return float(json.loads(table.RECORD.read_text())["a processor"]["figures"][NAME])


def test_a_metric_that_falls_by_more_than_a_tenth_fails_and_leaves_the_record(
    table: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measure(table, monkeypatch, "4.0") == 0
    assert measure(table, monkeypatch, "3.61") == 0
    assert recorded(table) == 4.0, "small losses would add up"
    page = table.PAGE.read_text()
    assert "| 3.61 | 4.00 | - |" in page
    assert page.startswith("# Title\n\nBefore.\n\n")
    assert page.endswith("\n\nAfter.\n")
    assert measure(table, monkeypatch, "3.5") == 1
    assert (recorded(table), table.PAGE.read_text()) == (4.0, page)
    assert measure(table, monkeypatch, "3.5", "--accept") == 0
    assert recorded(table) == 3.5


def test_less_is_better_where_it_is_said(table: ModuleType) -> None:
    memory = table.Metric("memory", goal=0.6, lower=True)
    assert memory.reached(0.6)
    assert not memory.reached(0.61)
    assert memory.fell(0.67, 0.6)
    assert not memory.fell(0.3, 0.6)


def test_a_benchmark_that_prints_another_metric_is_refused(table: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    (table.HERE / "sigreg.py").write_text("print('metric: something else = 1.0')")
    with pytest.raises(SystemExit, match="prints other metrics"):
        measure(table, monkeypatch, "1.0")
    assert not table.RECORD.exists()
