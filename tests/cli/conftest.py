"""A user: a folder of texts, an encoder and a decoder trained on them by command."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiny import environment
from typed import DECODER, ROOT, options_of, path_first, run_command

NAMES = ("Anna", "Ben", "Carla", "Dan", "Eva", "Finn", "Greta", "Hugo")
PLACES = ("garden", "market", "river", "school", "kitchen", "harbour", "forest")
THINGS = ("apple", "book", "lamp", "kite", "bicycle", "basket", "letter")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few dozen documents, a file of sentences, and tiny stsb/ and sst2/."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "texts").mkdir()
    for i in range(48):
        name, spot, thing = NAMES[i % 8], PLACES[i % 7], THINGS[i * 3 % 7]
        (folder / "texts" / f"{i}.txt").write_text(
            f"{name} walked to the {spot} on day {i} of the year. There {name} saw {i + 3} pieces of a {thing}. "
            f"Nobody in house {i} knew who had lost the {thing}. In the end {name} kept it for {i * 2 + 1} weeks."
        )
    (folder / "sentences.txt").write_text(
        "".join(f"The {t} is in the {s}.\n" for t, s in zip(THINGS, PLACES, strict=True))
    )
    for part in ("train", "dev", "test"):
        for task in ("stsb", "sst2"):
            (folder / task).mkdir(exist_ok=True)
        pairs = [
            f'"The {t} is here.","A {t} was {"here" if i % 2 else "sold"}.",{i % 6}' for i, t in enumerate(THINGS * 2)
        ]
        (folder / "stsb" / f"{part}.csv").write_text("\n".join(pairs) + "\n")
        rows = [f"{i % 2}\tthe {t} is {'good' if i % 2 else 'bad'}" for i, t in enumerate(THINGS * 2)]
        (folder / "sst2" / f"{part}.tsv").write_text("\n".join(["label\tsentence", *rows]) + "\n")
    return folder


@pytest.fixture(scope="session")
def trained(place: Path) -> Path:
    """The run directory of `python main_encoder.py --debug`."""
    done = run_command(
        sys.executable, "main_encoder.py", "--debug", *options_of(place, "run", "optimization.max_steps=12")
    )
    assert done.status == 0, done.err
    assert "lang-jepa evaluate" in done.out
    assert done.err == ""  # no bars and no warnings of libraries
    return place / "run"


@pytest.fixture(scope="session")
def decoder(place: Path, trained: Path) -> Path:
    """The run directory of `python main_decoder.py --debug`, which finds the encoder by itself."""
    user = place / "decoding"
    (user / "logs").mkdir(parents=True)
    shutil.copytree(trained, user / "logs" / "mine")
    small = [part for setting in DECODER for part in ("-d", setting)]
    done = subprocess.run(
        [sys.executable, ROOT / "main_decoder.py", "--debug", *small],
        cwd=user, env=environment(path_first()), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("encoder: logs/mine, the latest run here")
    assert "reconstruction" in done.stdout
    return user / "outputs" / "decoder"
