"""Other encoders on the same evaluation card: any pretrained one as it is, and a bag of words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lang_jepa.concepts.model import ConceptModel
from lang_jepa.config import Settings
from lang_jepa.data.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.embedder import Encoder, EncoderOnly
from lang_jepa.evaluation.similarity import Statistics, unit_rows
from lang_jepa.models.backbone import position_limit
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.models.jepa import Jepa

WORDS = "words"


def other_encoder(name: str, sample: Sequence[str]) -> Encoder:
    """An encoder that was not trained here.

    Args:
        name: `words` for a bag of words, else a Hugging Face model by name or folder (mean of its last states).
        sample: training sentences, from which mean and whitening are estimated (none: raw similarity only).

    Raises:
        LangJepaError: the model cannot be read or is of no known family.
    """
    encoder: Encoder = BagOfWords() if name == WORDS else pretrained_encoder(name)
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


def pretrained_encoder(name: str) -> EncoderOnly:
    """A Hugging Face encoder as it is: mean over the last states of all tokens, no head."""
    from transformers import AutoConfig

    try:
        width = int(AutoConfig.from_pretrained(name).hidden_size)
    except (OSError, ValueError) as error:
        raise LangJepaError(
            f"there is no pretrained encoder at {name!r}: give a folder that holds one, or a name on the hub"
        ) from error
    tokenizer = TextTokenizer.load(name)
    model = {"embed_dim": width, "pred_dim": width, "predictor_heads": 1}
    settings = Settings.model_validate({"data": {"tokenizer_path": name}, "model": model})
    encoder = build_encoder(settings.model, vocab_size=tokenizer.vocab_size, weights=name)
    longest = min(settings.model.max_length, position_limit(encoder.backbone))
    settings = settings.model_copy(
        update={"model": settings.model.model_copy(update={"max_length": longest})}
    )
    jepa = Jepa(encoder, nn.Identity(), reads_sentences=False).eval()
    return EncoderOnly(ConceptModel(jepa, tokenizer, None, settings))


def without_head(model: ConceptModel, sample: Sequence[str]) -> EncoderOnly:
    """The encoder of a model as it is before the head, which shares what the model remembers.

    Args:
        model: one whose encoder has a head.
        sample: training sentences, from which mean and whitening are estimated.
    """
    encoder = TextEncoder(model.jepa.encoder.backbone, head=None)
    jepa = Jepa(encoder, nn.Identity(), reads_sentences=False).eval()
    plain = ConceptModel(jepa, model.tokenizer, None, model.settings)
    plain.memory = model.memory
    plain.statistics = Statistics.of(plain.encode(sample))
    return EncoderOnly(plain)
