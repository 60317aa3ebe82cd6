"""Predict at positions in documents, encoding every distinct sentence once, however many contexts it is in.

This is for models whose predictor reads one vector per sentence, each encoded alone (`data.context=concepts`,
`data.view=masked_concepts`); others read the tokens of every context. Predictions of a whole corpus are cached on disk.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import View, make_plain_view
from lang_jepa.data.views.next_sentence import likely_speakers
from lang_jepa.data.views.order import by_length
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference.cache import PASS_TOKENS, CachedVectors, Job, OnMessage, Vectors, made_from, weights_hash
from lang_jepa.models.context import Context
from lang_jepa.models.jepa import Jepa
from lang_jepa.settings.encoder import Settings

FORMAT = 1
"""Format of cached predictions: raise it when the same model gives others (models/context.py, jepa.py, predictors)."""
BLOCK = 512
"""Examples of the view (passages, windows) predicted and written at a time."""
_POSITIONS = 1024
"""Positions in one pass of the predictor."""

Sides = tuple[list[int], list[int]]
"""Rows of the sentences before and after a position."""


@torch.inference_mode()
def predict_positions(
    before: Sequence[Sequence[str]],
    after: Sequence[Sequence[str]] | None,
    embed: Callable[[list[str]], Tensor],
    predict: Callable[[Tensor, list[Sides]], Vectors],
) -> Vectors:
    """Predict after contexts, or between two sides, embedding every distinct sentence once.

    Args:
        before: sentences before each position, oldest first; already cut to what the predictor reads.
        after: sentences after each position, in reading order; for predictors that see both sides (None: none).
        embed: maps sentences to embeddings [S, D], not normalised.
        predict: maps such embeddings and the rows of both sides of some positions to predictions [n, D].

    Returns:
        float32 [n, D].
    """
    sides = list(zip(before, after or [()] * len(before), strict=True))
    rows: dict[str, int] = {}
    for sentence in chain.from_iterable(side for pair in sides for side in pair):
        rows.setdefault(sentence, len(rows))
    vectors = embed(list(rows))
    found = [np.empty((0, vectors.shape[1]), dtype=np.float32)]
    for begin in range(0, len(sides), _POSITIONS):
        some = [
            ([rows[one] for one in past], [rows[one] for one in future])
            for past, future in sides[begin : begin + _POSITIONS]
        ]
        found.append(predict(vectors, some))
    return np.concatenate(found)


def neighbours(vectors: Tensor, sides: list[Sides], window: int) -> Context:
    """Return windows over the distinct sentences as one passage, as `MaskedConceptsView` lays them out."""
    windows = np.full((len(sides), 2 * window), -1, dtype=np.int64)
    for row, (past, future) in zip(windows, sides, strict=True):
        row[window - len(past[-window:]) : window] = past[-window:]
        row[window : window + len(future[:window])] = future[:window]
    count = torch.tensor([len(vectors)])
    segments = torch.arange(len(vectors), device=vectors.device)
    return Context(vectors, segments, torch.from_numpy(windows).to(vectors.device), count)


def passages(
    vectors: Tensor,
    sides: list[Sides],
    window: int,
    speakers: Sequence[int] | None = None,
    asked: NDArray[np.integer] | None = None,
) -> Context:
    """Return a passage for each position, to predict after its last sentence, as `ConceptsView` lays them out.

    Args:
        vectors: [S, D], vectors of the distinct sentences.
        sides: rows of what comes before each position.
        window: most sentences that the predictor reads.
        speakers: [S], the number of who says each sentence (None: not known).
        asked: [n], the number of whose turn each position is (None: of who spoke before the last speaker did).
    """
    counts = np.array([len(past) for past, _ in sides], dtype=np.int64)
    flat = torch.tensor([row for past, _ in sides for row in past])
    ends = np.cumsum(counts)[:, None]
    windows = ends + np.arange(-window, 0)[None, :]
    windows = np.where(windows < ends - counts[:, None], -1, windows)
    who = None if speakers is None else np.asarray(speakers, dtype=np.int64)[flat.numpy()]
    if who is not None and asked is None:
        asked = likely_speakers(who, counts)
    return Context(
        speakers=None if who is None else torch.from_numpy(who).to(vectors.device),
        asked=None if asked is None else torch.from_numpy(np.asarray(asked, dtype=np.int64)).to(vectors.device),
        states=vectors[flat.to(vectors.device)],
        segments=torch.arange(len(flat), device=vectors.device),
        windows=torch.from_numpy(windows).to(vectors.device),
        passages=torch.from_numpy(counts),
    )


class Predicting(Protocol):
    """A model whose predictions are cached: `EmbeddingModel`."""

    jepa: Jepa
    tokenizer: TextTokenizer
    settings: Settings
    dim: int

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""

    @property
    def predicts_next(self) -> bool:
        """Whether it predicts next sentences."""


class PredictionCache(CachedVectors):
    """The model's prediction of each sentence from its context, L2-normalised: vectors [S, D].

    Rows of sentences that are never predicted (a document's first; in `masked_sentences` those that the draw does not
    hide) are zero.
    """

    @classmethod
    def open_or_make(
        cls, model: Predicting, split: CorpusSplit, *, pooled: Vectors, on_message: OnMessage | None = None
    ) -> Self:
        """Open or compute the predictions of a side's sentences, in the contexts that training shows.

        Args:
            model: a model that predicts the next sentence; it runs in float32 on its device.
            split: one side of a prepared corpus.
            pooled: float32 [S, D] from `ConceptCache`: if contexts are sentences encoded alone, none is encoded again.
            on_message: called with messages on what is done; nothing is computed again silently.

        Raises:
            LangJepaError: the model predicts no next sentences, the side is not on disk, or a prediction is not finite.
        """
        check_predicts(model)
        view = make_plain_view(model.settings, split, model.tokenizer)
        view.pooled = pooled
        data = model.settings.data.model_dump(
            include={"view", "context", "window_size", "passage_size", "masked_sentences", "target_context"}
        )
        made = made_from(model.jepa.encoder, view)
        made |= {
            "formats": made["formats"] | {"predictions": FORMAT},
            "jepa": weights_hash(model.jepa),
            "view": fingerprint(data),
            "predictor": fingerprint(model.settings.model.model_dump(include={"predictor", "predictor_heads"})),
        }
        job = Job(
            name="predicted-",
            doing="predicting",
            split=split,
            dim=model.dim,
            made_from=made,
            units=view.count,
            block=BLOCK,
            make=lambda first, stop: _predicted(model, view, first, stop),
            on_message=on_message or (lambda text: None),
        )
        return cls(*job.open_or_make())


def check_predicts(model: Predicting) -> None:
    """Raise if a model does not predict next sentences.

    Raises:
        LangJepaError: it does not; the message says what to set.
    """
    if not model.predicts_next:
        raise LangJepaError(
            f"this encoder was trained on data.view={model.settings.data.view} and predicts no next sentence, so "
            "its predictions cannot be decoded: set data.predicted_share=0"
        )


@torch.inference_mode()
def _predicted(model: Predicting, view: View, first: int, stop: int) -> tuple[int, Vectors]:
    """Return the first sentence that examples first .. stop - 1 predict, and all predictions from there to the last."""
    examples = np.arange(first, stop)
    jepa = model.jepa.eval()
    ids, rows = [], []
    for some in by_length(view.sizes(examples), PASS_TOKENS):
        batch = view.batch(examples[some]).to(model.device)
        ids.append(batch.sentence_ids.cpu().numpy())
        rows.append(functional.normalize(jepa(batch.contexts).predictions.float(), dim=-1).cpu().numpy())
    sentences, found = np.concatenate(ids), np.concatenate(rows)
    bad = sentences[~np.isfinite(found).all(1)]
    if len(bad):
        raise LangJepaError(f"the prediction of sentence {bad[0]} is not finite: the model's weights are damaged")
    begin = int(sentences.min())
    result = np.zeros((int(sentences.max()) + 1 - begin, model.dim), dtype=np.float32)
    result[sentences - begin] = found
    return begin, result


def unit_vectors(x: Tensor) -> Vectors:
    """Return vectors [..., D] as float32 unit rows, moved off the device."""
    return functional.normalize(x.float(), dim=-1).cpu().numpy()
