"""Finding what was trained: the latest encoder, and a decoder by its checkpoint."""

from pathlib import Path

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.decoding import restore
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import CARD, find_gpt
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.load import SAVED, build_saved
from lang_jepa.settings.recipes import system_of
from lang_jepa.training.checkpoint import LAST, load_checkpoint

BEST_DECODER = "best_decoder.pt"


def load_decoder(path: Path, model: ConceptModel) -> None:
    """Give a model the decoder of a checkpoint (best_decoder.pt) or of a decoder's run directory.

    Raises:
        LangJepaError: it cannot be read, or reads concepts of another width.
    """
    path = path / BEST_DECODER if path.is_dir() else path
    state = load_checkpoint(path, system="decoder", contents={"model": dict, "encoder": str})
    settings = build_saved(DecoderSettings, state["settings"], where=str(path))
    name = settings.decoder.tokenizer_path
    tokenizer = model.tokenizer if name is None else TextTokenizer.load(name)
    model.decoder = restore(state["model"], settings, tokenizer, encoder=state["encoder"], where=str(path))


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
    return find_gpt(run) is not None or system_of(str(run / SAVED)) == "gpt"
