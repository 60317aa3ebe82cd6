"""An output that cannot be written is one line before the work, in every verb, as somebody who is not root meets it."""

import encodings.idna
import importlib
import multiprocessing.pool
import os
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import lang_jepa
from lang_jepa.cli import app as cli
from lang_jepa.training.train import train
from tiny import TINY, tiny_encoder, tiny_gpt

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
NOBODY = 65534
LOADED = (encodings.idna, multiprocessing.pool)
"""What is imported late, from where perhaps root alone may read."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that everybody may read and nobody else write, with models, texts, and a folder that is nobody's."""
    for module in pkgutil.walk_packages(lang_jepa.__path__, "lang_jepa."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    folder = Path(tempfile.mkdtemp(prefix="unwritable-"))
    folder.chmod(0o755)
    tiny_encoder(folder / "encoder")
    train(tiny_gpt(folder / "gpt", "optimization.max_steps=1"))
    (folder / "texts").mkdir()
    for day in range(20):
        text = f"On day {day} Anna left. The sea was calm. Ben saw {day} ships there. They went home at {day}."
        (folder / "texts" / f"{day}.txt").write_text(text)
    (folder / "free").mkdir()
    os.chown(folder / "free", NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def _options(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("-o", setting)]


def _commands(place: Path) -> dict[str, list[str]]:
    out, free = place / "out", place / "free"
    data = (*TINY, f"data.train_file={place / 'texts'}", "data.min_length=1")
    elsewhere = f"data.corpus_dir={free / 'corpora'}"
    encoder, gpt = str(place / "encoder"), str(place / "gpt")
    return {
        "train": ["train", "concepts", *_options(*data, elsewhere, f"logging.log_dir={out}")],
        "train, corpus": [
            "train", "concepts", *_options(*data, f"data.corpus_dir={out}", f"logging.log_dir={free / 'run'}")
        ],
        "train, joined": ["train", "concept_decoder", "--encoder", encoder, "-d", f"logging.log_dir={free / 'd'}"],
        "prepare": ["prepare", "concepts", *_options(*data, f"data.corpus_dir={out}")],
        "prepare, duplicates": ["prepare", "concepts", *_options(*data, elsewhere), "--duplicates", str(out)],
        "export": ["export", encoder, str(out)],
        "export, int8": ["export", gpt, str(out), "--to", "int8"],
        "shards": ["shards", str(place / "texts"), str(out)],
        "quickstart": ["quickstart", *_options(elsewhere, f"logging.log_dir={out}")],
        "compare": [
            "compare", "concepts", "next_sentence_causal", "--budget", "steps=1", "--output", str(out),
            *_options(elsewhere),
        ],
        "sweep": [
            "sweep", "concepts", "--space", "optimization.lr=1e-4:1e-2:log", "--trials", "1",
            "--output", str(out), *_options(elsewhere),
        ],
        "index": ["index", encoder, str(place / "texts"), "--output", str(out)],
        "evaluate": ["evaluate", encoder, "--tasks", "retrieval", "--output", str(out / "scores.json")],
        "evaluate, gpt": ["evaluate", gpt, "--tasks", "bits_per_byte", "--output", str(out / "scores.json")],
    }  # fmt: skip


@pytest.mark.parametrize("case", _commands(Path()))
def test_one_line_before_the_work(
    case: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lang-jepa", *_commands(place)[case]])
    monkeypatch.chdir("/")
    before = sorted(place.rglob("*"))
    os.seteuid(NOBODY)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        os.seteuid(0)
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert said.startswith("error: ")
    assert "cannot write" in said
    assert said.count("\n") == 1
    assert sorted(place.rglob("*")) == before
