"""A part of one's own for every axis, as somebody who does not change the package would write them."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.data.views.base import whole_segments
from lang_jepa.data.views.spans import SameSentenceView
from lang_jepa.models.encoder import take_rows
from lang_jepa.models.predictors.predictor import Context, Predictor
from lang_jepa.models.target import EMATarget
from lang_jepa.objectives.distance import Distance
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.objectives.regularizer import Regularizer
from lang_jepa.settings.data import Section


class Redundancy(Regularizer):
    """Mean squared correlation of different dimensions."""

    class Settings(Section):
        power: float = 2.0
        form: Literal["mean", "sum"] = "mean"

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, embeddings: Tensor, step: int = 0) -> Tensor:
        x = embeddings.float()
        count = sum_over_ranks(x.new_tensor(float(len(x))))
        x = x - sum_over_ranks(x.sum(0)) / count
        x = x / (sum_over_ranks(x.square().sum(0)) / count + 1e-4).sqrt()
        correlation = sum_over_ranks(x.T @ x) / count
        off = (correlation - torch.diag(correlation.diagonal())).abs().pow(self.settings.power)
        return off.mean() if self.settings.form == "mean" else off.sum()


class Drift(Predictor):
    """The last sentence, moved by what an MLP makes of it and of the mean of the window."""

    class Settings(Section):
        hidden: int = 24

    def __init__(self, dim: int, window: int, settings: Settings) -> None:
        super().__init__()
        self.expand, self.contract = nn.Linear(2 * dim, settings.hidden), nn.Linear(settings.hidden, dim)
        self.dropout = nn.Dropout(0.1)

    def forward(self, context: Context) -> Tensor:
        last, rows = context.at_queries(), context.windows.to(context.states.device)
        seen = (rows >= 0).float().unsqueeze(-1)
        mean = (take_rows(context.states, rows.clamp(min=0)) * seen).sum(1) / seen.sum(1)
        hidden = functional.gelu(self.expand(torch.cat([last, mean], dim=-1)))
        return last + self.contract(self.dropout(hidden))


class Slow(EMATarget):
    """An EMA that never moves faster than by a hundredth."""

    def update(self, online: nn.Module, momentum: float) -> None:
        super().update(online, max(momentum, 0.99))


class Angle(Distance):
    """The angle between both sides."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return functional.cosine_similarity(predictions.float(), targets.float(), dim=-1).clamp(-0.99, 0.99).arccos()


class Halves(SameSentenceView):
    """A sentence's first tokens, then its last ones."""

    same_text = False
    reads = ()

    class Settings(Section):
        share: float = 0.5

    def __init__(self, split, *, settings: Settings, **frame):  # type: ignore[no-untyped-def]
        super().__init__(split, crop=settings.share, **frame)

    @classmethod
    def of(cls, settings, split, tokenizer, frame):  # type: ignore[no-untyped-def]
        return super(SameSentenceView, cls).of.__func__(cls, settings, split, tokenizer, frame)

    def batch(self, examples, epoch=0):  # type: ignore[no-untyped-def]
        made = super().batch(examples, epoch)
        sizes = self.sizes(np.asarray(examples))
        made.contexts = whole_segments(self.wrap(self.split.token_starts(np.asarray(examples)), sizes))
        return made


class Forgotten(Predictor):
    """Has no forward."""


class Weighted(Regularizer):
    """Has weights that nobody would train."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, embeddings: Tensor, step: int = 0) -> Tensor:
        return self.linear(embeddings[:, :2]).mean()


class Wide(Predictor):
    """Is built in another way."""

    def __init__(self, dim: int, window: int, depth: int) -> None:
        super().__init__()

    def forward(self, context: Context) -> Tensor:
        return context.states


class Loose(Regularizer):
    """Its settings take anything."""

    class Settings(dict):  # type: ignore[type-arg]
        pass

    def forward(self, embeddings: Tensor, step: int = 0) -> Tensor:
        return embeddings.mean()


no_class = 3


class Whole(Distance):
    """Gives one number for the batch."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions.float() - targets.float()).square().mean()


class Narrow(Predictor):
    """Gives one column, which would fit every width."""

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 1)

    def forward(self, context: Context) -> Tensor:
        return self.linear(context.at_queries())
