"""Data of a decoder's run: sentences of the encoder's corpus, with their concepts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.corpus.statistics import Losses
from lang_jepa.data.loader import CorpusBatches, Loader
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import View, make_plain_view
from lang_jepa.data.views.order import Indices, Order, uniform
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference.cache import ConceptCache, OnMessage, Vectors, weights_hash
from lang_jepa.inference.decoding import encoder_fingerprint
from lang_jepa.inference.model import ConceptModel, missing, own_corpus
from lang_jepa.inference.model_folder import find_model
from lang_jepa.inference.prediction import PredictionCache
from lang_jepa.models.decoder import DecoderBatch, pad_texts
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import apply_override, build
from lang_jepa.training.methods.encoder_data import plan_steps
from lang_jepa.training.start import tokenizer_is_of_start


class DecoderSentences:
    """Sentences of a split as examples: their concepts and their tokens.

    Args:
        split: the split.
        concepts: concepts of all its sentences.
        rows: int64 [N], the sentences that are examples.
        settings: of the decoder.
        tokenizer: of the decoder's text; the corpus' own if the settings name none.

    Attributes:
        share: fraction of texts in `batch` decoded from the concept predicted for them, if there is one.
    """

    def __init__(
        self,
        split: CorpusSplit,
        concepts: "SplitConcepts",
        rows: Indices,
        settings: DecoderSettings,
        tokenizer: TextTokenizer,
    ) -> None:
        self.split, self.concepts, self.rows = split, concepts, rows
        self.settings, self.tokenizer, self.share = settings, tokenizer, settings.data.predicted_share

    @property
    def count(self) -> int:
        return len(self.rows)

    def sizes(self, examples: Indices) -> Indices:
        """Return the number of tokens of each example in the corpus, int64 [n], by which batches are sorted."""
        return self.split.lengths(self.rows[examples])

    def batch(self, examples: Indices, epoch: int = 0) -> DecoderBatch:
        """Return a training batch with own and predicted concepts, as drawn in the given epoch."""
        batch = self.own(examples)
        if not self.share:
            return batch
        drawn = uniform(examples, 1, self.settings.meta.seed, epoch)[:, 0] < self.share
        wanted = np.flatnonzero(drawn & self.concepts.is_predicted(self.rows[examples]))
        batch.concepts[torch.from_numpy(wanted)] = self.concepts.predicted(self.rows[examples[wanted]])
        return batch

    def own(self, examples: Indices, *, concepts_of: Indices | None = None) -> DecoderBatch:
        """Return texts with their own concepts, or, as a control, with those of the examples `concepts_of`."""
        read = self.rows[examples if concepts_of is None else concepts_of]
        return DecoderBatch(self.concepts.of(read), *self._tokens(examples))

    def predicted(self, examples: Indices) -> DecoderBatch:
        """Return the texts that have a predicted concept, with these concepts."""
        examples = examples[self.concepts.is_predicted(self.rows[examples])]
        return DecoderBatch(self.concepts.predicted(self.rows[examples]), *self._tokens(examples))

    def _tokens(self, examples: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        rows, decoder, eos_id = self.rows[examples], self.settings.decoder, self.tokenizer.eos_id
        assert eos_id is not None  # `DecoderMethod.open_data` refuses such a tokenizer
        texts: list[NDArray[Any]]
        if decoder.tokenizer_path is None:
            texts = [self.split.tokens(int(row), int(row) + 1) for row in rows]
        else:
            texts = list(self.tokenizer.encode_sentences(self.split.texts(rows)))
        return pad_texts(texts, eos_id=eos_id, max_length=decoder.max_length)

    def texts(self, examples: Indices) -> list[str]:
        return self.split.texts(self.rows[examples])


class SplitConcepts:
    """Concepts of a split's sentences: cached states passed through the encoder's head, L2-normalised; and predictions.

    Args:
        model: the encoder, which encodes every sentence once; the results are cached beside the corpus.
        split: S sentences.
        predictions: also cache the model's prediction of each sentence.
        on_message: called with messages about the caches made.
    """

    def __init__(
        self, model: ConceptModel, split: CorpusSplit, *, predictions: bool = False, on_message: OnMessage | None = None
    ) -> None:
        view = make_plain_view(model.settings, split, model.tokenizer)
        self.vectors = ConceptCache.open_or_make(model.jepa.encoder, view, on_message=on_message).vectors
        self.predictions: Vectors | None = None
        if predictions:
            made = PredictionCache.open_or_make(model, split, pooled=self.vectors, on_message=on_message)
            self.predictions = made.vectors
        self._model = model

    @torch.no_grad()
    def of(self, rows: Indices) -> torch.Tensor:
        """Return concepts, float32 [n, D] on the CPU, equal to those of `ConceptModel.encode`."""
        means = torch.from_numpy(np.array(self.vectors[rows])).to(self._model.device)
        return functional.normalize(self._model.jepa.encoder.mapped(means), dim=-1).cpu()

    def is_predicted(self, rows: Indices) -> NDArray[np.bool_]:
        """Which sentences have a cached prediction, bool [n]."""
        if self.predictions is None:
            return np.zeros(len(rows), dtype=bool)
        return np.asarray(self.predictions[rows].any(1))

    def predicted(self, rows: Indices) -> torch.Tensor:
        """Return predictions, float32 [n, D], equal to those of `ConceptModel.predict_next`; all rows must have one."""
        assert self.predictions is not None
        return torch.from_numpy(np.array(self.predictions[rows]))


class DecoderData:
    """Training and held-out data of a decoder's run.

    Args:
        settings: of the decoder.
        model: the encoder.
        corpus: prepared with the encoder's tokenizer.
        tokenizer: of the decoder's text; the corpus' own, or another.
        rank, world: rank of this process, and number of processes.
        on_message: called with messages about what is computed before training starts.

    Attributes:
        sample: the held-out examples used in a validation, int64 [n].
        fingerprint: identity of the data, compared when a run is resumed.

    Raises:
        LangJepaError: no sentence is left to train on, or none can be predicted though predictions are wanted.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        model: ConceptModel,
        corpus: Corpus,
        tokenizer: TextTokenizer,
        *,
        rank: int,
        world: int,
        on_message: OnMessage | None = None,
    ) -> None:
        self.settings, self.corpus, self.tokenizer, self.rank = settings, corpus, tokenizer, rank
        self.encoder = encoder_fingerprint(model.jepa.encoder)
        identity = [self.encoder, corpus.path.name, tokenizer.fingerprint()]
        if settings.data.predicted_share:
            identity.append(weights_hash(model.jepa.predictor))
        self.fingerprint = fingerprint(identity)
        predictions = settings.data.predicted_share > 0

        def sentences(split: CorpusSplit, rows: Indices) -> DecoderSentences:
            concepts = SplitConcepts(model, split, predictions=predictions, on_message=on_message)
            return DecoderSentences(split, concepts, rows, settings, tokenizer)

        self.train, self.held_out = (sentences(*split) for split in _splits(corpus, settings.data.val_fraction))
        if settings.data.predicted_share and corpus.train.num_sentences == corpus.train.num_documents:
            raise LangJepaError(
                f"no document of {corpus.path} has a second sentence, so none can be predicted: set "
                "data.predicted_share=0"
            )
        if not self.train.count:
            raise LangJepaError(f"{corpus.path} has no sentence to train on: lower data.val_fraction")
        wanted = min(settings.logging.val_sentences, self.held_out.count)
        self.sample: Indices = np.unique(np.linspace(0, self.held_out.count - 1, wanted).astype(np.int64))
        self.order = Order(
            count=self.train.count,
            sizes=self.train.sizes,
            world=world,
            batch_size=settings.data.batch_size,
            batch_tokens=None,
            pool_batches=settings.data.pool_batches,
            seed=settings.meta.seed,
        )

    def total_steps(self) -> tuple[int, list[int]]:
        """Return the optimizer steps of the run, and those at which an epoch ends."""
        return plan_steps(self.order, self.settings.optimization)

    def batches(self, state: Any | None) -> Loader:
        """Start reading this rank's endless batches, from a saved state if there is one."""
        # The loader only passes examples to `batch` and records the position of what it returns.
        source = CorpusBatches(cast(View, self.train), self.order, self.rank)
        return Loader(source, num_workers=0, state=state)

    def losses(self) -> Losses:
        """Return what was lost between source and examples; truncation of texts in other tokens is not measured."""
        longest, cut = self.settings.decoder.max_length, 0
        if self.settings.decoder.tokenizer_path is None:
            cut = int((self.train.sizes(np.arange(self.train.count)) >= longest).sum())  # the end token takes one
        lost = Losses.of_manifest(
            self.corpus.manifest["statistics"], sentences=self.train.count, cut=cut, max_length=longest
        )
        return replace(lost, limit="decoder.max_length")

    def info(self) -> list[tuple[str, str]]:
        held_out = "documents of the corpus' validation split"
        if not self.corpus.validation.num_documents:
            held_out = f"{self.settings.data.val_fraction:.0%} of the documents, which the encoder was trained on"
        return [
            ("corpus", str(self.corpus.path)),
            ("training", f"{self.train.count:,} sentences in {self.order.steps(0):,} batches"),
            ("held out", f"{self.held_out.count:,} sentences: {held_out}"),
        ]


