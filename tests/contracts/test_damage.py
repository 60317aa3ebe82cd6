"""Damage: no system goes on with, or uses, what is not whole."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from systems import Inputs, System, rewrite

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import read_json
from lang_jepa.inference.gpt import load_gpt
from lang_jepa.inference.model_folder import CARD, find_gpt, hash_files, load_model, write_card
from lang_jepa.inference.model_folder import GPT_CARD as GPT_CARD
from lang_jepa.training.checkpoint import COMMON, load_checkpoint, save_checkpoint
from lang_jepa.training.train import method_of


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, as if it had been killed before it was summed up, to damage."""
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / "summary.json").unlink()
    return copy


def test_a_flipped_bit_in_a_checkpoint_is_refused_before_anything_is_loaded(
    system: System, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("it was loaded"))
    random = Random(0)
    for path in (path for path in (run / system.last, run / system.best) if path.is_file()):
        content = path.read_bytes()
        for _ in range(15):
            damaged = bytearray(content)
            damaged[random.randrange(len(content))] ^= 1 << random.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(LangJepaError, match=f"{path.name} cannot be used: it is (damaged|truncated)"):
                load_checkpoint(path)


def test_numbers_that_are_none_are_not_read_though_every_hash_is_right(system: System, run: Path) -> None:
    for path in sorted((run / "model").glob("*.safetensors")):
        whole, card = (
            load_file(path),
            next(name for name in (CARD, GPT_CARD) if (run / "model" / name).is_file()),
        )
        name = next(name for name, part in whole.items() if part.is_floating_point())
        spoilt = {**whole, name: torch.full_like(whole[name], torch.nan)}
        load = load_gpt if card == GPT_CARD else load_model
        for tensors in (spoilt, whole):
            save_file(tensors, path)
            about = read_json(run / "model" / card, what="card")
            hashes = {one: hash for one, hash in hash_files(run / "model").items() if one in about["sha256"]}
            write_card(run / "model" / card, {k: v for k, v in about.items() if k != "sha256"}, hashes)
            if tensors is whole:
                load(run / "model")
                continue
            with pytest.raises(LangJepaError, match=rf"{path.name} (is|are) not usable: {name} holds NaN"):
                load(run / "model")


def test_a_missing_part_is_named(system: System, run: Path) -> None:
    path = run / system.last
    whole = load_checkpoint(path)
    del whole["format"]
    own = method_of(system.resume(run)).contents
    assert own.keys() >= {"model"}
    for name in [*COMMON, *own]:
        save_checkpoint(path, {key: part for key, part in whole.items() if key != name})
        with pytest.raises(LangJepaError, match=rf"is not whole: it lacks {name}$"):
            load_checkpoint(path, contents=own)


def _no_position(state: dict[str, Any]) -> None:
    place = state["batches"][0]
    if "places" in place:
        place["places"] = [[0, -1, 0]]
    else:
        place["step" if state["system"] == "gpt" else "group"] = 10**9


def _other_moments(state: dict[str, Any]) -> None:
    optimizer = state["optimizers"][0]
    moments = next(entry for entry in optimizer["state"].values() if entry)
    name = next(name for name, part in moments.items() if torch.is_tensor(part) and part.dim())
    moments[name] = torch.zeros(3, 5, 7)


def _beyond_the_end(state: dict[str, Any]) -> None:
    state["step"] = state["total"] = 10**6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_no_position, "the position in the data is damaged"),
        (_other_moments, "does not fit these settings"),
        (_beyond_the_end, r"is at step 1000000, and the run has 6"),
    ],
)
def test_what_cannot_be_resumed_from_is_refused(
    change: Callable[[dict[str, Any]], None], said: str, system: System, inputs: Inputs, run: Path
) -> None:
    rewrite(run / system.last, change)
    # In the folder that it was trained in, which the settings of encoders name.
    settings = system.resume(run)
    section, key = system.log_dir.split(".")
    part = getattr(settings, section).model_copy(update={key: str(run)})
    with pytest.raises(LangJepaError, match=said):
        system.begin(settings.model_copy(update={section: part}), None, inputs)


def test_a_flipped_bit_in_any_file_of_the_model_is_refused(system: System, run: Path, inputs: Inputs) -> None:
    """Of a decoder's model directory too, which is that of its encoder."""
    folder, load = run / "model", load_gpt if find_gpt(run) else load_model
    if system.name == "decoder":
        shutil.copytree(inputs.encoder / "model", folder)
    load(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name in (CARD, "gpt.json") for path in files)
    assert len(files) >= 4
    for path in files:
        content = path.read_bytes()
        card = path.name in (CARD, "gpt.json")  # which nothing but its own fingerprint guards
        for place in range(0, len(content), 5) if card else {0, len(content) // 2, len(content) - 1}:
            flipped = content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :]
            if card and _says(flipped) == json.loads(content):
                continue  # the 17th digit of a number, which is still the same one
            path.write_bytes(flipped)
            with pytest.raises(LangJepaError, match=path.name):
                load(folder)
        path.write_bytes(content)
    load(folder)


def _says(content: bytes) -> object:
    """What a file of JSON holds; None for any other."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_a_full_disk_is_one_line_that_leaves_no_litter(system: System, inputs: Inputs, tmp_path: Path) -> None:
    """By a limit on the size of files, which needs no rights; scripts/reliability/full_disk.py fills real ones."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    settings = system.make(tmp_path / "run", (), inputs)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(LangJepaError, match=r"the disk is full: .*Free some space") as raised:
            system.begin(settings, None, inputs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_no_work_is_done_for_a_folder_that_cannot_be_written(
    system: System, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("encoder_data", "decoder_data", "gpt_data"):
        prepare = f"lang_jepa.training.methods.{module}.prepare"
        monkeypatch.setattr(prepare, lambda *args, **options: pytest.fail("it prepared"))
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(LangJepaError, match=r"is a file, and a folder|cannot write"):
            system.begin(system.make(place, (), inputs), None, inputs)
