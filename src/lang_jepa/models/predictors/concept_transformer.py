"""Small transformers over sentence vectors: a causal one, and one that reads both sides of a hidden sentence."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.views import View
from lang_jepa.models.context import Context, Predictor
from lang_jepa.models.encoder import take_rows
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
