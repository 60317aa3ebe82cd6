"""The data of a run that reads a stream."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

from lang_jepa.concepts.kept import Tell
from lang_jepa.config import Settings
from lang_jepa.data.documents import open_source, require_documents
from lang_jepa.data.hashes import training_texts
from lang_jepa.data.loader import BatchSource
from lang_jepa.data.losses import Losses
from lang_jepa.data.streaming import Blocks, StreamBatches
from lang_jepa.data.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.files import fingerprint
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.training.held_out import HeldOut
from lang_jepa.training.material import LEAST_HELD_OUT, Material


class StreamMaterial(Material):
    """A stream of documents; `data.limit` does not apply to it.

    Args:
        settings: of the run; `optimization.max_steps` is set (the settings see to it).
        rank, world: this process and their number.

    Raises:
        LangJepaError: the source cannot be read, or its beginning holds nothing to train on.
    """

    def __init__(self, settings: Settings, *, rank: int, world: int) -> None:
        super().__init__(settings)
        data = settings.data.model_copy(update={"limit": None})
        self.settings = settings = settings.model_copy(update={"data": data})
        self.rank, self.world = rank, world
        source = open_source(data)
        self.tokenizer = self._tokenizer(source)
        self.blocks = Blocks(settings, source, self.tokenizer)
        made_from = [source.fingerprint(), self.tokenizer.fingerprint(), data.splitter, data.language]
        self.fingerprint = f"stream-{fingerprint(made_from)}"
        sample = self.blocks.first("train", max(settings.model.head_sample, settings.model.score_sample))
        if sample is None:
            raise LangJepaError(
                f"the first documents of {source.description} hold nothing to train on: "
                f"{self.blocks.losses.line() or 'they are all held out'}. Look at data.min_length, data.min_sentences "
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
        """The named one, or one trained on the first block's training documents, the same on every rank."""
        data = self.settings.data
        if data.tokenizer_path != "trained":
            return TextTokenizer.load(data.tokenizer_path)
        rejected: Counter[str] = Counter()
        texts = [document.text for document in islice(source.documents(rejected), data.shuffle_buffer)]
        require_documents(len(texts), rejected, source)
        return train_tokenizer(training_texts(texts, data.val_fraction), data.vocab_size)

    def total_steps(self) -> tuple[int, list[int]]:
        """max_steps; a stream's epochs have no length that is known."""
        total = self.settings.optimization.max_steps
        assert total is not None  # the settings see to it
        return total, []

    def source(self) -> BatchSource:
        return StreamBatches(self.settings, self.blocks, rank=self.rank, world=self.world)

    def read_cached(self, encoder: TextEncoder, tell: Tell) -> None:
        """Not here: a stream has no place to keep vectors in, and no end. Its encoder runs at every step."""

    def losses(self) -> Losses:
        return replace(
            self.lost,
            sentences=self.sample_view.split.num_sentences,
            cut=self.sample_view.cut_sentences,
            max_length=self.settings.model.max_length,
        )

    def why_nothing_held_out(self) -> str:
        return "data.val_fraction is 0. Set data.val_fraction (0.02, say)."

    def facts(self) -> list[tuple[str, str]]:
        shares = self.world * max(1, self.settings.data.num_workers)
        return [
            ("stream", self.blocks.source.description),
            ("blocks", f"{self.settings.data.shuffle_buffer:,} documents each, {shares} shares"),
        ]
