"""The encoder that was trained last."""

from pathlib import Path

from lang_jepa.concepts.directory import CARD
from lang_jepa.concepts.gpt_directory import find_gpt
from lang_jepa.errors import LangJepaError
from lang_jepa.settings import SAVED, is_gpt_recipe
from lang_jepa.training.checkpoint import LAST

PLACES = ("logs", "runs")
"""Folders that hold run directories by default."""


def latest_encoder(root: Path) -> Path:
    """The run directory under `root`'s logs/ or runs/ whose model, or else whose last checkpoint, is newest.

    Returns:
        The run directory, relative to `root`; of a run that did not end, its last checkpoint.

    Raises:
        LangJepaError: there is none.
    """
    found: list[tuple[float, Path]] = []
    for place in PLACES:
        for run in sorted(path for path in (root / place).glob("*") if path.is_dir()):
            card, last = run / "model" / CARD, run / LAST
            if card.is_file():
                found.append((card.stat().st_mtime, run))
            elif last.is_file() and not _is_gpt(run):
                found.append((last.stat().st_mtime, last))
    if not found:
        raise LangJepaError(
            f"no trained encoder in {' or '.join(f'{place}/' for place in PLACES)}: train one (lang-jepa train), or "
            "name one with --encoder RUN"
        )
    return max(found)[1].relative_to(root)


def _is_gpt(run: Path) -> bool:
    """Whether a run directory, finished or not, is one of a GPT, which has no concepts."""
    return find_gpt(run) is not None or is_gpt_recipe(str(run / SAVED))