def _splits(corpus: Corpus, ratio: float) -> tuple[tuple[CorpusSplit, Indices], tuple[CorpusSplit, Indices]]:
    """Return training and held-out sentences as (split, rows); held out are the validation split or drawn documents."""
    train, validation = corpus.train, corpus.validation
    rows = np.arange(train.num_sentences, dtype=np.int64)
    if validation.num_documents:
        return (train, rows), (validation, np.arange(validation.num_sentences, dtype=np.int64))
    drawn = uniform(np.arange(train.num_documents, dtype=np.int64), 1, 0, 0)[:, 0] < ratio
    held_out = drawn[train.document_of(rows)]
    return (train, rows[~held_out]), (train, rows[held_out])


def corpus_for(model: ConceptModel, encoder: Path, overrides: Sequence[str]) -> Corpus:
    """Return the encoder's corpus, or the one given by overrides of its data settings, in the encoder's tokens.

    Raises:
        LangJepaError: there is no corpus, it has other tokens, or an override is not of the data.
    """
    tree: dict[str, Any] = model.settings.model_dump()
    for override in overrides:
        if not override.startswith("data."):
            raise LangJepaError(
                f"override '{override}': the encoder is frozen, so of its settings only those of the data can be "
                "changed here; the decoder's own settings are changed with -d"
            )
        apply_override(tree, override, Settings)
    settings = build(Settings, tree, where="the encoder's settings")
    if settings.data.streaming:
        raise LangJepaError(
            "the encoder was trained on a stream, which leaves no corpus: name what the decoder is to be trained on, "
            "for example -o data.streaming=false -o data.limit=20000"
        )
    corpus = prepare(_here(settings.data, model, encoder, overrides)) if overrides else own_corpus(model)
    if corpus is None:
        raise LangJepaError(missing(model, "name what the decoder is to be trained on, -o data.train_file=DOCUMENTS"))
    if corpus.tokenizer.fingerprint() != model.tokenizer.fingerprint():
        raise LangJepaError(
            f"the corpus {corpus.path} has other tokens than the encoder {encoder}; remove it and train again, or give "
            "the run directory of the encoder"
        )
    return corpus


def _here(data: DataSettings, model: ConceptModel, encoder: Path, overrides: Sequence[str]) -> DataSettings:
    """Return settings for other documents, naming the encoder's tokenizer: a `trained` one would have other tokens.

    Nothing is prepared in the corpus folder of a model from another machine.
    """
    foreign = own_corpus(model) is None
    if foreign and not any(one.startswith("data.train_file=") for one in overrides):
        raise LangJepaError(missing(model, "name what the decoder is to be trained on, -o data.train_file=DOCUMENTS"))
    if foreign and not any(one.startswith("data.corpus_dir=") for one in overrides):
        data = data.model_copy(update={"corpus_dir": DataSettings().corpus_dir})
    if data.tokenizer_path != "trained" and not foreign and not tokenizer_is_of_start(model.settings):
        return data
    folder = find_model(encoder)
    if folder is None:
        raise LangJepaError(
            f"{encoder} is a checkpoint without its tokenizer: to train on other data, give a run or model directory"
        )
    return data.model_copy(update={"tokenizer_path": str(folder)})
