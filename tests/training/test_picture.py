"""The picture of a run appears, whatever little was measured."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lang_jepa.training.metrics import _PANELS, COLUMNS, STEP, draw_run

ROWS = [
    {STEP: 0.0, "val/loss": 1.0, "val/retrieval/recall@1": 0.1},
    {STEP: 1.0, "train/loss": 0.9, "train/learning_rate": 1e-3},
    {STEP: 2.0, "train/loss": 0.5, "train/learning_rate": 1e-4, "val/loss": 0.7},
]


def _picture(rows: list[dict[str, float]], path: Path, title: str = "a run") -> np.ndarray:
    draw_run(rows, path, title=title)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    return np.asarray(imread(path))


def test_panels_show_columns_that_are_logged() -> None:
    assert {column for _, lines in _PANELS for column in lines} <= set(COLUMNS)


def test_curves_are_drawn_and_differ_with_the_metrics(tmp_path: Path) -> None:
    picture = _picture(ROWS, tmp_path / "a.png")
    changed = [*ROWS[:2], {**ROWS[2], "train/loss": 5.0}]
    again, other = _picture(ROWS, tmp_path / "b.png"), _picture(changed, tmp_path / "c.png")
    assert picture.shape[0] > 300
    assert np.array_equal(picture, again)
    assert not np.array_equal(picture, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("rows", [[], [{STEP: 0.0}], [{STEP: 3.0, "train/loss": 1.0}]])
def test_little_or_nothing_to_draw(rows: list[dict[str, float]], tmp_path: Path) -> None:
    assert _picture(rows, tmp_path / "run.png").std() > 0


def test_a_folder_name_is_no_formula(tmp_path: Path) -> None:
    """The title holds a path, which may hold anything."""
    _picture(ROWS, tmp_path / "run.png", title="next_sentence: /data/$x_{/a_b$")
