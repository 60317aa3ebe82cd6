"""Base classes of the views: examples with sizes, and batches of sequences framed by special tokens."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NotRequired, Self, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.batch import Batch, Contexts, Sequences, Targets
from lang_jepa.data.views.order import Indices, Order, uniform
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import VIEW

Uniform = NDArray[np.float64]
_MANY = 1 << 20
"""Number of sentences whose lengths are read at a time."""


class Frame(TypedDict):
    """What every view needs to know besides its corpus; see `View`."""

    prefix: Sequence[int]
    suffix: Sequence[int]
    max_length: int
    seed: NotRequired[int]


class View(ABC):
    """Examples of one split of a corpus.

    The random draws for an example depend only on (seed, epoch, example). They are the same whichever process builds
    the batch, and a resumed run draws the same as an uninterrupted one.

    Args:
        split: source of the tokens.
        prefix: special tokens before a sequence, as the tokenizer would add them.
        suffix: special tokens after it.
        max_length: maximum number of tokens in a sequence, special tokens included.
        seed: of the random draws.

    Attributes:
        pooled: float32 [S, D], the mean state of every sentence encoded alone, if known (see
            `lang_jepa.inference.cache`); `sentences` then attaches them to its sequences.
        asks_next: its models can be asked for the next sentence (`AsksNext`).
        two_sided: its models predict a sentence from what comes before and after it.
        sentences_alone: the encoder reads each whole sentence alone, and the predictor sees only their vectors.
        hides_later: tokens do not see later sentences of their sequence, which requires a packed encoder.
        one_each: a batch has exactly one embedding per example.
        same_text: both sides show the same text.
        has_other_names: its runs also write metrics under LeJEPA's names (`lang_jepa.training.metrics.OTHER_NAMES`).
        usual_predictor: the predictor suggested when the chosen one does not fit.
        reads: settings that have an effect with this view but not with every view.
    """

    pooled: NDArray[np.float32] | None = None
    asks_next: ClassVar[bool] = False
    two_sided: ClassVar[bool] = False
    sentences_alone: ClassVar[bool] = False
    hides_later: ClassVar[bool] = False
    one_each: ClassVar[bool] = False
    same_text: ClassVar[bool] = False
    has_other_names: ClassVar[bool] = False
    usual_predictor: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        split: CorpusSplit,
        *,
        prefix: Sequence[int],
        suffix: Sequence[int],
        max_length: int,
        seed: int = 0,
    ) -> None:
        self.split = split
        self.prefix = np.asarray(prefix, dtype=np.int64)
        self.suffix = np.asarray(suffix, dtype=np.int64)
        self.room = max_length - len(prefix) - len(suffix)
        self.seed = seed
        self.starts = np.asarray(split.document_starts)

    @classmethod
    def of(cls, settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> Self:
        """Build the view that the settings describe; a user-defined class also gets its own settings.

        Args:
            settings: of the run.
            split: source of the tokens.
            tokenizer: of the corpus.
            frame: see `View`.
        """
        options: dict[str, Any] = {**frame, **VIEW.options(cls, settings.own_view)}
        return cls(split, **options)

    @classmethod
    def in_mode(cls, data: DataSettings) -> "type[View]":
        """The class for the mode selected by the settings, if the view has several."""
        return cls

    @classmethod
    def complaints(cls, settings: Settings) -> Iterator[str]:
        """Yield what is wrong with this view's settings and how to fix it."""
        yield from ()

    @classmethod
    def reach(cls, data: DataSettings) -> int:
        """Maximum number of segments that a predictor sees in each direction it reads."""
        return data.window_size

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of examples."""

    @property
    def targets(self) -> int:
        """Number of predictions in one pass over all examples."""
        return self.count

    @property
    def left_out(self) -> int:
        """Number of tokens that are in no example because the text they belong to is too short."""
        return 0

    @property
    def cut_sentences(self) -> int:
        """Number of sentences longer than the maximum sequence, of which only the beginning is read."""
        count = self.split.num_sentences
        blocks = (np.arange(start, min(start + _MANY, count)) for start in range(0, count, _MANY))
        return sum(int((self.split.lengths(block) > self.room).sum()) for block in blocks)

    @abstractmethod
    def sizes(self, examples: Indices) -> Indices:
        """Tokens of each example without special tokens, int64 [n]; batches are sorted by them."""

    @abstractmethod
    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        """Build the batch of the given examples, with the random draws of the given epoch."""

    def order(self, data: DataSettings, *, world: int) -> Order:
        """Return the order in which `world` ranks go through the examples, with the view's seed."""
        return Order(
            count=self.count,
            sizes=self.sizes,
            world=world,
            batch_size=data.batch_size,
            batch_tokens=data.batch_tokens,
            pool_batches=data.pool_batches,
            seed=self.seed,
        )

    def distinct(self, indices: Indices) -> Indices:
        """An id for the text of each target, int64 [Q]; equal texts have equal ids.

        Args:
            indices: indices of the targets, as in `Batch.sentence_ids`.
        """
        texts: dict[str, int] = {}
        return np.array([texts.setdefault(text, len(texts)) for text in self.split.texts(indices)], dtype=np.int64)

    @abstractmethod
    def illustrate(self, target: int, found: int) -> str:
        """Show a prediction as human-readable text.

        Args:
            target: index of the true target, as in `Batch.sentence_ids`.
            found: index of the target closest to the prediction.
        """

    def copied(self, batch: Batch) -> Batch:
        """The batch with each target replaced by what copying would predict: the sentence before it, or the sentence
        after it if it is the first of its document.
        """
        indices = batch.sentence_ids.numpy()
        rows = np.where(indices > self.starts[batch.document_ids.numpy()], indices - 1, indices + 1)
        return replace(batch, targets=Targets.whole(self.sentences(rows)), sentence_ids=torch.from_numpy(rows))

    def sentences(self, indices: Indices) -> Sequences:
        """Each sentence as a sequence of its own, cut on the right if it exceeds the maximum sequence."""
        lengths = np.minimum(self.split.lengths(indices), self.room)
        sequences = self.wrap(self.split.token_starts(indices), lengths)
        if self.pooled is not None:
            sequences.pooled = torch.from_numpy(self.pooled[indices])
        return sequences

    def documents_of(self, sentences: Indices) -> torch.Tensor:
        """int64 [n]: the document index of each sentence."""
        return torch.from_numpy(np.searchsorted(self.starts, sentences, side="right") - 1)

    def draw(self, examples: Indices, epoch: int, count: int) -> Uniform:
        """Draw `count` numbers in [0, 1) for each example, [n, count]."""
        return uniform(examples, count, self.seed, epoch)

    def wrap(self, starts: Indices, lengths: Indices, *, closed: bool = True) -> Sequences:
        """Build sequences from token ranges, with special tokens around each (those at the end only if `closed`)."""
        suffix = self.suffix if closed else self.suffix[:0]
        before, after = len(self.prefix), len(suffix)
        full = lengths + before + after
        ends = np.cumsum(full)
        row = np.empty(int(ends[-1]), dtype=np.int64)
        inner = np.ones(len(row), dtype=bool)
        opening = (ends - full)[:, None] + np.arange(before)
        closing = (ends - after)[:, None] + np.arange(after)
        row[opening], row[closing] = self.prefix, suffix
        inner[opening] = inner[closing] = False
        row[inner] = self.split.gather(starts, lengths)
        return Sequences(torch.from_numpy(row), torch.from_numpy(full))


