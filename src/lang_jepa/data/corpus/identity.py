"""What a corpus is made of, of which its fingerprint is made, and the name of its folder."""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lang_jepa.data.corpus.assemble import changes, corpus_formats
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


_READ_BY = ("text_column", "group_column", "speaker_column", "speakers", "records", "session", "join_rows", "include",
            "exclude")  # fmt: skip
"""Settings of which the source's own fingerprint is made, besides the content of its files."""


def read_by(settings: DataSettings) -> dict[str, Any]:
    """The settings by which a source is read, as JSON: what the manifest has of them, so that a change has a name."""
    return settings.model_dump(mode="json", include={*_READ_BY})


def stale_reason(manifest: Mapping[str, Any], settings: DataSettings, made_from: Mapping[str, Any]) -> str | None:
    """Why the corpus of a manifest is not the one that these settings make: of an older content or program, or of other
    settings by which the same source is read; None where it was never meant to be the same.

    Raises:
        KeyError, TypeError: it is no manifest of a corpus.
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
    """A folder name for a source: the file's stem, or the hub name with dashes."""
    text = Path(train_file).name.split(".")[0] if Path(train_file).exists() else train_file
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:60] or "corpus"
