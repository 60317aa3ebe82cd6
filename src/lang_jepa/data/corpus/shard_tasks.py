"""Write the shards of a corpus independently from blocks and decisions, in this process or in tasks of an engine, and
assemble them in a corpus folder.

A shard's folder appears under its name only once it is complete, and a complete shard is never written again.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.data.corpus.blocks import read_block, token_dtype
from lang_jepa.data.corpus.corpus import DUPLICATES, MANIFEST, SIDES
from lang_jepa.data.corpus.decisions import Decisions, block_side, decide, decided, names
from lang_jepa.data.corpus.shards import ShardWriter
from lang_jepa.data.corpus.statistics import SideStatistics, mark, overlap
from lang_jepa.files.atomic import atomic_file, atomic_folder, crc32, make_folder, read_json, write_json
from lang_jepa.settings.data import DataSettings


class WriteShards:
    """The step that turns decisions into shards, in one process or in a datatrove pipeline.

    Args:
        settings: of the corpus.
        blocks: folder of the blocks.
        folder: of the decisions, the shards, and the task logs.
        vocab_size: of the tokenizer.
        shard_tokens: a shard ends with the document that brings it to this many tokens.
    """

    name, type, job = "shards", "lang-jepa", "shards"

    def __init__(self, settings: DataSettings, blocks: Path, folder: Path, vocab_size: int, shard_tokens: int) -> None:
        self.settings, self.blocks, self.folder = settings, blocks.absolute(), folder.absolute()
        self.vocab_size, self.shard_tokens = vocab_size, shard_tokens
        self.decisions, self.logs = self.folder / "decisions", self.folder.with_name("shard-tasks")

    def decide(self, blocks: Sequence[Path]) -> None:
        """Decide what to do with each document, unless already done; shards from other decisions are removed."""
        if not decided(blocks, self.decisions, self.shard_tokens):
            for old in (self.folder, self.folder.with_name("corpus")):
                shutil.rmtree(old, ignore_errors=True)
            make_folder(self.folder)
            decide(blocks, self.decisions, self.settings, shard_tokens=self.shard_tokens)

    def units(self) -> int:
        """Number of shards."""
        return len(Decisions.open(self.decisions).shards)

    def unfinished(self) -> list[int]:
        """Numbers of the shards that are not done, counted through both sides."""
        shards = Decisions.open(self.decisions).shards
        return [number for number, (side, index, *_) in enumerate(shards) if not self.shard(side, index).exists()]

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Write the unfinished shards of task `rank` of `world_size`; `data` is passed by datatrove and not used."""
        decisions = Decisions.open(self.decisions)
        for number in range(rank, len(decisions.shards), world_size):
            side, index, *_ = decisions.shards[number]
            if not self.shard(side, index).exists():
                self._write(number, decisions)

    def _write(self, number: int, decisions: Decisions) -> None:
        side, index, first, stop = decisions.shards[number]
        statistics, seen = SideStatistics(), np.zeros(len(decisions.held), dtype=bool)
        with atomic_folder(self.shard(side, index)) as temporary:
            writer = ShardWriter(temporary, side, index, token_dtype(self.vocab_size))
            begin = int(np.searchsorted(decisions.starts, first, side="right")) - 1
            for block_number in range(begin, int(np.searchsorted(decisions.starts, stop))):
                block = read_block(self.blocks / os.fsdecode(decisions.blocks[block_number]))
                here = slice(*decisions.starts[block_number : block_number + 2].tolist())
                numbers = np.arange(here.start, here.stop)
                there = (numbers >= first) & (numbers < stop) & decisions.keep[here]
                there &= block_side(block.text_hashes, block.held, side, self.settings)
                part = replace(block, ids=names(block.ids, block.places, decisions.shared), places=None).select(there)
                writer.append(part)
                statistics.add(part)
                if side == "train":
                    mark(seen, decisions.held, part.sentence_hashes)
            sizes = writer.finish()
            sums = {file.name: crc32(file) for file in sorted(temporary.iterdir())}
            np.save(temporary / "seen.npy", np.flatnonzero(seen))
            write_json(temporary / "record.json", {"sizes": sizes, "sums": sums, "statistics": statistics.record()})

    def shard(self, side: str, index: int) -> Path:
        """The folder of a shard."""
        return self.folder / f"{side}-{index:05d}"


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
