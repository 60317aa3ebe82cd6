"""Other encoders on the same evaluation card: any that `ConceptModel.load` reads, and a bag of words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lang_jepa.concepts.model import ConceptModel
from lang_jepa.evaluation.embedder import Encoder, EncoderOnly
from lang_jepa.evaluation.similarity import Statistics, unit_rows
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictor import NoPredictor

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
    plain.memory = model.memory
    plain.statistics = Statistics.of(plain.encode(sample))
    return EncoderOnly(plain)
