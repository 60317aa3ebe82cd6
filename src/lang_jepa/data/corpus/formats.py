"""The format numbers of the steps between a document and its arrays, and what changed between two descriptions.

Each step has a FORMAT in its own file. A change of what it writes needs a new number (tests/seams/test_formats.py pins
numbers to bytes); a docstring or a moved file changes nothing.
"""

from collections.abc import Mapping
from typing import Any

from lang_jepa.data.corpus import blocks, deduplicate
from lang_jepa.data.sources import base as documents_base
from lang_jepa.data.text import sentences, tokenizer
from lang_jepa.files import hashes


def sentence_formats() -> dict[str, int]:
    """Of what decides the sentences of a source."""
    return {"documents": documents_base.FORMAT, "sentences": sentences.FORMAT}


def corpus_formats() -> dict[str, int]:
    """Of what decides the arrays of a prepared corpus."""
    return {**document_formats(), "tokenizer": tokenizer.FORMAT, "blocks": blocks.FORMAT}


def document_formats() -> dict[str, int]:
    """Of what decides which documents there are, and their sentences."""
    return {**sentence_formats(), "hashes": hashes.FORMAT, "deduplicate": deduplicate.FORMAT}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions of what something was made from, in words."""
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
