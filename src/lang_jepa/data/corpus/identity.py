"""The identity of a corpus: what its fingerprint is computed from, and the name of its folder.

Each step has a FORMAT in its own file. It needs a new number whenever its output changes (tests/seams/test_formats.py
pins numbers to bytes); a docstring or a moved file changes nothing.
"""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lang_jepa.data.corpus import blocks, deduplicate
from lang_jepa.data.corpus.corpus import FORMAT
from lang_jepa.data.sources import base as documents_base
from lang_jepa.data.sources.base import Source
from lang_jepa.data.text import masks, sentences, tokenizer
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.settings.data import DataSettings

_LATER = ("units", "mask", "mask_patterns", "val_split")
"""Settings that enter a fingerprint only when they differ from the default, since older corpora lack them."""


def parts_of_identity(settings: DataSettings, source: Source, tokenizer: TextTokenizer | None) -> dict[str, Any]:
    """Everything that determines the arrays of a corpus, as JSON."""
    names = ["limit", "min_length", "min_sentences", "max_sentence_chars", "splitter", "language", "deduplicate",
             "val_fraction"]  # fmt: skip
    if settings.deduplicate == "near":
        names.append("near_duplicate_share")
    names += [name for name in _LATER if getattr(settings, name) != DataSettings.model_fields[name].default]
    sentences.make_splitter(settings)  # which raises if its library is not installed
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


_READ_BY = ("text_column", "group_column", "speaker_column", "speakers", "records", "session", "join_rows", "include",
            "exclude")  # fmt: skip
"""Settings that enter the source's own fingerprint, besides the contents of its files."""


def read_by(settings: DataSettings) -> dict[str, Any]:
    """The settings by which a source is read, as JSON. The manifest stores them, so that a change can be named."""
    return settings.model_dump(mode="json", include={*_READ_BY})


def stale_reason(manifest: Mapping[str, Any], settings: DataSettings, made_from: Mapping[str, Any]) -> str | None:
    """Explain why the corpus of a manifest is not the one these settings make: the files or the program have changed,
    or the same source is read with other settings. None if it was never meant to be the same corpus.

    Raises:
        KeyError, TypeError: it is not the manifest of a corpus.
    """
    before, source = manifest["made_from"], manifest["source"]
    same = all(before.get(name) == made_from[name] for name in ("settings", "tokenizer"))
    if source["name"] != settings.train_file or not same:
        return None
    old, now = source.get("read_by", {}), read_by(settings)
    if other := [f"data.{name}" for name in now if name in old and old[name] != now[name]]:
        return f"was prepared with other settings ({', '.join(other)}); it stays, and another corpus is prepared"
    changed = ["the files" if one == "source" else one for one in changes(before, made_from)]
    return f"is out of date (changed: {', '.join(changed)})"


def short_name(train_file: str) -> str:
    """A folder name for a source: the file name up to its first dot, or the hub name with dashes."""
    text = Path(train_file).name.split(".")[0] if Path(train_file).exists() else train_file
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:60] or "corpus"


def sentence_formats() -> dict[str, int]:
    """Format numbers of everything that determines the sentences of a source."""
    return {"documents": documents_base.FORMAT, "sentences": sentences.FORMAT}


def corpus_formats() -> dict[str, int]:
    """Format numbers of everything that determines the arrays of a prepared corpus."""
    return {**document_formats(), "tokenizer": tokenizer.FORMAT, "blocks": blocks.FORMAT}


def document_formats() -> dict[str, int]:
    """Format numbers of everything that determines the documents and their sentences."""
    return {**sentence_formats(), "hashes": deduplicate.HASHES_FORMAT, "deduplicate": deduplicate.FORMAT}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the differences between two descriptions of what something was made from."""
    if "formats" not in before:
        return ["the version of this program: the old one kept no format numbers"]
    found = []
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            found += [f"{name}.{key}" for key in sorted({*value, *old}) if value.get(key) != old.get(key)]
        elif old != value:
            found.append(name)
    return found
