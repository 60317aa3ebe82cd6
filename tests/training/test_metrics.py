"""metrics.csv: strict names, whole lines, no row twice."""

import csv
from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.training.metrics import COLUMNS, STEP, TIMES, MetricsFile, read_metrics, series

KEPT_NAMES = [
    "train/loss",
    "train/learning_rate",
    "train/momentum",
    "train/step",
    "stats/cosine_similarity",
    "stats/target_features_norm",
    "stats/predicted_features_norm",
    "val/semantic/avg_similarity",
    "val/semantic/hit_rate",
    "val/embeddings/norm",
    "val/embeddings/diversity",
    "val/embeddings/target_std_mean",
    "val/embeddings/target_eff_rank",
    "val/embeddings/target_off_diag_cov_l1",
    "epoch/loss",
    "epoch/time",
]


def _rows(path: Path, *steps: int, **options: int) -> MetricsFile:
    file = MetricsFile(path, **options)
    for step in steps:
        file.write({STEP: step, "train/loss": step / 7})
    return file


def test_names_that_people_already_plot_are_there() -> None:
    assert set(KEPT_NAMES) <= set(COLUMNS)
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert set(TIMES) <= set(COLUMNS)


def test_values_come_back_exactly_and_blanks_stay_out(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    rows = [{STEP: 1.0, "train/loss": 1 / 3}, {STEP: 2.0, "val/loss": 1e-17, "val/count": 0.0}]
    for row in rows:
        file.write(row)
    assert read_metrics(tmp_path / "metrics.csv") == rows


def test_the_file_is_plain_csv(tmp_path: Path) -> None:
    _rows(tmp_path / "metrics.csv", 1, 2)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert tuple(table[0]) == COLUMNS
    assert [row[0] for row in table[1:]] == ["1", "2"]


def test_an_unknown_column_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    file = _rows(tmp_path / "metrics.csv", 1)
    before = (tmp_path / "metrics.csv").read_bytes()
    with pytest.raises(ValueError, match="train/los"):
        file.write({STEP: 2, "train/los": 1.0})
    assert (tmp_path / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_half_written_last_line_is_ignored(cut: int, tmp_path: Path) -> None:
    """Wherever a kill cuts the last line, the rows before it are whole."""
    path = tmp_path / "metrics.csv"
    _rows(path, 1, 2)
    path.write_bytes(path.read_bytes()[:-cut])
    kept = read_metrics(path)
    assert kept[0] == {STEP: 1.0, "train/loss": 1 / 7}
    assert kept[1:] in ([], [{STEP: 2.0, "train/loss": 2 / 7}])


def test_resuming_drops_later_rows_and_half_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    _rows(path, 1, 2, 3, 4, 5)
    with path.open("a") as file:
        file.write("6,0,0.1")
    _rows(path, 4, 5, resume_step=3)
    whole = tmp_path / "whole.csv"
    _rows(whole, 1, 2, 3, 4, 5)
    assert read_metrics(path) == read_metrics(whole)


def test_a_new_file_forgets_the_old_one(tmp_path: Path) -> None:
    _rows(tmp_path / "metrics.csv", 1, 2, 3)
    _rows(tmp_path / "metrics.csv", 1)
    assert [row[STEP] for row in read_metrics(tmp_path / "metrics.csv")] == [1.0]


@pytest.mark.parametrize(
    "content",
    [
        "train/step,train/loss\n1,a word\n",
        "train/step,train/loss\n1,2,3\n",
        "name,age\n1,2\n",
        "train/step,train/loss\n,0.5\n",
        "\x00\x01\n\x02\n",
        b"\xff\xfe\x00\n\x80\n",
    ],
)
def test_something_else_is_named(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LangJepaError, match=r"metrics\.csv is damaged"):
        read_metrics(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"no metrics at .*metrics\.csv"):
        read_metrics(tmp_path / "metrics.csv")


def test_series_skips_rows_without_the_column() -> None:
    rows = [{STEP: 0.0, "val/loss": 3.0}, {STEP: 1.0, "train/loss": 9.0}, {STEP: 2.0, "val/loss": 1.0}]
    assert series(rows, "val/loss") == ([0.0, 2.0], [3.0, 1.0])
    assert series(rows, "epoch/loss") == ([], [])
