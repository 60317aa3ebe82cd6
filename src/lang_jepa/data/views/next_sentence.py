"""Views of a corpus: which examples there are, what they cost, and how some of them become a batch.

A view is index arithmetic over the flat arrays of a corpus; it holds no text and copies no tokens until a batch is
built. The three classes are the three context modes of next-sentence prediction.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.config import Settings
from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.data.order import Indices
from lang_jepa.data.sequences import Batch, Contexts, Sequences
from lang_jepa.data.tokenizer import TextTokenizer

Tokens = NDArray[np.int64]


class View(ABC):
    """Examples of one side of a corpus.

    Args:
        split: where the tokens are.
        prefix: special tokens before a sequence, as the tokenizer would add them.
        suffix: special tokens after it.
        max_length: tokens of one sequence at most, special tokens included.
        window: sentences of context at most.
        passage: sentences in a passage at most (`causal`, `concepts`).
    """

    def __init__(
        self,
        split: CorpusSplit,
        *,
        prefix: Sequence[int],
        suffix: Sequence[int],
        max_length: int,
        window: int,
        passage: int,
    ) -> None:
        self.split = split
        self.prefix = np.asarray(prefix, dtype=np.int64)
        self.suffix = np.asarray(suffix, dtype=np.int64)
        self.room = max_length - len(prefix) - len(suffix)
        self.window, self.passage = window, passage
        self.starts = np.asarray(split.document_starts)

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of examples."""

    @property
    def targets(self) -> int:
        """Number of predictions in one pass over all examples: every sentence but a document's first."""
        return int(np.maximum(np.diff(self.starts) - 1, 0).sum())

    @abstractmethod
    def sizes(self, examples: Indices) -> Indices:
        """Context tokens of each example (special tokens left out), int64 [n]: what batches are sorted by."""

    @abstractmethod
    def batch(self, examples: Indices) -> Batch:
        """Build the batch of the given examples."""

    @abstractmethod
    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """Contexts of the given runs of sentences, each asked only for the sentence after its last one.

        Args:
            first: int64 [n], first sentence of each run.
            counts: int64 [n], sentences of each run, at least 1; only the last `window` of them are read. Runs must
                not overlap.
        """

    def _wrap(self, starts: Indices, lengths: Indices, *, closed: bool = True) -> Sequences:
        """Sequences of token ranges with the special tokens around each (`closed`: also those at the end)."""
        suffix = self.suffix if closed else self.suffix[:0]
        before, after = len(self.prefix), len(suffix)
        full = lengths + before + after
        ends = np.cumsum(full)
        row = np.empty(int(ends[-1]), dtype=np.int64)
        inner = np.ones(len(row), dtype=bool)
        for offset, token in enumerate(self.prefix):
            row[ends - full + offset] = token
            inner[ends - full + offset] = False
        for offset, token in enumerate(suffix):
            row[ends - after + offset] = token
            inner[ends - after + offset] = False
        row[inner] = self.split.gather(starts, lengths)
        return Sequences(torch.from_numpy(row), torch.from_numpy(full))

    def sentences(self, numbers: Indices) -> Sequences:
        """Each sentence alone, cut on the right where it is longer than a sequence may be."""
        lengths = np.minimum(self.split.lengths(numbers), self.room)
        return self._wrap(self.split.token_starts(numbers), lengths)

    def _batch(self, contexts: Contexts, predicted: Indices) -> Batch:
        """Contexts with the sentences that they predict."""
        documents = np.searchsorted(self.starts, predicted, side="right") - 1
        return Batch(
            contexts=contexts,
            targets=self.sentences(predicted),
            sentence_ids=torch.from_numpy(predicted),
            document_ids=torch.from_numpy(documents),
        )


class WindowView(View):
    """One example per pair: up to `window` sentences, bidirectional, and the sentence after them."""

    def __init__(self, split: CorpusSplit, **options: object) -> None:
        super().__init__(split, **options)  # type: ignore[arg-type]
        self._pairs = np.concatenate([[0], np.cumsum(np.maximum(np.diff(self.starts) - 1, 0))])

    @property
    def count(self) -> int:
        return int(self._pairs[-1])

    def _runs(self, examples: Indices) -> tuple[Indices, Indices]:
        """(first sentence of the context, predicted sentence) of each example."""
        documents = np.searchsorted(self._pairs, examples, side="right") - 1
        predicted = self.starts[documents] + 1 + examples - self._pairs[documents]
        return np.maximum(self.starts[documents], predicted - self.window), predicted

    def sizes(self, examples: Indices) -> Indices:
        first, predicted = self._runs(examples)
        tokens = self.split.token_starts(predicted) - self.split.token_starts(first)
        sizes: Indices = np.minimum(tokens, self.room)
        return sizes

    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """A context that is too long is cut on the left: the sentences nearest to the target always stay."""
        stop = first + counts
        end = self.split.token_starts(stop)
        begin = np.maximum(self.split.token_starts(np.maximum(first, stop - self.window)), end - self.room)
        sequences = self._wrap(begin, end - begin)
        count = len(first)
        return Contexts(
            sequences=sequences,
            segments=sequences.owner(),
            windows=torch.arange(count).unsqueeze(1),
            passages=torch.ones(count, dtype=torch.int64),
        )

    def batch(self, examples: Indices) -> Batch:
        first, predicted = self._runs(examples)
        return self._batch(self.questions(first, predicted - first), predicted)


