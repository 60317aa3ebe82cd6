"""Score a GPT's run: bits per byte, the cost of quantisation, and its hidden states as sentence vectors."""

import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import MANIFEST, Corpus
from lang_jepa.data.text.sentences import SentenceSplitter, make_splitter
from lang_jepa.data.tokens.byte_table import ByteTable, some_documents, spread_documents
from lang_jepa.data.tokens.token_stream import TokenSource
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.language import Baseline, compression_baselines
from lang_jepa.evaluation.embedder import ArrayCache, CachedEmbedder, Encoder
from lang_jepa.evaluation.metrics.bits_per_byte import DocumentBits, LogitsFn
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.evaluation.tasks import GPT_TASKS, check_data_dir, tasks_named
from lang_jepa.evaluation.tasks.request import Language, Precision, Quantised, Request
from lang_jepa.export.gpt import load_quantised_gpt, validation_of, write_quantised_gpt
from lang_jepa.export.quantise import parse_rounding
from lang_jepa.files.arrays import digest
from lang_jepa.files.atomic import check_writable, fingerprint, writing
from lang_jepa.inference.gpt import TextGPT, initial_gpt, load_gpt, load_table
from lang_jepa.inference.model import own_folder
from lang_jepa.models.gpt import GPT
from lang_jepa.report.run import ENCODER_OPTIONS, TRAINING_DOCUMENTS, EvaluateOptions, ScoredRun
from lang_jepa.settings.gpt import GPTDataSettings, GPTLoggingSettings
from lang_jepa.training.methods.gpt_data import Tokens, of_corpus, open_tokens

SENTENCES = 80
"""Maximum sentences of a document, from its beginning: enough for a context and 64 candidates besides."""
SAMPLE = 1000
"""Training sentences from which mean and whitening of the vectors are estimated."""
WINDOW = 8
"""Sentences of context, as in the encoders' recipes."""
NGRAM_ORDER = 5
UNTRAINED = "untrained"

Documents = list[list[str]]


class ScoredGPT(ScoredRun):
    """A GPT's run with its tokens, scored beside the untrained model and baselines that need no model.

    Args:
        path: a run directory or a model directory; the tokens of its training must still be there.
        options: tasks and options.

    Attributes:
        text: the model with its tokenizer.
        start: the untrained model with its tokenizer.

    Raises:
        LangJepaError: no GPT, an unknown task, an option for encoders, or tokens that are missing or hold nothing out.
    """

    def __init__(self, path: Path, options: EvaluateOptions) -> None:
        unread = [name for name in ENCODER_OPTIONS if getattr(options, name)]
        if unread:
            raise LangJepaError(f"{', '.join(unread)} of an evaluation have no effect on a GPT ({path})")
        usual = ["bits_per_byte", "quantised", "retrieval", *(["sts"] if options.data_dir else [])]
        self.tasks = tasks_named(options.names(usual), GPT_TASKS)
        check_data_dir([task.name for task in self.tasks], options.data_dir, of_stories=False)
        if options.output is not None:
            check_writable(options.output)
        self.model, self.settings, self.card = load_gpt(path)
        self.options, self.budget, self.cache = options, options.budget, ArrayCache(options.shared)
        self.tokens = _own_tokens(self.settings.data, self.card.get("corpus"), options.prepared)
        if options.prepared and self.tokens.table.base.tolist() != load_table(path).base.tolist():
            raise LangJepaError(f"{options.prepared} has other tokens than the GPT {path}")
        if self.tokens.held_out is None:
            raise LangJepaError(f"{self.tokens.place} has no held-out tokens, so nothing can be measured")
        self.held_out = self.tokens.held_out
        with torch.random.fork_rng():
            self.start = self._with_tokenizer(initial_gpt(self.settings).eval())
        self.text = self._with_tokenizer(self.model)
        self._sentences: dict[str, Documents] = {}
        self.destination = options.output or path / "scores.json"
        self.weights = digest(self.model.state_dict())

    def request(self) -> Request:
        """The model with what the tasks need: as an encoder, as a language model, or both."""
        predicts = any("language" in task.needs for task in self.tasks)
        embeds = not all("language" in task.needs for task in self.tasks)
        reads = any(task.reads_held_out for task in self.tasks)
        return Request(
            self.vectors() if embeds else self.text,
            [task.name for task in self.tasks],
            baselines={UNTRAINED: self.untrained_vectors()} if embeds else {},
            data_dir=self.options.data_dir,
            documents=self.sentences("held out") if reads else None,
            train_documents=self.sentences("train") if reads else None,
            language=self.language() if predicts else None,
            window_size=WINDOW,
            budget=self.budget,
        )

    def _with_tokenizer(self, model: GPT) -> TextGPT:
        return TextGPT(
            model,
            self.tokens.table,
            bos_id=self.card["bos_id"],
            looped=tuple(self.card["looped"]),
            layer=self.settings.evaluation.sentence_layer,
        )

    def _start_identity(self) -> str:
        """A fingerprint of everything that determines the output of the untrained model for a text."""
        weights = digest(self.start.model.state_dict())
        model = self.settings.model.model_dump()
        return fingerprint([weights, model, self.start.looped, self.start.layer, self.tokens.identity])

    def sentences(self, side: Literal["train", "held out"]) -> Documents:
        """Up to `SENTENCES` sentences each of some documents of a side, decoded from their tokens."""
        if side not in self._sentences:
            source = self.tokens.train if side == "train" else self.held_out
            count = TRAINING_DOCUMENTS if side == "train" else self.budget.documents
            splitter = make_splitter(self.settings.data.corpus())
            self._sentences[side] = _sentences_of(source, self.tokens.table, splitter, count)
        return self._sentences[side]

    def _sample(self) -> list[str]:
        """Training sentences, some from each document."""
        documents = self.sentences("train")
        each = -(-SAMPLE // max(1, len(documents)))
        return [sentence for document in documents for sentence in document[:each]][:SAMPLE]

    def vectors(self) -> Encoder:
        """The model as an encoder, with its statistics."""
        self.text.statistics = Statistics.of(self.text.encode(self._sample()))
        return self.text

    def untrained_vectors(self) -> Encoder:
        """The untrained model as an encoder, cached if another run has used it."""
        cached = CachedEmbedder(self.start, self.cache, self._start_identity())
        cached.statistics = Statistics.of(cached.encode(self._sample()))
        return cached

    def language(self) -> Language:
        """The model as a language model, with held-out documents to predict."""
        budget, table = self.budget, self.tokens.table
        some = some_documents(self.held_out, table, count=budget.held_out_documents, tokens=budget.document_tokens)
        validation = validation_of(self.settings, some, table)
        items = [digest({"tokens": torch.from_numpy(some.tokens)})]
        count = int((some.tokens == some.bos_id).sum())

        def untrained() -> DocumentBits:
            key = ["bits", self._start_identity(), validation.length, items]
            found = self.cache.take(key, lambda: asdict(validation.by_document(logits(self.start))))
            return DocumentBits(**found)

        return Language(
            validation=validation,
            score=lambda name: untrained() if name == UNTRAINED else validation.by_document(logits(self.text)),
            names=("model", UNTRAINED),
            quantise=self._quantise,
            baselines=lambda: _baselines(self.cache, self.tokens, some, items),
            source=f"{count:,} held-out documents, the first {budget.document_tokens:,} tokens of each at most",
            items=items,
        )

    def _quantise(self, precision: Precision) -> Quantised:
        """Write the model to a file and read it back; the size is independent of the run's folder and of resuming."""
        meta = self.settings.meta.model_copy(update={"load_checkpoint": False})
        settings = self.settings.model_copy(update={"logging": GPTLoggingSettings(), "meta": meta})
        rounding = parse_rounding(8 if precision == "int8" else 6, None)
        with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="lang-jepa-quantised-") as folder:
            file = Path(folder) / "gpt.ljq"
            written = write_quantised_gpt(self.model, settings, self.card, file, rounding, cap=sys.maxsize)
            model, _, looped = load_quantised_gpt(file)
        return Quantised(partial(model, looped=looped), written.bytes)


