"""Checkpoints: whole or refused, never executed, and resumed only where the numbers go on."""

import math
import os
import pickle
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import nn

from lang_jepa.errors import LangJepaError
from lang_jepa.training.checkpoint import (
    FORMAT,
    check_matches,
    load_checkpoint,
    load_weights,
    rounds_otherwise,
    save_checkpoint,
    seal,
)
from lang_jepa.training.methods.decoder import DecoderMethod
from lang_jepa.training.methods.encoder import EncoderMethod
from tiny import tiny_settings


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


OWN = DecoderMethod.contents


def _state(**changed: Any) -> dict[str, Any]:
    """All that a decoder's checkpoint must hold."""
    return {
        "system": "decoder",
        "settings": {"data": {}},
        "data": "a",
        "epoch_loss": [0.0, 0.0],
        "metrics": {},
        "encoder": "b",
        "world": 1,
        "step": 3,
        "total": 5,
        "model": {"weight": torch.arange(500.0)},
        "optimizers": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}],
        "best": [2, 0.5],
        "changes": [],
        "seconds": 1.5,
        "batches": [{"positions": [[1]]}],
        "generators": [[None, None]],
        **changed,
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.pth", _state())
    return tmp_path / "checkpoint.pth"


def test_round_trip(saved: Path) -> None:
    state = load_checkpoint(saved, system="decoder")
    assert torch.equal(state.pop("model")["weight"], torch.arange(500.0))
    assert state.pop("rounding") == {"torch": torch.__version__, "threads": str(torch.get_num_threads())}
    assert torch.equal(state.pop("optimizers")[0]["state"][0]["exp_avg"], torch.zeros(3))
    whole = {name: part for name, part in _state().items() if name not in ("model", "optimizers")}
    assert state == {"format": FORMAT, **whole}
    assert torch.load(saved, weights_only=True)["step"] == 3, "it stays an archive that torch alone reads"


def test_any_flipped_bit_is_refused_before_anything_is_loaded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(saved.read_bytes())
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was loaded"))
    random = Random(0)
    places = {*range(len(content) - 120, len(content)), *(random.randrange(len(content)) for _ in range(200))}
    for place in places:
        bit = 1 << random.randrange(8)
        content[place] ^= bit
        saved.write_bytes(content)
        content[place] ^= bit
        with pytest.raises(LangJepaError, match=r"checkpoint\.pth cannot be used: it is (damaged|truncated)"):
            load_checkpoint(saved)


@pytest.mark.parametrize("name", [name for name in _state() if name != "system"])
def test_a_missing_part_is_named(name: str, tmp_path: Path) -> None:
    state = _state()
    del state[name]
    save_checkpoint(tmp_path / "a.pth", state)
    with pytest.raises(LangJepaError, match=rf"a\.pth is not whole: it lacks {name}$"):
        load_checkpoint(tmp_path / "a.pth", contents=OWN)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"system": "encoder"}, "is a checkpoint of encoder, not of decoder"),
        ({"system": None}, "of an unknown system"),
        ({"step": "3"}, "damaged: step is str"),
        ({"step": True}, "damaged: step is bool"),
        ({"step": -1}, "says step -1 of 5"),
        ({"step": 6}, "says step 6 of 5"),
        ({"model": [1]}, "damaged: model is list"),
        ({"world": 2}, "its batches is not of 2 processes"),
        ({"world": 0}, "its batches is not of 0 processes"),
        ({"generators": []}, "its generators is not of 1 processes"),
        ({"seconds": math.nan}, "says nan seconds"),
        ({"best": [1]}, r"its best is \[1\]"),
        ({"best": [1, math.nan]}, r"its best is \[1, nan\]"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", _state(**changed))
    with pytest.raises(LangJepaError, match=said):
        load_checkpoint(tmp_path / "a.pth", system="decoder", contents=OWN)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["model", "optimizers"])
