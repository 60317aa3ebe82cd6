"""Decisions about all documents, made in the order of the source and kept on disk.

With them the shards can be written independently and in any order (`shard_tasks`).
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import read_about
from lang_jepa.data.corpus.corpus import DUPLICATES, SIDES
from lang_jepa.data.corpus.deduplicate import Verdict, hash_text, judge_files, on_side
from lang_jepa.data.corpus.hashes import Hashes
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.files.atomic import atomic_folder, fingerprint, read_json, write_json, writing
from lang_jepa.settings.data import DataSettings

_ABOUT = "about.json"


@dataclass(frozen=True)
class Decisions:
    """Which documents are written, and to which shards.

    Attributes:
        blocks: file names of the blocks (bytes, fixed width, [B]).
        starts: int64 [B + 1], number of the first document of each block, then D.
        keep: bool [D], the documents that are not duplicates.
        shared: uint64, hashes of ids that more than one document has.
        held: uint64 [V], ascending, hashes of the distinct held-out sentences.
        times: int64 [V], how often each of them occurs.
        long: bool [V], which of them count for near-duplicates.
        shards: (side, number within the side, first document, document after the last) of each shard.
        rejected, duplicates: counts by reason and by kind.
    """

    blocks: NDArray[np.bytes_]
    starts: Ints
    keep: NDArray[np.bool_]
    shared: Hashes
    held: Hashes
    times: Ints
    long: NDArray[np.bool_]
    shards: list[tuple[str, int, int, int]]
    rejected: Counter[str]
    duplicates: Counter[str]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Memory-map what `decide` wrote."""
        about = read_json(folder / _ABOUT, what="decisions about documents")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        shards = [(str(side), number, first, stop) for side, number, first, stop in about["shards"]]
        return cls(
            **arrays, shards=shards, rejected=Counter(about["rejected"]), duplicates=Counter(about["duplicates"])
        )


_ARRAYS = ("blocks", "starts", "keep", "shared", "held", "times", "long")


def decided(blocks: Sequence[Path], folder: Path, shard_tokens: int) -> bool:
    """Whether a folder holds the decisions about these blocks."""
    about = folder / _ABOUT
    return about.is_file() and read_json(about, what="decisions")["of"] == _identity(blocks, shard_tokens)


def _identity(blocks: Sequence[Path], shard_tokens: int) -> str:
    files = [(path.name, stat.st_size, stat.st_mtime_ns) for path in blocks for stat in [path.stat()]]
    return fingerprint([shard_tokens, files])


def decide(blocks: Sequence[Path], folder: Path, settings: DataSettings, *, shard_tokens: int) -> None:
    """Judge duplicates, assign every document to its side, plan the shards, and collect the held-out sentences.

    Only hashes and lengths are read, in the order of the source, so it does not matter which process made which block,
    or when. The folder appears once it is complete.
    """
    deciding = _Deciding(settings, shard_tokens)
    for path, (verdicts, arrays) in zip(
        blocks, judge_files(blocks, settings.deduplicate, settings.near_duplicate_share), strict=True
    ):
        deciding.add(path, verdicts, arrays)
    shared = shared_ids(blocks)
    held, first, times = np.unique(
        np.concatenate([np.zeros(0, np.uint64), *deciding.held]), return_index=True, return_counts=True
    )
    arrays = {
        "blocks": np.array([os.fsencode(path.name) for path in blocks], dtype=np.bytes_),
        "starts": np.cumsum([0, *map(len, deciding.keeps)]),
        "keep": np.concatenate([np.zeros(0, dtype=bool), *deciding.keeps]),
        "shared": shared,
        "held": held,
        "times": times,
        "long": np.concatenate([np.zeros(0, dtype=bool), *deciding.long])[first],
    }
    about = {
        "of": _identity(blocks, shard_tokens),
        "shards": [
            (side, number, *ends) for side in SIDES for number, ends in enumerate(deciding.plans[side].finish())
        ],
        "rejected": dict(deciding.rejected),
        "duplicates": dict(Counter(verdict.kind for _, verdict in deciding.repeated)),
    }
    with atomic_folder(folder) as temporary, writing(folder):
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        _write_duplicates(temporary / DUPLICATES, blocks, deciding, shared)
        write_json(temporary / _ABOUT, about)


