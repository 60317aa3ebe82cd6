"""What every view has: examples with sizes, and batches of sequences with special tokens around them."""

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
from lang_jepa.data.views.order import Indices, uniform
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import VIEW

Uniform = NDArray[np.float64]
_MANY = 1 << 20
"""Sentences whose lengths are read in one go."""


class Frame(TypedDict):
    """What every view needs to know besides its corpus; see `View`."""

    prefix: Sequence[int]
    suffix: Sequence[int]
    max_length: int
    seed: NotRequired[int]


class View(ABC):
    """Examples of one split of a corpus.

    What is drawn for an example is a function of (seed, epoch, example) alone, so it does not depend on who builds the
    batch, and a resumed run draws what the whole run drew.

    Args:
        split: where the tokens are.
        prefix: special tokens before a sequence, as the tokenizer would add them.
        suffix: special tokens after it.
        max_length: tokens of one sequence at most, special tokens included.
        seed: of what is drawn.

    Attributes:
        pooled: float32 [S, D], the mean state of every sentence encoded alone, if they are known (see
            `lang_jepa.inference.cache`); `sentences` then brings them along.
        asks_next: its models can be asked for the next sentence (`AsksNext`).
        two_sided: its models predict a sentence from what comes before and after it.
        sentences_alone: the encoder reads whole sentences alone, the predictor nothing but their vectors.
        hides_later: tokens do not see later sentences of their sequence, which only a packed encoder can do.
        one_each: a batch has one embedding for each of its examples.
        same_text: both sides show the same text.
        has_other_names: its runs write metrics by the names of LeJEPA too (`lang_jepa.training.metrics.OTHER_NAMES`).
        usual_predictor: the one to take where another does not fit.
        reads: settings that do something beside this view, and not beside every one.
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
        """The view that the settings describe; of a class of one's own, with its own settings.

        Args:
            settings: of the run.
            split: where the tokens are.
            tokenizer: of the corpus.
            frame: see `View`.
        """
        options: dict[str, Any] = {**frame, **VIEW.options(cls, settings.own_view)}
        return cls(split, **options)

    @classmethod
    def in_mode(cls, data: DataSettings) -> "type[View]":
        """The class for the mode that the settings choose, where a view has several."""
        return cls

    @classmethod
    def complaints(cls, settings: Settings) -> Iterator[str]:
        """What is wrong with the settings of this view, and what to set."""
        yield from ()

    @classmethod
    def reach(cls, data: DataSettings) -> int:
        """Segments that a predictor sees at most, in each direction that it looks."""
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
        """Tokens that are in no example, because what they belong to is too short."""
        return 0

    @property
    def cut_sentences(self) -> int:
        """Sentences that are longer than a sequence may be, so that only their beginning is read."""
        count = self.split.num_sentences
        blocks = (np.arange(start, min(start + _MANY, count)) for start in range(0, count, _MANY))
        return sum(int((self.split.lengths(block) > self.room).sum()) for block in blocks)

    @abstractmethod
    def sizes(self, examples: Indices) -> Indices:
        """Tokens of each example (special tokens left out), int64 [n]: what batches are sorted by."""

    @abstractmethod
    def batch(self, examples: Indices, epoch: int = 0) -> Batch:
        """Build the batch of the given examples, as they are drawn in the given epoch."""

    def distinct(self, numbers: Indices) -> Indices:
        """A number for the text of each target, int64 [Q]: equal texts have the same one.

        Args:
            numbers: of targets, as in `Batch.sentence_ids`.
        """
        texts: dict[str, int] = {}
        return np.array([texts.setdefault(text, len(texts)) for text in self.split.texts(numbers)], dtype=np.int64)

    @abstractmethod
    def illustrate(self, target: int, found: int) -> str:
        """A prediction in words, for people.

        Args:
            target: what was predicted, as in `Batch.sentence_ids`.
            found: the target that the prediction is nearest to.
        """

    def copied(self, batch: Batch) -> Batch:
        """The batch with what copying would predict in the place of each target: the sentence before it, or after it
        where it is a document's first.
        """
        numbers = batch.sentence_ids.numpy()
        rows = np.where(numbers > self.starts[batch.document_ids.numpy()], numbers - 1, numbers + 1)
        return replace(batch, targets=Targets.whole(self.sentences(rows)), sentence_ids=torch.from_numpy(rows))

    def sentences(self, numbers: Indices) -> Sequences:
        """Each sentence alone, cut on the right where it is longer than a sequence may be."""
        lengths = np.minimum(self.split.lengths(numbers), self.room)
        sequences = self.wrap(self.split.token_starts(numbers), lengths)
        if self.pooled is not None:
            sequences.pooled = torch.from_numpy(self.pooled[numbers])
        return sequences

    def documents_of(self, sentences: Indices) -> torch.Tensor:
        """int64 [n]: document of each sentence."""
        return torch.from_numpy(np.searchsorted(self.starts, sentences, side="right") - 1)

    def draw(self, examples: Indices, epoch: int, count: int) -> Uniform:
        """`count` numbers in [0, 1) for each example, [n, count]."""
        return uniform(examples, count, self.seed, epoch)

    def wrap(self, starts: Indices, lengths: Indices, *, closed: bool = True) -> Sequences:
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


class AsksNext(View):
    """A view whose models can be asked for the sentence after a context."""

    asks_next = True

    @abstractmethod
    def questions(self, first: Indices, counts: Indices) -> Contexts:
        """Contexts of the given runs of sentences, each asked only for the sentence after its last one.

        Args:
            first: int64 [n], first sentence of each run.
            counts: int64 [n], sentences of each run, at least 1; only as many of the last ones are read as training
                shows. Runs must not overlap.
        """


def within(counts: Indices) -> Indices:
    """0, 1, ... inside each group of the given sizes."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def whole_segments(sequences: Sequences) -> Contexts:
    """Contexts of which each sequence is one segment, read by one prediction."""
    count = len(sequences)
    return Contexts(
        sequences=sequences,
        segments=sequences.owner(),
        windows=torch.arange(count).unsqueeze(1),
        passages=torch.ones(count, dtype=torch.int64),
    )


class PassageView(AsksNext):
    """One example per passage, some of whose sentences are predicted from those on both sides; documents are cut into
    passages of nearly equal numbers of sentences.

    Args:
        split: where the tokens are.
        passage: sentences in a passage at most.
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
