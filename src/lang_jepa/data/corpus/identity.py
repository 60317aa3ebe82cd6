"""What a corpus is made of, of which its fingerprint is made, and the name of its folder."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lang_jepa.data.corpus.assemble import corpus_formats
from lang_jepa.data.corpus.corpus import FORMAT
from lang_jepa.data.sources.base import Source
from lang_jepa.data.text import masks
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.settings.data import DataSettings

_LATER = ("units", "mask", "mask_patterns", "val_split")
"""Settings that are part of a fingerprint where they are not the default, since corpora are older than they are."""


def parts_of_identity(settings: DataSettings, source: Source, tokenizer: TextTokenizer | None) -> dict[str, Any]:
    """Everything that decides the arrays, as JSON."""
    names = ["limit", "min_length", "min_sentences", "max_sentence_chars", "splitter", "language", "deduplicate",
             "val_fraction"]  # fmt: skip
    if settings.deduplicate == "near":
        names.append("near_duplicate_share")
    names += [name for name in _LATER if getattr(settings, name) != DataSettings.model_fields[name].default]
    libraries = ["tokenizers", "wtpsplit" if settings.splitter == "sat" else "sentencex"]
    learnt = {"trained": settings.vocab_size}
    return {
        "format": FORMAT,
        "source": source.fingerprint(),
        "tokenizer": learnt if tokenizer is None else tokenizer.fingerprint(),
        "settings": {name: getattr(settings, name) for name in names},
        "formats": corpus_formats() | ({"masks": masks.FORMAT} if settings.mask else {}),
        "libraries": {name: version(name) for name in libraries},
    }


def short_name(train_file: str) -> str:
    """A folder name for a source: the file's stem, or the hub name with dashes."""
    text = Path(train_file).name.split(".")[0] if Path(train_file).exists() else train_file
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:60] or "corpus"
