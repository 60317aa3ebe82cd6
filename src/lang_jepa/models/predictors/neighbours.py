"""Predictors that start as the recency-weighted mean of the neighbours and learn weights, and a correction.

The length of a prediction expresses its confidence: `contrastive` uses it, the distances of directions and all scores
do not.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.views import View
from lang_jepa.models.context import Context, Predictor, zero_weights
from lang_jepa.models.encoder import take_rows
from lang_jepa.settings.encoder import ModelSettings

RECENCY = ((1, 0.2), (3, 0.3), (8, 0.5))
"""Initial weights of the means of the nearest 1, 3 and 8 sentences."""


class NeighbourWeights(Predictor):
    """The weighted sum of the neighbours' unit vectors.

    With unit neighbours x_j at signed distances d_j and learnt weights w, which may become negative,

        prediction = sqrt(D) sum_j w[d_j] x_j.

    Negative weights of distant neighbours remove what all sentences of a document share, which says nothing about the
    position of one. There is one set of weights for positions with one side given and one for those with both. Before
    the first step the prediction is the recency-weighted mean of the given sides, both in equal parts. (With fewer than
    `window` sentences it is the sum with just their weights.)

    Args:
        window: neighbours on each side; windows have twice as many slots (see `MaskedConceptsView`).
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        side = _recency(window)
        self.weights = nn.Parameter(torch.cat([side.flip(0), side]).repeat(2, 1) / GAIN)

    @classmethod
    def fits(cls, view: type[View]) -> bool:
        return view.two_sided and view.sentences_alone

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        return cls(window)

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], not normalised; zeros for a window without any neighbour."""
        return self.mean(*self.read(context))

    def read(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors scaled to unit RMS [S, D], the rows of the neighbours [Q, 2 window], and which slots hold one."""
        context.check_sentences()
        x = functional.normalize(context.states.float(), dim=-1) * context.states.shape[-1] ** 0.5
        rows = context.windows.to(x.device)
        return x, rows.clamp(min=0), rows >= 0

    def mean(self, x: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
        """The weighted sum, [Q, D]."""
        return torch.einsum("qw,qwd->qd", self.by_distance(seen), take_rows(x, rows))

    def by_distance(self, seen: Tensor) -> Tensor:
        """The learnt weight of every slot, [Q, 2 window]; 0 if there is no neighbour."""
        half = seen.shape[1] // 2
        both = seen[:, :half].any(1) & seen[:, half:].any(1)
        return GAIN * self.weights[both.long()] * seen


class NeighbourGates(NeighbourWeights):
    """`NeighbourWeights` with weights that also depend on how similar the neighbours are to each other.

        w_j = exp(c) (w[d_j] + b_j),    (b, c) = MLP(cosines of all pairs of neighbours, which slots hold one)

    A heading or an aside among the neighbours, or a topic that has just begun, shows in their cosines and can be given
    a different weight. No direction of the space is learnt, so there is little to overfit; c only changes the length.
    The MLP's output is zero at the start.

    Args:
        window: see `NeighbourWeights`.
        hidden: width of the MLP.
    """

    def __init__(self, window: int, hidden: int = 32) -> None:
        super().__init__(window)
        slots = 2 * window
        self.pairs: Tensor
        self.register_buffer("pairs", torch.triu_indices(slots, slots, 1), persistent=False)
        self.expand = nn.Linear(self.pairs.shape[1] + slots, hidden)
        self.contract = nn.Linear(hidden, slots + 1)
        zero_weights(self.contract)

    def mean(self, x: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
        """The weighted sum, [Q, D]."""
        near = take_rows(x, rows) * seen.unsqueeze(-1)
        cosines = near @ near.transpose(1, 2) / x.shape[-1]
        known = torch.cat([cosines[:, self.pairs[0], self.pairs[1]] * _SPREAD, seen.float()], dim=-1)
        moved = self.contract(functional.gelu(self.expand(known)))
        weights = (self.by_distance(seen) + moved[:, :-1] * seen) * moved[:, -1:].exp()
        return torch.einsum("qw,qwd->qd", weights, near)


class NeighbourAttention(NeighbourWeights):
    """`NeighbourWeights` plus a learnt correction that is zero at the start.

        prediction = mean + A mean + MLP([mean, attention(mean, x)])

    A query computed from the mean attends over the neighbours with a learnt bias per distance. A, the queries and the
    MLP's output start at zero.

    Args:
        dim: width D.
        heads: attention heads; divides dim.
        window: see `NeighbourWeights`.
        dropout: on the input and the hidden layer of the MLP.
    """

    def __init__(self, dim: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__(window)
        self.heads = heads
        side = _recency(window).clamp(min=1e-3).log()
        self.bias = nn.Parameter(torch.cat([side.flip(0), side]).repeat(heads, 1))
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.norm_mean, self.norm_neighbours = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)
        self.linear = nn.Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        zero_weights(self.query, self.contract, self.linear)

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        return cls(settings.embed_dim, settings.predictor_heads, window, settings.dropout)

    def forward(self, context: Context) -> Tensor:
        x, rows, seen = self.read(context)
        mean = self.mean(x, rows, seen)
        near = self.norm_neighbours(x)
        keys, values = (layer(near).unflatten(-1, (self.heads, -1)) for layer in (self.key, self.value))
        key, value = take_rows(keys, rows), take_rows(values, rows)
        query = self.query(self.norm_mean(mean)).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("qhd,qwhd->qhw", query, key) * key.shape[-1] ** -0.5 + self.bias
        attention = scores.masked_fill(~seen.unsqueeze(1), _NEVER).softmax(-1)
        read = torch.einsum("qhw,qwhd->qhd", attention, value).flatten(1)
        hidden = functional.gelu(self.expand(self.dropout(torch.cat([mean, read], dim=-1))))
        prediction: Tensor = mean + self.linear(mean) + self.contract(self.dropout(hidden))
        return prediction


GAIN = 10.0
"""The weights are parameters times this: these few must move by tenths while matrices move by thousandths."""

_SPREAD = 3.0
"""Factor on cosines of sentences, most of which lie within .3 of 0, before an MLP reads them."""

_NEVER = -1e4
"""Used in place of minus infinity, so that the softmax of a window without neighbours is finite."""


def _recency(window: int) -> Tensor:
    """Weights of one side by distance, nearest first, [window]; 0 beyond the eighth."""
    weights = torch.zeros(window)
    for span, weight in RECENCY:
        reach = min(span, window)
        weights[:reach] += weight / reach
    return weights
