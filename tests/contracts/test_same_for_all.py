"""What a run measures, keeps and reports does not depend on what is trained."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from systems import SYSTEMS, Inputs, System

from lang_jepa.cli.progress import DecoderBar, EncoderBar, GPTBar
from lang_jepa.errors import LangJepaError
from lang_jepa.files.run_lock import RunLock
from lang_jepa.training.checkpoint import load_checkpoint
from lang_jepa.training.metrics import STEP, read_metrics
from lang_jepa.training.reporter import Silent
from tiny import tiny_settings

EPOCHS = {
    "encoder": ("data.limit=12", "data.batch_size=8", "optimization.max_steps=null", "optimization.epochs=2"),
    "decoder": ("optimization.max_steps=null", "optimization.epochs=2", "data.batch_size=512"),
    "gpt": ("data.limit=12", "data.batch_tokens=2048", "data.vocab_size=400"),
}
"""What makes epochs short."""
LONGER = {
    "encoder": ("optimization.epochs=4",),
    "decoder": ("optimization.epochs=4",),
    "gpt": ("optimization.max_steps=12",),
}
KEPT = {"decoder": "logging.checkpoint_freq=2"}
TRACKED = {"decoder": "logging.log_to_tensorboard=true"}


def test_held_out_data_is_measured_from_step_0_on_and_the_best_validation_is_kept(
    system: System, finished: Path
) -> None:
    rows = read_metrics(finished / "metrics.csv")
    validations = [row for row in rows if "val/loss" in row]
    assert [row[STEP] for row in validations] == [0, 3, 6]
    step, value = load_checkpoint(finished / system.last)["best"]
    assert load_checkpoint(finished / system.best)["step"] == step > 0
    assert value in next(row for row in validations if row[STEP] == step).values()
    texts = next(finished / name for name in ("examples.txt", "samples.txt") if (finished / name).is_file())
    assert [line for line in texts.read_text().splitlines() if line.startswith("step ")] == [
        "step 0",
        "step 3",
        "step 6",
    ]


class Looking(Silent):
    """Notes at which step the last checkpoint is while each step is reported; -1 where there is none."""

    def __init__(self, last: Path) -> None:
        self.last, self.at = last, list[int]()

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        self.at.append(load_checkpoint(self.last)["step"] if self.last.is_file() else -1)


def test_rows_validations_and_checkpoints_come_when_the_settings_say(
    system: System, inputs: Inputs, tmp_path: Path
) -> None:
    """Rows every second step, validations every third, a checkpoint after every second; and all of them at the end."""
    settings = system.make(tmp_path / "run", (f"{system.log_every}=2", f"{system.steps}=5"), inputs)
    heard = Looking(tmp_path / "run" / system.last)
    system.begin(settings, heard, inputs)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row[STEP] for row in rows if "train/loss" in row] == [2, 4, 5]
    assert [row[STEP] for row in rows if "val/loss" in row] == [0, 3, 5]
    assert heard.at == [-1, -1, 2, 2, 4]
    assert load_checkpoint(heard.last)["step"] == 5


@pytest.mark.parametrize("system", [one for one in SYSTEMS if one.name in EPOCHS], ids=lambda one: one.name)
def test_trackers_and_checkpoints_of_epochs(system: System, inputs: Inputs, tmp_path: Path) -> None:
    """Of every second epoch, at its last step."""
    pytest.importorskip("tensorboard")
    more = (
        TRACKED.get(system.name, "logging.log_to_tensorboard=true"),
        KEPT.get(system.name, "logging.checkpoint_freq=2"),
        f"{'evaluation' if system.name == 'decoder' else 'logging'}.keep_checkpoints=null",
    )
    system.begin(system.make(tmp_path / "run", (*EPOCHS[system.name], *more), inputs), None, inputs)
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "train/epoch" in row]
    kept = {int(re.sub(r"\D", "", path.name)): path for path in (tmp_path / "run").glob("*epoch*")}
    assert kept
    for number, path in kept.items():
        assert number % 2 == 0
        end = max(row[STEP] for row in rows if row["train/epoch"] == number - 1)
        assert load_checkpoint(path)["step"] == end
    assert list((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.parametrize("keep", ["1", "2", "null"])
@pytest.mark.parametrize("system", [one for one in SYSTEMS if one.name in EPOCHS], ids=lambda one: one.name)
def test_checkpoints_of_epochs_do_not_pile_up(system: System, keep: str, inputs: Inputs, tmp_path: Path) -> None:
    """The latest stay, and the one that was resumed from, which a later kill may need again."""
    folder = tmp_path / "run"
    more = ("logging.checkpoint_freq=1", f"logging.keep_checkpoints={keep}")
    settings = system.make(folder, (*EPOCHS[system.name], *LONGER[system.name], *more), inputs)
    system.begin(settings, None, inputs)
    kept = {int(re.sub(r"\D", "", path.name)): path for path in folder.glob("*epoch*")}
    last = max(kept)
    assert last >= 4
    assert sorted(kept) == list(range(1 if keep == "null" else last + 1 - int(keep), last + 1))
    assert (folder / system.last).is_file()
    assert (folder / system.best).is_file()
    if keep != "2":
        return
    begun = kept[last - 1]
    again = system.resume(folder)
    meta = again.meta.model_copy(update={"checkpoint_path": str(begun)})
    for number in range(20, 23):  # of an earlier attempt, say
        shutil.copyfile(begun, begun.with_name(begun.name.replace(str(last - 1), str(number))))
    system.begin(again.model_copy(update={"meta": meta}), None, inputs)
    assert begun.is_file()
    assert kept[last].is_file()
    assert len(list(folder.glob("*epoch*"))) == 3


def test_a_regularizer_is_part_of_the_loss(inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weighted as the schedule says; of a GPT and of a decoder their own tests say the like."""
    weights = (
        "objective.prediction_weight=2",
        "objective.regularizer_weight=0.5",
        "objective.final_regularizer_weight=0.1",
    )
    settings = tiny_settings(tmp_path / "run", "objective.regularizer=sigreg", *weights)
    SYSTEMS[0].begin(settings, EncoderBar(), inputs)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    steps, validations = ([row for row in rows if f"{side}/loss" in row] for side in ("train", "val"))
    shown = [line.split("  ")[1:3] for line in capsys.readouterr().out.splitlines() if "targets/s" in line]
    assert shown == [[f"loss {row['train/loss']:.4f}", f"distance {row['train/distance']:.4f}"] for row in steps]
    weight = [(row["train/loss"] - 2 * row["train/distance"]) / row["train/regularizer"] for row in steps]
    assert weight[0] == pytest.approx(0.5)
    assert weight[-1] == pytest.approx(0.1)
    ends = [(row["val/loss"] - 2 * row["val/distance"]) / row["val/regularizer"] for row in validations]
    assert ends[0] == pytest.approx(0.5)
    assert ends[-1] == pytest.approx(0.1)


