"""What is said of a run that has no model."""

import os
import shlex
from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.files.run_lock import RunLock
from lang_jepa.inference.gpt import load_gpt
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import nearest_run, why_no_model


def _run(folder: Path, *checkpoints: str) -> Path:
    folder.mkdir()
    (folder / "settings.yaml").write_text("recipe: concepts\n", encoding="utf-8")
    for name in checkpoints:
        (folder / name).touch()
    return folder


def test_a_command_can_be_pasted_and_a_checkpoint_is_called_what_it_is(tmp_path: Path) -> None:
    folder = _run(tmp_path / "[a] run", "checkpoint-last.pth")
    assert f"lang-jepa train {shlex.quote(str(folder))} --resume" in why_no_model(folder)
    assert f"last checkpoint so far in its place: {folder / 'checkpoint-last.pth'}" in why_no_model(folder)
    (folder / "checkpoint-best.pth").touch()
    assert f"best checkpoint so far in its place: {folder / 'checkpoint-best.pth'}" in why_no_model(folder)


def test_a_run_at_work_is_not_called_interrupted(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", "checkpoint-last.pth")
    with RunLock(folder):
        assert why_no_model(folder).startswith(f"process {os.getpid()} is training in {folder}")


def test_a_run_that_is_not_there_is_looked_for_beside_it_and_in_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nearest_run(Path("runs/dialgue")) == ""
    (tmp_path / "runs").mkdir()
    _run(tmp_path / "runs" / "dialogue")
    assert nearest_run(Path("runs/dialgue")) == "; did you mean runs/dialogue?"
    assert nearest_run(Path("dialgue")) == "; did you mean runs/dialogue?"
    assert nearest_run(Path("runs/xyz")) == nearest_run(Path("else/xyz")) == "; there are runs/dialogue"
    assert nearest_run(Path("runs/dialogue")) == ""  # it is there
    for load in (ConceptModel.load, load_gpt):
        with pytest.raises(LangJepaError, match=r"did you mean runs/dialogue\?"):
            load(Path("runs/dialgue"))
