"""Data of an encoder's run: training batches with a position, a held-out sample, and the number of steps."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

from lang_jepa.data.corpus.blocks import training_texts
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import Progress, prepare
from lang_jepa.data.corpus.statistics import Losses
from lang_jepa.data.loader import BatchSource, CorpusBatches, Loader
from lang_jepa.data.sources.base import require_documents
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.stream import Blocks, StreamBatches, parts_for
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.data.views import View, make_plain_view, make_view
from lang_jepa.data.views.order import Order
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference.cache import ConceptCache, OnMessage, reads_cached
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.packing import group_slots
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.decoder import DecoderOptimizationSettings
from lang_jepa.settings.encoder import EncoderOptimizationSettings, Settings
from lang_jepa.training.held_out import HeldOut

LEAST_TARGETS = 2
"""Smallest number of training targets: with fewer, predictions cannot be told apart."""
LEAST_HELD_OUT = 8
"""Smallest number of held-out predictions: fewer say nothing about a model."""


class EncoderData(ABC):
    """Training and held-out data of an encoder's run.

    Attributes:
        tokenizer: of the corpus.
        held_out: a fixed held-out sample, or None if nothing is held out.
        sample_view: training sentences for the whitened start and the score statistics.
        fingerprint: identity of the data, compared when a run is resumed.
        complaint: what is doubtful about the first rows of a stream (None: nothing).
    """

    complaint: str | None = None
    tokenizer: TextTokenizer
    held_out: HeldOut | None
    sample_view: View
    fingerprint: str

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def total_steps(self) -> tuple[int, list[int]]:
        """Return the optimizer steps of the run, and the steps at which epochs end."""

    @abstractmethod
    def source(self) -> BatchSource:
        """Return the source of this rank's training batches."""

    @abstractmethod
    def info(self) -> list[tuple[str, str]]:
        """Return (label, text) pairs about the data, to show."""

    @abstractmethod
    def losses(self) -> Losses:
        """Return what was lost between source and examples."""

    @abstractmethod
    def why_nothing_held_out(self) -> str:
        """Say why `held_out` is None, and what to do about it."""

    @abstractmethod
    def read_cached(self, encoder: TextEncoder, on_message: OnMessage) -> None:
        """Encode each sentence once, if training never changes the encoder and only needs whole sentences.

        Called before the first batch is read, with the initial or resumed weights.
        """

    def batches(self, state: Any | None) -> Loader:
        """Start reading this rank's endless batches, from a saved state if there is one."""
        return Loader(self.source(), num_workers=self.settings.data.num_workers, state=state)


class CorpusData(EncoderData):
    """Data from a prepared corpus.

    Args:
        settings: of the run.
        corpus: prepared with `settings.data`.
        rank, world: rank of this process, and number of processes.

    Raises:
        LangJepaError: the training split has too little to predict.
    """

    def __init__(self, settings: Settings, corpus: Corpus, *, rank: int, world: int) -> None:
        super().__init__(settings)
        self.corpus, self.tokenizer = corpus, corpus.tokenizer
        self.fingerprint = corpus.path.name
        self.rank, self.world = rank, world
        self.view = make_view(settings, corpus.train, self.tokenizer)
        self.sample_view = make_plain_view(settings, corpus.train, self.tokenizer)
        if not self.view.count:
            raise LangJepaError(
                f"{corpus.path} has no document that is long enough for data.view={settings.data.view}; look at its "
                "statistics (lang-jepa prepare) and at data.min_sentences, data.val_fraction and data.limit"
            )
        if self.view.targets < LEAST_TARGETS:
            there = counted(corpus.train.num_sentences, settings.data.unit)
            raise LangJepaError(
                f"{corpus.path} has {there} to train on, which is too little to learn anything from: "
                f"{corpus.manifest['source']['description']} needs more text"
            )
        self.held_out_view = make_plain_view(settings, corpus.validation, self.tokenizer)
        self.held_out = self._held_out()
        self.order = self.view.order(settings.data, world=world)

    def _held_out(self) -> HeldOut | None:
        # Wrong candidates come from other documents or, for the tail of a single file, from its other parts.
        alone = self.corpus.validation.num_documents < 2 and self.settings.data.val_split == "hash"
        if alone or self.held_out_view.targets < LEAST_HELD_OUT:
            return None
        return HeldOut(self.settings, self.held_out_view, rank=self.rank, world=self.world)

    def read_cached(self, encoder: TextEncoder, on_message: OnMessage) -> None:
        if not reads_cached(self.settings):
            return
        train = ConceptCache.open_or_make(encoder, self.view, on_message=on_message)
        self.view.pooled = self.sample_view.pooled = train.vectors
        if self.held_out is not None:
            held_out = ConceptCache.open_or_make(encoder, self.held_out_view, on_message=on_message)
            self.held_out_view.pooled = held_out.vectors
            self.held_out = self._held_out()  # its batches were made without the cached vectors

    def total_steps(self) -> tuple[int, list[int]]:
        """Return max_steps, or the steps of all epochs, and where epochs end; leftover micro-batches carry over."""
        return plan_steps(self.order, self.settings.optimization)

    def source(self) -> BatchSource:
        return CorpusBatches(self.view, self.order, self.rank)

    def losses(self) -> Losses:
        return losses_of(self.settings, self.corpus, self.view)

    def why_nothing_held_out(self) -> str:
        return self.corpus.why_nothing_held_out()

    def info(self) -> list[tuple[str, str]]:
        train, validation, units = self.corpus.train, self.corpus.validation, self.settings.data.units
        return [
            ("source", self.corpus.manifest["source"]["description"]),
            ("corpus", str(self.corpus.path)),
            ("training", f"{train.num_documents:,} documents, {train.num_sentences:,} {units}"),
            ("held out", f"{validation.num_documents:,} documents, {validation.num_sentences:,} {units}"),
            ("targets per epoch", f"{self.view.targets:,} in {self.order.steps(0):,} batches"),
            *([("left out as too short", f"{self.view.left_out:,} tokens")] if self.view.left_out else []),
        ]


