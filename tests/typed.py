"""Commands as people type them: in this process or in one of their own, and options of a tiny model."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tiny import environment
from warm import Popen

ROOT = Path(__file__).parents[1]
DECODER = ("decoder.hidden_dim=32", "decoder.num_layers=1", "decoder.max_length=16")
"""What makes a decoder small."""


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Type = Callable[..., Ran]
"""`lang-jepa ...` in this process."""


def options_of(place: Path, run: str, *more: str) -> list[str]:
    """`-o` options of a tiny model on the documents of `place`."""
    settings = (
        f"data.train_file={place / 'texts'}",
        f"data.corpus_dir={place / 'corpora'}",
        f"logging.log_dir={place / run}",
        "data.tokenizer_path=trained",
        "data.vocab_size=400",
        "data.prepare_workers=1",
        "data.num_workers=0",
        "model.pretrained=false",
        "model.embed_dim=32",
        "model.pred_dim=32",
        "model.num_heads=2",
        "model.predictor_heads=2",
        "model.num_layers=1",
        "model.max_length=64",
    )
    return [part for setting in (*settings, *more) for part in ("-o", setting)]


def run_command(*command: str | Path, text: str = "", warm: bool = False) -> Ran:
    """A command in a process of its own, from the project's root; a warm one is of this Python."""
    start = Popen if warm else subprocess.Popen
    with start(
        list(map(str, command)),
        cwd=ROOT,
        env=environment(path_first()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(text, timeout=600)
        finally:
            process.kill()
    return Ran(process.returncode, out, err)


def path_first() -> dict[str, str]:
    """This Python's commands first, as in an activated environment."""
    return {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
