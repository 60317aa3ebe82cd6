"""Small transformers over sentence vectors: a causal one, one that reads both sides of a hidden sentence, and two that
start as the recency-weighted mean of the context or as a closed-form regression of the next vector.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.views import View
from lang_jepa.models.context import Context, Predictor, zero_weights
from lang_jepa.models.encoder import take_rows
from lang_jepa.models.predictors.neighbours import GAIN, RECENCY
from lang_jepa.settings.encoder import ModelSettings


class _Block(nn.Module):
    """Pre-norm attention with a learnt bias per distance, then an MLP.

    Args:
        window: a position reads positions less than this many steps away, itself included.
        causal: whether it reads no later positions.
    """

    def __init__(self, dim: int, heads: int, window: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.window, self.causal = heads, window, causal
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.distance_bias = nn.Parameter(torch.zeros(heads, window if causal else 2 * window - 1))
        self.expand, self.contract = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():  # small residual outputs: the block starts near the identity
            for layer in (self.attention_output, self.contract):
                layer.weight.mul_(0.2)
                layer.bias.zero_()

    def forward(self, x: Tensor, filled: Tensor) -> Tensor:
        """Map [P, L, D] to [P, L, D]; `filled`: bool [P, L], False for positions after a passage's end."""
        query, key, value = self.qkv(self.norm_attention(x)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=self._bias(filled).to(query.dtype)
        )
        x = x + self.dropout(self.attention_output(attended.transpose(1, 2).flatten(-2)))
        hidden = functional.gelu(self.expand(self.norm_mlp(x)))
        added: Tensor = self.dropout(self.contract(hidden))
        return x + added

    def _bias(self, filled: Tensor) -> Tensor:
        """[H, L, L] or [P, H, L, L]: the learnt bias per distance, minus infinity for positions that are not read."""
        position = torch.arange(filled.shape[1], device=self.distance_bias.device)
        distance = position[:, None] - position[None, :]
        index = distance if self.causal else distance + self.window - 1
        hidden = (index < 0) | (distance >= self.window)
        bias = self.distance_bias[:, index.clamp(0, self.distance_bias.shape[1] - 1)]
        bias = bias.masked_fill(hidden, -torch.inf)
        if self.causal:  # positions after a passage's end are later than all of its own
            return bias
        return bias.masked_fill(~filled[:, None, None, :], -torch.inf)


class SegmentTransformer(Predictor):
    """Blocks over the segment vectors of each passage, read at the queried positions.

    Positions enter only as distances.

    Args:
        dim: width D of vectors and predictions.
        layers: number of blocks.
        heads: attention heads.
        window: see `_Block`.
        dropout: on the residual branches.
    """

    causal: bool
    reads = ("model.predictor_layers",)

    def __init__(self, dim: int, layers: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim, heads, window, dropout, causal=self.causal) for _ in range(layers))
        self.norm_input, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        layers, heads = settings.predictor_layers, settings.predictor_heads
        return cls(settings.embed_dim, layers, heads, window, settings.dropout)

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], not normalised: for each window, at the position of its last segment."""
        context.check_sentences()
        vectors = context.states
        grid = torch.arange(int(context.passages.max())) < context.passages[:, None]  # [P, L]
        # Computed on the CPU, where the lengths are: with a mask on a GPU every step would have to wait for it.
        places, filled = grid.flatten().nonzero().squeeze(1).to(vectors.device), grid.to(vectors.device)
        x = vectors.new_zeros((grid.numel(), vectors.shape[-1]))
        x = x.index_copy(0, places, self.norm_input(vectors).to(x.dtype)).view(*grid.shape, -1)
        for block in self.blocks:
            x = block(x, filled)
        return take_rows(self.output(self.norm(take_rows(x.flatten(0, 1), places))), context.windows[:, -1])


class ConceptTransformer(SegmentTransformer):
    """A small causal transformer over sentence vectors; position i predicts the vector of sentence i + 1.

    With one layer a prediction depends only on the sentences of its window, those that a position reads including its
    own, so a passage in training and the same sentences at inference give the same prediction. With more layers the
    receptive field is wider than the window.
    """

    causal = True
    needs = "reads sentence vectors: set data.context=concepts"

    @classmethod
    def fits(cls, view: type[View]) -> bool:
        return view.sentences_alone and not view.two_sided


class PassageTransformer(SegmentTransformer):
    """A small bidirectional transformer over the segment vectors of a passage, read where a sentence is hidden."""

    causal = False

    @classmethod
    def fits(cls, view: type[View]) -> bool:
        return view.two_sided and not view.sentences_alone


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
        zero_weights(self.output)

    def forward(self, context: Context) -> Tensor:
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

    closed_form = True

    def __init__(self, dim: int, layers: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__(dim, layers, heads, window, dropout)
        self.parts: Tensor
        self.register_buffer("parts", _parts(window), persistent=False)
        self.linear = nn.Linear(PARTS * dim, dim)
        zero_weights(self.linear, self.output)

    def forward(self, context: Context) -> Tensor:
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
