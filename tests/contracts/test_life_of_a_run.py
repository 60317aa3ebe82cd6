"""A run that is ended from outside, seen from all sides: what others may do meanwhile, how it ends, how it goes on."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from systems import Inputs, System, rewrite

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import read_json, write_json
from lang_jepa.training.checkpoint import load_checkpoint
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Silent
from tiny import StopAt, assert_same_checkpoint, environment, rows_of
from warm import Popen

STEPS = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of its own process that was ended by a signal.

    Attributes:
        folder: the run directory, which was moved afterwards.
        first: where it was before.
        process: its id.
        refused: the message to others who tried to train there.
        names: files of the folder before and after they tried.
    """

    folder: Path
    first: Path
    process: int
    status: int
    out: str
    err: str
    refused: dict[str, str]
    names: tuple[list[str], list[str]]


@pytest.fixture(scope="session")
def whole(system: System, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody ended."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    system.begin(system.make(folder, (f"{system.steps}={STEPS}",), inputs), None, inputs)
    return folder


@pytest.fixture(scope="session")
def ended(system: System, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Stopped for a moment after its first checkpoint, so that others can try; then ended, and its folder moved."""
    first = tmp_path_factory.mktemp("ended") / "[exp] :smile:1"
    settings = system.make(first, (f"{system.steps}={STEPS}",), inputs)
    child = Popen(
        system.command(settings, inputs),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(first / system.last, child)
        child.send_signal(signal.SIGSTOP)
        before = sorted(path.name for path in first.parent.iterdir())
        tries: dict[str, Callable[[], Any]] = {
            "start": lambda: system.begin(settings, None, inputs),
            "resume": lambda: system.begin(system.resume(first), None, inputs),
        }
        refused = {what: _refusal(attempt) for what, attempt in tries.items()}
        after = sorted(path.name for path in first.parent.iterdir())
        child.send_signal(system.ended_by)
        child.send_signal(signal.SIGCONT)
        out, err = child.communicate(timeout=300)
    finally:
        child.kill()
    moved = first.with_name("moved")
    first.rename(moved)
    return Ended(moved, first, child.pid, child.returncode, out, err, refused, (before, after))


def _wait_for(path: Path, child: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, f"no {path.name} after five minutes"
        time.sleep(0.002)


def _contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Of every file, and when it was written."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def _refusal(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except LangJepaError as error:
        return str(error)
    return "it was not refused"


class Heard(Silent):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    warning = message


def test_nobody_else_trains_in_the_folder_of_a_live_run(system: System, ended: Ended) -> None:
    for what, said in ended.refused.items():
        assert f"process {ended.process} is training in {ended.first}" in said, what
        assert system.log_dir in said
    assert ended.names[0] == ended.names[1], "nothing was moved"


def test_it_says_how_it_ended(system: System, ended: Ended) -> None:
    """By its exit status, and, where it could, on standard error; what is printed is not wrapped, nor is a path changed."""
    at = load_checkpoint(ended.folder / system.last)["step"]
    assert 0 < at < STEPS
    if system.ended_by == signal.SIGKILL:
        assert (ended.status, ended.err) == (-signal.SIGKILL, "")
    else:
        assert ended.status == 128 + system.ended_by
        assert read_json(ended.folder / "summary.json", what="summary")["interrupted"] is True
        assert ended.err == f"Stopped at step {at} of {STEPS}; it is saved: resume with --resume\n"
    assert not (ended.folder / "model").exists()


def test_a_log_has_a_line_every_step_that_is_logged(ended: Ended) -> None:
    lines = [line for line in ended.out.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == [f"{n}/{STEPS}" for n in range(1, len(lines) + 1)]
    for word in ("loss ", "targets/s", "rate ", " left"):
        assert all(word in line for line in lines), word


def test_it_goes_on_bit_for_bit_where_it_was_moved(
    system: System, ended: Ended, whole: Path, inputs: Inputs, tmp_path: Path
) -> None:
    """And without what the killed process was writing."""
    folder = tmp_path / "again"
    shutil.copytree(ended.folder, folder)
    litter = [folder / f".{name}.0123abcd.tmp" for name in (system.last, "metrics.csv", "model")]
    for path in litter[:2]:
        path.write_bytes(b"half of it")
    litter[2].mkdir()
    result = system.begin(system.resume(folder), None, inputs)
    assert (result.step, result.interrupted, result.exit_status) == (STEPS, False, 0)
    assert result.folder == folder
    assert not any(path.exists() for path in litter)
    for name in (system.last, system.best):
        assert_same_checkpoint(whole / name, folder / name)
    assert rows_of(whole) == rows_of(folder)
    for name in ("examples.txt", "samples.txt"):
        assert _text(whole / name) == _text(folder / name), name
    assert not ended.first.exists(), "nothing went to where it was before"


def test_a_finished_run_is_left_as_it_is(system: System, finished: Path, inputs: Inputs, tmp_path: Path) -> None:
    """And that is said. One that was ended before it was summed up is not finished."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = _contents(folder)
    heard = Heard()
    result = system.begin(system.resume(folder), heard, inputs)
    assert (result.step, result.interrupted, result.exit_status, result.folder) == (6, False, 0, folder)
    assert [f"{folder} is already finished, at step 6 of 6" in said for said in heard.messages] == [True]
    assert _contents(folder) == before
    (folder / "summary.json").unlink()
    system.begin(system.resume(folder), heard, inputs)
    assert not any("already finished" in said for said in heard.messages[1:])
    assert read_json(folder / "summary.json", what="summary")["steps"] == 6


@pytest.mark.parametrize(
    "summary",
    [
        [1],
        {},
        {"interrupted": False},
        {"interrupted": False, "steps": 99, "total": 3, "seconds": 1, "alarms": []},
    ],
)
def test_a_summary_that_is_none_is_not_believed(
    system: System, finished: Path, inputs: Inputs, tmp_path: Path, summary: object
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    write_json(folder / "summary.json", summary)
    heard = Heard()
    result = system.begin(system.resume(folder), heard, inputs)
    assert (result.step, result.interrupted) == (6, False)
    assert not any("already finished" in said for said in heard.messages)
    assert read_json(folder / "summary.json", what="summary")["steps"] == 6


def test_a_finished_run_whose_model_is_damaged_makes_it_again(
    system: System, finished: Path, inputs: Inputs, tmp_path: Path
) -> None:
    if system.name == "decoder":
        pytest.skip("its model is its encoder's, which it cannot make")
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    weights = max((folder / "model").glob("*.safetensors"), key=lambda path: path.stat().st_size)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    system.begin(system.resume(folder), None, inputs)
    assert weights.read_bytes() == whole


def test_other_settings_are_refused_before_anything_is_prepared(
    system: System, finished: Path, inputs: Inputs, tmp_path: Path
) -> None:
    """The documents, which are not there, are not even looked for."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    before = _contents(folder)
    settings = system.resume(folder)
    changes: dict[str, dict[str, Any]] = {}
    for setting, value in ((system.lr, 0.5), ("data.train_file", "/not/there")):
        section, _, name = setting.partition(".")
        if hasattr(settings, section):
            changes.setdefault(section, {})[name] = value
    parts = {section: getattr(settings, section).model_copy(update=own) for section, own in changes.items()}
    with pytest.raises(LangJepaError, match=rf"not continue unchanged:\n(.*\n)?  {system.lr}: checkpoint"):
        system.begin(settings.model_copy(update=parts), None, inputs)
    assert _contents(folder) == before


def _text(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def test_what_was_counted_so_far_goes_on(system: System, inputs: Inputs, tmp_path: Path) -> None:
    """Seconds in training, in checkpoints and rows; the best validation, which none was better than; the warnings."""
    folder, warned = tmp_path / "run", [[3, ["a sign"]]]
    system.begin(system.make(folder, (), inputs), StopAt(5), inputs)

    def change(state: dict[str, Any]) -> None:
        state["seconds"] = 1000.0
        state["best"] = [
            3,
            9.0 if state["system"] == "encoder" else -9.0,
        ]  # out of reach: of a share, of nats, of bits
        if "alarms" in state:
            state["alarms"] = warned

    rewrite(folder / system.last, change)
    best = load_checkpoint(folder / system.last)["best"]
    system.begin(system.resume(folder), None, inputs)
    state = load_checkpoint(folder / system.last)
    assert 1000 < state["seconds"] < 2000
    assert state.get("alarms", warned) == warned
    assert state["best"] == best
    assert load_checkpoint(folder / system.best)["step"] == 3
    times = [row["train/seconds"] for row in read_metrics(folder / "metrics.csv") if "train/seconds" in row]
    assert times[0] == 0
    assert times[-1] > 1000


def test_it_goes_on_in_another_folder_and_takes_along_what_was_measured(
    system: System, finished: Path, inputs: Inputs, tmp_path: Path
) -> None:
    """Unless it is refused: then a run that is there stays as it was."""
    first, second = tmp_path / "first", Path(shutil.copytree(finished, tmp_path / "second"))
    system.begin(system.make(first, (), inputs), StopAt(5), inputs)
    there = ("meta.load_checkpoint=true", f"meta.checkpoint_path={first / system.last}")
    before = _bytes(second)
    with pytest.raises(LangJepaError, match=f"{system.lr}: checkpoint"):
        system.begin(system.make(second, (*there, f"{system.lr}=0.5"), inputs), None, inputs)
    assert _bytes(second) == before
    shutil.rmtree(second)
    system.begin(system.make(second, there, inputs), None, inputs)
    for name in (system.last, system.best):
        assert_same_checkpoint(finished / name, second / name)
    assert rows_of(finished) == rows_of(second)
    for name in ("examples.txt", "samples.txt"):
        assert _text(finished / name) == _text(second / name), name


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_that_was_killed_before_it_wrote_its_model_goes_on_to_that(
    system: System, finished: Path, inputs: Inputs, tmp_path: Path
) -> None:
    """With the metrics of its last validation, though it makes none."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(folder / "model", ignore_errors=True)  # a decoder's is that of its encoder
    (folder / "summary.json").unlink()
    result = system.begin(system.resume(folder), None, inputs)
    assert (result.step, result.interrupted, result.exit_status) == (6, False, 0)
    before, after = (
        {path.relative_to(run): path.read_bytes() for path in (run / "model").rglob("*.safetensors")}
        for run in (finished, folder)
    )
    assert before == after
    summaries = [read_json(run / "summary.json", what="summary") for run in (finished, folder)]
    for summary in summaries:
        del summary["seconds"]
    assert summaries[0] == summaries[1]
    if (finished / "model" / "gpt.json").is_file():
        cards = [read_json(run / "model" / "gpt.json", what="card") for run in (finished, folder)]
        assert cards[0]["scores"] == cards[1]["scores"] != {}


def test_before_the_first_checkpoint_it_begins_again_and_says_so(
    system: System, finished: Path, inputs: Inputs, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.yaml").write_bytes((finished / "settings.yaml").read_bytes())
    (folder / "metrics.csv").write_text("train/step\n3\n")
    heard = Heard()
    system.begin(system.resume(folder), heard, inputs)
    assert [f"no checkpoint in {folder} to resume from: training starts at step 0" in t for t in heard.messages].count(
        True
    ) == 1
    assert_same_checkpoint(finished / system.last, folder / system.last)
    assert rows_of(finished) == rows_of(folder)


def test_a_lock_follows_no_link_and_changes_no_file(system: System, inputs: Inputs, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(precious)
    with pytest.raises(LangJepaError, match=r"\.lock is a link"):
        system.begin(system.make(tmp_path / "run", (), inputs), None, inputs)
    assert precious.read_text() == "mine"
    assert os.listdir(tmp_path / "run") == [".lock"]
