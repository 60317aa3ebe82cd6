"""Next-sentence prediction: preceding sentences, in three context modes, and the sentence that follows them.

A view is index arithmetic over the flat arrays of a corpus; it holds no text and copies no tokens until a batch is
built.
"""

from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import Self, Unpack

import numpy as np
import torch
from torch import Tensor

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.base import AsksNext, Frame, View, whole_segments, within
from lang_jepa.data.views.batch import Batch, Contexts, Targets
from lang_jepa.data.views.order import Indices
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings

UNTOLD = 0.125
"""Share of the training predictions that are made without knowing whose turn is predicted."""


class NextSentenceView(AsksNext):
    """Contexts and the sentences that follow them.

    Args:
        split: source of the tokens.
        window: maximum number of context sentences.
        passage: maximum number of sentences in a passage (`causal`, `concepts`).
        horizons: number of following sentences predicted from each position.
        speakers: include the speakers in the contexts (`concepts`), if the split has them.
        frame: see `View`.
    """

    usual_predictor = "attention_query"
    reads = ("data.passage_size", "data.context", "data.horizons")

    def __init__(
        self,
        split: CorpusSplit,
        *,
        window: int,
        passage: int,
        horizons: int = 1,
        speakers: bool = False,
        **frame: Unpack[Frame],
    ) -> None:
        super().__init__(split, **frame)
        self.window, self.passage, self.horizons = window, passage, horizons
        self.speakers = speakers and split.has_speakers

    @classmethod
    def of(cls, settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> Self:
        data = settings.data
        return cls(
            split,
            window=data.window_size,
            passage=data.passage_size,
            horizons=data.horizons,
            speakers=data.speakers == "embedding",
            **frame,
        )

    @classmethod
    def in_mode(cls, data: DataSettings) -> type[View]:
        return CONTEXTS[data.context]

    @property
    def targets(self) -> int:
        """Every sentence except a document's first, once for each horizon that stays inside the document."""
        sentences = np.diff(self.starts)
        return sum(int(np.maximum(sentences - ahead, 0).sum()) for ahead in range(1, self.horizons + 1))

    def illustrate(self, target: int, found: int) -> str:
        read = self.split.units if self.speakers else self.split.texts
        before, true, other = read([target - 1, target, found])
        return f"after:     {before}\nnext:      {true}\npredicted: {other}"

    def _batch(self, contexts: Contexts, following: Indices, epoch: int, read: Indices | None = None) -> Batch:
        """Combine contexts with the sentences to predict.

        Args:
            contexts: with `asked` not yet set.
            following: int64 [Q], the sentence after each window.
            epoch: of the random draws.
            read: int64 [S], the sentence of each context segment, if each segment is one sentence read alone (or None).
        """
        predicted = following
        if self.horizons > 1:
            contexts, predicted = self._ahead(contexts, following)
        if contexts.speakers is not None:
            contexts = replace(contexts, asked=torch.from_numpy(self._asked(predicted, epoch)))
        alone, place = np.unique(predicted, return_inverse=True)
        targets = Targets.whole(self.sentences(alone), torch.from_numpy(place))
        if read is not None:
            order = np.argsort(read, kind="stable")
            found = np.minimum(np.searchsorted(read, alone, sorter=order), len(read) - 1)
            rows = np.where(read[order[found]] == alone, order[found], -1)
            missing = alone[rows < 0]
            known, rest = torch.from_numpy(rows), self.sentences(missing) if len(missing) else None
            targets = replace(targets, known=known, missing=rest)
        return Batch(
            contexts=contexts,
            targets=targets,
            sentence_ids=torch.from_numpy(predicted),
            document_ids=self.documents_of(predicted),
        )

    def _asked(self, predicted: Indices, epoch: int) -> Indices:
        """Speaker of each predicted turn; 0 for a share (`UNTOLD`) that is redrawn every epoch."""
        known = self.draw(predicted, epoch, 1)[:, 0] >= UNTOLD
        return np.where(known, self.split.speakers(predicted), 0)

    def _ahead(self, contexts: Contexts, following: Indices) -> tuple[Contexts, Indices]:
        """Repeat each window for every horizon whose target lies in the same document."""
        ends = self.starts[np.searchsorted(self.starts, following, side="right")]
        counts = np.minimum(self.horizons, ends - following)
        window, horizons = np.repeat(np.arange(len(following)), counts), within(counts)
        ahead = replace(
            contexts,
            windows=contexts.windows[torch.from_numpy(window)],
            horizons=torch.from_numpy(horizons),
        )
        return ahead, following[window] + horizons


def likely_speakers(speakers: Indices, counts: Indices) -> Indices:
    """Guess whose turn follows each run of turns: that of the speaker before the last one.

    Args:
        speakers: int64 [S], speaker of each turn of all runs, end to end.
        counts: int64 [n], number of turns in each run.

    Returns:
        int64 [n]; 0 for runs with only one speaker.
    """
    ends = np.cumsum(counts)
    turned = np.flatnonzero(speakers[1:] != speakers[:-1])  # the last turn before a change of speaker
    if not len(turned):
        return np.zeros(len(counts), dtype=np.int64)
    nearest = np.searchsorted(turned, ends - 1) - 1
    found = turned[np.maximum(nearest, 0)]
    result: Indices = np.where((nearest >= 0) & (found >= ends - counts), speakers[found], 0)
    return result


class WindowView(NextSentenceView):
    """One example per pair: up to `window` sentences, read bidirectionally, and the sentence after them."""

    one_each = True

    @cached_property
    def _pairs(self) -> Indices:
        """int64 [D + 1]: the first example of each document, then the number of examples."""
        return np.concatenate([[0], np.cumsum(np.maximum(np.diff(self.starts) - 1, 0))])

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
        """A context that is too long is cut on the left, which keeps the sentences nearest to the target."""
        stop = first + counts
        end = self.split.token_starts(stop)
        begin = np.maximum(self.split.token_starts(np.maximum(first, stop - self.window)), end - self.room)
        return whole_segments(self.wrap(begin, end - begin))

    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        first, predicted = self._runs(examples)
        return self._batch(self.questions(first, predicted - first), predicted, epoch)


class PassageView(NextSentenceView):
    """One example per passage. Neighbouring passages share one sentence, so every boundary is a target exactly once."""

    @cached_property
    def _passages(self) -> Indices:
        """int64 [D + 1]: the first example of each document, then the number of examples."""
        pairs = np.maximum(np.diff(self.starts) - 1, 0)
        return np.concatenate([[0], np.cumsum(-(-pairs // (self.passage - 1)))])

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

    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        first, last = self._bounds(examples)
        first, counts = self._fitting(first, last - first)
        read = np.repeat(first, counts) + within(counts)
        return self._batch(self._contexts(first, counts), read + 1, epoch, read if self.sentences_alone else None)

    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """Asked only at the last boundary of each run. A run that is too long loses its oldest sentences."""
        stop = first + counts
        first = np.maximum(first, stop - self.window)
        first, counts = self._fitting(first, stop - first)
        last = np.flatnonzero(np.isin(first + counts, stop))  # the last piece of a run in several pieces
        contexts = self._contexts(first[last], counts[last])
        ends = np.cumsum(counts[last]) - 1
        contexts = replace(contexts, windows=contexts.windows[torch.from_numpy(ends)])
        if contexts.speakers is None:
            return contexts
        return replace(contexts, asked=torch.from_numpy(likely_speakers(contexts.speakers.numpy(), counts[last])))

    @abstractmethod
    def _contexts(self, first: Indices, counts: Indices) -> Contexts:
        """One passage per run of sentences, with a prediction after each sentence."""

    def _fitting(self, first: Indices, counts: Indices) -> tuple[Indices, Indices]:
        """The runs, with those that do not fit into one sequence split."""
        return first, counts

    def _windows(self, counts: Indices) -> Tensor:
        """[Q, W]: for each segment of a passage, the last `window` segments of that passage up to it."""
        base = np.repeat(np.cumsum(counts) - counts, counts)
        windows = np.arange(len(base))[:, None] + np.arange(1 - self.window, 1)[None, :]
        return torch.from_numpy(np.where(windows < base[:, None], -1, windows))


class ConceptsView(PassageView):
    """Each sentence of a passage is encoded once, alone; the predictor reads the resulting vectors."""

    sentences_alone = True
    usual_predictor = "concept_transformer"

    def _contexts(self, first: Indices, counts: Indices) -> Contexts:
        indices = np.repeat(first, counts) + within(counts)
        sequences = self.sentences(indices)
        speakers = torch.from_numpy(self.split.speakers(indices)) if self.speakers else None
        owner, windows = sequences.owner(), self._windows(counts)
        return Contexts(sequences, owner, windows, torch.from_numpy(counts), speakers=speakers)


class CausalView(PassageView):
    """One pass over a passage; tokens see their own and earlier sentences within the window.

    Contexts have no closing special token: only a passage's last boundary would see it, which is one boundary in many
    during training but every one at inference.
    """

    hides_later = True

    def _contexts(self, first: Indices, counts: Indices) -> Contexts:
        indices = np.repeat(first, counts) + within(counts)
        lengths = np.minimum(self.split.lengths(indices), self.room)
        # Only a sentence longer than a whole sequence is cut, on the left; it is then alone in its passage.
        begins = self.split.token_starts(indices + 1) - lengths
        owner = np.repeat(np.arange(len(counts)), counts)
        sums = np.bincount(owner, weights=lengths, minlength=len(counts)).astype(np.int64)
        firsts = np.cumsum(counts) - counts
        sequences = self.wrap(begins[firsts], sums, closed=False)
        lengths[firsts] += len(self.prefix)  # opening special tokens belong to a passage's first sentence
        segments = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
        local = segments - torch.from_numpy(np.repeat(firsts, sequences.lengths.numpy()))
        sequences = replace(sequences, sentences=local, window=self.window)
        return Contexts(sequences, segments, self._windows(counts), torch.from_numpy(counts))

    def _fitting(self, first: Indices, counts: Indices) -> tuple[Indices, Indices]:
        """Pieces are filled from the end, so the last piece of a question holds its newest sentences."""
        begins: list[int] = []
        sizes: list[int] = []
        for start, count in zip(first.tolist(), counts.tolist(), strict=True):
            tokens = np.minimum(self.split.lengths(np.arange(start, start + count)), self.room)
            pieces, used = [[start + count, start + count]], 0
            for sentence, size in zip(range(start + count - 1, start - 1, -1), tokens[::-1].tolist(), strict=True):
                if used + size > self.room:
                    pieces.append([sentence + 1, sentence + 1])
                    used = 0
                pieces[-1][0] = sentence
                used += size
            begins += [begin for begin, _ in reversed(pieces)]
            sizes += [end - begin for begin, end in reversed(pieces)]
        return np.asarray(begins, dtype=np.int64), np.asarray(sizes, dtype=np.int64)


CONTEXTS: dict[str, type[NextSentenceView]] = {
    "window": WindowView,
    "causal": CausalView,
    "concepts": ConceptsView,
}
"""Context modes of `next_sentence`, by `data.context`."""
