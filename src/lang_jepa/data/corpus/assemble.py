"""Assemble a corpus folder from written shards; also the format numbers of all steps.

Each step has a FORMAT in its own file. It needs a new number whenever its output changes (tests/seams/test_formats.py
pins numbers to bytes); a docstring or a moved file changes nothing.
"""

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.data.corpus import blocks, deduplicate
from lang_jepa.data.corpus.corpus import DUPLICATES, MANIFEST, SIDES
from lang_jepa.data.corpus.decisions import Decisions
from lang_jepa.data.corpus.shard_tasks import WriteShards
from lang_jepa.data.corpus.statistics import SideStatistics, overlap
from lang_jepa.data.sources import base as documents_base
from lang_jepa.data.text import sentences, tokenizer
from lang_jepa.files.atomic import atomic_file, make_folder, read_json


@dataclass(frozen=True)
class Assembled:
    """What the manifest needs to know about the written shards.

    Attributes:
        shards: the sizes of each side's shards.
        statistics: as they appear in the manifest.
        rejected, duplicates: counts by reason and by kind.
        sums: CRC-32 of each shard file.
    """

    shards: dict[str, list[dict[str, int]]]
    statistics: dict[str, dict[str, Any]]
    rejected: Counter[str]
    duplicates: Counter[str]
    sums: dict[str, str]


def assemble(step: WriteShards, folder: Path) -> Assembled:
    """Move the files of all shards, which must be written, into `folder`, and sum up their contents.

    If interrupted, it continues where it stopped when called again.
    """
    make_folder(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    decisions = Decisions.open(step.decisions)
    shards: dict[str, list[dict[str, int]]] = {side: [] for side in SIDES}
    sizes, sums = {side: SideStatistics() for side in SIDES}, dict[str, str]()
    seen = np.zeros(len(decisions.held), dtype=bool)
    for side, number, *_ in decisions.shards:
        at = step.shard(side, number)
        record = read_json(at / "record.json", what="record of a shard")
        shards[side].append(record["sizes"])
        sizes[side].add_record(record["statistics"])
        sums.update(record["sums"])
        seen[np.load(at / "seen.npy")] = True
        for name in record["sums"]:
            if (at / name).exists():
                os.replace(at / name, folder / name)
    with atomic_file(folder / DUPLICATES) as temporary:
        shutil.copyfile(step.decisions / DUPLICATES, temporary)
    shares = overlap(decisions.times, decisions.long, seen)
    statistics = {**{side: size.as_dict() for side, size in sizes.items()}, "overlap": shares}
    return Assembled(shards, statistics, decisions.rejected, decisions.duplicates, sums)


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
