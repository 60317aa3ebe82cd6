"""The documents of the evaluation tasks `document` and `search`, and what the model has read of them already."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.embedder import Encoder, EncoderOnly
from lang_jepa.evaluation.metrics.similarity import Statistics, unit_rows
from lang_jepa.evaluation.questions import CHOOSING_EVERY
from lang_jepa.evaluation.tasks.document_data import Grouped, group_of
from lang_jepa.evaluation.tasks.search import Searched, ask
from lang_jepa.inference.cache import ConceptCache, SentenceCache, Tell, reads_cached
from lang_jepa.inference.index.source import SplitDocuments
from lang_jepa.inference.model import ConceptModel
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import NoPredictor
from lang_jepa.settings.encoder import Settings


def other_corpus(settings: Settings, corpus: Corpus, documents: str) -> Corpus:
    """Documents to report on, prepared as those of the run were and with its tokenizer.

    Args:
        settings: of the run.
        corpus: of the run.
        documents: what `data.train_file` may name; prepared beside `corpus`.
    """
    changed = {
        "train_file": documents,
        "limit": None,
        "val_fraction": 0.0,
        "include": (),
        "exclude": (),
        "streaming": False,
        "corpus_dir": str(corpus.path.parent),
        "tokenizer_path": str(corpus.path / "tokenizer"),
    }
    found = prepare(settings.data.model_copy(update=changed))
    if found.tokenizer.fingerprint() != corpus.tokenizer.fingerprint():
        raise LangJepaError(f"{changed['tokenizer_path']} is no longer the tokenizer of {corpus.path}")
    return found


def searched(settings: Settings, documents: str, queries: Path, language: str | None) -> Searched:
    """Queries over documents, which are split into sentences as `lang-jepa index` splits them.

    Args:
        settings: of the model.
        documents: what `data.train_file` may name.
        queries: see `lang_jepa.evaluation.tasks.search.read_queries`.
        language: of the documents (None: that of the settings).
    """
    changed = {
        "train_file": documents,
        "limit": None,
        "include": (),
        "exclude": (),
        "language": language or settings.data.language,
    }
    source = SplitDocuments.open(settings.data.model_copy(update=changed))
    source.characters()  # raises where there is no document, and says why
    texts = [(row.id, row.sentences) for row in source.rows() if row.id is not None]
    return ask(queries, texts, Path(documents).name)


def grouped(corpus: Corpus, others: Corpus | None, count: int) -> Grouped:
    """Held-out documents of a corpus with their groups; if there are others, those report and the held-out ones choose.

    Up to `count` of each, spread evenly.
    """
    held, groups = _taken(corpus.validation, count)
    if others is None:
        return Grouped(held, groups, [index % CHOOSING_EVERY == 0 for index in range(len(held))])
    reported, theirs = _taken(others.train, count)
    choosing = [True] * len(held) + [False] * len(reported)
    return Grouped([*held, *reported], [*groups, *theirs], choosing)


def _taken(split: CorpusSplit, count: int) -> tuple[list[list[str]], list[str]]:
    """Sentences and groups of up to `count` documents."""
    rows, starts = evenly(split.num_documents, count), split.document_starts
    texts = [split.texts(np.arange(starts[row], starts[row + 1])) for row in rows]
    return texts, [group_of(split.document_id(row)) for row in rows]


def evenly(available: int, count: int) -> list[int]:
    """Up to `count` of the numbers below `available`, spread evenly."""
    return np.unique(np.linspace(0, available - 1, min(count, available)).astype(int)).tolist()  # type: ignore[no-any-return]


def remember(
    model: ConceptModel, corpora: Sequence[Corpus], tell: Tell | None, *, named: Collection[Corpus] = ()
) -> None:
    """Let a model read each sentence once; where training reads cached vectors, they are used.

    Args:
        model: gets a memory.
        corpora: whose sentences it will be shown; prepared with its tokenizer.
        tell: told in words of vectors that are made.
        named: those of the corpora that the user named, beside which vectors are made where there are none. Beside one
            that only the model's settings name nothing is ever written.
    """
    model.sentence_cache = SentenceCache(model.room)
    if not reads_cached(model.settings):
        return
    for corpus in corpora:
        for split in (corpus.train, corpus.validation):
            if split.num_sentences:
                view = make_plain_view(model.settings, split, model.tokenizer)
                take = ConceptCache.open_or_make if corpus in named else ConceptCache.find
                found = take(model.jepa.encoder, view, tell=tell)
                if found is not None:
                    model.sentence_cache.fill(split, found.vectors)


WORDS = "words"


def other_encoder(name: str, sample: Sequence[str]) -> Encoder:
    """An encoder that was not trained here.

    Args:
        name: `words` for a bag of words, else what `ConceptModel.load` reads.
        sample: training sentences, from which mean and whitening are estimated (none: raw similarity only).

    Raises:
        LangJepaError: of `ConceptModel.load`.
    """
    encoder: Encoder = BagOfWords() if name == WORDS else EncoderOnly(ConceptModel.load(name))
    if len(sample) > 1:
        encoder.statistics = Statistics.of(encoder.encode(sample))
    return encoder


class BagOfWords:
    """Counts of words and pairs of words, hashed into a fixed width: no order beyond pairs, no learning.

    Args:
        dim: number of buckets. The hash gives half of the words a minus, so that collisions cancel on average.
    """

    def __init__(self, dim: int = 1024) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.dim, self.statistics = dim, Statistics.identity(dim)
        self._vectorizer = HashingVectorizer(n_features=dim, ngram_range=(1, 2))

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Float32 [n, D], unit rows; a text without a word is a zero row."""
        return unit_rows(self._vectorizer.transform(sentences).toarray().astype(np.float32))


def without_head(model: ConceptModel, sample: Sequence[str]) -> EncoderOnly:
    """The encoder of a model as it is before the head, which shares what the model remembers.

    Args:
        model: one whose encoder has a head.
        sample: training sentences, from which mean and whitening are estimated.
    """
    encoder = TextEncoder(model.jepa.encoder.backbone, head=None)
    jepa = Jepa(encoder, NoPredictor("the encoder without its head", model.dim), reads_sentences=False).eval()
    plain = ConceptModel(jepa, model.tokenizer, None, model.settings)
    plain.sentence_cache = model.sentence_cache
    plain.statistics = Statistics.of(plain.encode(sample))
    return EncoderOnly(plain)
