"""Loading, encoding, predicting: what every tool and every evaluation needs of a model."""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.data.sources.conversations import as_turns, speaker_number, speakers_of, without_speaker
from lang_jepa.data.text.masks import masked
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import AsksNext, make_view, view_of, views_with
from lang_jepa.data.views.batch import Sequences
from lang_jepa.data.views.masked import MaskedView
from lang_jepa.data.views.order import by_length
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Similarity, Statistics
from lang_jepa.evaluation.scoreboard import Choice
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.decoding import TextDecoder
from lang_jepa.inference.model_folder import find_model, load_model, read_decoder, save_model, why_no_model
from lang_jepa.inference.prediction import Sides, neighbours, passages, predict_positions, reads_concepts, unit_vectors
from lang_jepa.inference.texts import (
    about_tokens,
    as_documents,
    contexts_of,
    device_of,
    nearest,
    role_of,
    sides_of,
    text_of,
    texts_of,
    tokens_of,
)
from lang_jepa.models.jepa import Jepa, describe
from lang_jepa.models.precision import choose_precision
from lang_jepa.models.predictors.predictor import NoPredictor, refuse_without_predictor
from lang_jepa.settings.encoder import Settings

Vectors = NDArray[np.float32]
BATCH_TOKENS = 4096
"""Tokens of a pass: of 1,024 to 16,384, measured fastest on a CPU, in fp32 and bf16, with the least memory."""


