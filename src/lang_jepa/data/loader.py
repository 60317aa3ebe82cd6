"""Endless batches of one rank, with a position that can be saved and taken up again exactly.

A corpus' batches and a stream's batches have the same shape: an iterable data set that stamps every batch with the
position at which reading would go on after it. The loader remembers the stamps of the batches it has handed out, so
what loader processes have prefetched beyond that does not matter.

Of a stream documents are tokenized as they come, without ever holding the corpus. Its rows are cut into blocks of
`data.shuffle_buffer` rows. Block b belongs to the share b mod n, where the n shares are all loader processes of all
ranks: sharding happens once, here. Shares are numbered so that W ranks with w loader processes go, step by step,
through the batches that one rank with W * w loader processes joins in a step of W micro-batches. Inside a block the
examples are shuffled by a seed, so a share's position is (epoch, block, batch in the block), and going on means reading
that block again. What a stream cannot do is compare documents across blocks: duplicates are not searched for.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lang_jepa.data.corpus.blocks import Block, process_documents
from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.corpus.deduplicate import hash_text, on_side
from lang_jepa.data.corpus.deduplicate import side as side_of
from lang_jepa.data.corpus.statistics import Losses
from lang_jepa.data.sources.base import Document, Rejection, Source
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import View, make_view
from lang_jepa.data.views.batch import Batch
from lang_jepa.data.views.order import Indices, Order
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings

State = dict[str, Any]


def position(state: State, name: str, most: int | None = None) -> int:
    """A number of a saved state that says how far something was read.

    Raises:
        LangJepaError: it is missing, no whole number, negative, or above `most`.
    """
    found = state.get(name) if isinstance(state, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise LangJepaError(f"the position in the data is damaged: its {name} is {found!r}")
    if most is not None and found > most:
        raise LangJepaError(f"the position in the data is damaged: its {name} is {found:,}, of {most:,}")
    return found


class BatchSource(Protocol):
    """What a loader reads: batches for one rank from a position on, shared out among loader processes."""

    def restart(self, state: State) -> None:
        """Begin at a saved state the next time it is iterated."""

    def advance(self, state: State, batch: Batch) -> State:
        """The state after one more batch has been handed out."""

    def __iter__(self) -> Iterator[Batch]: ...


class CorpusBatches(IterableDataset[Batch]):
    """Batches of a view in the seeded global order, for one rank; endless, epoch after epoch.

    The state is (epoch, group), which is the same on all ranks.

    Args:
        view: examples to batches.
        order: examples to groups of `world` batches.
        rank: which batch of each group is ours.
    """

    def __init__(self, view: View, order: Order, rank: int) -> None:
        self.view, self.order, self.rank = view, order, rank
        self.epoch, self.group = 0, 0

    def restart(self, state: State) -> None:
        epoch = position(state, "epoch")
        self.epoch, self.group = epoch, position(state, "group", self.order.steps(epoch))

    def advance(self, state: State, batch: Batch) -> State:
        epoch, group = batch.position
        return {"epoch": epoch, "group": group}

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        turn, start = 0, self.group
        if not self.order.count:  # epochs without batches would follow each other for ever
            raise LangJepaError(
                "no examples to make batches of: the corpus has no document that is long enough for this view"
            )
        for epoch in count(self.epoch):
            for number, group in self.order.groups(epoch, start):
                if turn % workers == worker:
                    yield replace(self._batch(group, epoch), position=(epoch, number + 1))
                turn += 1
            start = 0

    def _batch(self, group: list[Indices], epoch: int) -> Batch:
        """This rank's batch of a step. Without examples of its own it goes through one of the others', since the ranks
        compute together, and counts nothing of it.
        """
        own = group[self.rank]
        return self.view.batch(own, epoch) if len(own) else self.view.batch(max(group, key=len)[:1], epoch).idled()


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C and a cluster's SIGTERM reach loader processes too, but only the run decides when it ends.

    SIGTERM must still end them, and with status 0: it is also how the run itself ends a loader process that does not
    stop, and another status would be taken for a crash while the run is saving.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))


class Loader:
    """Iterates batches and knows where it stands.

    Args:
        source: corpus or stream batches.
        num_workers: loader processes (0: build batches here).
        state: where to begin, as `state` gave it.
    """

    def __init__(self, source: BatchSource, *, num_workers: int, state: State | None = None) -> None:
        self.source = source
        self.state: State = dict(state or {})
        if state:
            source.restart(state)
        self._batches: Iterator[Batch] = iter(source)
        if num_workers:
            self._batches = iter(
                DataLoader(
                    source,  # type: ignore[arg-type]
                    batch_size=None,
                    num_workers=num_workers,
                    prefetch_factor=2,
                    generator=torch.Generator(),  # else its seed is drawn from the one that dropout uses
                    worker_init_fn=_leave_signals_to_the_run,
                    multiprocessing_context="fork",
                )
            )

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self.state = self.source.advance(self.state, batch)
        return batch


class Blocks:
    """Blocks of one side of a stream.

    Args:
        settings: what becomes of the documents.
        source: where rows come from; the same rows each time it is read.
        tokenizer: turns them into tokens.

    Attributes:
        losses: what was lost of the rows that `first` read.
    """

    def __init__(self, settings: Settings, source: Source, tokenizer: TextTokenizer) -> None:
        self.settings, self.source, self.tokenizer = settings, source, tokenizer
        self.splitter = make_splitter(settings.data)
        self.losses = Losses(0, {}, {}, {}, sample=True)

    def process(self, rows: Sequence[Document | Rejection], side: str) -> CorpusSplit | None:
        """The documents of one side among some rows, as arrays; None if there are none."""
        return self._split(self._block(rows, side))

    def _block(self, rows: Sequence[Document | Rejection], side: str) -> Block:
        documents = [row for row in rows if isinstance(row, Document)]
        block = process_documents(documents, self.splitter, self.tokenizer, self.settings.data)
        if block.held is not None:
            return block.select(block.held == (side == "validation"))
        return block.select(on_side(block.text_hashes, side, self.settings.data.val_fraction))

    def _split(self, block: Block) -> CorpusSplit | None:
        return CorpusSplit.from_block(block, self.tokenizer) if len(block) else None

    def read(self, start: int, step: int) -> Iterator[tuple[int, CorpusSplit | None]]:
        """(number, training side) of blocks start, start + step, ... to the end of the source.

        The blocks of other shares are passed over row by row, which costs reading but no tokenizing.
        """
        size = self.settings.data.shuffle_buffer
        rows = self.source.rows(skip=start * size)
        number = start
        while batch := list(islice(rows, size)):
            yield number, self.process(batch, "train")
            skipped = sum(1 for _ in islice(rows, (step - 1) * size))
            if skipped < (step - 1) * size:
                return
            number += step

    def first(self, side: str, sentences: int) -> CorpusSplit | None:
        """The first documents of a side with at least so many sentences, or all of the source if it has fewer.

        At most `data.shuffle_buffer` rows are read at a time, and twenty times as many in all. `losses` are then those
        of what was read.
        """
        rows = self.source.rows()
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
        """Whether a document has a part on the side."""
        if self.settings.data.val_split == "tail":
            return True
        return side_of(hash_text(document.text), self.settings.data.val_fraction) == side


class StreamBatches(IterableDataset[Batch]):
    """Endless batches of one rank from a stream.

    The state is one position per loader process, and whose turn it is.

    Args:
        settings: of the run.
        blocks: of the stream.
        rank, world: this process and their number.
    """

    def __init__(self, settings: Settings, blocks: Blocks, *, rank: int, world: int) -> None:
        self.settings, self.blocks = settings, blocks
        self.rank, self.world = rank, world
        self.workers = max(1, settings.data.num_workers)
        self.positions = [[0, 0, 0] for _ in range(self.workers)]
        self.turn = 0

    def restart(self, state: State) -> None:
        saved = state.get("positions")
        if not isinstance(saved, list) or not all(isinstance(one, list) and len(one) == 3 for one in saved):
            raise LangJepaError(f"the position in the stream is damaged: {str(state)[:200]}")
        if len(saved) != self.workers:
            raise LangJepaError(
                f"the stream was read by {len(saved)} loader processes per rank, now {self.workers}: "
                f"set data.num_workers={len(saved)}"
            )
        names = ("epoch", "block", "batch")
        self.positions = [[position(dict(zip(names, one, strict=True)), name) for name in names] for one in saved]
        self.turn = position(state, "turn", self.workers - 1)

    def advance(self, state: State, batch: Batch) -> State:
        worker, *position = batch.position
        positions = state.get("positions") or [[0, 0, 0] for _ in range(self.workers)]
        positions = [position if i == worker else old for i, old in enumerate(positions)]
        return {"epoch": position[0], "positions": positions, "turn": (worker + 1) % self.workers}

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker = ((info.id if info else 0) + self.turn) % self.workers
        epoch, block, offset = self.positions[worker]
        share, shares = worker * self.world + self.rank, self.world * self.workers
        start = block if block or offset else share
        while True:
            whole, empty = start == share and not offset, True
            for number, split in self.blocks.read(start, shares):
                view = self._view(split, number) if split is not None else None
                if view is not None and view.count:
                    for index, batch in self._batches(view, epoch, offset):
                        empty = False
                        yield replace(batch, position=(worker, epoch, number, index + 1))
                offset = 0
            if empty and whole:
                raise LangJepaError(
                    f"share {share + 1} of {shares} of the stream {self.blocks.source.description} has nothing to "
                    "train on: use fewer processes, a smaller data.shuffle_buffer, or more documents"
                )
            epoch, start = epoch + 1, share

    def _view(self, split: CorpusSplit, block: int) -> View:
        """A block's view, which draws otherwise than those of other blocks."""
        seed = self.settings.meta.seed * 1_000_003 + block
        return make_view(self.settings, split, self.blocks.tokenizer, seed=seed)

    def _batches(self, view: View, epoch: int, start: int) -> Iterator[tuple[int, Batch]]:
        """(index, batch) of one block from batch `start` on, in an order seeded by epoch and block."""
        data = self.settings.data
        order = Order(
            count=view.count,
            sizes=view.sizes,
            world=1,
            batch_size=data.batch_size,
            batch_tokens=data.batch_tokens,
            pool_batches=data.pool_batches,
            seed=view.seed,
        )
        for index, group in order.groups(epoch, start):
            yield index, view.batch(group[0], epoch)
