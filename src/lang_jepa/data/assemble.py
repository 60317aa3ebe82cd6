"""From processed blocks to the final corpus: duplicates, sides, shards, statistics, manifest."""

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.config import DataSettings
from lang_jepa.data.blocks import Block, token_dtype
from lang_jepa.data.corpus import SIDES
from lang_jepa.data.deduplicate import Deduplicator
from lang_jepa.data.hashes import on_side
from lang_jepa.data.shards import ShardWriter
from lang_jepa.data.statistics import Overlap, SideStatistics
from lang_jepa.files import atomic_file

_ARRAYS = [item.name for item in fields(Block) if item.name not in ("rejected", "seen")]
_FOR_JUDGING = ("text_hashes", "documents", "sentence_hashes", "countable")


def block_file(folder: Path, number: int) -> Path:
    """Path of a processed block."""
    return Path(folder) / f"block-{number:06d}.npz"


def write_block(path: Path, block: Block) -> None:
    """Write a block as one file, atomically: it is there whole or not at all."""
    about = json.dumps({"rejected": block.rejected, "seen": block.seen}).encode()
    arrays: dict[str, NDArray[Any]] = {name: getattr(block, name) for name in _ARRAYS}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.frombuffer(about, dtype=np.uint8), **arrays)  # type: ignore[arg-type]


def read_block(path: Path) -> Block:
    """Read what `write_block` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(stored["about"].tobytes())
        arrays = {name: stored[name] for name in _ARRAYS}
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

    Two passes in the order of the source: the first reads only hashes, decides, and collects the held-out sentences;
    the second copies arrays. So the result does not depend on which process made which block, or when.
    """
    overlap, duplicates = Overlap(), Counter[str]()
    keeps = list(_decide(blocks, settings, duplicates, overlap))
    dtype = token_dtype(vocab_size)
    writers = {side: ShardWriter(folder, side, dtype, shard_tokens=shard_tokens) for side in SIDES}
    sizes = {side: SideStatistics() for side in SIDES}
    rejected = Counter[str]()
    for path, keep in zip(blocks, keeps, strict=True):
        block = read_block(path)
        rejected.update(block.rejected)
        for side in SIDES:
            part = block.select(keep & on_side(block.text_hashes, side, settings.val_fraction))
            writers[side].append(part)
            sizes[side].add(part)
            if side == "train":
                overlap.add_training(part)
    shards = {side: writer.finish() for side, writer in writers.items()}
    statistics = {**{side: size.as_dict() for side, size in sizes.items()}, "overlap": overlap.as_dict()}
    return Assembled(shards, statistics, rejected, duplicates)


def _decide(
    blocks: Sequence[Path], settings: DataSettings, duplicates: Counter[str], overlap: Overlap
) -> Iterator[NDArray[np.bool_]]:
    """For each block bool [D]: which documents are no duplicates.

    The others are counted by kind in `duplicates`; the held-out sentences are collected in `overlap`.
    """
    judge = Deduplicator(settings.deduplicate, settings.near_duplicate_share)
    for path in blocks:
        with np.load(path, allow_pickle=False) as stored:
            texts, documents, sentences, countable = (stored[name] for name in _FOR_JUDGING)
        verdicts = judge.judge_all(texts, documents, sentences, countable)
        duplicates.update(verdict for verdict in verdicts if verdict != "kept")
        keep = np.array([verdict == "kept" for verdict in verdicts], dtype=bool)
        held_out = np.repeat(keep & on_side(texts, "validation", settings.val_fraction), np.diff(documents))
        overlap.add_validation(sentences[held_out], countable[held_out])
        yield keep
