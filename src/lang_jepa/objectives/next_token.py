"""What a GPT's training step minimises: cross-entropy, and the span loss where spans are given."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.models.gpt import GPT
from lang_jepa.objectives.semantic_tube import span_loss
from lang_jepa.settings.gpt import SpanSettings


class Losses(NamedTuple):
    """Of a batch, fp32 scalars.

    Attributes:
        total: what is minimised.
        cross_entropy: mean over tokens, in nats.
        span: mean over spans, not weighted (None without spans).
    """

    total: Tensor
    cross_entropy: Tensor
    span: Tensor | None


class NextTokenLoss(nn.Module):
    """A model with its loss, as one module: what is compiled and wrapped for several processes.

    Without spans the graph is the plain GPT's. With them it is one other graph: places and weight are tensors, so no
    step compiles anew.

    Args:
        model: whose parameters are trained.
        settings: form and layer of the span loss.
    """

    def __init__(self, model: GPT, settings: SpanSettings) -> None:
        super().__init__()
        self.model, self.form, self.layer = model, settings.form, settings.layer

    def forward(
        self,
        tokens: Tensor,
        *,
        looped: tuple[int, ...] = (),
        places: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Losses:
        """Predict every token from those before it.

        Args:
            tokens: int64 [B, T + 1].
            looped: layers that are passed through twice.
            places: int64 [B, S, 3 or 4], in the first T tokens.
            weight: fp32 scalar, of the span loss.
        """
        states = self.model.states(tokens[:, :-1], tap=self.layer, looped=looped)
        logits = self.model.logits(states.final)
        cross_entropy = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        if places is None or weight is None:
            return Losses(cross_entropy, cross_entropy, None)
        span = span_loss(states.tapped, places, self.form)
        return Losses(cross_entropy + weight * span, cross_entropy, span.detach())
