"""From processed blocks to the final corpus: duplicates, sides, shards, statistics; and the formats of all steps.

Each step has a FORMAT in its own file. A change of what it writes needs a new number (tests/seams/test_formats.py pins
numbers to bytes); a docstring or a moved file changes nothing.
"""

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus import blocks, deduplicate
from lang_jepa.data.corpus.blocks import Block, token_dtype
from lang_jepa.data.corpus.corpus import DUPLICATES, SIDES
from lang_jepa.data.corpus.deduplicate import Verdict, hash_text, judge_files, on_side
from lang_jepa.data.corpus.hash_table import Hashes
from lang_jepa.data.corpus.shards import ShardWriter
from lang_jepa.data.corpus.statistics import Overlap, SideStatistics
from lang_jepa.data.sources import base as documents_base
from lang_jepa.data.text import sentences, tokenizer
from lang_jepa.files.atomic import atomic_file
from lang_jepa.settings.data import DataSettings

_MAYBE = ("speakers", "held", "places")
_ARRAYS = [item.name for item in fields(Block) if item.name not in ("rejected", "seen")]


def block_file(folder: Path, number: int, part: int | None = None) -> Path:
    """Path of a processed block: of the whole source, or of a part of it."""
    return Path(folder) / (f"block-{number:06d}.npz" if part is None else f"block-{part:06d}-{number:06d}.npz")


def write_block(path: Path, block: Block) -> None:
    """Write a block as one file, atomically: it is there whole or not at all."""
    about = json.dumps({"rejected": block.rejected, "seen": block.seen}).encode()
    every = {name: getattr(block, name) for name in _ARRAYS}
    arrays: dict[str, NDArray[Any]] = {name: array for name, array in every.items() if array is not None}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.frombuffer(about, dtype=np.uint8), **arrays)  # type: ignore[arg-type]


def read_block(path: Path) -> Block:
    """Read what `write_block` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(stored["about"].tobytes())
        arrays = {name: stored[name] for name in _ARRAYS if name in stored or name not in _MAYBE}
    return Block(**arrays, rejected=Counter(about["rejected"]), seen=(about["seen"][0], about["seen"][1]))


def block_seen(path: Path) -> tuple[int, int] | None:
    """Documents and characters that went into a stored block; None where there is none that is whole."""
    try:
        return read_block(path).seen
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


@dataclass
class Assembled:
    """What the manifest needs to know about the written shards."""

    shards: dict[str, list[dict[str, int]]]
    statistics: dict[str, dict[str, Any]]
    rejected: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)


def assemble(
    blocks: Sequence[Path], folder: Path, settings: DataSettings, vocab_size: int, *, shard_tokens: int
) -> Assembled:
    """Judge duplicates, put every kept document on its side, and write the shards into `folder`.

    Passes in the order of the source: the first ones read only hashes, decide, and collect the held-out sentences; the
    last copies arrays. So the result does not depend on which process made which block, or when.
    """
    overlap = Overlap()
    keeps, repeated = _decide(blocks, settings, overlap)
    shared = _shared_ids(blocks)
    _write_duplicates(folder / DUPLICATES, blocks, keeps, repeated, shared)
    dtype = token_dtype(vocab_size)
    writers = {side: ShardWriter(folder, side, dtype, shard_tokens=shard_tokens) for side in SIDES}
    sizes = {side: SideStatistics() for side in SIDES}
    rejected = Counter[str]()
    for path, keep in zip(blocks, keeps, strict=True):
        block = read_block(path)
        block = replace(block, ids=_names(block.ids, block.places, shared), places=None)
        rejected.update(block.rejected)
        for side in SIDES:
            there = _on_side(block.text_hashes, block.held, side, settings)
            part = block.select(keep & there)
            writers[side].append(part)
            sizes[side].add(part)
            if side == "train":
                overlap.add_training(part)
    shards = {side: writer.finish() for side, writer in writers.items()}
    statistics = {**{side: size.as_dict() for side, size in sizes.items()}, "overlap": overlap.as_dict()}
    return Assembled(shards, statistics, rejected, Counter(verdict.kind for _, verdict in repeated))


def _decide(
    blocks: Sequence[Path], settings: DataSettings, overlap: Overlap
) -> tuple[list[NDArray[np.bool_]], list[tuple[int, Verdict]]]:
    """For each block bool [D], which documents are no duplicates; and the number and verdict of those that are.

    The held-out sentences are collected in `overlap`.
    """
    keeps, repeated, number = [], [], 0
    for verdicts, block in judge_files(blocks, settings.deduplicate, settings.near_duplicate_share):
        keep = np.array([verdict.kind == "kept" for verdict in verdicts], dtype=bool)
        repeated += [(number + row, verdicts[row]) for row in np.flatnonzero(~keep).tolist()]
        held = block.get("held")
        on_validation = _on_side(block["text_hashes"], held, "validation", settings)
        held_out = np.repeat(keep & on_validation, np.diff(block["documents"]))
        overlap.add_validation(block["sentence_hashes"][held_out], block["countable"][held_out])
        keeps.append(keep)
        number += len(keep)
    return keeps, repeated


def _shared_ids(blocks: Sequence[Path]) -> Hashes:
    """Hashes of ids that more than one document has; 8 bytes are held for each document with an id of the file's."""
    found = [np.zeros(0, dtype=np.uint64)]
    for path in blocks:
        with np.load(path, allow_pickle=False) as stored:
            if "places" in stored:
                found.append(_id_hashes(stored["ids"][stored["places"] != b""]))
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    return values[counts > 1]


