"""A causal transformer over sentence vectors that starts as a closed-form regression of the next one."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.models.context import Context
from lang_jepa.models.encoder import take_rows
from lang_jepa.models.predictors.concept_transformer import ConceptTransformer

PARTS = 4
"""Inputs of the regression: the last vector, the one before it, and the means of the last 3 and of the last 8."""


class RidgeTransformer(ConceptTransformer):
    """A ridge regression of the next vector on the last ones, plus a learnt correction.

        prediction = sqrt(D) linear(x_1, x_2, mean of 3, mean of 8) + transformer(x)

    with x_j the unit vector of the sentence j back (zero if there is none). Before the first step `linear` is solved in
    closed form on training pairs (`lang_jepa.training.start`) and the transformer's output is zero, so the prediction
    is that of the regression, the baseline that a predictor over fixed vectors has to beat. Then everything is trained.

    Args:
        dim, layers, heads, window, dropout: see `SegmentTransformer`.
    """

    closed_form: ClassVar[bool] = True

    def __init__(self, dim: int, layers: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__(dim, layers, heads, window, dropout)
        self.parts: Tensor
        self.register_buffer("parts", _parts(window), persistent=False)
        self.linear = nn.Linear(PARTS * dim, dim)
        with torch.no_grad():
            for parameter in (*self.linear.parameters(), *self.output.parameters()):
                parameter.zero_()

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], not normalised."""
        made: Tensor = self.linear(self.features(context))
        total: Tensor = super().forward(context) + made * made.shape[-1] ** 0.5
        return total

    def features(self, context: Context) -> Tensor:
        """Inputs of the regression, float32 [Q, 4 D]."""
        context.check_sentences()
        x = functional.normalize(context.states.float(), dim=-1)
        rows = context.windows.to(x.device)
        seen = rows >= 0
        weights = self.parts[seen.sum(1)].flip(-1)[..., -rows.shape[1] :] * seen.unsqueeze(1)  # [Q, 4, W]
        parts: Tensor = torch.einsum("qpw,qwd->qpd", weights, take_rows(x, rows.clamp(min=0)))
        return parts.flatten(1)


def _parts(window: int) -> Tensor:
    """Weights of the sentences 1, 2, ... back in each part, by context size, float32 [window + 1, 4, window]."""
    table = torch.zeros(window + 1, PARTS, window)
    for count in range(1, window + 1):
        table[count, 0, 0] = 1.0
        if count > 1:
            table[count, 1, 1] = 1.0
        for part, span in ((2, 3), (3, 8)):
            reach = min(span, count)
            table[count, part, :reach] = 1 / reach
    return table
