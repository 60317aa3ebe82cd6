"""A causal transformer over sentence vectors that starts as the recency-weighted mean of the context."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.models.context import Context
from lang_jepa.models.encoder import take_rows
from lang_jepa.models.predictors.concept_transformer import ConceptTransformer
from lang_jepa.models.predictors.neighbours import GAIN, RECENCY


class RecencyTransformer(ConceptTransformer):
    """The recency-weighted mean of the window with learnt weights by distance, plus a learnt correction.

        prediction = sqrt(D) unit(sum_j (r[n, j] + w[j]) x_j) + transformer(x)

    x_j is the unit vector of the sentence j back, r[n, j] its share of the recency-weighted mean of n sentences
    (`recency_table`). w and the transformer's output start at zero: before the first step the prediction is that mean,
    which is hard to beat on real text, and training learns what to add to it.

    Args:
        dim: width D of vectors and predictions.
        layers, heads, window, dropout: see `SegmentTransformer`.
    """

    def __init__(self, dim: int, layers: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__(dim, layers, heads, window, dropout)
        self.weights = nn.Parameter(torch.zeros(window))
        self.table: Tensor
        self.register_buffer("table", recency_table(window), persistent=False)
        with torch.no_grad():
            for parameter in self.output.parameters():
                parameter.zero_()

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], not normalised."""
        return self.mean(context) + super().forward(context)

    def mean(self, context: Context) -> Tensor:
        """The weighted sum of each window at unit RMS, float32 [Q, D]."""
        x = functional.normalize(context.states.float(), dim=-1)
        rows = context.windows.to(x.device)
        seen = rows >= 0
        return weighted_mean(take_rows(x, rows.clamp(min=0)), seen, self.table[seen.sum(1)] + GAIN * self.weights)


def weighted_mean(x: Tensor, seen: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of each window at unit RMS, float32 [Q, D].

    Args:
        x: [Q, W, D] unit vectors, the latest last.
        seen: bool [Q, W], which slots hold one.
        weights: [Q, window], weight of the last vector, the one before it, and so on.
    """
    total = torch.einsum("qw,qwd->qd", weights.flip(1)[:, -seen.shape[1] :] * seen, x)
    scaled: Tensor = functional.normalize(total, dim=-1) * x.shape[-1] ** 0.5
    return scaled


def recency_table(window: int) -> Tensor:
    """Share of each sentence in .2 last + .3 mean of the last 3 + .5 mean of the last 8, float32 [window + 1, window].

    Row n is for a context of n sentences, column j for the sentence j before the last. Means are over those that exist.
    """
    table = torch.zeros(window + 1, window)
    for count in range(1, window + 1):
        for span, weight in RECENCY:
            reach = min(span, count)
            table[count, :reach] += weight / reach
    return table
