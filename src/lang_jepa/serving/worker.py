"""The one thread that owns the model: requests wait in a line, and texts that wait together are encoded together.

A request alone is encoded at once. Where others wait, `GATHER` passes for more to come, and all of them make one
batch, up to `BATCH_TEXTS` and `BATCH_CHARACTERS`. A request with a text that cannot be read fails alone.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lang_jepa.serving.counts import Counts
from lang_jepa.serving.refusals import Refused

Tokens = NDArray[np.int64]
Answer = TypeVar("Answer")
GATHER = 0.002
"""Seconds that a batch waits for more, where it has more than one request already."""
BATCH_TEXTS = 256
BATCH_CHARACTERS = 16_000
"""About a pass of the encoder: larger batches make those in front wait, and are no faster."""


class Encoder(Protocol):
    """What makes vectors of texts in two steps; the first finds what cannot be read."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text; raises LangJepaError for one that has none."""

    def vectors(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        """Float32 [n, D]."""


@dataclass(frozen=True)
class Encoded:
    """Vectors float32 [n, D] of the texts of one request, and how many tokens these have in all."""

    vectors: NDArray[np.float32]
    tokens: int


@dataclass(eq=False)
class Job:
    """One request in the line: texts to encode, or `work` to do (then there are no texts)."""

    texts: Sequence[str] = ()
    work: Callable[[], Any] | None = None
    future: "Future[Any]" = field(default_factory=Future)


class Worker:
    """Starts the thread.

    Args:
        encoder: asked by the thread alone.
        counts: gets batch sizes and the length of the line.
        most: requests that may wait.
        patience: seconds that one waits at most before it is begun.
    """

    def __init__(self, encoder: Encoder, counts: Counts, *, most: int, patience: float) -> None:
        self._encoder, self._counts, self._most, self._patience = encoder, counts, most, patience
        self._line: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        counts.waiting.set_function(lambda: len(self._line))
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts, together with those of others that wait.

        Raises:
            Refused: 503, too many wait, or it waited too long.
            LangJepaError: a text that cannot be encoded.
        """
        encoded: Encoded = await self._answer(Job(texts))
        return encoded

    async def do(self, work: Callable[[], Answer]) -> Answer:
        """What `work` gives, which is called in the model's thread; errors as `encode`, and its own."""
        answer: Answer = await self._answer(Job(work=work))
        return answer

    async def _answer(self, job: Job) -> Any:
        with self._changed:
            if self._closed:
                raise Refused(503, "the server is shutting down", code="shutting_down")
            if len(self._line) >= self._most:
                raise Refused(503, f"{self._most} requests wait already (--queue): ask again later", code="queue_full")
            self._line.append(job)
            self._changed.notify()
        waiting = asyncio.wrap_future(job.future)
        done, _ = await asyncio.wait({waiting}, timeout=self._patience)
        if not done and job.future.cancel():
            with self._changed:
                if job in self._line:
                    self._line.remove(job)
            message = (
                f"the request waited for {self._patience:g} seconds (--timeout) and was not begun: ask again later"
            )
            raise Refused(503, message, code="timeout")
        return await waiting

    def close(self) -> None:
        """Do what is in the line, take no more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._take():
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if jobs and jobs[0].work is not None:
                _settle(jobs[0], jobs[0].work)
            elif jobs:
                self._encode(jobs)

    def _take(self) -> list[Job]:
        """One piece of work, or requests to encode together; nothing once it is closed and all is done."""
        with self._changed:
            while not self._line and not self._closed:
                self._changed.wait()
            if not self._line:
                return []
            taken = [self._line.popleft()]
            if taken[0].work is None:
                self._join(taken)
                end = time.monotonic() + GATHER
                while len(taken) > 1 and not self._closed and (left := end - time.monotonic()) > 0:
                    self._changed.wait(left)
                    self._join(taken)
            return taken

    def _join(self, taken: list[Job]) -> None:
        """Move to `taken` what waits to be encoded and fits beside it."""
        texts = sum(len(job.texts) for job in taken)
        characters = sum(len(text) for job in taken for text in job.texts)
        for job in [job for job in self._line if job.work is None]:
            texts, characters = texts + len(job.texts), characters + sum(map(len, job.texts))
            if texts > BATCH_TEXTS or characters > BATCH_CHARACTERS:
                return
            taken.append(job)
            self._line.remove(job)

    def _encode(self, jobs: list[Job]) -> None:
        """Encode the texts of several requests in one call."""
        read: list[tuple[Job, list[Tokens]]] = []
        for job in jobs:
            try:
                read.append((job, self._encoder.tokenize(job.texts)))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to this request
                job.future.set_exception(error)
        if read:
            self._encode_read(read)

    def _encode_read(self, read: list[tuple[Job, list[Tokens]]]) -> None:
        """Answer requests of which the tokens are known."""
        together = [ids for _, tokens in read for ids in tokens]
        try:
            vectors = self._encoder.vectors(together)
        except Exception as error:  # noqa: BLE001 - as above; of several, each is tried alone
            if len(read) == 1:
                read[0][0].future.set_exception(error)
            else:
                for one in read:
                    self._encode_read([one])
            return
        self._counts.batch(requests=len(read), texts=len(together))
        start = 0
        for job, tokens in read:
            rows = vectors[start : start + len(tokens)]
            start += len(tokens)
            job.future.set_result(Encoded(rows, sum(map(len, tokens))))


def _settle(job: Job, work: Callable[[], Any]) -> None:
    """Give a request what `work` gives, or its error."""
    try:
        job.future.set_result(work())
    except Exception as error:  # noqa: BLE001 - it is the answer to this request
        job.future.set_exception(error)