class PassageView(View):
    """One example per passage: neighbouring passages share one sentence, so every boundary is a target once."""

    def __init__(self, split: CorpusSplit, **options: object) -> None:
        super().__init__(split, **options)  # type: ignore[arg-type]
        pairs = np.maximum(np.diff(self.starts) - 1, 0)
        self._passages = np.concatenate([[0], np.cumsum(-(-pairs // (self.passage - 1)))])

    @property
    def count(self) -> int:
        return int(self._passages[-1])

    def _bounds(self, examples: Indices) -> tuple[Indices, Indices]:
        """First context sentence and last predicted sentence of each passage."""
        documents = np.searchsorted(self._passages, examples, side="right") - 1
        number = examples - self._passages[documents]
        first = self.starts[documents] + number * (self.passage - 1)
        return first, np.minimum(first + self.passage - 1, self.starts[documents + 1] - 1)

    def sizes(self, examples: Indices) -> Indices:
        first, last = self._bounds(examples)
        return self.split.token_starts(last) - self.split.token_starts(first)

    def batch(self, examples: Indices) -> Batch:
        first, last = self._bounds(examples)
        first, counts = self._fitting(first, last - first)
        return self._batch(self._contexts(first, counts), np.repeat(first, counts) + _within(counts) + 1)

    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """The last boundary of each run. A run that is too long loses its oldest sentences."""
        stop = first + counts
        first = np.maximum(first, stop - self.window)
        first, counts = self._fitting(first, stop - first)
        last = np.flatnonzero(np.isin(first + counts, stop))  # of a run in several pieces, the last piece
        contexts = self._contexts(first[last], counts[last])
        ends = np.cumsum(counts[last]) - 1
        return replace(contexts, windows=contexts.windows[torch.from_numpy(ends)])

    @abstractmethod
    def _contexts(self, first: Indices, counts: Indices) -> Contexts:
        """One passage per run of sentences, asked after each of its sentences."""

    def _fitting(self, first: Indices, counts: Indices) -> tuple[Indices, Indices]:
        """The runs, split where a run does not fit into one sequence."""
        return first, counts

    def _windows(self, counts: Indices) -> Tensor:
        """[Q, W]: after each segment of each passage, the last `window` segments of that passage."""
        base = np.repeat(np.cumsum(counts) - counts, counts)
        windows = np.arange(len(base))[:, None] + np.arange(1 - self.window, 1)[None, :]
        return torch.from_numpy(np.where(windows < base[:, None], -1, windows))


class ConceptsView(PassageView):
    """Each sentence of a passage encoded alone, once; the predictor reads their vectors."""

    def _contexts(self, first: Indices, counts: Indices) -> Contexts:
        sequences = self.sentences(np.repeat(first, counts) + _within(counts))
        return Contexts(sequences, sequences.owner(), self._windows(counts), torch.from_numpy(counts))


class CausalView(PassageView):
    """One pass over a passage; tokens see their own and earlier sentences within the window.

    Contexts have no closing special token: only the passage's last boundary would see it, and in training that is one
    boundary in many, at inference every one.
    """

    def _contexts(self, first: Indices, counts: Indices) -> Contexts:
        numbers = np.repeat(first, counts) + _within(counts)
        lengths = np.minimum(self.split.lengths(numbers), self.room)
        # Only a sentence longer than a whole sequence is cut, on the left; it then stands alone in its passage.
        begins = self.split.token_starts(numbers + 1) - lengths
        owner = np.repeat(np.arange(len(counts)), counts)
        sums = np.bincount(owner, weights=lengths, minlength=len(counts)).astype(np.int64)
        firsts = np.cumsum(counts) - counts
        sequences = self._wrap(begins[firsts], sums, closed=False)
        segments = self._segments(lengths, counts)
        local = segments - torch.from_numpy(np.repeat(firsts, sequences.lengths.numpy()))
        sequences = replace(sequences, sentences=local, window=self.window)
        return Contexts(sequences, segments, self._windows(counts), torch.from_numpy(counts))

    def _segments(self, lengths: Indices, counts: Indices) -> Tensor:
        """int64 [T]: a token's sentence in the batch; the opening special tokens go with the passage's first one."""
        lengths = lengths.copy()
        ends = np.cumsum(counts)
        np.add.at(lengths, ends - counts, len(self.prefix))
        return torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))

    def _fitting(self, first: Indices, counts: Indices) -> tuple[Indices, Indices]:
        """Filled from the end, so that a question keeps its newest sentences in its last piece."""
        begins: list[int] = []
        sizes: list[int] = []
        for start, count in zip(first.tolist(), counts.tolist(), strict=True):
            tokens = np.minimum(self.split.lengths(np.arange(start, start + count)), self.room)
            pieces, used = [[start + count, start + count]], 0
            for sentence, size in zip(
                range(start + count - 1, start - 1, -1), tokens[::-1].tolist(), strict=True
            ):
                if used + size > self.room:
                    pieces.append([sentence + 1, sentence + 1])
                    used = 0
                pieces[-1][0] = sentence
                used += size
            begins += [begin for begin, _ in reversed(pieces)]
            sizes += [end - begin for begin, end in reversed(pieces)]
        return np.asarray(begins, dtype=np.int64), np.asarray(sizes, dtype=np.int64)


def _within(counts: Indices) -> Indices:
    """0, 1, ... inside each group of the given sizes."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


CONTEXTS: dict[str, type[View]] = {"window": WindowView, "causal": CausalView, "concepts": ConceptsView}


def make_view(settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer) -> View:
    """The view that the settings name, over one side of a corpus."""
    return CONTEXTS[settings.data.context](
        split,
        prefix=tokenizer.prefix_ids,
        suffix=tokenizer.suffix_ids,
        max_length=settings.model.max_length,
        window=settings.data.window_size,
        passage=settings.data.passage_size,
    )
