"""A transformer over the window of each prediction that knows the speakers and counts positions from the target."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.sources.conversations import FIRST_NAME
from lang_jepa.data.views import View
from lang_jepa.models.context import Context, Predictor, zero_weights
from lang_jepa.models.encoder import take_rows
from lang_jepa.models.predictors.concept_transformer import recency_table, weighted_mean
from lang_jepa.models.predictors.neighbours import GAIN
from lang_jepa.settings.encoder import ModelSettings


class _Block(nn.Module):
    """Pre-norm attention over [Q, L, D] with a learnt bias for a turn's distance from the target, then an MLP.

    `last`: compute the last position only, [Q, 1, D].
    """

    def __init__(self, dim: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.distance_bias = nn.Parameter(torch.zeros(heads, window))
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key_value = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.expand, self.contract = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():  # small residual outputs: the block starts near the identity
            for layer in (self.attention_output, self.contract):
                layer.weight.mul_(0.2)
                layer.bias.zero_()

    def forward(self, x: Tensor, seen: Tensor, *, last: bool) -> Tensor:
        normed = self.norm_attention(x)
        query = self.query(normed[:, -1:] if last else normed)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        bias = self.distance_bias[:, -seen.shape[1] :].to(query.dtype)
        read = bias[:, None, :].masked_fill(~seen[:, None, None, :], -torch.inf)  # [Q, H, 1, L]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=read)
        kept = x[:, -1:] if last else x
        kept = kept + self.dropout(self.attention_output(attended.transpose(1, 2).flatten(-2)))
        made: Tensor = kept + self.dropout(self.contract(functional.gelu(self.expand(self.norm_mlp(kept)))))
        return made


class TurnTransformer(Predictor):
    """The recency-weighted mean of the window, plus a learnt correction that knows order and speakers.

        prediction = mean(x) + W transformer(x_j + position_j + role_j + same_j, the last one + asked)

    Each prediction has its own sequence: the vectors of its window, with embeddings of how many turns they lie before
    the target, of their speaker's role, and of whether that speaker also says the target. The role of the target's
    speaker is added to the last vector, where the prediction is read. W starts at zero, so before the first step the
    prediction is the recency-weighted mean (`weighted_mean`). The embeddings start at zero too: with one layer it is
    then a `RecencyTransformer`, to which it adds what it learns about order and speakers.

    Args:
        dim: width D of vectors and predictions.
        layers: number of blocks.
        heads: attention heads.
        window: maximum segments that it sees.
        dropout: on the residual branches.
    """

    reads_speakers = True
    reads = ("model.predictor_layers",)
    needs = "reads sentence vectors: set data.context=concepts"

    def __init__(self, dim: int, layers: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(window))
        self.table: Tensor
        self.register_buffer("table", recency_table(window), persistent=False)
        self.norm_input = nn.LayerNorm(dim)
        self.positions = nn.Parameter(torch.zeros(window, dim))
        self.roles = nn.Parameter(torch.zeros(FIRST_NAME + 1, dim))
        self.asked = nn.Parameter(torch.zeros(FIRST_NAME + 1, dim))
        self.same = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(_Block(dim, heads, window, dropout) for _ in range(layers))
        self.norm, self.output = nn.LayerNorm(dim), nn.Linear(dim, dim)
        zero_weights(self.output)

    @classmethod
    def fits(cls, view: type[View]) -> bool:
        return view.sentences_alone and not view.two_sided

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        layers, heads = settings.predictor_layers, settings.predictor_heads
        return cls(settings.embed_dim, layers, heads, window, settings.dropout)

    def forward(self, context: Context) -> Tensor:
        context.check_sentences()
        rows = context.windows.to(context.states.device)
        seen, width = rows >= 0, rows.shape[1]
        vectors = take_rows(context.states, rows.clamp(min=0))  # [Q, W, D]
        speakers, asked = _speakers(context, rows)  # [Q, W], [Q]
        same = (speakers == asked[:, None]) & (asked[:, None] > 0)
        x = self.norm_input(vectors) + self.positions[-width:] + self.roles[speakers.clamp(max=FIRST_NAME)]
        x = x + same.unsqueeze(-1) * self.same
        last = x[:, -1:] + self.asked[asked.clamp(max=FIRST_NAME)].unsqueeze(1)
        x = torch.cat([x[:, :-1], last], dim=1)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, seen, last=number == len(self.blocks))
        weights = self.table[seen.sum(1)] + GAIN * self.weights
        mean = weighted_mean(functional.normalize(vectors.float(), dim=-1), seen, weights)
        added: Tensor = self.output(self.norm(x[:, -1]))
        return mean + added


def _speakers(context: Context, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Speaker numbers of each segment of each window and of the turns to predict, 0 if not known."""
    nobody = torch.zeros_like(rows)
    speakers = nobody if context.speakers is None else context.speakers.to(rows.device)[rows.clamp(min=0)]
    return speakers, nobody[:, 0] if context.asked is None else context.asked.to(rows.device)