def losses_of(settings: Settings, corpus: Corpus, view: View) -> Losses:
    """Return what was lost between the source of a corpus and the examples of a view of its training split."""
    return Losses.of_manifest(
        corpus.manifest["statistics"],
        sentences=corpus.train.num_sentences,
        cut=view.cut_sentences,
        max_length=settings.model.max_length,
        unit=settings.data.unit,
    )


def plan_steps(
    order: Order, optimization: EncoderOptimizationSettings | DecoderOptimizationSettings
) -> tuple[int, list[int]]:
    """Return the optimizer steps of a run (`max_steps`, or those of all epochs), and the steps at which epochs end.

    An epoch ends with the step that uses its last batch; batches left over from it share that step with the first
    ones of the next epoch. If one step uses the batches of several epochs, these end together. Batches left over from
    the last epoch make no further step: it ends with the run.

    Args:
        order: order of the examples.
        optimization: `epochs`, `max_steps` and `grad_accum_steps` are read.

    Raises:
        LangJepaError: the batches of all epochs do not make a single step.
    """
    epochs, limit, accumulation = optimization.epochs, optimization.max_steps, optimization.grad_accum_steps
    ends: list[int] = []
    batches = 0
    while (len(ends) < epochs) if limit is None else (not ends or ends[-1] <= limit):
        batches += order.steps(len(ends))
        ends.append(-(-batches // accumulation))
    total = limit or batches // accumulation
    if not total:
        raise LangJepaError(
            f"the corpus gives fewer batches in all than optimization.grad_accum_steps={accumulation}: lower it, lower "
            "data.batch_size, or take more documents"
        )
    return total, [min(end, total) for end in ends] if limit is None else [end for end in ends if end <= total]


class StreamData(EncoderData):
    """Data from a stream of documents; `data.limit` does not apply to it.

    Args:
        settings: of the run; `optimization.max_steps` is set (the settings ensure it).
        rank, world: rank of this process, and number of processes.

    Raises:
        LangJepaError: the source cannot be read, or its beginning holds nothing to train on, or too little held out.
    """

    def __init__(self, settings: Settings, *, rank: int, world: int) -> None:
        super().__init__(settings)
        data = settings.data.model_copy(update={"limit": None})
        self.settings = settings = settings.model_copy(update={"data": data})
        self.rank, self.world = rank, world
        source = open_source(data)
        parts_for(source, world, max(1, data.num_workers))  # refused before anything is read
        self.complaint = source.complaint(data.shuffle_buffer)
        self.tokenizer = self._tokenizer(source)
        self.blocks = Blocks(settings, source, self.tokenizer)
        made_from = [source.fingerprint(quick=True), self.tokenizer.fingerprint(), data.splitter, data.language]
        made_from += [data.units] if data.units != "sentences" else []
        made_from += [data.val_split] if data.val_split != "hash" else []
        self.fingerprint = f"stream-{fingerprint(made_from)}"
        sample = self.blocks.first("train", max(settings.model.head_sample, settings.model.score_sample))
        if sample is None:
            raise LangJepaError(
                f"the first documents of {source.description} hold nothing to train on: "
                f"{self.blocks.losses.line() or 'they are all held out'}. Check data.min_length, data.min_sentences "
                "and data.text_column"
            )
        self.lost = self.blocks.losses  # of the rows of this sample
        self.sample_view = make_plain_view(settings, sample, self.tokenizer)
        self.held_out = None
        if data.val_fraction:
            validation = self.blocks.first("validation", settings.logging.val_sentences)
            view = make_plain_view(settings, validation, self.tokenizer) if validation else None
            if view is None or view.targets < LEAST_HELD_OUT:
                raise LangJepaError(
                    f"fewer than {LEAST_HELD_OUT} held-out targets to predict among the first rows of "
                    f"{source.description}: raise data.val_fraction"
                )
            self.held_out = HeldOut(settings, view, rank=rank, world=world)

    def _tokenizer(self, source: Any) -> TextTokenizer:
        """Load the tokenizer named, or train one on a block's number of training documents, the same on every rank.

        Documents from which nothing is learnt, such as the newest file of rotated logs, do not count.
        """
        data = self.settings.data
        if data.tokenizer_path != "trained":
            return TextTokenizer.load(data.tokenizer_path)
        rejected = Counter[str]()
        some = (one for one in source.documents(rejected, source.first_rows()) if one.learnt != 0)
        first = list(islice(some, data.shuffle_buffer))
        require_documents(len(first), rejected, source)
        return train_tokenizer(training_texts(first, data), data.vocab_size)

    def total_steps(self) -> tuple[int, list[int]]:
        """Return max_steps and no epoch ends, since the length of a stream's epochs is not known."""
        total = self.settings.optimization.max_steps
        assert total is not None  # the settings ensure it
        return total, []

    def source(self) -> BatchSource:
        return StreamBatches(self.settings, self.blocks, rank=self.rank, world=self.world)

    def read_cached(self, encoder: TextEncoder, on_message: OnMessage) -> None:
        """Do nothing: a stream has no end and no place to cache vectors. Its encoder runs at every step."""

    def losses(self) -> Losses:
        return replace(
            self.lost,
            sentences=self.sample_view.split.num_sentences,
            cut=self.sample_view.cut_sentences,
            max_length=self.settings.model.max_length,
        )

    def why_nothing_held_out(self) -> str:
        return "data.val_fraction is 0. Set data.val_fraction (0.02, say)."

    def info(self) -> list[tuple[str, str]]:
        shares = self.world * max(1, self.settings.data.num_workers)
        return [
            ("stream", self.blocks.source.description),
            ("blocks", f"{self.settings.data.shuffle_buffer:,} documents each, {shares} shares"),
        ]


def open_data(settings: Settings, *, rank: int, world: int, on_event: Progress | None = None) -> EncoderData:
    """Open the stream or the corpus that the settings name; a corpus is prepared first if needed.

    A lock lets one process prepare the corpus while the others wait, for as long as it takes.

    Raises:
        LangJepaError: see `StreamData`, `CorpusData` and `prepare`.
    """
    if settings.data.streaming:
        return StreamData(settings, rank=rank, world=world)
    return CorpusData(settings, prepare(settings.data, progress=on_event), rank=rank, world=world)


_BATCHES = 200


def padding_info(view: View, data: DataSettings) -> list[tuple[str, str]]:
    """Return table rows: targets, and padding with and without packing, over the first batches of an epoch."""
    if not view.count:
        return []
    batches = [view.batch(group[0]) for _, group in islice(view.order(data, world=1).groups(0), _BATCHES)]
    parts = [part for batch in batches for part in (batch.contexts.sequences, batch.targets.sequences)]
    tokens = sum(int(part.lengths.sum()) for part in parts)
    packed = sum(map(group_slots, parts))
    padded = sum(len(part) * int(part.lengths.max()) for part in parts)  # each batch to its longest sequence, as usual
    return [
        ("targets in an epoch", f"{view.targets:,}"),
        ("padding in linear layers", "0 % of slots (encoders that run packed)"),
        ("padding in attention", f"{100 * (1 - tokens / packed):.2f} % of slots"),
        ("(padded batches instead)", f"{100 * (1 - tokens / padded):.2f} % of slots"),
    ]
