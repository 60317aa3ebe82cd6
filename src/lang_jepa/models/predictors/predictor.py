"""The table of predictors, and the simple ones that map context states directly to a predicted embedding."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.views import View
from lang_jepa.errors import LangJepaError
from lang_jepa.models.context import Context, Predictor
from lang_jepa.models.encoder import take_rows
from lang_jepa.models.predictors.concept_transformer import (
    ConceptTransformer,
    PassageTransformer,
    RecencyTransformer,
    RidgeTransformer,
)
from lang_jepa.models.predictors.neighbours import NeighbourAttention, NeighbourGates, NeighbourWeights
from lang_jepa.models.predictors.turns import TurnTransformer
from lang_jepa.settings.encoder import ModelSettings
from lang_jepa.settings.parts import PREDICTOR

__all__ = ["PREDICTORS", "Context", "Predictor", "build_predictor"]


class NoPredictor(nn.Module):
    """Placeholder for the predictor of an encoder that has none.

    Args:
        name: of the encoder, for the message.
        width: of its states, for the message.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.name, self.width = name, width

    def error(self) -> LangJepaError:
        """The error that says why nothing can be predicted, and what to do."""
        return LangJepaError(
            f"{self.name} is an encoder alone, without a predictor: it can encode, index, search and be evaluated, "
            "but nothing can be predicted, ranked or imagined with it. Use a model that was trained here, or train "
            f"one on it: lang-jepa train pretrained -o data.tokenizer_path={self.name} -o data.train_file=TEXTS "
            f"-o model.embed_dim={self.width} -o model.pred_dim={self.width}"
        )

    def forward(self, context: Context) -> Tensor:
        raise self.error()


def refuse_without_predictor(predictor: nn.Module) -> None:
    """Raise the error of a `NoPredictor`."""
    if isinstance(predictor, NoPredictor):
        raise predictor.error()


class AttentionQuery(Predictor):
    """One learnt query attends over the context's states, followed by LayerNorm and a linear output.

    The query is the same everywhere, so a state's score does not depend on the window that reads it. Each segment is
    therefore summed once, as (largest score, sum of weights, weighted sum of values), and a window merges the sums of
    its segments exactly, as in online softmax (Milakov and Gimelshein 2018). Overlapping windows cost nothing extra.

    Args:
        dim: width D of states and predictions.
        heads: attention heads; divides dim.
        dropout: on the attended vector.
    """

    reads_tokens = True

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, dim // heads) * (dim // heads) ** -0.5)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        return cls(settings.embed_dim, settings.predictor_heads, settings.dropout)

    def forward(self, context: Context) -> Tensor:
        keys = self.key(context.states).unflatten(-1, (self.heads, -1))
        scores = (keys * self.query).sum(-1).float() * keys.shape[-1] ** -0.5  # [T, H]
        values = self.value(context.states).unflatten(-1, (self.heads, -1)).float()  # [T, H, D/H]
        top, weight, total = self._segment_sums(scores, values, context)
        attended = self._merge(top, weight, total, context.windows)
        return self.output(self.norm(self.dropout(attended.to(context.states.dtype))))  # type: ignore[no-any-return]

    def _segment_sums(self, scores: Tensor, values: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
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
        denominator = (take_rows(weight, rows) * scale).sum(1)
        numerator = (take_rows(total, rows) * scale.unsqueeze(-1)).sum(1)
        return (numerator / denominator.unsqueeze(-1)).flatten(1)


class MaskMLP(Predictor):
    """An MLP on the state of the mask token, which has seen the whole passage.

    Args:
        dim: width D of states and predictions.
        dropout: on the hidden layer.
    """

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def fits(cls, view: type[View]) -> bool:
        return view.two_sided and not view.sentences_alone

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        return cls(settings.embed_dim, settings.dropout)

    def forward(self, context: Context) -> Tensor:
        hidden = functional.gelu(self.expand(self.norm(context.at_queries())))
        return self.contract(self.dropout(hidden))  # type: ignore[no-any-return]


class LinearPredictor(Predictor):
    """Linear and LayerNorm on the mean of the queried segment, as in LeJEPA for text.

    Args:
        dim: width D of states and predictions.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        return cls(settings.embed_dim)

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D]; the LayerNorm gives them unit variance, which SIGReg also asks of the targets."""
        return self.norm(self.linear(context.at_queries()))  # type: ignore[no-any-return]


class Identity(Predictor):
    """Predicts the mean of the queried segment itself."""

    learns = False

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        return cls()

    def forward(self, context: Context) -> Tensor:
        return context.at_queries()


class Horizons(nn.Module):
    """Adapts predictions to their horizon: a residual MLP on the prediction and a learnt embedding of the horizon.

    Args:
        predictor: reads the context; its output is the same for all horizons.
        dim: width D.
        count: number of horizons.
    """

    def __init__(self, predictor: nn.Module, dim: int, count: int) -> None:
        super().__init__()
        self.predictor = predictor
        self.embedding = nn.Embedding(count, dim)
        self.norm = nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], not normalised; of the next sentence if the context names no horizons."""
        near: Tensor = self.predictor(context)
        index = context.horizons
        if index is None:
            index = torch.zeros(len(near), dtype=torch.int64, device=near.device)
        moved: Tensor = self.contract(functional.gelu(self.expand(self.norm(near + self.embedding(index)))))
        return near + moved


def build_predictor(
    settings: ModelSettings, *, window: int, horizons: int = 1, own: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build the predictor that the settings choose.

    Args:
        settings: of the model.
        window: maximum segments that the predictor sees, in each direction in which it reads.
        horizons: how many sentences ahead it predicts.
        own: the settings that a custom class defines.
    """
    chosen: type[Predictor] = PREDICTOR.part(settings.predictor)
    predictor = chosen.of(settings, window, own or {})
    return predictor if horizons == 1 else Horizons(predictor, settings.embed_dim, horizons)


PREDICTORS: dict[str, type[Predictor]] = {
    "attention_query": AttentionQuery,
    "mask_mlp": MaskMLP,
    "linear": LinearPredictor,
    "transformer": PassageTransformer,
    "identity": Identity,
    "concept_transformer": ConceptTransformer,
    "recency_transformer": RecencyTransformer,
    "ridge_transformer": RidgeTransformer,
    "turn_transformer": TurnTransformer,
    "neighbour_weights": NeighbourWeights,
    "neighbour_gates": NeighbourGates,
    "neighbour_attention": NeighbourAttention,
}
"""Built-in predictors by `model.predictor`."""