def _own_tokens(data: GPTDataSettings, name: Any, prepared: Path | None) -> Tokens:
    """Open the tokens that the user names, or exactly those of the training; nothing is prepared.

    Args:
        data: settings of the training.
        name: of the training's tokens, from the model's card.
        prepared: folder that the user names (None: that of the training).
    """
    folder = prepared or (Path(data.data_path) if data.data_path else own_folder(data.corpus_dir, name))
    if folder is not None and folder.is_dir():
        named = data.model_copy(update={"data_path": str(folder)})
        whole = (folder / MANIFEST).is_file()
        tokens = of_corpus(Corpus.open(folder), lambda event: None) if whole else open_tokens(named, lambda event: None)
        if prepared is not None or tokens.identity == name:
            return tokens
    where = folder or (f"{data.corpus_dir}/{name}" if isinstance(name, str) else data.corpus_dir)
    raise LangJepaError(
        f"the tokens this GPT was trained on were not found ({where}): name token shards or a prepared corpus of its "
        "tokenizer with --corpus FOLDER"
    )


def logits(gpt: TextGPT) -> LogitsFn:
    """The logits of the model as a function of tokens."""
    return partial(gpt.model, looped=gpt.looped)


def _sentences_of(source: TokenSource, table: ByteTable, splitter: SentenceSplitter, count: int) -> Documents:
    documents = []
    for start, stop in spread_documents(source, count):
        text = table.decode(source.read(start + 1, stop).tolist())
        documents.append([text[first:last] for first, last in splitter.spans(text)[:SENTENCES]])
    return [document for document in documents if document]


def _baselines(cache: ArrayCache, tokens: Tokens, some: TokenSource, items: object) -> list[Baseline]:
    """Compressors and the n-gram model, whose counts come from all of the training text, once per comparison."""

    def make() -> dict[str, NDArray[Any]]:
        rows = compression_baselines(tokens.train, some, tokens.table, order=NGRAM_ORDER, quick=True)
        values = np.array([row.bits_per_byte for row in rows])
        return {"name": np.array([row.name for row in rows]), "bits_per_byte": values}

    found = cache.take(["baselines", NGRAM_ORDER, tokens.identity, items], make)
    pairs = zip(found["name"].tolist(), found["bits_per_byte"].tolist(), strict=True)
    return [Baseline(name, value, None, 0.0) for name, value in pairs]
