"""Checkpoints: whole or refused, never executed, and resumed only where the numbers go on."""

import os
import pickle
import zipfile
from pathlib import Path

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
)
from tiny import tiny_settings


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    state = {
        "model": {"weight": torch.arange(500.0)},
        "step": 3,
        "best": [2, 0.5],
        "loader": [{"positions": [[1]]}],
    }
    save_checkpoint(tmp_path / "checkpoint.pth", state)
    return tmp_path / "checkpoint.pth"


def test_round_trip(saved: Path) -> None:
    state = load_checkpoint(saved)
    assert torch.equal(state.pop("model")["weight"], torch.arange(500.0))
    assert state.pop("rounding") == {"torch": torch.__version__, "threads": str(torch.get_num_threads())}
    assert state == {"format": FORMAT, "step": 3, "best": [2, 0.5], "loader": [{"positions": [[1]]}]}


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
    with pytest.raises(LangJepaError, match=r"checkpoint\.pth is truncated or not a checkpoint"):
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
    with pytest.raises(LangJepaError, match=r"foreign\.pth is truncated or not a checkpoint"):
        load_checkpoint(tmp_path / "foreign.pth")


@pytest.mark.parametrize("value", [[1, 2], torch.zeros(2), {"weight": torch.zeros(2)}, {"format": 2}])
def test_another_format(value: object, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "other.pth")
    with pytest.raises(LangJepaError, match=r"other\.pth has format (None|2); this version reads format 1"):
        load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bomb_does_not_go_off(zipped: bool, tmp_path: Path) -> None:
    value = {"format": FORMAT, "step": Bomb(tmp_path / "boom")}
    torch.save(value, tmp_path / "bomb.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(LangJepaError, match=r"bomb\.pth"):
        load_checkpoint(tmp_path / "bomb.pth")
    assert not (tmp_path / "boom").exists()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"no checkpoint at .*gone\.pth"):
        load_checkpoint(tmp_path / "gone.pth")


def _matches(folder: Path, *overrides: str, corpus: str = "a", world: int = 1) -> None:
    state = {"settings": tiny_settings(folder).model_dump(), "corpus": "a", "world": 1}
    check_matches(
        state, tiny_settings(folder, *overrides), corpus=corpus, world=world, path=folder / "last.pth"
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
        "meta.use_bfloat16=true",
    ],
)
def test_a_setting_that_touches_the_numbers_is_named_with_both_values(override: str, tmp_path: Path) -> None:
    key, _, value = override.partition("=")
    with pytest.raises(LangJepaError, match=rf"{key}: checkpoint .*, now {value.capitalize()}") as failure:
        _matches(tmp_path, override)
    assert str(failure.value).count(": checkpoint ") == 1, "only the one that differs"


def test_all_differences_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError) as failure:
        _matches(tmp_path, "meta.seed=1", "optimization.lr=0.5", corpus="b", world=4)
    for part in (
        "meta.seed",
        "optimization.lr",
        "corpus: checkpoint a, now b",
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
    assert f"threads 700 there, {torch.get_num_threads()} now" in rounds_otherwise(checkpoint, cpu)
    assert rounds_otherwise(checkpoint, gpu) == ""
    checkpoint["rounding"] |= {"torch": "1.13.1"}
    assert f"torch 1.13.1 there, {torch.__version__} now" in rounds_otherwise(checkpoint, gpu)
    del checkpoint["rounding"]
    assert rounds_otherwise(checkpoint, cpu) == ""
