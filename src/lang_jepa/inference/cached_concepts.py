"""Vectors of all sentences of a corpus, from an encoder that never changes: each sentence is read once.

What is kept (`lang_jepa.inference.cache`) is the mean over the token states before the head, so that one cache serves
every head (a whitened one differs from seed to seed), computed in float32 as `ConceptModel.encode` does. It is kept in
float32 too, 4 D bytes a sentence: a whitening head enlarges the directions of small variance, and with them the
rounding of a half.
"""

from importlib.metadata import version
from typing import Any, Self

import numpy as np
import torch

from lang_jepa.data.views import View, view_of
from lang_jepa.data.views.order import by_length
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference import cache as kept
from lang_jepa.inference.cache import Job, Kept, Tell, Vectors, weights_hash
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.settings.encoder import Settings

FORMAT = 1
"""Of the vectors: raise it when the same encoder gives others (by a change of backbone.py, packing.py, pooling.py)."""

BLOCK = 4096
"""Sentences that are encoded and written at a time."""

PASS_TOKENS = 16_384


def reads_cached(settings: Settings) -> bool:
    """Whether a run needs nothing of its encoder but vectors of whole sentences that never change.

    Not so for a stream, which has no place to keep them and no end, nor where another encoder makes the targets.
    """
    return (
        settings.model.freeze_encoder
        and settings.objective.teacher_path is None
        and view_of(settings).sentences_alone
        and not settings.data.streaming
    )


class ConceptCache(Kept):
    """The mean state, before the head, of all sentences of a side, each encoded alone: vectors [S, D]."""

    @classmethod
    def open_or_make(cls, encoder: TextEncoder, view: View, *, tell: Tell | None = None) -> Self:
        """The vectors of all sentences of a view's side; see `lang_jepa.inference.cache.Job.open_or_make`.

        Args:
            encoder: run where it is, in eval mode and float32; left in the mode it was found in.
            view: over one side of a prepared corpus; its special tokens and max_length count.
            tell: told in words what is done; nothing is rebuilt in silence.

        Raises:
            LangJepaError: the side is not on disk (a stream's block), or a vector is not finite.
        """
        return cls(*_job(encoder, view, tell).open_or_make())

    @classmethod
    def find(cls, encoder: TextEncoder, view: View, *, tell: Tell | None = None) -> Self | None:
        """The same, None where they are not there: nothing is made or written."""
        found = _job(encoder, view, tell).find()
        return None if found is None else cls(*found)


def _job(encoder: TextEncoder, view: View, tell: Tell | None) -> Job:
    return Job(
        name="",
        doing="encoding",
        split=view.split,
        dim=encoder.dim,
        made_from=made_from(encoder, view),
        units=view.split.num_sentences,
        block=BLOCK,
        make=lambda first, stop: (first, _encoded(encoder, view, first, stop)),
        tell=tell or (lambda text: None),
    )


@torch.inference_mode()
def _encoded(encoder: TextEncoder, view: View, first: int, stop: int) -> Vectors:
    """Vectors of sentences first .. stop - 1."""
    numbers = np.arange(first, stop)
    device, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    result = np.empty((len(numbers), encoder.dim), dtype=np.float32)
    for rows in by_length(view.split.lengths(numbers), PASS_TOKENS):
        sequences = view.sentences(numbers[rows]).to(device)
        states = encoder.states(sequences)
        result[rows] = encoder.pool(states, sequences.owner(), len(sequences)).cpu().numpy()
    encoder.train(training)
    bad = np.flatnonzero(~np.isfinite(result).all(1))
    if len(bad):
        text = view.split.texts(numbers[bad[:1]])[0]
        raise LangJepaError(
            f"the encoder's vector of sentence {first + bad[0]} is not finite: {text!r}. Its weights are damaged, "
            "or do not belong to its settings."
        )
    return result


def made_from(encoder: TextEncoder, view: View) -> dict[str, Any]:
    """Everything that decides the vectors besides the corpus in whose folder they lie, as JSON."""
    # What transformers writes down about itself, and dropout, which is off.
    config = {
        name: value
        for name, value in encoder.backbone.config.to_dict().items()
        if "drop" not in name and name not in ("_name_or_path", "transformers_version")
    }
    return {
        "formats": {"files": kept.FORMAT, "concepts": FORMAT},
        "sentences": view.split.num_sentences,
        "tokens": view.split.num_tokens,
        "frame": [view.prefix.tolist(), view.suffix.tolist(), view.room],
        "weights": weights_hash(encoder.backbone),
        "config": fingerprint(config),
        "libraries": {"transformers": version("transformers")},
    }
