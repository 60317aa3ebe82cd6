"""Places in token sequences between which the span loss compares hidden states, drawn outside of the model's graph.

What is drawn for a sequence is a hash of seed and the sequence's number in the training order, so a resumed run draws
it again, and it does not depend on the number of processes.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.views.order import Indices, uniform

Form = Literal["partition", "triple"]
PLACES = {"partition": 4, "triple": 3}
"""Places of one span in each form."""
LEAST = 3
"""Tokens that a document must have in a sequence, so that a span has something beside it."""

_DRAWS = 4


def draw_spans(
    tokens: NDArray[np.integer],
    numbers: Indices,
    *,
    form: Form,
    spans: int,
    max_frac: float,
    bos_id: int | None,
    seed: int,
) -> Indices:
    """Places of spans, each inside one document of its sequence.

    A document is drawn by its number of tokens (those shorter than `LEAST` never), then the length of the span, evenly
    between the shortest and the longest, then where it begins, evenly; of a triple also where its middle lies.

    Args:
        tokens: [B, T]; a document begins at bos_id, and at the beginning of the sequence.
        numbers: int64 [B], the sequences' numbers in the training order.
        form: `partition`, places of a document's first token, the one before the span, its last, and the document's
            last; or `triple`, three places in order.
        spans: S of each sequence.
        max_frac: longest span, or way from the first to the last place, as a share of the document's tokens here.
        bos_id: begins a document (None: a sequence is one).
        seed: of the draws.

    Returns:
        int64 [B, S, 4] (partition) or [B, S, 3] (triple); -1 throughout where a sequence has no document that is long
        enough.
    """
    drawn = uniform(numbers, spans * _DRAWS, seed, 0).reshape(len(numbers), spans, _DRAWS)
    first, count = _documents(np.asarray(tokens), bos_id, drawn[..., 0])
    steps = np.maximum(count - 1, 2)  # from token to token; what is too short is taken out at the end
    if form == "partition":
        longest = np.clip(np.floor(max_frac * count), 1, steps - 1)
        length = 1 + np.floor(drawn[..., 1] * longest)
        before = np.floor(drawn[..., 2] * (steps - length + 1))
        places = [np.zeros_like(before), before, before + length, count - 1.0]
    else:
        longest = np.clip(np.floor(max_frac * count), 2, steps)
        way = 2 + np.floor(drawn[..., 1] * (longest - 1))
        start = np.floor(drawn[..., 2] * (steps - way + 1))
        middle = start + 1 + np.floor(drawn[..., 3] * (way - 1))
        places = [start, middle, start + way]
    found = (np.stack(places, -1) + first[..., None]).astype(np.int64)
    found[count < LEAST] = -1
    return found


def _documents(
    tokens: NDArray[np.integer], bos_id: int | None, drawn: NDArray[np.float64]
) -> tuple[Indices, Indices]:
    """First place and tokens, each int64 [B, S], of documents drawn by their number of tokens; 0 and 0 for none.

    Every token of a document that is long enough is equally likely to be hit by `drawn` [B, S].
    """
    rows, length = tokens.shape
    begins = np.zeros(tokens.shape, dtype=bool) if bos_id is None else tokens == bos_id
    begins[:, 0] = True
    document = np.cumsum(begins.ravel()) - 1  # through all sequences: each begins with one
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, rows * length))
    fits = (sizes[document] >= LEAST).reshape(rows, length)
    total = fits.sum(1)
    wanted = np.floor(drawn * total[:, None])
    place = (np.cumsum(fits, 1)[:, None, :] <= wanted[..., None]).sum(-1)
    hit = document.reshape(rows, length)[np.arange(rows)[:, None], np.minimum(place, length - 1)]
    none = (total == 0)[:, None]
    first = starts[hit] - np.arange(rows)[:, None] * length
    return np.where(none, 0, first), np.where(none, 0, sizes[hit])
