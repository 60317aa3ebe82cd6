"""How a run directory begins."""

from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.training.reporter import Silent
from lang_jepa.training.run import LAYOUT
from lang_jepa.training.run_folder import RunFolder
from lang_jepa.training.run_lock import RunLock
from tiny import tiny_settings


def test_a_run_that_moved_an_older_one_away_holds_the_folder_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings, place = tiny_settings(folder), RunFolder(folder, LAYOUT)
    place.start(None, settings, resume=False, listener=Silent())
    with place.held(None, chief=True) as lock:
        place.start(lock, settings, resume=False, listener=Silent())
        with pytest.raises(LangJepaError, match=f"is training in {folder}"):
            RunLock(folder)
        RunLock(tmp_path / "run-1").close()
    RunLock(folder).close()