def test_what_is_not_finite_is_neither_written_nor_read(
    part: str, value: float, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = _state()
    tensor = spoilt["model"]["weight"] if part == "model" else spoilt["optimizers"][0]["state"][0]["exp_avg"]
    tensor[1] = value
    where = "model.weight" if part == "model" else r"optimizers\.0\.state\.0\.exp_avg"
    with pytest.raises(LangJepaError, match=rf"{where} holds NaN or infinity"):
        save_checkpoint(saved, spoilt)
    load_checkpoint(saved)  # the good one is still there
    with monkeypatch.context() as unchecked:  # for the writing alone
        unchecked.setattr("lang_jepa.training.checkpoint.check_finite", lambda tree, where: None)
        save_checkpoint(saved, spoilt)
    with pytest.raises(LangJepaError, match=rf"{where} holds NaN or infinity"):
        load_checkpoint(saved)


@pytest.mark.parametrize("part", ["target", "optimizers", "average", "centre"])
def test_nothing_learnt_by_another_system_is_written_unless_it_is_finite(part: str, saved: Path) -> None:
    spoilt = _state(**{part: [{"tensor": torch.tensor([0.0, math.nan])}]})
    with pytest.raises(LangJepaError, match=rf"{part}\.0\.tensor holds NaN or infinity"):
        save_checkpoint(saved, spoilt)


def test_a_failed_save_leaves_the_old_one_and_no_litter(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint(saved, {"step": 4, "what": lambda: None})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.1, 0.3, 0.5, 0.9, 0.99, 0.999])
def test_truncated(share: float, saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(LangJepaError, match=r"checkpoint\.pth cannot be used: it is truncated or not a checkpoint"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"hello, world\n",
        b"\n",
        b"\x80",
        b"\x80\x02",
        b"\x80\x02}q\x00",
        b"\x80\x04\x95\x10",
        b"(lp0\n",
        b"I12\n.",
        b"{}",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        bytes(range(256)) * 8,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        pickle.dumps({"format": FORMAT, "step": 1}),
        pickle.dumps([1, 2, 3], protocol=2),
    ],
)
def test_foreign(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    path.write_bytes(content)
    with pytest.raises(LangJepaError, match=r"foreign\.pth"):
        load_checkpoint(path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "foreign.pth", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(LangJepaError, match=r"foreign\.pth cannot be used: .*not a checkpoint"):
        load_checkpoint(tmp_path / "foreign.pth")


@pytest.mark.parametrize("value", [[1, 2], torch.zeros(2), {"weight": torch.zeros(2)}])
def test_an_archive_of_something_else(value: object, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "other.pth")
    with pytest.raises(LangJepaError, match=r"other\.pth cannot be used: .*not a checkpoint"):
        load_checkpoint(tmp_path / "other.pth")


def test_the_first_format_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"format": 1, "step": 3}, tmp_path / "other.pth")
    with pytest.raises(LangJepaError, match=r"other\.pth has format 1; this version reads format 3"):
        load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bomb_does_not_go_off(zipped: bool, tmp_path: Path) -> None:
    value = {"format": FORMAT, "step": Bomb(tmp_path / "boom")}
    with (tmp_path / "bomb.pth").open("w+b") as file:
        torch.save(value, file, _use_new_zipfile_serialization=zipped)
        seal(file)
    with pytest.raises(LangJepaError, match=r"bomb\.pth"):
        load_checkpoint(tmp_path / "bomb.pth")
    assert not (tmp_path / "boom").exists()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"no checkpoint at .*gone\.pth"):
        load_checkpoint(tmp_path / "gone.pth")


def _matches(folder: Path, *overrides: str, data: str = "a", world: int = 1) -> None:
    state = {"settings": tiny_settings(folder).model_dump(), "data": "a", "world": 1, "step": 3}
    check_matches(
        state,
        tiny_settings(folder, *overrides),
        data=data,
        free=EncoderMethod(tiny_settings(folder)).all_free,
        world=world,
        total=6,
        path=folder / "last.pth",
    )


@pytest.mark.parametrize(
    "override",
    [
        "meta.seed=1",
        "optimization.max_steps=7",
        "optimization.lr=0.5",
        "data.batch_size=5",
        "data.window_size=3",
        "model.dropout=0.3",
        "objective.center_targets=true",
        "meta.precision=bf16",
    ],
)
def test_a_setting_that_touches_the_numbers_is_named_with_both_values(override: str, tmp_path: Path) -> None:
    key, _, value = override.partition("=")
    with pytest.raises(
        LangJepaError, match=rf"{key}: checkpoint .*, now '?{'True' if value == 'true' else value}"
    ) as failure:
        _matches(tmp_path, override)
    assert str(failure.value).count(": checkpoint ") == 1, "only the one that differs"


def test_all_differences_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError) as failure:
        _matches(tmp_path, "meta.seed=1", "optimization.lr=0.5", data="b", world=4)
    for part in (
        "meta.seed",
        "optimization.lr",
        "data: checkpoint a, now b",
        "processes: checkpoint 1, now 4",
    ):
        assert part in str(failure.value)


def test_free_settings_may_differ(tmp_path: Path) -> None:
    free = (
        "logging.log_dir=elsewhere",
        "logging.log_freq=9",
        "meta.load_checkpoint=true",
        "data.corpus_dir=moved",
    )
    _matches(tmp_path, *free, "meta.on_collapse=stop", "data.prepare_workers=7", "recipe=other")


def test_weights_that_do_not_fit_are_named_with_their_shapes() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = module.state_dict()
    state["0.weight"] = torch.zeros(5, 2)
    state["2.weight"] = state.pop("1.weight")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(LangJepaError) as failure:
        load_weights(module, state, what="the model in x.pth")
    for part in ("the model in x.pth", "0.weight has shape (5, 2), expected (3, 2)", "missing 1.weight"):
        assert part in str(failure.value)
    assert "unexpected 2.weight" in str(failure.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_what_rounds_otherwise(saved: Path) -> None:
    """On a CPU torch and threads, on a GPU torch alone; of a checkpoint that does not say, nothing is known."""
    checkpoint, cpu, gpu = load_checkpoint(saved), torch.device("cpu"), torch.device("cuda")
    assert rounds_otherwise(checkpoint, cpu) == ""
    checkpoint["rounding"] |= {"threads": "700"}
    assert f"threads 700 in the checkpoint, {torch.get_num_threads()} now" in rounds_otherwise(checkpoint, cpu)
    assert rounds_otherwise(checkpoint, gpu) == ""
    checkpoint["rounding"] |= {"torch": "1.13.1"}
    assert f"torch 1.13.1 in the checkpoint, {torch.__version__} now" in rounds_otherwise(checkpoint, gpu)
    del checkpoint["rounding"]
    assert rounds_otherwise(checkpoint, cpu) == ""