class EmbeddingModel:
    """A trained encoder and predictor: text to embeddings, and contexts to predicted ones.

    Args:
        jepa: encoder and predictor. The encoder's weights are those that embeddings are made with: the target's
            (EMA), where training had one.
        tokenizer: the tokenizer that it was trained with.
        statistics: mean and whitening of training embeddings.
        settings: the settings of the training run.
        similarity: the kind that compared best on held-out data: `raw`, `centred` or `whitened`.
        decoder: turns its concepts into text, if one was trained.
    """

    def __init__(
        self,
        jepa: Jepa,
        tokenizer: TextTokenizer,
        statistics: Statistics | None,
        settings: Settings,
        *,
        similarity: Similarity = "centred",
        decoder: TextDecoder | None = None,
    ) -> None:
        self.decoder = decoder
        self.jepa, self.tokenizer, self.settings = jepa, tokenizer, settings
        self.dim = jepa.encoder.dim
        self.statistics = statistics or Statistics.identity(self.dim)
        self.similarity = similarity
        self.folder: Path | None = None
        """The model directory that it was loaded from (None: it was not)."""
        self.source: str | None = None
        """What `load` read it from: a folder, or the hub name of a plain encoder (None: it was not loaded)."""
        self.sentence_cache: SentenceCache | None = None
        """Sentences that were encoded before (None: nothing is cached)."""
        self.choices: dict[str, Choice] = {}
        """What the document tools use, as measured by the evaluation task `document` (empty: not measured)."""
        self.card: dict[str, Any] = {}
        """Its model card, with the hashes of its files (empty: it was not loaded)."""
        self.precision = "fp32"
        """What its encoder computes in, `fp32` or `bf16` (autocast: weights and vectors stay float32)."""

    def __repr__(self) -> str:
        """Name, width, encoder, objective, vocabulary and decoder, in one line."""
        if not self.has_predictor:
            plain = f"{self.source or 'not saved'}: {self.card['plain']}; {self.dim} numbers, no predictor"
            return f"{type(self).__name__}({plain})"
        name, words = self.source or self.settings.recipe, self.tokenizer.vocab_size
        parts = [name, *describe(self.jepa, self.settings), f"vocabulary {words:,}"]
        return f"{type(self).__name__}({'; '.join([*parts, 'with a decoder' if self.decoder else 'no decoder'])})"

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu", precision: str = "fp32") -> Self:
        """Load a model directory, the one inside a run directory, or a pretrained encoder as it is.

        Args:
            path: a folder; or, of a Hugging Face or sentence-transformers encoder, its name on the hub. Such an
                encoder has no predictor (`has_predictor`).
            device: where its weights go.
            precision: what its encoder computes in: `fp32`, `bf16`, or `auto`: bf16 where the device has it in
                hardware. Vectors of the two have a cosine of .9999 and more; do not mix them.

        Raises:
            LangJepaError: there is no model at `path`, it is damaged, or brings code of its own; no such device or
                precision.
        """
        if not isinstance(path, str | PathLike):
            raise LangJepaError(f"ConceptModel.load takes the path or name of a model, not {type(path).__name__}")
        device = device_of(device)
        precision, _ = choose_precision(device.type, precision)
        folder = find_model(Path(path))
        if folder is None:
            from lang_jepa.inference.plain import read_plain

            if reason := why_no_model(Path(path)):
                raise LangJepaError(reason)
            jepa, tokenizer, settings, card = read_plain(str(path))
            model = cls(jepa.to(device), tokenizer, None, settings, similarity="raw")
            model.source, model.card = str(Path(path).resolve() if Path(path).exists() else path), card
            model.precision = precision
            return model
        jepa, tokenizer, statistics, settings, card = load_model(folder)
        decoder = read_decoder(folder, card, tokenizer)
        if decoder is not None:
            decoder.network.to(device)
        similarity: Similarity = card["similarity"]
        model = cls(jepa.to(device), tokenizer, statistics, settings, similarity=similarity, decoder=decoder)
        model.folder, model.source, model.card = folder, str(folder), card
        model.precision = precision
        return model

    def save(self, folder: str | Path, **card: Any) -> None:
        """Write a model directory atomically; keyword arguments join its card, in which its corpus is named."""
        corpus = {"corpus": self.card["corpus"]} if "corpus" in self.card else {}
        save_model(
            Path(folder),
            encoder=self.jepa.encoder,
            predictor=self.jepa.predictor,
            tokenizer=self.tokenizer,
            statistics=self.statistics,
            settings=self.settings,
            card={"similarity": self.similarity, **corpus, **card},
            decoder=self.decoder,
        )

    @property
    def device(self) -> torch.device:
        return next(self.jepa.parameters()).device

    def encode(
        self, sentences: str | Iterable[str], *, batch_tokens: int = BATCH_TOKENS, turns: bool = False
    ) -> Vectors:
        """Concepts of sentences: mean over tokens, head, L2-normalised.

        Sentences are sorted by length and packed, so that the batching does not show in the result beyond rounding.
        A text longer than model.max_length tokens is cut on the right.

        Args:
            sentences: n texts, each encoded alone, in a list, generator, array or column of a table; or one text.
            batch_tokens: tokens in one pass at most.
            turns: they are turns of conversations with the speaker in front ("Anna: Good morning"), whoever that is.
                Otherwise a model with data.speakers=embedding takes off roles ("user: ") alone.

        Returns:
            float32 [n, D], unit rows; [D] for a single string.

        Raises:
            LangJepaError: a text that is no string, no Unicode or has no token; the message names its number.
        """
        if not isinstance(batch_tokens, int) or batch_tokens < 1:
            raise LangJepaError(f"batch_tokens is a number of tokens, at least 1, not {batch_tokens!r}")
        if isinstance(sentences, str):
            return np.asarray(self.encode([text_of(sentences)], batch_tokens=batch_tokens, turns=turns)[0])
        texts = texts_of(sentences)
        tokens = self.tokenize(texts, turns=turns)
        empty = [i for i, ids in enumerate(tokens) if len(ids) == 0]
        if empty:
            raise LangJepaError(f"text {empty[0]} has no token to encode: {texts[empty[0]]!r}")
        return self.encode_tokens(tokens, batch_tokens=batch_tokens)

    def encode_tokens(self, tokens: Sequence[NDArray[Any]], *, batch_tokens: int = BATCH_TOKENS) -> Vectors:
        """As `encode`, of token ids without special tokens, one non-empty array a sentence."""
        tokens = tokens_of(tokens, self.tokenizer.vocab_size)
        result = np.empty((len(tokens), self.dim), dtype=np.float32)
        for rows in by_length(np.array([len(ids) for ids in tokens]), batch_tokens):
            result[rows] = unit_vectors(self._states([tokens[row] for row in rows]))
        return result

    def embed_tokens(self, tokens: Sequence[NDArray[Any]]) -> Tensor:
        """As `encode_tokens`, but not normalised and on the model's device, float32 [n, D]: what predictors read."""
        result = torch.empty(len(tokens), self.dim, device=self.device)
        for rows in by_length(np.array([len(ids) for ids in tokens]), BATCH_TOKENS):
            result[torch.from_numpy(rows).to(self.device)] = self._states([tokens[row] for row in rows])
        return result

    @torch.inference_mode()
    def _states(self, tokens: list[NDArray[Any]]) -> Tensor:
        """Embeddings of tokenized sentences in one pass, not normalised."""
        encoder = self.jepa.eval().encoder
        mean: Callable[..., Tensor] = self._autocast()(lambda new: encoder.mean(self._framed(new)))
        if self.sentence_cache is None:
            means = mean(tokens)
        else:
            known = self.sentence_cache.means(tokens, lambda new: mean(new).cpu().numpy(), self.precision)
            means = torch.from_numpy(known).to(self.device)
        return means if encoder.head is None else encoder.head(means).float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _framed(self, tokens: Sequence[NDArray[Any]]) -> Sequences:
        """Sentences cut to what fits, between the special tokens, on the model's device."""
        prefix, suffix = self.tokenizer.prefix_ids, self.tokenizer.suffix_ids
        full = [np.concatenate([prefix, ids[: self.room], suffix]).astype(np.int64) for ids in tokens]
        lengths = torch.tensor([len(ids) for ids in full])
        return Sequences(torch.from_numpy(np.concatenate(full)), lengths).to(self.device)

    @property
    def room(self) -> int:
        """Tokens of a sentence that are read at most, special ones not counted."""
        return self.settings.model.max_length - len(self.tokenizer.prefix_ids) - len(self.tokenizer.suffix_ids)

    @property
    def has_predictor(self) -> bool:
        """Whether it predicts anything: a plain encoder does not."""
        return not isinstance(self.jepa.predictor, NoPredictor)

    @property
    def predicts_next(self) -> bool:
        """Whether it was trained on a view in which `predict_next` has a meaning."""
        return self.has_predictor and view_of(self.settings).asks_next

    @overload
    def predict_next(self, context: Sequence[str], *, role: str | None = None) -> Vectors: ...
    @overload
    def predict_next(self, context: Sequence[Sequence[str]], *, role: str | None = None) -> Vectors: ...
    def predict_next(self, context: Sequence[str] | Sequence[Sequence[str]], *, role: str | None = None) -> Vectors:
        """Predicted concept of the sentence that follows.

        A model of masked sentences is shown the context and a mask after it.

        Args:
            context: the sentences so far, oldest first (the last window_size of them are read), or a list of such
                contexts. Of a model with data.speakers=embedding, turns like "user: Good morning": a name in front of
                every turn is its speaker; where some have none, only roles are speakers.
            role: whose turn is predicted, of such a model (None: of who spoke before the last speaker did).

        Returns:
            float32 [D] for one context, [n, D] for a list; unit rows.

        Raises:
            LangJepaError: a bare string, an empty context, or a sentence without a token; a model of another view; a
                role for one that knows none.
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
        if reads_concepts(self.settings):
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
        """Whether its predictor learnt to read what comes after a sentence too, so that `predict_between` works."""
        return self.has_predictor and view_of(self.settings).two_sided

    def predict_between(self, before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]) -> Vectors:
        """Predicted concepts of hidden sentences from both sides.

        Args:
            before: for each hidden sentence those before it, oldest first; may be empty.
            after: those after it, in reading order; may be empty, but not both. The nearest are read: data.window_size
                on each side, or data.passage_size - 1 in all (`masked_sentences`).

        Returns:
            float32 [n, D], unit rows.

        Raises:
            LangJepaError: a model that was not trained so, sides that differ in number or are both empty, or a
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
        if reads_concepts(self.settings):
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
        """Of a predictor that reads vectors of sentences: each distinct sentence is encoded once."""
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

    @property
    def knows_speakers(self) -> bool:
        """Whether its predictor knows who says a turn, and whose turn is predicted (`data.speakers=embedding`)."""
        return self.settings.data.speakers == "embedding"

    def tokenize(self, sentences: Sequence[str], *, turns: bool = False) -> list[NDArray[Any]]:
        """Token ids of each sentence as it is read, without special tokens; `turns` as of `encode`."""
        return list(self.tokenizer.encode_sentences(self.as_read(sentences, turns=turns)))

    def as_read(self, sentences: Sequence[str], *, turns: bool = False) -> list[str]:
        """Texts as the tokenizer gets them: masked, without the speaker that the predictor reads apart."""
        if self.knows_speakers:
            sentences = speakers_of(sentences)[1] if turns else without_speaker(sentences)
        return masked(sentences, self.settings.data)

    def _embed(self, sentences: list[str]) -> Tensor:
        """Embeddings of sentences as the predictor reads them in training, not normalised: [S, D]."""
        tokens = self.tokenizer.encode_sentences(masked(sentences, self.settings.data))
        for sentence, ids in zip(sentences, tokens, strict=True):
            if not len(ids) or not sentence.strip():
                raise LangJepaError(f"a sentence of the context has no token: {sentence!r}")
        return self.embed_tokens(tokens)

    def _window(self, context: Sequence[str]) -> Sequence[str]:
        return context[-self.settings.data.window_size :]

    @torch.inference_mode()
    def _predict(self, contexts: Sequence[Sequence[str]]) -> Vectors:
        """Predictions of some contexts in one pass, through the views that training uses."""
        split = as_documents([self._window(context) for context in contexts], self.tokenizer)
        view = make_view(self.settings, split, self.tokenizer)
        assert isinstance(view, AsksNext)  # predict_next sees to it
        first, counts = split.document_starts[:-1], np.diff(split.document_starts)
        with self._autocast():
            return unit_vectors(self.jepa.eval()(view.questions(first, counts).to(self.device)).predictions)

    @torch.inference_mode()
    def _predict_hidden(self, sides: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Vectors:
        """Predictions between two sides in one pass, by a model that reads the tokens of a passage."""
        # What stands at the hidden position is never read, but a document has no empty sentences.
        documents = [[*before, (*before, *after)[0], *after] for before, after in sides]
        split = as_documents(documents, self.tokenizer)
        view = make_view(self.settings, split, self.tokenizer)
        assert isinstance(view, MaskedView)  # predict_between sees to it
        hidden = split.document_starts[:-1] + np.array([len(before) for before, _ in sides])
        contexts = view.between(split.document_starts[:-1], np.diff(split.document_starts), hidden)
        with self._autocast():
            return unit_vectors(self.jepa.eval()(contexts.to(self.device)).predictions)