def test_a_log_names_paths_as_they_are(
    system: System, inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets are no markup, `:name:` is no picture, and no line is broken, however long."""
    folder = tmp_path / "[bold] [/exp] :dog:1" / ("long name " * 20).strip()
    bar = {"decoder": DecoderBar, "gpt": GPTBar}.get(system.name, EncoderBar)()
    few = (f"{system.steps}=1",)
    system.begin(system.make(folder, few, inputs), bar, inputs)
    system.begin(system.make(folder, few, inputs), bar, inputs)
    lines = capsys.readouterr().out.splitlines()
    assert f"an older run was moved to {folder}-1" in lines
    assert sum(line.startswith("step 1/1  loss ") for line in lines) == 2


def test_a_run_with_a_live_one_inside_is_not_moved(inputs: Inputs, tmp_path: Path) -> None:
    """A decoder in its encoder's folder, say."""
    shutil.copytree(inputs.encoder, tmp_path / "run")
    with (
        RunLock(tmp_path / "run" / "decoder"),
        pytest.raises(LangJepaError, match=r"is at work in .*decoder"),
    ):
        SYSTEMS[0].begin(SYSTEMS[0].make(tmp_path / "run", (), inputs), None, inputs)
    assert (tmp_path / "run" / "model").is_dir()
    assert not (tmp_path / "run-1").exists()
