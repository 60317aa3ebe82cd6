"""A signal in what comes after training: evaluating, exporting, joining. Whatever was half written is gone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from systems import Inputs, System, resumed_by

from lang_jepa.files import atomic as files
from lang_jepa.files.run_lock import LOCK
from lang_jepa.inference.gpt import load_gpt
from lang_jepa.inference.model_folder import load_model
from lang_jepa.training.checkpoint import load_checkpoint
from lang_jepa.training.run_folder import SUMMARY
from tiny import StopAt, environment
from typed import Type
from warm import Popen

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals, str], None]:
    """Have a signal sent once, when a file or folder of a name is forced to the disk, before it gets its name."""

    def arrange(number: signal.Signals, name: str) -> None:
        plain, sent = files.flush, list[Path]()

        def flush(path: Path) -> None:
            plain(path)
            if not sent and any(part.startswith(f".{name}.") for part in path.parts):
                sent.append(path)
                signal.raise_signal(number)

        monkeypatch.setattr(files, "flush", flush)

    return arrange


def _half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name != LOCK]


@SIGNALS
def test_while_the_model_is_written(
    system: System,
    number: signal.Signals,
    inputs: Inputs,
    signalled: Callable[[signal.Signals, str], None],
    tmp_path: Path,
    type_in: Type,
) -> None:
    """Or the decoder joins it. Resumed, the run makes no step more, and ends as it would have."""
    own = Inputs(Path(shutil.copytree(inputs.encoder, tmp_path / "encoder")), inputs.texts)
    folder = tmp_path / "run"
    system.begin(system.make(folder, (), own), StopAt(4), own)
    signalled(number, "model")
    ran = type_in(*resumed_by(system, folder, own))
    assert ran.status == 128 + number
    assert "ended before it was done" in ran.err
    assert load_checkpoint(folder / system.last)["step"] == 6
    assert not (folder / "model").exists()
    assert not _half_written(tmp_path)
    assert load_model(own.encoder / "model")
    ran = type_in(*resumed_by(system, folder, own))
    assert ran.status == 0
    assert "already finished" not in ran.out
    made = own.encoder if system.name == "decoder" else folder
    assert load_gpt(made) if system.name == "gpt" else load_model(made / "model")
    ran = type_in(*resumed_by(system, folder, own))
    assert ran.status == 0
    assert "already finished" in ran.out


def test_the_summary_is_the_last_file(
    system: System, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has one is over: whatever a kill could leave undone is done before."""
    own = Inputs(Path(shutil.copytree(inputs.encoder, tmp_path / "encoder")), inputs.texts)
    plain, written = files.flush, list[Path]()
    monkeypatch.setattr(files, "flush", lambda path: (written.append(path), plain(path)))
    system.begin(system.make(tmp_path / "run", (), own), None, own)
    names = [path.name for path in written if not path.is_dir()]
    assert any(name.startswith(f".{system.last}.") for name in names)
    assert names[-1].startswith(f".{SUMMARY}.")


@SIGNALS
def test_while_it_is_evaluated(
    system: System,
    number: signal.Signals,
    finished: Path,
    signalled: Callable[[signal.Signals, str], None],
    tmp_path: Path,
    type_in: Type,
) -> None:
    """No scores are left half written."""
    if system.name == "decoder" or "stream" in system.name:
        return  # evaluated as part of its encoder; nothing held out that it could be asked
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    signalled(number, "scores.json")
    task = "bits_per_byte" if system.name == "gpt" else "retrieval"
    ran = type_in("evaluate", run, "--tasks", task)
    assert ran.status == 128 + number
    assert "ended before it was done" in ran.err
    assert not (run / "scores.json").exists()
    assert not _half_written(run)


@SIGNALS
def test_while_it_is_exported(
    system: System,
    number: signal.Signals,
    finished: Path,
    signalled: Callable[[signal.Signals, str], None],
    tmp_path: Path,
    type_in: Type,
) -> None:
    """An earlier export stays."""
    if system.name == "decoder":
        return
    options = ("--to", "int8") if system.name == "gpt" else ()
    if system.name != "gpt":
        pytest.importorskip("sentence_transformers")
    words = ("export", finished, tmp_path / "out", *options)
    signalled(number, "out")
    assert type_in(*words).status == 128 + number
    assert not list(tmp_path.iterdir())
    assert type_in(*words).status == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before
    signalled(number, "out")
    assert type_in(*words).status == 128 + number
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_quickstarts_at_once(tmp_path: Path, type_in: Type) -> None:
    folder = tmp_path / "run"
    words = ("quickstart", "-o", f"logging.log_dir={folder}", "-o", f"data.corpus_dir={tmp_path / 'corpora'}")
    first = Popen(
        [sys.executable, "-m", "lang_jepa.cli", *words],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (folder / LOCK).is_file() or not (folder / LOCK).read_text():
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGSTOP)
        ran = type_in(*words)
        assert ran.status == 2
        said = ran.err
    finally:
        first.kill()
        first.wait()
    assert f"process {first.pid} is training in {folder}" in said
