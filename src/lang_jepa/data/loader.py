"""Endless batches for one rank, with a position that can be saved and resumed exactly.

Batches of a corpus and of a stream work alike: an iterable dataset stamps every batch with the position at which
reading continues after it. The loader tracks the stamps of the batches it has handed out, so anything that loader
processes have prefetched beyond them does not matter.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lang_jepa.data.views import View
from lang_jepa.data.views.batch import Batch
from lang_jepa.data.views.order import Indices, Order
from lang_jepa.errors import LangJepaError

State = dict[str, Any]


def position(state: State, name: str, most: int | None = None) -> int:
    """Return a number from a saved state that says how far something was read.

    Raises:
        LangJepaError: it is missing, not a whole number, negative, or above `most`.
    """
    found = state.get(name) if isinstance(state, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise LangJepaError(f"the position in the data is damaged: its {name} is {found!r}")
    if most is not None and found > most:
        raise LangJepaError(f"the position in the data is damaged: its {name} is {found:,}, of {most:,}")
    return found


class BatchSource(Protocol):
    """What a loader reads: batches for one rank from a given position, divided among loader processes."""

    def restart(self, state: State) -> State:
        """Begin the next iteration at a saved state, and return that state as it is counted from here on."""

    def advance(self, state: State, batch: Batch) -> State:
        """The state after this batch has been handed out."""

    def __iter__(self) -> Iterator[Batch]: ...


class CorpusBatches(IterableDataset[Batch]):
    """Batches of a view in the seeded global order, for one rank; endless, epoch after epoch.

    The state is (epoch, group), which is the same on all ranks.

    Args:
        view: builds batches from examples.
        order: arranges examples in groups of `world` batches.
        rank: selects this rank's batch of each group.
    """

    def __init__(self, view: View, order: Order, rank: int) -> None:
        self.view, self.order, self.rank = view, order, rank
        self.epoch, self.group = 0, 0

    def restart(self, state: State) -> State:
        epoch = position(state, "epoch")
        self.epoch, self.group = epoch, position(state, "group", self.order.steps(epoch))
        return state

    def advance(self, state: State, batch: Batch) -> State:
        epoch, group = batch.position
        return {"epoch": epoch, "group": group}

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        turn, start = 0, self.group
        if not self.order.count:  # empty epochs would follow each other for ever
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
        """This rank's batch of a step. If it has no examples of its own it computes one of another rank's, since the
        ranks run in step, and counts nothing.
        """
        own = group[self.rank]
        return self.view.batch(own, epoch) if len(own) else self.view.batch(max(group, key=len)[:1], epoch).idled()


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C and a cluster's SIGTERM reach loader processes too, but only the run decides when it ends.

    SIGTERM must still end them, with status 0: the run itself uses it to end a loader process that does not stop, and
    any other status would be taken for a crash while the run is saving.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))


class Loader:
    """Iterate over batches and keep track of the position.

    Args:
        source: corpus or stream batches.
        num_workers: loader processes (0: build batches in this process).
        state: where to begin: an earlier value of the `state` attribute.
    """

    def __init__(self, source: BatchSource, *, num_workers: int, state: State | None = None) -> None:
        self.source = source
        self.state: State = dict(source.restart(state)) if state else {}
        self._batches: Iterator[Batch] = iter(source)
        if num_workers:
            self._batches = iter(
                DataLoader(
                    source,  # type: ignore[arg-type]
                    batch_size=None,
                    num_workers=num_workers,
                    prefetch_factor=2,
                    generator=torch.Generator(),  # otherwise its seed is drawn from the generator used by dropout
                    worker_init_fn=_leave_signals_to_the_run,
                    multiprocessing_context="fork",
                )
            )

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            batch = next(self._batches)
        except LangJepaError as error:  # from a loader process, torch adds the traceback to the message
            raise LangJepaError(str(error).strip().rpartition(f"{LangJepaError.__name__}: ")[2]) from error
        self.state = self.source.advance(self.state, batch)
        return batch
