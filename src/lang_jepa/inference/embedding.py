"""Encoding and predicting: what every tool and every evaluation needs from a model."""

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
import torch
from torch import Tensor

from lang_jepa.data.sources.conversations import as_turns, speaker_number, speakers_of
from lang_jepa.data.text.masks import masked
from lang_jepa.data.views import AsksNext, make_view, view_of, views_with
from lang_jepa.data.views.masked import MaskedView
from lang_jepa.data.views.order import by_length
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.inference.encoding import BATCH_TOKENS, TextEncoder, Vectors
from lang_jepa.inference.prediction import Sides, neighbours, passages, predict_positions, unit_vectors
from lang_jepa.inference.texts import about_tokens, as_documents, contexts_of, nearest, role_of, sides_of
from lang_jepa.models.predictors.predictor import refuse_without_predictor


class EmbeddingModel(TextEncoder):
    """A trained encoder and predictor: turns texts into embeddings, and contexts into predicted embeddings."""

    def comparable(self, vectors: Vectors, *, side: Literal["concepts", "predictions"] = "concepts") -> Vectors:
        """Return vectors [n, D] as rows whose dot products are the model's own similarity (`similarity_kind`)."""
        return prepare(vectors, self.statistics, self.similarity_kind, side=side)

    @property
    def predicts_next(self) -> bool:
        """Whether it was trained on a view for which `predict_next` has a meaning."""
        return self.has_predictor and view_of(self.settings).asks_next

    @overload
    def predict_next(self, context: Sequence[str], *, role: str | None = None) -> Vectors: ...
    @overload
    def predict_next(self, context: Sequence[Sequence[str]], *, role: str | None = None) -> Vectors: ...
    def predict_next(self, context: Sequence[str] | Sequence[Sequence[str]], *, role: str | None = None) -> Vectors:
        """Predict the concept of the sentence that follows.

        A model of masked sentences is shown the context and a mask after it.

        Args:
            context: the sentences so far, oldest first (the last window_size of them are read), or a list of such
                contexts. For a model with data.speakers=embedding, turns like "user: Good morning": if every turn has a
                name in front, that is its speaker; if some have none, only roles are speakers.
            role: whose turn such a model predicts (None: that of whoever spoke before the last speaker did).

        Returns:
            float32 [D] for one context, [n, D] for a list; unit rows.

        Raises:
            LangJepaError: a bare string, an empty context, or a sentence without a token; a model of another view; a
                role for a model that knows no speakers.
        """
        refuse_without_predictor(self.jepa.predictor)
        if not self.predicts_next:
            raise LangJepaError(
                f"this model was trained on data.view={self.settings.data.view}, so it cannot predict the next "
                f"sentence; it can encode. Train with data.view={views_with('asks_next')} for predictions."
            )
        if (role := role_of(role)) is not None and not self.knows_speakers:
            raise LangJepaError(
                "this model does not know who speaks, so a role changes nothing: train with data.units=turns and "
                "data.speakers=embedding"
            )
        contexts, alone = contexts_of(context)
        predicted = self._predict_all(contexts, role)
        return predicted[0] if alone else predicted

    def _predict_all(self, contexts: list[list[str]], role: str | None) -> Vectors:
        if view_of(self.settings).sentences_alone:
            if self.knows_speakers:
                contexts = [as_turns(one) for one in contexts]
            return self._predict_from_concepts([self._window(one) for one in contexts], role=role)
        result = np.empty((len(contexts), self.dim), dtype=np.float32)
        sizes = np.array([about_tokens(self._window(one)) for one in contexts])
        for rows in by_length(sizes, BATCH_TOKENS):
            result[rows] = self._predict([contexts[row] for row in rows])
        return result

    @property
    def sees_both_sides(self) -> bool:
        """Whether its predictor also learnt to read what comes after a sentence, so that `predict_between` works."""
        return self.has_predictor and view_of(self.settings).two_sided

    def predict_between(self, before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]) -> Vectors:
        """Predict the concepts of hidden sentences from both sides.

        Args:
            before: for each hidden sentence the sentences before it, oldest first; may be empty.
            after: the sentences after it, in reading order; may be empty, but not both. The nearest are read:
                data.window_size on each side, or data.passage_size - 1 in all (`masked_sentences`).

        Returns:
            float32 [n, D], unit rows.

        Raises:
            LangJepaError: a model that was not trained for this, sides that differ in number or are both empty, or a
                sentence without a token.
        """
        refuse_without_predictor(self.jepa.predictor)
        if not self.sees_both_sides:
            raise LangJepaError(
                f"this model was trained on data.view={self.settings.data.view} and reads the past only; train with "
                f"data.view={views_with('two_sided')} to predict from both sides"
            )
        before, after = sides_of(before, after)
        if not len(before):
            return np.zeros((0, self.dim), dtype=np.float32)
        if view_of(self.settings).sentences_alone:
            return self._predict_from_concepts(before, after)
        room = self.settings.data.passage_size - 1
        sides = [nearest(one, other, room) for one, other in zip(before, after, strict=True)]
        result = np.empty((len(sides), self.dim), dtype=np.float32)
        for rows in by_length(np.array([about_tokens([*one, *other]) for one, other in sides]), BATCH_TOKENS):
            result[rows] = self._predict_hidden([sides[row] for row in rows])
        return result

    def _predict_from_concepts(
        self,
        before: Sequence[Sequence[str]],
        after: Sequence[Sequence[str]] | None = None,
        *,
        role: str | None = None,
    ) -> Vectors:
        """Predict with a predictor that reads vectors of sentences; each distinct sentence is encoded once."""
        window, speakers = self.settings.data.window_size, None
        asked = None if role is None else speaker_number(role)

        def embed(sentences: list[str]) -> Tensor:
            nonlocal speakers
            if self.knows_speakers:
                speakers, sentences = speakers_of(sentences)
            return self._embed(sentences)

        def predict(vectors: Tensor, sides: list[Sides]) -> Vectors:
            if self.sees_both_sides:
                context = neighbours(vectors, sides, window)
            else:
                turn = None if asked is None else np.full(len(sides), asked)
                context = passages(vectors, sides, window, speakers, turn)
            return unit_vectors(self.jepa.eval().predictor(context))

        return predict_positions(before, after, embed, predict)

    def _embed(self, sentences: list[str]) -> Tensor:
        """Return embeddings of sentences as the predictor reads them in training, not normalised: [S, D]."""
        tokens = self.tokenizer.encode_sentences(masked(sentences, self.settings.data))
        for sentence, ids in zip(sentences, tokens, strict=True):
            if not len(ids) or not sentence.strip():
                raise LangJepaError(f"a sentence of the context has no token: {sentence!r}")
        return self.embed_tokens(tokens)

    def _window(self, context: Sequence[str]) -> Sequence[str]:
        return context[-self.settings.data.window_size :]

    @torch.inference_mode()
    def _predict(self, contexts: Sequence[Sequence[str]]) -> Vectors:
        """Predict after some contexts in one pass, through the views that training uses."""
        split = as_documents([self._window(context) for context in contexts], self.tokenizer)
        view = make_view(self.settings, split, self.tokenizer)
        assert isinstance(view, AsksNext)  # predict_next ensures it
        first, counts = split.document_starts[:-1], np.diff(split.document_starts)
        with self._autocast():
            return unit_vectors(self.jepa.eval()(view.questions(first, counts).to(self.device)).predictions)

    @torch.inference_mode()
    def _predict_hidden(self, sides: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Vectors:
        """Predict between two sides in one pass, with a model that reads the tokens of a passage."""
        # What stands at the hidden position is never read, but a document has no empty sentences.
        documents = [[*before, (*before, *after)[0], *after] for before, after in sides]
        split = as_documents(documents, self.tokenizer)
        view = make_view(self.settings, split, self.tokenizer)
        assert isinstance(view, MaskedView)  # predict_between ensures it
        hidden = split.document_starts[:-1] + np.array([len(before) for before, _ in sides])
        contexts = view.between(split.document_starts[:-1], np.diff(split.document_starts), hidden)
        with self._autocast():
            return unit_vectors(self.jepa.eval()(contexts.to(self.device)).predictions)
