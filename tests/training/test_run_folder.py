"""How a run directory begins, and goes on in another place."""

from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.files.run_lock import RunLock
from lang_jepa.training import engine
from lang_jepa.training.methods.encoder import LAYOUT
from lang_jepa.training.reporter import Silent
from lang_jepa.training.run_folder import RunFolder
from tiny import tiny_settings


def test_a_run_that_moved_an_older_one_away_holds_the_folder_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings, place = tiny_settings(folder), RunFolder(folder, LAYOUT)
    place.start(None, settings, resume=False, reporter=Silent())
    with place.held(None, is_rank_zero=True) as lock:
        place.start(lock, settings, resume=False, reporter=Silent())
        with pytest.raises(LangJepaError, match=f"is training in {folder}"):
            RunLock(folder)
        RunLock(tmp_path / "run-1").close()
    RunLock(folder).close()


def test_what_a_run_takes_along_to_another_folder(tmp_path: Path) -> None:
    names = ["checkpoint-best.pth", "examples.txt", "metrics.csv"]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    for name in (*names, "checkpoint-last.pth"):
        (tmp_path / "one" / name).write_text(name)
    RunFolder(tmp_path / "two", LAYOUT).bring_over(tmp_path / "one", texts="examples.txt")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names
    assert all((tmp_path / "two" / name).read_text() == name for name in names)


def test_a_model_is_named_from_the_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that both can be moved together, and relative paths mean the same from anywhere."""
    monkeypatch.chdir(tmp_path)
    assert engine._from(Path("runs/d"), Path("runs/d/model")) == "model"
    assert engine._from(Path("runs/d"), Path("runs/e/model")) == "../e/model"
    assert engine._from(tmp_path / "runs" / "d", Path("runs/e/model")) == "../e/model"


@pytest.mark.parametrize("name", ["README.txt", "summary.json", "run.png", "settings.yaml", "checkpoint-last.pth"])
def test_what_no_run_wrote_is_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.md").write_text("mine")
    place = RunFolder(tmp_path, LAYOUT)
    with pytest.raises(
        LangJepaError, match=rf"{tmp_path} contains {name}, which does not belong to a run.*logging\.log_dir"
    ):
        place.check_place()
    (tmp_path / name).unlink()
    place.check_place()


def test_a_run_that_was_killed_as_it_began_is_begun_again(tmp_path: Path) -> None:
    settings, place = tiny_settings(tmp_path), RunFolder(tmp_path, LAYOUT)
    place.start(None, settings, resume=False, reporter=Silent())
    place.check_place()
    (tmp_path / "settings.yaml").unlink()
    place.check_place()


def test_the_folder_that_one_stands_in_is_not_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = RunFolder(Path("."), LAYOUT)
    monkeypatch.chdir(tmp_path)
    place.start(None, tiny_settings(tmp_path), resume=False, reporter=Silent())
    with pytest.raises(LangJepaError, match="an older run, which would be moved aside, and it is your current folder"):
        place.check_place()