def _id_hashes(ids: NDArray[np.bytes_]) -> Hashes:
    return np.array([hash_text(one.decode()) for one in ids.tolist()], dtype=np.uint64)


def _names(ids: NDArray[np.bytes_], places: NDArray[np.bytes_] | None, shared: Hashes) -> NDArray[np.bytes_]:
    """The ids of a block's documents, with the place behind those that others have too."""
    if places is None or not len(shared):
        return ids
    return np.where(np.isin(_id_hashes(ids), shared) & (places != b""), places, ids)


def _on_side(hashes: Hashes, held: NDArray[np.bool_] | None, side: str, settings: DataSettings) -> NDArray[np.bool_]:
    """Bool [D]: the documents of a side."""
    return on_side(hashes, side, settings.val_fraction) if held is None else held == (side == "validation")


def _write_duplicates(
    path: Path,
    blocks: Sequence[Path],
    keeps: Sequence[NDArray[np.bool_]],
    repeated: Sequence[tuple[int, Verdict]],
    shared: Hashes,
) -> None:
    """One JSON line for each duplicate: its id, its kind, the original's id, the share found again."""
    wanted = {number for number, _ in repeated} | {verdict.original for _, verdict in repeated}
    names: dict[int, str] = {}
    first = 0
    for file, keep in zip(blocks, keeps, strict=True):
        here = [number for number in range(first, first + len(keep)) if number in wanted]
        if here:
            with np.load(file, allow_pickle=False) as stored:
                ids = _names(stored["ids"], stored.get("places"), shared)
            names.update((number, bytes(ids[number - first]).decode()) for number in here)
        first += len(keep)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for number, verdict in repeated:
            line = {
                "document": names[number],
                "kind": verdict.kind,
                "original": names[verdict.original],
                "share": round(verdict.share, 3),
            }
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def sentence_formats() -> dict[str, int]:
    """Of what decides the sentences of a source."""
    return {"documents": documents_base.FORMAT, "sentences": sentences.FORMAT}


def corpus_formats() -> dict[str, int]:
    """Of what decides the arrays of a prepared corpus."""
    return {**document_formats(), "tokenizer": tokenizer.FORMAT, "blocks": blocks.FORMAT}


def document_formats() -> dict[str, int]:
    """Of what decides which documents there are, and their sentences."""
    return {**sentence_formats(), "hashes": deduplicate.HASHES_FORMAT, "deduplicate": deduplicate.FORMAT}


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
