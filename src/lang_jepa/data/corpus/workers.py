"""The block stage of a preparation: process documents in blocks on all cores, and write each block to a file."""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from lang_jepa.data.corpus.blocks import block_file, block_seen, cut_in_blocks, process_documents, write_block
from lang_jepa.data.sources.base import Document, Source
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import make_folder
from lang_jepa.settings.data import DataSettings


@dataclass(frozen=True, slots=True)
class BlockSize:
    """Limits of a block of work, which ends with the document that reaches either of them."""

    documents: int = 2000
    characters: int = 4_000_000


class Step:
    """The step function with its settings, as held by one process."""

    def __init__(self, settings: DataSettings, tokenizer: TextTokenizer) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.splitter = make_splitter(settings)

    def __call__(self, path: Path, documents: list[Document]) -> None:
        write_block(path, process_documents(documents, self.splitter, self.tokenizer, self.settings))


_step: Step | None = None
"""The step of this worker process."""


def _start_worker(settings: DataSettings, tokenizer: TextTokenizer) -> None:
    global _step
    end_with_parent()
    _step = Step(settings, tokenizer)


def end_with_parent() -> None:
    """Make a worker process end when its parent does, leave Ctrl-C to the parent, and start no tokenizer threads,
    since the processes already share the cores.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    """End this process when its parent has ended or was killed; otherwise it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(path: Path, documents: list[Document]) -> None:
    assert _step is not None
    _step(path, documents)


@dataclass
class Tally:
    """What went into finished blocks.

    Attributes:
        documents, characters, bytes: read so far (bytes: of the texts in UTF-8).
        rejected: counts by the source's reason.
        left_out: contents of the files that are not in the texts, by kind.
        done, reused: blocks finished so far, and how many of them were found finished.
    """

    documents: int = 0
    characters: int = 0
    bytes: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    done: int = 0
    reused: int = 0

    def count(self, documents: list[Document]) -> tuple[int, int]:
        """Count the documents of a block; returns their number and their characters."""
        for document in documents:
            self.left_out.update(dict(document.left_out))
        characters = sum(len(document.text) for document in documents)
        self.documents += len(documents)
        self.characters += characters
        self.bytes += sum(len(document.text.encode()) for document in documents)
        return len(documents), characters


class Processing(Tally):
    """Run the block stage in processes on this machine.

    Attributes:
        workers: processes used.
    """

    def __init__(self, settings: DataSettings, tokenizer: TextTokenizer, folder: Path, block_size: BlockSize) -> None:
        """`folder` receives the finished blocks and may already contain some."""
        super().__init__()
        self.settings, self.tokenizer, self.folder, self.block_size = settings, tokenizer, folder, block_size
        self.workers = settings.prepare_workers or os.cpu_count() or 1

    def run(self, source: Source, on_event: Callable[["Processing"], None]) -> list[Path]:
        """Process all documents of the source and return the block files in order.

        Raises:
            LangJepaError: a worker process died.
        """
        make_folder(self.folder)
        self._on_event = on_event
        blocks = self._unfinished(source)
        first = list(islice(blocks, 2))
        if len(first) < 2:
            self.workers = 1  # starting processes takes longer than one block
        todo = chain(first, blocks)
        if self.workers == 1:
            self._run_here(todo)
        else:
            self._run_pool(todo)
        return [block_file(self.folder, number) for number in range(self.done)]

    def _unfinished(self, source: Source) -> Iterator[tuple[Path, list[Document]]]:
        """Yield the blocks that still need work; finished ones are counted and skipped."""
        read, size = source.documents(self.rejected), self.block_size
        blocks = cut_in_blocks(read, characters=size.characters, most=size.documents)
        for number, documents in enumerate(blocks):
            seen, path = self.count(documents), block_file(self.folder, number)
            if block_seen(path) == seen:
                self.done += 1
                self.reused += 1
                self._on_event(self)
            else:
                yield path, documents

    def _run_here(self, todo: Iterator[tuple[Path, list[Document]]]) -> None:
        step: Step | None = None
        for path, documents in todo:
            step = step or Step(self.settings, self.tokenizer)
            step(path, documents)
            self.done += 1
            self._on_event(self)

    def _run_pool(self, todo: Iterator[tuple[Path, list[Document]]]) -> None:
        """Work in processes, with at most two blocks per process in memory."""
        running: deque[Future[None]] = deque()
        with ProcessPoolExecutor(
            self.workers, multiprocessing.get_context("spawn"), _start_worker, (self.settings, self.tokenizer)
        ) as pool:
            try:
                for path, documents in todo:
                    running.append(pool.submit(_work, path, documents))
                    if len(running) >= 2 * self.workers:
                        self._finish(running.popleft())
                while running:
                    self._finish(running.popleft())
            except BrokenProcessPool as error:
                raise LangJepaError(
                    "a process that prepared documents died. Out of memory? Run the same command with fewer processes "
                    "(data.prepare_workers=1); it resumes from the finished blocks. A script of your own must call "
                    "this under `if __name__ == '__main__':`."
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _finish(self, future: Future[None]) -> None:
        future.result()
        self.done += 1
        self._on_event(self)
