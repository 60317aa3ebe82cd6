"""Loading, saving and encoding: from texts to vectors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lang_jepa.data.sources.conversations import speakers_of, without_speaker
from lang_jepa.data.text.masks import masked
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.batch import Sequences
from lang_jepa.data.views.order import by_length
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Similarity, Statistics
from lang_jepa.evaluation.scoreboard import Choice
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.decoding import TextDecoder
from lang_jepa.inference.model_folder import find_model, load_model, read_decoder, save_model, why_no_model
from lang_jepa.inference.prediction import unit_vectors
from lang_jepa.inference.texts import device_of, text_of, texts_of, tokens_of
from lang_jepa.models.jepa import Jepa, describe
from lang_jepa.models.precision import choose_precision
from lang_jepa.models.predictors.predictor import NoPredictor
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import SAVED

Vectors = NDArray[np.float32]
BATCH_TOKENS = 4096
"""Tokens of a pass: of 1,024 to 16,384, the fastest measured on a CPU, in fp32 and bf16, with the least memory."""


class EncodeOptions(TypedDict, total=False):
    """Options of `TextEncoder.encode` that do not change the type of what it returns."""

    batch_size: int | None
    batch_tokens: int
    show_progress_bar: bool
    normalize_embeddings: bool
    turns: bool


@dataclass(frozen=True, slots=True)
class Passes:
    """How token sequences are divided into passes of similar length.

    Attributes:
        tokens: most tokens in a pass.
        size: most sequences in a pass (None: as many as `tokens` allows).
        shown: whether a bar on standard error shows how many passes are done.
    """

    tokens: int = BATCH_TOKENS
    size: int | None = None
    shown: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, Integral) or self.tokens < 1:
            raise LangJepaError(f"batch_tokens is a number of tokens, at least 1, not {self.tokens!r}")
        if self.size is not None and (not isinstance(self.size, Integral) or self.size < 1):
            raise LangJepaError(f"batch_size is a number of texts, at least 1, not {self.size!r}")

    def of(self, tokens: Sequence[NDArray[Any]]) -> Iterable[NDArray[np.int64]]:
        """Return the row numbers of each pass."""
        rows = by_length(np.array([len(ids) for ids in tokens]), self.tokens, self.size)
        if not self.shown:
            return rows
        from rich.console import Console
        from rich.progress import track

        return track(list(rows), "Batches", console=Console(stderr=True))


class TextEncoder:
    """A trained encoder: turns texts into embeddings.

    Args:
        jepa: encoder and predictor. The encoder's weights are those that embeddings are computed with: the target's
            (EMA), if training had one.
        tokenizer: the tokenizer that it was trained with.
        statistics: mean and whitening of training embeddings.
        settings: the settings of the training run.
        similarity: the similarity that was best on held-out data: `raw`, `centred`, `whitened` or `predictable`.
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
        self.similarity_kind = similarity
        """The kind by which its vectors compare best, see `lang_jepa.evaluation.metrics.similarity`."""
        self.folder: Path | None = None
        """The model directory that it was loaded from (None: it was not loaded from one)."""
        self.source: str | None = None
        """What `load` read it from: a folder, or the hub name of a pretrained encoder (None: it was not loaded)."""
        self.sentence_cache: SentenceCache | None = None
        """Cache of sentences that were encoded before (None: nothing is cached)."""
        self.choices: dict[str, Choice] = {}
        """What the document tools use, as measured by the evaluation task `document` (empty: not measured)."""
        self.card: dict[str, Any] = {}
        """Its model card, with the hashes of its files (empty: it was not loaded)."""
        self.precision = "fp32"
        """Precision that its encoder computes in: `fp32` or `bf16` (autocast: weights and vectors stay float32)."""

    def __repr__(self) -> str:
        """Name, width, encoder, objective, vocabulary and decoder, in one line."""
        if not self.has_predictor:
            plain = f"{self.source or 'not saved'}: {self.card['plain']}; {self.dim} numbers, no predictor"
            return f"{type(self).__name__}({plain})"
        name, words = self.source or self.settings.recipe, self.tokenizer.vocab_size
        parts = [name, *describe(self.jepa, self.settings), f"vocabulary {words:,}"]
        return f"{type(self).__name__}({'; '.join([*parts, 'with a decoder' if self.decoder else 'no decoder'])})"

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str | torch.device = "cpu", precision: str = "fp32") -> Self:
        """Load a model directory, the one inside a run directory, or a pretrained encoder as it is.

        Args:
            path: a folder; or, for a Hugging Face or sentence-transformers encoder, its name on the hub. Such an
                encoder has no predictor (`has_predictor`).
            device: device for its weights.
            precision: precision that its encoder computes in: `fp32`, `bf16`, or `auto` (bf16 if the device has it in
                hardware). Vectors of the two have a cosine of .9999 or more; do not mix them.

        Raises:
            LangJepaError: there is no model at `path`, it is damaged or needs custom code; no such device or
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
        """Write a model directory atomically; keyword arguments are added to its card, which names its corpus."""
        corpus = {"corpus": self.card["corpus"]} if "corpus" in self.card else {}
        save_model(
            Path(folder),
            encoder=self.jepa.encoder,
            predictor=self.jepa.predictor,
            tokenizer=self.tokenizer,
            statistics=self.statistics,
            settings=self.settings,
            card={"similarity": self.similarity_kind, **corpus, **card},
            decoder=self.decoder,
        )

    @property
    def device(self) -> torch.device:
        return next(self.jepa.parameters()).device

    @property
    def run_dir(self) -> Path | None:
        """The run directory around the model directory that it was loaded from (None: there is none)."""
        run = self.folder.resolve().parent if self.folder is not None else None
        return run if run is not None and (run / SAVED).is_file() else None

    @overload
    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> Vectors: ...
    @overload
    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        convert_to_numpy: bool = True,
        convert_to_tensor: Literal[True],
        **options: Unpack[EncodeOptions],
    ) -> Tensor: ...
    @overload
    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        convert_to_numpy: bool,
        convert_to_tensor: bool = False,
        **options: Unpack[EncodeOptions],
    ) -> Vectors | Tensor | list[Tensor]: ...
    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        batch_size: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = True,
        turns: bool = False,
    ) -> Vectors | Tensor | list[Tensor]:
        """Encode sentences as concepts: mean over tokens, head, L2-normalised.

        Sentences are sorted by length and packed; beyond rounding, the batching does not affect the result.
        A text longer than model.max_length tokens is cut on the right.

        Args:
            sentences: n texts, each encoded alone, in a list, generator, array or table column; or one text.
            batch_size: most texts in one pass (None: as many as `batch_tokens` allows).
            batch_tokens: most tokens in one pass (but at least one text).
            show_progress_bar: show on standard error how many passes are done.
            convert_to_numpy: return an array; else a list of n tensors [D] (for a single string, one tensor).
            convert_to_tensor: return one tensor on the model's device, whatever `convert_to_numpy` says.
            normalize_embeddings: divide each vector by its length; otherwise vectors are as the head returns them,
                which is what predictors read.
            turns: they are turns of conversations with the speaker in front ("Anna: Good morning"), whoever that is.
                Otherwise a model with data.speakers=embedding removes only roles ("user: ").

        Returns:
            float32 [n, D], unit rows; [D] for a single string.

        Raises:
            LangJepaError: a text that is not a string, not valid Unicode or has no token; the message names its number.
        """
        passes = Passes(batch_tokens, batch_size, show_progress_bar)
        alone = isinstance(sentences, str)
        texts = [text_of(sentences)] if alone else texts_of(sentences)
        tokens = self.tokenize(texts, turns=turns)
        empty = [i for i, ids in enumerate(tokens) if len(ids) == 0]
        if empty:
            raise LangJepaError(f"text {empty[0]} has no token to encode: {texts[empty[0]]!r}")
        if convert_to_numpy and not convert_to_tensor:
            rows = self._to_array(tokens, passes, unit=normalize_embeddings)
            return np.asarray(rows[0]) if alone else rows
        vectors = self.embed_tokens(tokens, passes)
        vectors = functional.normalize(vectors, dim=-1) if normalize_embeddings else vectors
        if alone:
            return vectors[0]
        return vectors if convert_to_tensor else list(vectors)

    def encode_tokens(self, tokens: Sequence[NDArray[Any]]) -> Vectors:
        """Encode token ids without special tokens, one non-empty array per sentence, as `encode` does."""
        return self._to_array(tokens_of(tokens, self.tokenizer.vocab_size), Passes(), unit=True)

    def _to_array(self, tokens: Sequence[NDArray[Any]], passes: Passes, *, unit: bool) -> Vectors:
        result = np.empty((len(tokens), self.dim), dtype=np.float32)
        for rows in passes.of(tokens):
            states = self._states([tokens[row] for row in rows])
            result[rows] = unit_vectors(states) if unit else states.cpu().numpy()
        return result

    def embed_tokens(self, tokens: Sequence[NDArray[Any]], passes: Passes | None = None) -> Tensor:
        """Encode token ids without normalising, on the model's device: float32 [n, D], as predictors read them."""
        result = torch.empty(len(tokens), self.dim, device=self.device)
        for rows in (passes or Passes()).of(tokens):
            result[torch.from_numpy(rows).to(self.device)] = self._states([tokens[row] for row in rows])
        return result

    @torch.inference_mode()
    def _states(self, tokens: list[NDArray[Any]]) -> Tensor:
        """Return embeddings of tokenized sentences from one pass, not normalised."""
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
        """Return sentences cut to what fits, between the special tokens, on the model's device."""
        prefix, suffix = self.tokenizer.prefix_ids, self.tokenizer.suffix_ids
        full = [np.concatenate([prefix, ids[: self.room], suffix]).astype(np.int64) for ids in tokens]
        lengths = torch.tensor([len(ids) for ids in full])
        return Sequences(torch.from_numpy(np.concatenate(full)), lengths).to(self.device)

    @property
    def room(self) -> int:
        """Most tokens of a sentence that are read, special ones not counted."""
        return self.settings.model.max_length - len(self.tokenizer.prefix_ids) - len(self.tokenizer.suffix_ids)

    @property
    def has_predictor(self) -> bool:
        """Whether it predicts anything; a pretrained encoder used as it is does not."""
        return not isinstance(self.jepa.predictor, NoPredictor)

    @property
    def knows_speakers(self) -> bool:
        """Whether its predictor knows who says a turn, and whose turn is predicted (`data.speakers=embedding`)."""
        return self.settings.data.speakers == "embedding"

    def tokenize(self, sentences: Sequence[str], *, turns: bool = False) -> list[NDArray[Any]]:
        """Return the token ids of each sentence as it is read, without special tokens; `turns`: see `encode`."""
        return list(self.tokenizer.encode_sentences(self.as_read(sentences, turns=turns)))

    def as_read(self, sentences: Sequence[str], *, turns: bool = False) -> list[str]:
        """Texts as the tokenizer gets them: masked, without the speaker, which the predictor reads separately."""
        if self.knows_speakers:
            sentences = speakers_of(sentences)[1] if turns else without_speaker(sentences)
        return masked(sentences, self.settings.data)
