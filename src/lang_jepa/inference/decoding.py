"""A trained concept decoder: turns concepts into sentences, and scores how well texts follow from concepts."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.files.arrays import digest
from lang_jepa.inference.texts import vectors_of
from lang_jepa.models.decoder import ConceptDecoder, DecoderBatch, Generation, Scores, pad_texts
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.settings.decoder import DecoderSettings

BATCH = 256
"""Concepts decoded at a time."""


def encoder_fingerprint(encoder: TextEncoder) -> str:
    """Return a hash of the weights that produce concepts, the head's included."""
    return digest(encoder.state_dict())


class TextDecoder:
    """Turns concepts into sentences.

    Args:
        network: the trained decoder.
        tokenizer: tokenizer of its text.
        settings: settings of its training.
        encoder: fingerprint of the encoder whose concepts it was trained on.
    """

    def __init__(
        self, network: ConceptDecoder, tokenizer: TextTokenizer, settings: DecoderSettings, *, encoder: str
    ) -> None:
        self.network, self.tokenizer = network.eval(), tokenizer
        self.settings, self.encoder = settings, encoder

    def __repr__(self) -> str:
        model = self.settings.decoder
        return (
            f"TextDecoder({self.settings.recipe}; reads {self.dim} dimensions; {model.num_layers} layers of "
            f"{model.hidden_dim}; vocabulary {self.tokenizer.vocab_size:,})"
        )

    @property
    def dim(self) -> int:
        """Width D of the concepts it reads."""
        return self.network.mean.numel()

    def decode(self, concepts: NDArray[np.floating], how: Generation) -> list[list[str]]:
        """Decode each concept into `how.returned` texts, best first.

        Args:
            concepts: [n, D].
            how: how tokens are chosen. Concepts are decoded in blocks; when sampling, each block has its own seed.

        Raises:
            LangJepaError: the concepts have another width, or are not finite.
        """
        rows = vectors_of(concepts, self.dim)
        texts: list[str] = []
        device = self.network.mean.device
        for start in range(0, len(rows), BATCH):
            block = torch.from_numpy(rows[start : start + BATCH].copy()).to(device)
            texts += map(self.tokenizer.decode, self.network.generate(block, how, block=start // BATCH))
        return [texts[i : i + how.returned] for i in range(0, len(texts), how.returned)]

    @torch.inference_mode()
    def score(self, concepts: NDArray[np.floating], texts: Sequence[str]) -> Scores:
        """Score how well given texts follow from concepts, by teacher forcing.

        Args:
            concepts: [n, D].
            texts: n sentences; tokens beyond decoder.max_length do not count.
        """
        if len(concepts) != len(texts):
            raise LangJepaError(
                f"{counted(len(concepts), 'concept')} and {counted(len(texts), 'text')}: give one text for each concept"
            )
        parts: list[tuple[NDArray[np.float64], ...]] = []
        device = self.network.mean.device
        tokens = self.tokenizer.encode_sentences(texts)
        for start in range(0, len(texts), BATCH):
            block = torch.from_numpy(np.array(concepts[start : start + BATCH], dtype=np.float32))
            limit, eos = self.settings.decoder.max_length, self.network.eos_id
            rows, lengths = pad_texts(tokens[start : start + BATCH], eos_id=eos, max_length=limit)
            nats, right = self.network(DecoderBatch(block, rows, lengths).to(device))
            parts.append((nats.double().sum(1).cpu().numpy(), right.sum(1).cpu().numpy(), lengths.numpy()))
        return Scores(*(np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)))


def build_decoder(
    settings: DecoderSettings,
    *,
    concept_dim: int,
    tokenizer: TextTokenizer,
    mean: NDArray[np.float32] | None = None,
    whitening: NDArray[np.float32] | None = None,
) -> ConceptDecoder:
    """Build a fresh decoder for a tokenizer.

    Raises:
        LangJepaError: the tokenizer has no token that can end a text.
    """
    if tokenizer.eos_id is None:
        raise LangJepaError(
            "the decoder's tokenizer has no end token (eos or sep), so no text could end: set "
            "decoder.tokenizer_path to one that has"
        )
    return ConceptDecoder(
        settings.decoder,
        concept_dim=concept_dim,
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
        mean=None if mean is None else torch.from_numpy(mean),
        whitening=None if whitening is None else torch.from_numpy(whitening),
    )


def restore(
    tensors: dict[str, torch.Tensor], settings: DecoderSettings, tokenizer: TextTokenizer, *, encoder: str, where: str
) -> TextDecoder:
    """Rebuild a decoder from its tensors.

    Raises:
        LangJepaError: they do not fit the settings or the tokenizer.
    """
    if not isinstance(tensors.get("mean"), torch.Tensor):
        raise LangJepaError(f"{where} does not belong to a decoder: it lacks 'mean'")
    network = build_decoder(settings, concept_dim=tensors["mean"].numel(), tokenizer=tokenizer)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise LangJepaError(f"{where} does not fit its settings or tokenizer: {error}") from error
    return TextDecoder(network, tokenizer, settings, encoder=encoder)
