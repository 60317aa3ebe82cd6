"""Predicted concepts of a corpus' sentences, each from the sentences before it, made once and kept on disk."""

from typing import Self

import numpy as np
import torch
from torch.nn import functional

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.views import View, make_plain_view
from lang_jepa.data.views.order import by_length
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference.cache import Job, Kept, Tell, Vectors, weights_hash
from lang_jepa.inference.cached_concepts import PASS_TOKENS, made_from
from lang_jepa.inference.embedding import EmbeddingModel

FORMAT = 1
"""Of the predictions: raise it when the same model gives others (models/context.py, jepa.py, the predictors)."""

BLOCK = 512
"""Examples of the view (passages, windows) that are predicted and written at a time."""


class PredictionCache(Kept):
    """What the model's predictor makes of the context of each sentence, L2-normalised: vectors [S, D].

    Rows of sentences that are never predicted (a document's first; in `masked_sentences` those that the draw does not
    hide) are zero.
    """

    @classmethod
    def open_or_make(
        cls, model: EmbeddingModel, split: CorpusSplit, *, pooled: Vectors, tell: Tell | None = None
    ) -> Self:
        """The predictions of a side's sentences, in the contexts that training shows.

        Args:
            model: one that predicts the next sentence; run in float32 where it is.
            split: one side of a prepared corpus.
            pooled: float32 [S, D] from `ConceptCache`: where contexts are sentences alone, none is encoded again.
            tell: told in words what is done; nothing is rebuilt in silence.

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
            "predictor": fingerprint(
                model.settings.model.model_dump(include={"predictor", "predictor_heads"})
            ),
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
            tell=tell or (lambda text: None),
        )
        return cls(*job.open_or_make())


def check_predicts(model: EmbeddingModel) -> None:
    """Raise where a model predicts no next sentences.

    Raises:
        LangJepaError: what to set.
    """
    if not model.predicts_next:
        raise LangJepaError(
            f"this encoder was trained on data.view={model.settings.data.view} and predicts no next sentence, so "
            "its predictions cannot be told: set data.predicted_share=0"
        )


@torch.inference_mode()
def _predicted(model: EmbeddingModel, view: View, first: int, stop: int) -> tuple[int, Vectors]:
    """The first sentence that examples first .. stop - 1 predict, and the predictions from there to their last one."""
    examples = np.arange(first, stop)
    jepa = model.jepa.eval()
    numbers, rows = [], []
    for some in by_length(view.sizes(examples), PASS_TOKENS):
        batch = view.batch(examples[some]).to(model.device)
        numbers.append(batch.sentence_ids.cpu().numpy())
        rows.append(functional.normalize(jepa(batch.contexts).predictions.float(), dim=-1).cpu().numpy())
    places, found = np.concatenate(numbers), np.concatenate(rows)
    bad = places[~np.isfinite(found).all(1)]
    if len(bad):
        raise LangJepaError(
            f"the prediction of sentence {bad[0]} is not finite: the model's weights are damaged"
        )
    begin = int(places.min())
    result = np.zeros((int(places.max()) + 1 - begin, model.dim), dtype=np.float32)
    result[places - begin] = found
    return begin, result
