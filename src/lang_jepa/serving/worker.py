"""The one thread that owns the model: requests wait in a queue, and texts that wait together are encoded together.

A single request is encoded at once. If several wait, the thread waits `GATHER` seconds for more and encodes them as one
batch, up to `BATCH_TEXTS` and `BATCH_CHARACTERS`. A request with a text that cannot be read fails alone.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lang_jepa.serving.guard import Counts
from lang_jepa.serving.refusals import Refused
from lang_jepa.serving.served import Served, Tokens

Answer = TypeVar("Answer")
GATHER = 0.002
"""Seconds that a batch of more than one request waits for further ones."""
BATCH_TEXTS = 256
BATCH_CHARACTERS = 16_000
"""About one pass of the encoder: larger batches are no faster, and make the first requests wait."""


@dataclass(frozen=True)
class Encoded:
    """Vectors float32 [n, D] of the texts of one request, and the total number of their tokens."""

    vectors: NDArray[np.float32]
    tokens: int


@dataclass(eq=False)
class Job:
    """One request in the queue: texts to encode, or `work` to do (then there are no texts)."""

    texts: Sequence[str] = ()
    work: Callable[[], Any] | None = None
    future: "Future[Any]" = field(default_factory=Future)


class Worker:
    """Starts the thread that owns the model, and queues requests for it.

    Args:
        served: the model, used by the thread only.
        counts: receives batch sizes and the length of the queue.
        most: most requests that may wait.
        patience: most seconds that a request waits before work on it begins.
    """

    def __init__(self, served: Served, counts: Counts, *, most: int, patience: float) -> None:
        self._served, self._counts, self._most, self._patience = served, counts, most, patience
        self._line: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        counts.waiting.set_function(lambda: len(self._line))
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts, together with those of other requests that wait.

        Raises:
            Refused: 503: too many requests wait, this one waited too long, or the server is shutting down.
            LangJepaError: a text that cannot be encoded.
        """
        encoded: Encoded = await self._answer(Job(texts))
        return encoded

    async def do(self, work: Callable[[], Answer]) -> Answer:
        """Return the result of `work`, called in the model's thread; raises as `encode` does, or as `work` does."""
        answer: Answer = await self._answer(Job(work=work))
        return answer

    async def _answer(self, job: Job) -> Any:
        with self._changed:
            if self._closed:
                raise Refused(503, "the server is shutting down", code="shutting_down")
            if len(self._line) >= self._most:
                message = f"{self._most} requests are already waiting (--queue): try again later"
                raise Refused(503, message, code="queue_full")
            self._line.append(job)
            self._changed.notify()
        waiting = asyncio.wrap_future(job.future)
        done, _ = await asyncio.wait({waiting}, timeout=self._patience)
        if not done and job.future.cancel():
            with self._changed:
                if job in self._line:
                    self._line.remove(job)
            message = (
                f"the request waited for {self._patience:g} seconds (--timeout) and was not started: try again later"
            )
            raise Refused(503, message, code="timeout")
        return await waiting

    def close(self) -> None:
        """Finish what is queued, accept nothing more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._take():
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if not jobs or jobs[0].work is None:
                self._encode(jobs)
                continue
            try:
                jobs[0].future.set_result(jobs[0].work())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to this request
                jobs[0].future.set_exception(error)

    def _take(self) -> list[Job]:
        """Take one piece of work, or requests to encode together; empty once the worker is closed and all is done."""
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
        """Move requests that wait to be encoded to `taken`, as long as they fit into its batch."""
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
                read.append((job, self._served.tokenize(job.texts)))
            except Exception as error:  # noqa: BLE001 - as above
                job.future.set_exception(error)
        if read:
            self._encode_read(read)

    def _encode_read(self, read: list[tuple[Job, list[Tokens]]]) -> None:
        """Encode and answer requests whose texts are tokenized."""
        together = [ids for _, tokens in read for ids in tokens]
        try:
            vectors = self._served.vectors(together)
        except Exception as error:  # noqa: BLE001 - as above; several are then tried one by one
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
