"""What a GPT's training step minimises: cross-entropy, and the span loss where spans are given.

The span loss is a JEPA loss: hidden states shall go on in the direction in which they have come. Two forms are in use.
`partition` is that of the public proposal and of the released code of Semantic Tube Prediction: with hidden states h, a
document's first and last position 0 and e, and a span from a to b,

    patch   = h[b] - h[a-1]
    context = (h[a-1] - h[0]) + (h[e] - h[b])
    loss    = 1 - cos(context, patch)

`triple` is that of the paper (arXiv 2602.22617), for positions s < r < t: 1 - cos(h[t] - h[r], h[r] - h[s]).

Both are 0 for states that only drift, h[t] = h[0] + t u, which says nothing about a text: see `without_drift`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.models.gpt import GPT
from lang_jepa.settings.gpt import SpanSettings


def pick(states: Tensor, positions: Tensor) -> Tensor:
    """States at the positions of spans.

    Args:
        states: [B, T, D].
        positions: int64 [B, S, P], of `lang_jepa.data.tokens.token_stream.draw_spans`; -1 gives the first state.

    Returns:
        fp32 [B, S, P, D].
    """
    batch, spans, count = positions.shape
    index = positions.clamp(min=0).reshape(batch, spans * count, 1).expand(-1, -1, states.shape[-1])
    return states.gather(1, index).float().reshape(batch, spans, count, -1)


def span_losses(picked: Tensor, positions: Tensor, form: str) -> Tensor:
    """The loss of every span.

    Args:
        picked: [B, S, P, D], states at the positions.
        positions: int64 [B, S, P].
        form: a key of `FORMS`.

    Returns:
        fp32 [B, S], between 0 and 2; 0 for a span that is not there (positions of -1).
    """
    one, other = FORMS[form](picked)
    return (1.0 - functional.cosine_similarity(one, other, dim=-1)) * (positions[..., 0] >= 0)


def span_loss(states: Tensor, positions: Tensor, form: str) -> Tensor:
    """The mean of `span_losses` over B * S spans, fp32 scalar. A span that is not there counts as 0, so that means over
    micro-batches and ranks are those over all spans.
    """
    return span_losses(pick(states, positions), positions, form).mean()


def without_drift(picked: Tensor, positions: Tensor, mean: Tensor) -> Tensor:
    """States at the positions, less what all sequences have in common there.

    Args:
        picked: [B, S, P, D].
        positions: int64 [B, S, P].
        mean: [T, D], mean of the states at each position over many sequences.
    """
    return picked - mean[positions.clamp(min=0)]


def partition(picked: Tensor) -> tuple[Tensor, Tensor]:
    """Context and patch, [..., D] each, from the states [..., 4, D] at the positions 0, a-1, b, e."""
    first, before, end, last = picked.unbind(-2)
    return (before - first) + (last - end), end - before


def triple(picked: Tensor) -> tuple[Tensor, Tensor]:
    """The later and the earlier step, [..., D] each, from the states [..., 3, D] at the positions s, r, t."""
    start, middle, end = picked.unbind(-2)
    return end - middle, middle - start


FORMS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"partition": partition, "triple": triple}


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

    Without spans the graph is the plain GPT's. With them it is one other graph: positions and weight are tensors, so no
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
        positions: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Losses:
        """Predict every token from those before it.

        Args:
            tokens: int64 [B, T + 1].
            looped: layers that are passed through twice.
            positions: int64 [B, S, 3 or 4], in the first T tokens.
            weight: fp32 scalar, of the span loss.
        """
        states = self.model.states(tokens[:, :-1], tap=self.layer, looped=looped)
        cross_entropy = self.model.cross_entropy(states.final, tokens[:, 1:])
        if positions is None or weight is None:
            return Losses(cross_entropy, cross_entropy, None)
        span = span_loss(states.tapped, positions, self.form)
        return Losses(cross_entropy + weight * span, cross_entropy, span.detach())