class AsksNext(View):
    """A view whose models can be asked for the sentence after a context."""

    asks_next = True

    @abstractmethod
    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """Contexts for runs of sentences, each asked only for the sentence that follows its last one.

        Args:
            first: int64 [n], first sentence of each run.
            counts: int64 [n], sentences in each run, at least 1. Only the last ones are read, as many as training
                shows. Runs must not overlap.
        """


def within(counts: Indices) -> Indices:
    """Count 0, 1, ... within each group, given the group sizes."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def whole_segments(sequences: Sequences) -> Contexts:
    """Contexts in which each sequence is one segment and is read by one prediction."""
    count = len(sequences)
    return Contexts(
        sequences=sequences,
        segments=sequences.owner(),
        windows=torch.arange(count).unsqueeze(1),
        passages=torch.ones(count, dtype=torch.int64),
    )


class PassageView(AsksNext):
    """One example per passage, in which some sentences are predicted from those on both sides. Documents are cut into
    passages with nearly equal numbers of sentences.

    Args:
        split: source of the tokens.
        passage: maximum number of sentences in a passage.
        frame: see `View`.
    """

    two_sided = True
    reads: ClassVar[tuple[str, ...]] = ("data.passage_size",)

    def __init__(self, split: CorpusSplit, *, passage: int, **frame: Unpack[Frame]) -> None:
        super().__init__(split, **frame)
        self.passage = passage
        sentences = np.diff(self.starts)
        self._cuts = np.concatenate([[0], np.cumsum(np.where(sentences > 1, -(-sentences // passage), 0))])

    @classmethod
    def complaints(cls, settings: Settings) -> Iterator[str]:
        if settings.data.passage_size < 3:
            yield (
                f"data.view={settings.data.view} needs something beside the hidden sentences: set data.passage_size=3 "
                "or more."
            )

    @property
    def count(self) -> int:
        return int(self._cuts[-1])

    def _bounds(self, examples: Indices) -> tuple[Indices, Indices]:
        """(first sentence, number of sentences) of each passage."""
        documents = np.searchsorted(self._cuts, examples, side="right") - 1
        number, pieces = examples - self._cuts[documents], np.diff(self._cuts)[documents]
        sentences = self.starts[documents + 1] - self.starts[documents]
        begin, stop = number * sentences // pieces, (number + 1) * sentences // pieces
        return self.starts[documents] + begin, stop - begin

    def sizes(self, examples: Indices) -> Indices:
        first, counts = self._bounds(examples)
        return self.split.token_starts(first + counts) - self.split.token_starts(first)

    def illustrate(self, target: int, found: int) -> str:
        begin, stop = self.starts[np.searchsorted(self.starts, target, side="right") - 1 :][:2]
        around = [number for number in (target - 1, target + 1) if begin <= number < stop]
        hidden, other, *near = self.split.texts([target, found, *around])
        return f"beside:    {' [...] '.join(near)}\nhidden:    {hidden}\npredicted: {other}"
