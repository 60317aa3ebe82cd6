"""Batches of a stream: documents are tokenized as they arrive, and the corpus is never held as a whole.

A source is read in parts (`sources.parts`), dealt out to the loader processes of all ranks. The parts of all epochs
are numbered consecutively, and part g belongs to share g mod n of n. Sharding happens only here, and no process reads
another's parts. Shares are numbered so that W ranks with w loader processes go, step by step, through the batches that
one rank with W * w loader processes joins in a step of W micro-batches.

The rows of a part are cut into blocks of `data.shuffle_buffer`, whose examples are shuffled with a seed. A loader
process's position is thus (part, block, batch in the block), and resuming means reading that part again. A stream
cannot compare documents across blocks, so it does not search for duplicates.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from math import gcd

from torch.utils.data import IterableDataset, get_worker_info

from lang_jepa.data.corpus.blocks import Block, process_documents
from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.corpus.deduplicate import hash_text, on_side
from lang_jepa.data.corpus.deduplicate import side as side_of
from lang_jepa.data.corpus.statistics import Losses
from lang_jepa.data.loader import State, position
from lang_jepa.data.sources.base import Document, Rejection, Source
from lang_jepa.data.sources.parts import DAMAGED, SIZE, Part
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import View, make_view
from lang_jepa.data.views.batch import Batch
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings

Position = tuple[int, int, int]
"""Number of a part (among a rank's parts, or in a queue), block in the part, batch in the block."""


def parts_for(source: Source, world: int, workers: int, size: int | None = None) -> tuple[int, Sequence[Part]]:
    """Split a source for `workers` loader processes on each of `world` ranks; returns (bytes per part, parts).

    Args:
        size: bytes per part of the run being resumed (None: aim at four parts for each process).

    Raises:
        LangJepaError: there are fewer parts than loader processes.
    """
    readers = world * workers
    fits = max(1, min(SIZE, source.size() // (4 * readers))) if size is None else size
    parts = source.parts(fits)
    while len(parts) < readers and size is None and fits > 1:
        fits //= 4  # row groups of different sizes
        parts = source.parts(fits)
    if len(parts) < readers:
        raise LangJepaError(
            f"data.streaming: {source.description} can be read by {len(parts)} at a time, and there are "
            f"{readers} loader processes ({world} x data.num_workers={workers}). What one reads is a row group "
            "of a parquet file, a piece of JSON lines that are not compressed, or any other file; with "
            "data.group_column a file, with data.session or data.join_rows all. Use fewer processes, write more files "
            "or smaller row groups, or prepare a corpus: -o data.streaming=false"
        )
    return fits, parts


class Blocks:
    """Blocks of one side of a stream.

    Args:
        settings: how documents are processed.
        source: yields the rows, the same ones each time it is read.
        tokenizer: turns them into tokens.

    Attributes:
        losses: what was lost from the rows that `first` read.
    """

    def __init__(self, settings: Settings, source: Source, tokenizer: TextTokenizer) -> None:
        self.settings, self.source, self.tokenizer = settings, source, tokenizer
        self.splitter = make_splitter(settings.data)
        self.losses = Losses(0, {}, {}, {}, sample=True)

    def process(self, rows: Sequence[Document | Rejection], side: str) -> CorpusSplit | None:
        """Return the documents of one side among the given rows as arrays, or None if there are none."""
        return self._split(self._block(rows, side))

    def _block(self, rows: Sequence[Document | Rejection], side: str) -> Block:
        documents = [row for row in rows if isinstance(row, Document)]
        block = process_documents(documents, self.splitter, self.tokenizer, self.settings.data)
        if block.held is not None:
            return block.select(block.held == (side == "validation"))
        return block.select(on_side(block.text_hashes, side, self.settings.data.val_fraction))

    def _split(self, block: Block) -> CorpusSplit | None:
        return CorpusSplit.from_block(block, self.tokenizer) if len(block) else None

    def read(self, part: Part, start: int) -> Iterator[tuple[int, CorpusSplit | None]]:
        """Yield (number, training side) for the blocks of a part, from block `start` on."""
        size = self.settings.data.shuffle_buffer
        rows = islice(self.source.read_part(part), start * size, None)
        for number in count(start):
            if not (some := list(islice(rows, size))):
                return
            for row in some:
                if isinstance(row, Rejection) and row.reason == DAMAGED:
                    sys.stderr.write(f"warning: a {row.reason} is left out: {row.where}\n")
            yield number, self.process(some, "train")

    def first(self, side: str, sentences: int) -> CorpusSplit | None:
        """The first documents of a side with more than `sentences` sentences, or all of the source if it has fewer.

        At most `data.shuffle_buffer` rows (never more than 1000) are read at a time, and twenty times as many in all.
        Afterwards `losses` describes what was read.
        """
        rows = self.source.first_rows()
        kept: list[Document] = []
        found: Block | None = None
        read, rejected, left_out = 0, Counter[str](), Counter[str]()
        for _ in range(20):
            part = list(islice(rows, min(self.settings.data.shuffle_buffer, 1000)))
            if not part:
                break
            read += len(part)
            rejected.update(row.reason for row in part if isinstance(row, Rejection))
            wanted = [row for row in part if isinstance(row, Document) and self._is_on(side, row)]
            for row in wanted:
                left_out.update(dict(row.left_out))
            if wanted:
                kept += wanted
                found = self._block(kept, side)
            if found is not None and len(found.sentences) > sentences:
                break
        lost = rejected + found.rejected if found else rejected
        tokens = len(found.tokens) if found else 0
        self.losses = Losses(read, lost, {}, left_out, sample=True, tokens=tokens)
        return self._split(found) if found is not None else None

    def _is_on(self, side: str, document: Document) -> bool:
        """Whether any of a document is on the side."""
        if self.settings.data.val_split == "tail":
            return True
        return side_of(hash_text(document.text), self.settings.data.val_fraction) == side


class StreamBatches(IterableDataset[Batch]):
    """Endless batches of one rank from a stream.

    A rank has a row of parts, those of its shares over all epochs, which its loader processes take in turn. The state
    is each process's position in its queue and whose turn it is. After a change in their number it also holds what the
    previous processes had left (`rest`), which comes first, and from where the row is dealt out anew (`begin`).

    Args:
        settings: of the run.
        blocks: of the stream.
        rank, world: this rank and the number of ranks.

    Raises:
        LangJepaError: the source has fewer parts than there are loader processes on all ranks.
    """

    def __init__(self, settings: Settings, blocks: Blocks, *, rank: int, world: int) -> None:
        self.settings, self.blocks = settings, blocks
        self.rank, self.world = rank, world
        self.workers = max(1, settings.data.num_workers)
        self.size, self.parts = parts_for(blocks.source, world, self.workers)
        self.rest: list[Position] = []
        self.begin = self.turn = 0
        self.positions: list[Position] = [(0, 0, 0)] * self.workers

    @property
    def shares(self) -> int:
        """Number of loader processes on all ranks."""
        return self.world * self.workers

    def restart(self, state: State) -> State:
        self.workers = position(state, "workers")
        self.positions, self.rest = _positions(state, "places"), _positions(state, "rest")
        if not self.workers or len(self.positions) != self.workers:
            raise LangJepaError(f"the position in the stream is damaged: {str(state)[:200]}")
        self.begin, self.turn = position(state, "begin"), position(state, "turn", self.workers - 1)
        workers = max(1, self.settings.data.num_workers)
        if workers != self.workers:
            self._deal_anew(workers)
        if (size := position(state, "size")) != self.size:
            self.size, self.parts = parts_for(self.blocks.source, self.world, self.workers, size)
        return self._state()

    def _state(self) -> State:
        positions, rest = ([list(one) for one in some] for some in (self.positions, self.rest))
        at = {"places": positions, "turn": self.turn, "rest": rest, "begin": self.begin}
        return {"size": self.size, "workers": self.workers, **at}

    def _deal_anew(self, workers: int) -> None:
        """Deal what is left to a different number of loader processes; nothing is lost or read twice."""
        queues = [len(self.rest[worker :: self.workers]) for worker in range(self.workers)]
        begun = [number + bool(block or batch) for number, block, batch in self.positions]
        taken = [max(0, number - queue) for number, queue in zip(begun, queues, strict=True)]  # from the row itself
        ends = [self._queued(w, queues[w] + taken[w] - 1)[0] + 1 for w in range(self.workers) if taken[w]]
        begin, left = max([self.begin, *ends]), list[Position]()
        for worker, (number, block, batch) in enumerate(self.positions):
            row, *at = self._queued(worker, number)
            if begun[worker] > number:
                left.append((row, *max((block, batch), (at[0], at[1]))))
            for later in count(begun[worker]):
                queued = self._queued(worker, later)
                if later >= queues[worker] and queued[0] >= begin:
                    break
                left.append(queued)
        self.rest, self.begin, self.turn = sorted(left), begin, 0
        self.workers, self.positions = workers, [(0, 0, 0)] * workers

    def advance(self, state: State, batch: Batch) -> State:
        worker, epoch, *own = batch.position
        before = state or self._state()
        positions = [own if one == worker else old for one, old in enumerate(before["places"])]
        return {**before, "epoch": epoch, "places": positions, "turn": (worker + 1) % self.workers}

    def _queued(self, worker: int, number: int) -> Position:
        """A loader process's `number`-th part: its position in the row, and the block and batch to begin at."""
        own = self.rest[worker :: self.workers]
        if number < len(own):
            return own[number]
        return self.begin + worker + self.workers * (number - len(own)), 0, 0

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker = ((info.id if info else 0) + self.turn) % self.workers
        first, block, offset = self.positions[worker]
        empty = 0
        for number in count(first):
            row, *at = self._queued(worker, number)
            block, offset = max((block, offset), (at[0], at[1]))
            epoch, part = divmod(self.rank + self.world * row, len(self.parts))
            whole, found = number >= len(self.rest[worker :: self.workers]) and not (block or offset), False
            for now, view in self._views(part, block):
                for index, batch in self._batches(view, epoch, offset):
                    found = True
                    yield replace(batch, position=(worker, epoch, number, now, index + 1))
                offset = 0
            block = offset = 0
            empty = 0 if found or not whole else empty + 1
            own = len(self.parts) // gcd(len(self.parts), self.shares)  # distinct parts of this share over all epochs
            if empty >= own:
                share = worker * self.world + self.rank + 1
                raise LangJepaError(
                    f"share {share} of {self.shares} of the stream {self.blocks.source.description} has nothing to "
                    f"train on: of its parts ({own} of {len(self.parts)}) all documents are rejected, damaged or held "
                    "out. Use fewer processes (ranks, or data.num_workers of each), mix the documents over the files, "
                    "write more files, or prepare a corpus: -o data.streaming=false"
                )

    def _views(self, part: int, start: int) -> Iterator[tuple[int, View]]:
        """Yield (number, view) for the blocks of a part that have examples; each has its own random draws."""
        for number, split in self.blocks.read(self.parts[part], start):
            if split is not None:
                seed = (self.settings.meta.seed * 1_000_003 + part << 20) + number
                view = make_view(self.settings, split, self.blocks.tokenizer, seed=seed)
                if view.count:
                    yield number, view

    def _batches(self, view: View, epoch: int, start: int) -> Iterator[tuple[int, Batch]]:
        """Yield (index, batch) for one block from batch `start` on, in an order seeded by epoch and block."""
        for index, group in view.order(self.settings.data, world=1).groups(epoch, start):
            yield index, view.batch(group[0], epoch)


def _positions(state: State, name: str) -> list[Position]:
    found = state.get(name)
    if not isinstance(found, list) or not all(isinstance(one, list | tuple) and len(one) == 3 for one in found):
        raise LangJepaError(f"the position in the stream is damaged: {str(state)[:200]}")
    names = ("part", "block", "batch")
    every = [[position(dict(zip(names, one, strict=True)), name) for name in names] for one in found]
    return [(part, block, batch) for part, block, batch in every]
