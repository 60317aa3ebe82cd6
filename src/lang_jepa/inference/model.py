"""What a user imports: a model with all its tools."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.scoreboard import Choice, Choices
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference import document
from lang_jepa.inference.decoding import TextDecoder, encoder_fingerprint
from lang_jepa.inference.document import Continuation, Fits, Placed, Repetition, Topics
from lang_jepa.inference.embedding import EmbeddingModel, Vectors
from lang_jepa.inference.imagine import Imagined, imagine
from lang_jepa.inference.texts import texts_of, vectors_of
from lang_jepa.models.decoder import Generation, Method, Scores
from lang_jepa.models.predictors.predictor import refuse_without_predictor


def _weights(card: dict[str, Any]) -> str:
    """What the choices were measured with: every file of the model but its decoder, which has no part in them."""
    hashes = card["sha256"].items()
    return fingerprint({name: digest for name, digest in hashes if not name.startswith("decoder")})


class ConceptModel(EmbeddingModel):
    """A trained encoder and predictor, with what can be done with them: words for concepts, and tools for documents.

    Example:
        >>> model = ConceptModel.load("runs/quickstart/model")             # doctest: +SKIP
        >>> model.encode(["The cat sat on the mat."]).shape                # doctest: +SKIP
        (1, 128)
    """

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """As `EmbeddingModel.load`; with what was chosen for the document tools."""
        model = super().load(path, device=device)
        model.load_choices()
        return model

    def decode(self, z: Vectors, method: Method = "greedy", **options: Any) -> list[str]:
        """The sentence of each concept, as the trained decoder tells it.

        Args:
            z: float [n, D], from `encode`, `predict_next` or elsewhere.
            method: `greedy`, `sample`, or `beam`.
            options: temperature, top_p, top_k, beams, seed, max_length; see `lang_jepa.models.decoder.Generation`.

        Raises:
            LangJepaError: this model has no decoder, or an option or the shape is wrong.
        """
        return [best for best, *_ in self.decode_several(z, method, **options)]

    def decode_several(self, z: Vectors, method: Method = "beam", **options: Any) -> list[list[str]]:
        """As `decode`, with `returned=N` sentences for each concept, best first."""
        decoder = self._decoder()
        unknown = sorted(options.keys() - {field.name for field in fields(Generation)})
        if unknown:
            raise LangJepaError(f"unknown option of decoding: {', '.join(unknown)}")
        return decoder.decode(vectors_of(z, decoder.dim), Generation(method=method, **options))

    def score_texts(self, z: Vectors, texts: Sequence[str]) -> Scores:
        """How well the decoder foretells given texts from concepts [n, D], by teacher forcing.

        Raises:
            LangJepaError: this model has no decoder.
        """
        decoder = self._decoder()
        return decoder.score(vectors_of(z, decoder.dim), texts_of(texts))

    def _decoder(self) -> TextDecoder:
        if self.decoder is None:
            raise LangJepaError(
                "this model has no decoder, so its concepts cannot be turned into text: train one with "
                "lang-jepa train concept_decoder --encoder RUN"
            )
        return self.decoder

    @property
    def decoder_is_foreign(self) -> bool:
        """Whether the decoder was trained on the concepts of other weights than this encoder's."""
        return self.decoder is not None and self.decoder.encoder != encoder_fingerprint(self.jepa.encoder)

    def imagine(self, context: Sequence[str], steps: int, *, beams: int = 8) -> list[Imagined]:
        """Go on with a text: predicted concept, sentence, appended, next; see `lang_jepa.inference.imagine`."""
        refuse_without_predictor(self.jepa.predictor)
        return imagine(self, self._decoder(), context, steps, beams=beams)

    def choose(self, tools: dict[str, Choice]) -> None:
        """Keep what the document tools should use, in the model directory that this model was loaded from too."""
        self.choices = dict(tools)
        if self.folder is not None:
            Choices(self.choices, _weights(self.card)).save(self.folder)

    def load_choices(self) -> None:
        """Take what was kept in the model directory, if anything was."""
        if self.folder is not None:
            kept = Choices.load(self.folder, model=_weights(self.card))
            self.choices = kept.tools if kept else {}

    def surprise(self, text: str | Sequence[str], **options: Any) -> Fits:
        """How far each sentence lies from what those before it let expect; see `lang_jepa.inference.document`."""
        return document.surprise(self, text, **options)

    def outliers(self, text: str | Sequence[str], **options: Any) -> list[Placed]:
        """Sentences by how little they fit between their neighbours, the least fitting first."""
        return document.outliers(self, text, **options).ranked()

    def segment(self, text: str | Sequence[str], **options: Any) -> Topics:
        """Where the topic changes."""
        return document.segment(self, text, **options)

    def next(
        self, context: str | Sequence[str], candidates: Sequence[str], **options: Any
    ) -> list[Continuation]:
        """Candidates by how well they fit as the next sentence, best first."""
        return document.continuations(self, context, candidates, **options)[0]

    def redundant(self, text: str | Sequence[str], **options: Any) -> list[Repetition]:
        """Sentences that repeat an earlier one, the clearest first."""
        found = [one for one in document.redundant(self, text, **options) if one.repeats]
        return sorted(found, key=lambda one: -one.cosine)
