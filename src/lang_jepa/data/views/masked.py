"""Masked sentences: some sentences of a passage are hidden and predicted from all the others, before and after them.

The first LANG-JEPA, after I-JEPA (arXiv 2301.08243): several predictions from one pass over the context. A hidden
sentence is replaced by ONE mask token, which does not reveal its length.
"""

from itertools import pairwise
from typing import Self, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.base import Frame, PassageView, within
from lang_jepa.data.views.batch import Batch, Contexts, Sequences, Targets
from lang_jepa.data.views.order import Indices
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings

Flags = NDArray[np.bool_]


class MaskedView(PassageView):
    """One example per passage; documents are cut into passages with nearly equal numbers of sentences.

    A passage that is too long for a sequence is read in several pieces. A sentence longer than a third of a sequence
    is cut on the right, to ensure that every piece has at least three sentences (two at a document's end).

    Args:
        split: source of the tokens.
        mask: id of the mask token.
        passage: maximum number of sentences in a passage, 3 or more.
        hidden: number of sentences hidden in each piece of a passage, but never all of them.
        in_context: the target is the mean over the sentence's tokens in a pass over the whole piece, instead of the
            embedding of the sentence alone.
        frame: see `View`.

    Raises:
        LangJepaError: the tokenizer has no mask token.
    """

    usual_predictor = "mask_mlp"
    reads = ("data.passage_size", "data.masked_sentences", "data.target_context")

    def __init__(
        self,
        split: CorpusSplit,
        *,
        mask: int | None,
        passage: int,
        hidden: int,
        in_context: bool,
        **frame: Unpack[Frame],
    ) -> None:
        super().__init__(split, passage=passage, **frame)
        if mask is None:
            raise LangJepaError(
                "data.view=masked_sentences needs a mask token, and this tokenizer has none (GPT-2's, for example): "
                "set data.tokenizer_path to one that has (roberta-base, bert-base-uncased), or to trained"
            )
        self.mask, self.hidden, self.in_context = mask, hidden, in_context
        self.longest = self.room // 3

    @classmethod
    def of(cls, settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> Self:
        data = settings.data
        return cls(
            split,
            mask=tokenizer.mask_id,
            passage=data.passage_size,
            hidden=data.masked_sentences,
            in_context=data.target_context == "in_context",
            **frame,
        )

    @classmethod
    def reach(cls, data: DataSettings) -> int:
        """A hidden sentence sees its whole passage; the special tokens take two more positions."""
        return data.passage_size + 2

    @property
    def targets(self) -> int:
        """Counted as if every passage fitted into one sequence; passages in several pieces hide more."""
        counts = self._bounds(np.arange(self.count))[1]
        return int(np.minimum(self.hidden, counts - 1).sum())

    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        first, counts = self._bounds(examples)
        drawn = self.draw(examples, epoch, self.passage)
        runs, flags = [], []
        for begin, count, values in zip(first.tolist(), counts.tolist(), drawn, strict=True):
            cuts = self._pieces(begin, count)
            runs += [(begin + a, b - a) for a, b in pairwise(cuts)]
            flags += [self._hide(values[a:b]) for a, b in pairwise(cuts)]
        firsts, sizes = (np.array(column, dtype=np.int64) for column in zip(*runs, strict=True))
        hidden = np.concatenate(flags)
        indices = np.repeat(firsts, sizes) + within(sizes)
        predicted = indices[hidden]
        contexts, positions = self._passages(indices, sizes, hidden)
        if self.in_context:
            whole, _ = self._passages(indices, sizes, np.zeros_like(hidden))
            targets = Targets(
                whole.sequences, whole.segments, int(whole.passages.sum()), torch.from_numpy(positions[hidden])
            )
        else:
            targets = Targets.whole(self.sentences(predicted))
        return Batch(
            contexts=contexts,
            targets=targets,
            sentence_ids=torch.from_numpy(predicted),
            document_ids=self.documents_of(predicted),
        )

    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """The last sentences of each run that fit, followed by a mask."""
        stop = first + counts
        kept = np.minimum(counts, self.passage - 1)
        lengths = self._lengths(np.repeat(stop - kept, kept) + within(kept))
        ends = np.cumsum(kept)
        sizes = np.empty_like(kept)
        for i, (end, count) in enumerate(zip(ends.tolist(), kept.tolist(), strict=True)):
            newest_first = np.cumsum(lengths[end - count : end][::-1])
            sizes[i] = np.searchsorted(newest_first, self.room - 1, side="right")
        # The mask takes the index after a run's last sentence. It is hidden, so the sentence there is never read.
        sizes += 1
        indices = np.repeat(stop + 1 - sizes, sizes) + within(sizes)
        hidden = np.zeros(len(indices), dtype=bool)
        hidden[np.cumsum(sizes) - 1] = True
        return self._passages(indices, sizes, hidden)[0]

    def between(self, first: Indices, counts: Indices, hidden: Indices) -> Contexts:
        """Runs of sentences with one sentence of each hidden, to be predicted from both sides.

        Args:
            first, counts: int64 [n], the runs; they must not overlap. If a run does not fit into a sequence, the
                sentences farthest from the hidden one are left out.
            hidden: int64 [n], the hidden sentence of each run.
        """
        indices, sizes = [], []
        for begin, count, position in zip(first.tolist(), counts.tolist(), hidden.tolist(), strict=True):
            run = np.arange(begin, begin + count)
            nearest = run[np.argsort(np.abs(run - position), kind="stable")]
            lengths = self._lengths(nearest)
            lengths[0] = 1  # the mask
            kept = np.sort(nearest[: np.searchsorted(np.cumsum(lengths), self.room, side="right")])
            indices.append(kept)
            sizes.append(len(kept))
        flat = np.concatenate(indices)
        return self._passages(flat, np.array(sizes, dtype=np.int64), np.isin(flat, hidden))[0]

    def _lengths(self, indices: Indices) -> Indices:
        """Number of tokens that each sentence takes in a passage."""
        return np.minimum(self.split.lengths(indices), self.longest)

    def _pieces(self, first: int, count: int) -> list[int]:
        """Where to cut a passage into pieces that fit, filled from the left; 0 and `count` are included."""
        lengths = self._lengths(np.arange(first, first + count))
        ends, cuts = np.cumsum(lengths), [0]
        while cuts[-1] < count:
            before = ends[cuts[-1] - 1] if cuts[-1] else 0
            cuts.append(int(np.searchsorted(ends, before + self.room, side="right")))
        if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
            cuts[-2] -= 1  # the piece before has three sentences or more, so it can give one up
        return cuts

    def _hide(self, drawn: NDArray[np.float64]) -> Flags:
        """Which sentences of a piece are hidden, given one random number for each."""
        hidden = np.zeros(len(drawn), dtype=bool)
        hidden[np.argsort(drawn)[: min(self.hidden, len(drawn) - 1)]] = True
        return hidden

    def _passages(self, indices: Indices, sizes: Indices, hidden: Flags) -> tuple[Contexts, Indices]:
        """One sequence per piece, with a prediction at each hidden sentence.

        The special tokens around a piece are segments of their own, so a mask's segment holds only the mask.

        Args:
            indices: int64 [S], the pieces' sentences, end to end.
            sizes: int64 [P], sentences of each piece.
            hidden: bool [S].

        Returns:
            The contexts, and int64 [S] with the segment of each sentence.
        """
        before, after = int(len(self.prefix) > 0), int(len(self.suffix) > 0)
        positions = np.arange(len(indices)) + np.repeat(np.arange(len(sizes)) * (before + after) + before, sizes)
        segments = sizes + before + after
        last = np.cumsum(segments) - 1
        lengths = np.ones(int(segments.sum()), dtype=np.int64)  # the length of a mask
        lengths[positions[~hidden]] = self._lengths(indices[~hidden])
        if before:
            lengths[last + 1 - segments] = len(self.prefix)
        if after:
            lengths[last] = len(self.suffix)
        contexts = Contexts(
            sequences=self._filled(indices[~hidden], positions[~hidden], lengths, segments),
            segments=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
            windows=torch.from_numpy(positions[hidden]).unsqueeze(1),
            passages=torch.from_numpy(segments),
            shown=torch.from_numpy(positions[~hidden]),
        )
        return contexts, positions

    def _filled(self, indices: Indices, positions: Indices, lengths: Indices, segments: Indices) -> Sequences:
        """Tokens of pieces: sentences `indices` at segments `positions`, special tokens at the edges, masks elsewhere.

        Args:
            indices, positions: int64 [shown sentences].
            lengths: int64 [all segments], number of tokens in each.
            segments: int64 [P], number of segments in each piece.
        """
        row = np.full(int(lengths.sum()), self.mask, dtype=np.int64)
        totals = np.add.reduceat(lengths, np.cumsum(segments) - segments)
        stops = np.cumsum(totals)
        row[(stops - totals)[:, None] + np.arange(len(self.prefix))] = self.prefix
        row[(stops - len(self.suffix))[:, None] + np.arange(len(self.suffix))] = self.suffix
        sizes = lengths[positions]
        begins = (np.cumsum(lengths) - lengths)[positions]
        tokens = self.split.gather(self.split.token_starts(indices), sizes)
        row[np.repeat(begins, sizes) + within(sizes)] = tokens
        return Sequences(torch.from_numpy(row), torch.from_numpy(totals))


SIDES = ((True, False), (False, True), (True, True))
"""The sides that the predictions of a position read, as (before, after)."""


class MaskedConceptsView(PassageView):
    """One example per passage; documents are cut into passages with nearly equal numbers of sentences.

    Args:
        split: source of the tokens.
        window: maximum number of sentences that a prediction reads on each side.
        passage: maximum number of sentences in a passage.
        frame: see `View`.
    """

    sentences_alone = True
    usual_predictor = "neighbour_weights"

    def __init__(self, split: CorpusSplit, *, window: int, passage: int, **frame: Unpack[Frame]) -> None:
        super().__init__(split, passage=passage, **frame)
        self.window = window

    @classmethod
    def of(cls, settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> Self:
        data = settings.data
        return cls(split, window=data.window_size, passage=data.passage_size, **frame)

    @property
    def targets(self) -> int:
        """Three predictions of each sentence, but only one of a passage's first sentence and one of its last."""
        counts = self._bounds(np.arange(self.count))[1]
        return int(np.where(counts > 1, 3 * counts - 4, 0).sum())

    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        first, counts = self._bounds(np.asarray(examples))
        position, windows = self._positions(counts)
        indices = np.repeat(first, counts) + within(counts)
        predicted = indices[position]
        return Batch(
            contexts=self._contexts(indices, counts, windows),
            targets=Targets.whole(self.sentences(indices), torch.from_numpy(position)),
            sentence_ids=torch.from_numpy(predicted),
            document_ids=self.documents_of(predicted),
        )

    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """Asked what follows the last `window` sentences of each run."""
        kept = np.minimum(counts, self.window)
        indices = np.repeat(first + counts - kept, kept) + within(kept)
        ends = np.cumsum(kept)
        slots = ends[:, None] + np.arange(-self.window, 0)[None, :]
        before = np.where(slots < (ends - kept)[:, None], -1, slots)
        return self._contexts(indices, kept, np.concatenate([before, np.full_like(before, -1)], axis=1))

    def _positions(self, counts: Indices) -> tuple[Indices, Indices]:
        """All predictions of some passages: the position int64 [Q], and what it reads [Q, 2 window], -1 for nothing.

        The first `window` slots hold the sentences before, the nearest last; the rest those after, the nearest first.
        A prediction that would read nothing, or the same as another one, is left out.
        """
        ends = np.cumsum(counts)
        begin, stop = (np.repeat(edge, counts)[:, None] for edge in (ends - counts, ends))
        own = np.arange(int(ends[-1]))
        steps = np.arange(1, self.window + 1)
        before, after = own[:, None] - steps[::-1][None, :], own[:, None] + steps[None, :]
        before, after = np.where(before < begin, -1, before), np.where(after >= stop, -1, after)
        has = (before >= 0).any(1), (after >= 0).any(1)
        positions, windows = [], []
        for sides in SIDES:
            asked = np.all([one for one, side in zip(has, sides, strict=True) if side], axis=0)
            kept = [rows if side else np.full_like(rows, -1) for rows, side in zip((before, after), sides, strict=True)]
            positions.append(own[asked])
            windows.append(np.concatenate(kept, axis=1)[asked])
        return np.concatenate(positions), np.concatenate(windows)

    def _contexts(self, indices: Indices, counts: Indices, windows: Indices) -> Contexts:
        sequences = self.sentences(indices)
        return Contexts(sequences, sequences.owner(), torch.from_numpy(windows), torch.from_numpy(counts))