class _Deciding:
    """Collect the decisions block by block."""

    def __init__(self, settings: DataSettings, shard_tokens: int) -> None:
        self.settings = settings
        self.keeps, self.held, self.long = list[NDArray[np.bool_]](), list[Hashes](), list[NDArray[np.bool_]]()
        self.repeated = list[tuple[int, Verdict]]()
        self.rejected = Counter[str]()
        self.plans = {side: _Plan(shard_tokens) for side in SIDES}
        self._number = 0

    def add(self, path: Path, verdicts: Sequence[Verdict], arrays: dict[str, NDArray[Any]]) -> None:
        """Add a block's documents, with their verdicts and the arrays they were judged by."""
        with np.load(path, allow_pickle=False) as stored:
            self.rejected.update(read_about(stored)["rejected"])
            held, starts, documents = stored.get("held"), stored["sentences"], arrays["documents"]
        keep = np.array([verdict.kind == "kept" for verdict in verdicts], dtype=bool)
        self.repeated += [(self._number + row, verdicts[row]) for row in np.flatnonzero(~keep).tolist()]
        tokens = np.diff(starts[documents])
        for side in SIDES:
            there = keep & block_side(arrays["text_hashes"], held, side, self.settings)
            self.plans[side].add(np.flatnonzero(there) + self._number, tokens[there])
        sentences = np.repeat(there, np.diff(documents))  # of the last side, which is the held-out one
        self.held.append(arrays["sentence_hashes"][sentences])
        self.long.append(arrays["countable"][sentences])
        self.keeps.append(keep)
        self._number += len(keep)


@dataclass
class _Plan:
    """Where the shards of a side end: each with the document that brings it to `shard_tokens`."""

    shard_tokens: int
    shards: list[tuple[int, int]] = field(default_factory=list)
    _held: int = 0
    _first: int = -1
    _stop: int = -1

    def add(self, numbers: Ints, tokens: Ints) -> None:
        """Add documents, given their ascending numbers and the tokens of each."""
        while len(numbers):
            ends = self._held + np.cumsum(tokens)
            fit = int(np.searchsorted(ends, self.shard_tokens)) + 1
            self._first = self._first if self._held else int(numbers[0])
            self._held, self._stop = int(ends[:fit][-1]), int(numbers[:fit][-1]) + 1
            if self._held >= self.shard_tokens:
                self.shards.append((self._first, self._stop))
                self._held = 0
            numbers, tokens = numbers[fit:], tokens[fit:]

    def finish(self) -> list[tuple[int, int]]:
        """(first document, document after the last) of each shard."""
        return self.shards + ([(self._first, self._stop)] if self._held else [])


def block_side(hashes: Hashes, held: NDArray[np.bool_] | None, side: str, settings: DataSettings) -> NDArray[np.bool_]:
    """Bool [D]: which documents are on a side."""
    return on_side(hashes, side, settings.val_fraction) if held is None else held == (side == "validation")


def shared_ids(blocks: Sequence[Path]) -> Hashes:
    """Hashes of ids that more than one document has. Takes 8 bytes for each document whose id comes from its file."""
    found = [np.zeros(0, dtype=np.uint64)]
    for path in blocks:
        with np.load(path, allow_pickle=False) as stored:
            if "places" in stored:
                found.append(_id_hashes(stored["ids"][stored["places"] != b""]))
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    return values[counts > 1]


def _id_hashes(ids: NDArray[np.bytes_]) -> Hashes:
    return np.array([hash_text(one.decode()) for one in ids.tolist()], dtype=np.uint64)


def names(ids: NDArray[np.bytes_], places: NDArray[np.bytes_] | None, shared: Hashes) -> NDArray[np.bytes_]:
    """The ids of a block's documents, with the place appended to those that other documents share."""
    if places is None or not len(shared):
        return ids
    return np.where(np.isin(_id_hashes(ids), shared) & (places != b""), places, ids)


def _write_duplicates(path: Path, blocks: Sequence[Path], deciding: _Deciding, shared: Hashes) -> None:
    """Write one JSON line for each duplicate: its id, its kind, the original's id, and the share found again."""
    repeated = deciding.repeated
    wanted = {number for number, _ in repeated} | {verdict.original for _, verdict in repeated}
    found: dict[int, str] = {}
    first = 0
    for file, keep in zip(blocks, deciding.keeps, strict=True):
        here = [number for number in range(first, first + len(keep)) if number in wanted]
        if here:
            with np.load(file, allow_pickle=False) as stored:
                ids = names(stored["ids"], stored.get("places"), shared)
            found.update((number, bytes(ids[number - first]).decode()) for number in here)
        first += len(keep)
    with path.open("w", encoding="utf-8") as lines:
        for number, verdict in repeated:
            line = {
                "document": found[number],
                "kind": verdict.kind,
                "original": found[verdict.original],
                "share": round(verdict.share, 3),
            }
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
