"""What turns context states into a prediction of the next sentence's embedding.

One interface for every context mode: a predictor gets the states of the context, the segment of each state, and
for each prediction the segments that it may read (see `lang_jepa.data.sequences.Batch`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.config import ModelSettings


@dataclass(frozen=True, slots=True)
class Context:
    """What a predictor reads.

    Attributes:
        states: [T, D] states in the space of the embeddings (after the encoder's head).
        segments: int64 [T], the segment of each state, never falling.
        windows: int64 [Q, W], segments that each prediction may read, oldest first, -1 where there is none.
        passages: int64 [P] on the CPU, segments of each passage; they sum to the number of segments.
    """

    states: Tensor
    segments: Tensor
    windows: Tensor
    passages: Tensor

    @property
    def count(self) -> int:
        """Number of segments."""
        return int(self.passages.sum())


class AttentionQuery(nn.Module):
    """One learnt query attends over the context's states; LayerNorm; linear output.

    Because the query is the same everywhere, a state's score does not depend on who reads it. So every segment is
    summed once, as (largest score, sum of weights, weighted sum of values), and a window merges the sums of its
    segments exactly, in the way of online softmax (Milakov and Gimelshein 2018). Overlapping windows cost nothing more.

    Args:
        dim: width D of states and predictions.
        heads: attention heads; divides dim.
        dropout: on the attended vector.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, dim // heads) * (dim // heads) ** -0.5)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], not normalised."""
        keys = self.key(context.states).unflatten(-1, (self.heads, -1))
        scores = (keys * self.query).sum(-1).float() * keys.shape[-1] ** -0.5  # [T, H]
        values = self.value(context.states).unflatten(-1, (self.heads, -1)).float()  # [T, H, D/H]
        top, weight, total = self._segment_sums(scores, values, context)
        attended = self._merge(top, weight, total, context.windows)
        return self.output(self.norm(self.dropout(attended.to(context.states.dtype))))  # type: ignore[no-any-return]

    def _segment_sums(
        self, scores: Tensor, values: Tensor, context: Context
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Per segment: largest score [S, H], sum of weights [S, H], weighted sum of values [S, H, D/H]."""
        count, index = context.count, context.segments
        with torch.no_grad():  # the largest score only keeps exp in range; it cancels in the result
            top = scores.new_full((count, self.heads), -torch.inf)
            top.scatter_reduce_(0, index.unsqueeze(1).expand_as(scores), scores, "amax")
        weights = (scores - top[index]).exp()
        weight = torch.zeros_like(top).index_add(0, index, weights)
        total = values.new_zeros((count, *values.shape[1:]))
        total = total.index_add(0, index, weights.unsqueeze(-1) * values)
        return top, weight, total

    def _merge(self, top: Tensor, weight: Tensor, total: Tensor, windows: Tensor) -> Tensor:
        """Softmax over the union of each window's segments: [Q, D]."""
        absent = windows < 0
        rows = windows.clamp(min=0)
        tops = top[rows].masked_fill(absent.unsqueeze(-1), -torch.inf)  # [Q, W, H]
        scale = (tops - tops.amax(1, keepdim=True)).exp()
        denominator = (weight[rows] * scale).sum(1)
        numerator = (total[rows] * scale.unsqueeze(-1)).sum(1)
        return (numerator / denominator.unsqueeze(-1)).flatten(1)


class _Block(nn.Module):
    """Pre-norm attention with a learnt bias per distance, then an MLP."""

    def __init__(self, dim: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.distance_bias = nn.Parameter(torch.zeros(heads, window))
        self.expand, self.contract = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():  # small residual outputs: the block starts near the identity
            for layer in (self.attention_output, self.contract):
                layer.weight.mul_(0.2)
                layer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """[P, L, D] to [P, L, D]; place i reads places i - window + 1 to i."""
        query, key, value = self.qkv(self.norm_attention(x)).chunk(3, dim=-1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=self._bias(x.shape[1]).to(query.dtype)
        )
        x = x + self.dropout(self.attention_output(attended.transpose(1, 2).flatten(-2)))
        hidden = functional.gelu(self.expand(self.norm_mlp(x)))
        added: Tensor = self.dropout(self.contract(hidden))
        return x + added

    def _bias(self, length: int) -> Tensor:
        """[H, L, L]: the learnt bias of the distance, minus infinity after the place and beyond the window."""
        place = torch.arange(length, device=self.distance_bias.device)
        distance = place[:, None] - place[None, :]
        hidden = (distance < 0) | (distance >= self.window)
        return self.distance_bias[:, distance.clamp(0, self.window - 1)].masked_fill(hidden, -torch.inf)


class ConceptTransformer(nn.Module):
    """A small causal transformer over sentence vectors; place i predicts the vector of sentence i + 1.

    Positions enter only as distances, so that what is predicted depends on the window's sentences alone: a passage
    in training and the same sentences given at inference get the same prediction (with one layer exactly; with more
    layers the receptive field is wider than the window).

    Args:
        dim: width D of vectors and predictions.
        layers: number of blocks.
        heads: attention heads.
        window: sentences that a place reads, its own included.
        dropout: on the residual branches.
    """

    def __init__(self, dim: int, layers: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim, heads, window, dropout) for _ in range(layers))
        self.norm_input, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], not normalised, one per window: the place of the window's last segment."""
        vectors = context.states
        if context.states.shape[0] != context.count:  # states are tokens: a sentence's vector is their mean
            raise ValueError(
                "the concept transformer reads one vector per sentence; set data.context=concepts"
            )
        passages = context.passages.to(vectors.device)
        length = int(context.passages.max())
        filled = torch.arange(length, device=vectors.device) < passages[:, None]  # [P, L]
        x = vectors.new_zeros((*filled.shape, vectors.shape[-1]))
        x[filled] = self.norm_input(vectors).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x[filled]))[context.windows[:, -1]]  # type: ignore[no-any-return]


def build_predictor(settings: ModelSettings, *, window: int) -> nn.Module:
    """The predictor that the settings name. `window`: sentences of context at most."""
    return PREDICTORS[settings.predictor](settings, window)


def _attention_query(settings: ModelSettings, window: int) -> nn.Module:
    return AttentionQuery(settings.embed_dim, settings.predictor_heads, settings.dropout)


def _concept_transformer(settings: ModelSettings, window: int) -> nn.Module:
    return ConceptTransformer(
        settings.embed_dim, settings.predictor_layers, settings.predictor_heads, window, settings.dropout
    )


PREDICTORS: dict[str, Callable[[ModelSettings, int], nn.Module]] = {
    "attention_query": _attention_query,
    "concept_transformer": _concept_transformer,
}
