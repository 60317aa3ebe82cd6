"""An advice that is printed is followed as it stands, and it works."""

import math
import re
from pathlib import Path

import pytest
from systems import Inputs, System, resumed_by

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import load_settings
from lang_jepa.training import run_folder
from lang_jepa.training.checkpoint import load_checkpoint
from lang_jepa.training.collapse import monitor_for
from tiny import StopAt, tiny_settings
from typed import Type

OPTION = re.compile(r"--resume (-[od]) ((\S+)=(\S+))")


@pytest.fixture
def nan_at_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of every fourth step is not finite, while the learning rate is not lowered."""
    plain, seen = run_folder.non_finite, set[int]()

    def spoilt(step: int, loss: float, norm: float, parts: object) -> str:
        first = step == 4 and 4 not in seen
        seen.add(step)
        return plain(step, math.nan if first else loss, norm)

    monkeypatch.setattr(run_folder, "non_finite", spoilt)


@pytest.mark.usefixtures("nan_at_4")
def test_after_a_loss_that_is_not_finite(system: System, inputs: Inputs, tmp_path: Path, type_in: Type) -> None:
    """The run goes on with the setting that the message names, the checkpoint keeps the change, no other is free."""
    folder = tmp_path / "run"
    settings = system.make(folder, (), inputs)
    with pytest.raises(LangJepaError, match=r"step 4: the loss is nan .* the update was not made") as stopped:
        system.begin(settings, None, inputs)
    assert str(folder / system.last) in str(stopped.value)
    found = OPTION.search(str(stopped.value))
    assert found is not None
    option, override, key, value = found.groups()
    assert key == system.lr
    other = (option, "meta.seed=7")
    assert type_in(*resumed_by(system, folder, inputs, option, override, *other)).status == 2
    assert type_in(*resumed_by(system, folder, inputs, option, override)).status == 0
    state = load_checkpoint(folder / system.last)
    ((step, changed),) = state["changes"]
    assert (state["step"], step, list(changed)) == (6, 2, [key])
    assert changed[key][1] == float(value) == pytest.approx(changed[key][0] / 10)
    again = f"{key}={float(value) / 10}"
    assert type_in(*resumed_by(system, folder, inputs, option, again)).status == 2


def test_from_another_checkpoint_than_one_that_is_damaged(
    system: System,
    inputs: Inputs,
    tmp_path: Path,
    type_in: Type,
) -> None:
    folder = tmp_path / "run"
    system.begin(system.make(folder, (), inputs), StopAt(5), inputs)
    content = (folder / system.last).read_bytes()
    (folder / system.last).write_bytes(content[: len(content) // 2])
    ran = type_in(*resumed_by(system, folder, inputs))
    assert ran.status == 2
    found = OPTION.search(ran.err)
    assert found is not None
    assert type_in(*resumed_by(system, folder, inputs, found[1], found[2])).status == 0
    assert load_checkpoint(folder / system.last)["step"] == 6


def test_a_run_without_a_model_names_what_helps(
    system: System,
    inputs: Inputs,
    tmp_path: Path,
    type_in: Type,
) -> None:
    folder = tmp_path / "run"
    system.begin(system.make(folder, (), inputs), StopAt(5), inputs)
    if system.name == "decoder":  # it joins a model; its best checkpoint is of use as it is
        options = ("--decoder", folder, "--text", "Nora slept.")
        assert type_in("infer", inputs.encoder, *options).status == 0
        return
    ran = type_in("evaluate", folder)
    assert ran.status == 2
    said = ran.err
    assert str(folder / system.best) in said
    again = re.search(r"lang-jepa (train \S+ --resume)", said)
    assert again is not None
    if system.name == "encoder":
        assert type_in("evaluate", folder / system.best, "--tasks", "retrieval").status == 0
    assert type_in(*again[1].split()).status == 0
    assert (folder / "model").is_dir()


def test_a_checkpoint_that_is_no_model_says_what_to_give(system: System, finished: Path, type_in: Type) -> None:
    if system.name.startswith("encoder"):
        return  # whose checkpoint is evaluated
    ran = type_in("evaluate", finished / system.last)
    assert ran.status == 2
    said = ran.err
    assert f"is a checkpoint of {system.name}, not of encoder: give the " in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "settings",
    [
        ("objective.target=shared", "objective.target_gradient=true", "model.head=none"),
        ("optimization.momentum_start=0.5", "optimization.momentum_end=0.6"),
        ("objective.target=frozen",),
        ("objective.target=frozen", "model.freeze_encoder=true"),
        ("objective.center_targets=true", "objective.regularizer=none"),
    ],
)
def test_every_cure_of_a_collapse_fits_the_settings(settings: tuple[str, ...], tmp_path: Path) -> None:
    """Each by itself, in a new run."""
    own = tiny_settings(tmp_path / "run", "objective.regularizer=none", *settings)
    cures = re.findall(r"-o ([^)]+)\)", monitor_for(own).advice)
    assert cures
    for cure in cures:
        overrides = [part.removeprefix("-o ") for part in re.split(r" (?=-o )", cure)]
        tiny_settings(tmp_path / "run", "objective.regularizer=none", *settings, *overrides)


def test_the_settings_of_a_run_are_a_recipe(finished: Path, system: System) -> None:
    if system.name.startswith("encoder"):
        assert load_settings(str(finished / "settings.yaml")).logging.log_dir == str(finished)
