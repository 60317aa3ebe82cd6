"""The loss of a GPT's training step: cross-entropy, plus the span loss if spans are given.

The span loss is a JEPA loss: it asks hidden states to continue in the direction they came from. It has two forms.
`partition` is the form of the public proposal and of the released code of Semantic Tube Prediction. With hidden states
h, a document's first and last positions 0 and e, and a span from a to b,

    patch   = h[b] - h[a-1]
    context = (h[a-1] - h[0]) + (h[e] - h[b])
    loss    = 1 - cos(context, patch)

`triple` is the form of the paper (arXiv 2602.22617): 1 - cos(h[t] - h[r], h[r] - h[s]) for positions s < r < t.

Both are 0 for states that only drift, h[t] = h[0] + t u, which says nothing about a text: see `without_drift`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.models.gpt import GPT
from lang_jepa.settings.gpt import SpanSettings


def pick(states: Tensor, positions: Tensor) -> Tensor:
    """Gather the hidden states at the positions of spans.

    Args:
        states: hidden states, [B, T, D].
        positions: int64 [B, S, P], from `lang_jepa.data.tokens.token_stream.draw_spans`; -1 selects the first state.

    Returns:
        fp32 [B, S, P, D].
    """
    batch, spans, count = positions.shape
    index = positions.clamp(min=0).reshape(batch, spans * count, 1).expand(-1, -1, states.shape[-1])
    return states.gather(1, index).float().reshape(batch, spans, count, -1)


def span_losses(picked: Tensor, positions: Tensor, form: str) -> Tensor:
    """Return the loss of each span.

    Args:
        picked: fp32 [B, S, P, D], states at the positions, from `pick`.
        positions: int64 [B, S, P].
        form: a key of `FORMS`.

    Returns:
        fp32 [B, S], between 0 and 2; 0 for a missing span (positions of -1).
    """
    one, other = FORMS[form](picked)
    return (1.0 - functional.cosine_similarity(one, other, dim=-1)) * (positions[..., 0] >= 0)


def span_loss(states: Tensor, positions: Tensor, form: str) -> Tensor:
    """Return the mean of `span_losses` over all B * S spans, fp32 scalar. Missing spans count as 0, so averaging over
    micro-batches and ranks gives the mean over all spans.
    """
    return span_losses(pick(states, positions), positions, form).mean()


def without_drift(picked: Tensor, positions: Tensor, mean: Tensor) -> Tensor:
    """Subtract from each state the mean state at its position, which all sequences share.

    Args:
        picked: [B, S, P, D], states at the positions.
        positions: int64 [B, S, P].
        mean: [T, D], mean state at each position over many sequences.
    """
    return picked - mean[positions.clamp(min=0)]


def partition(picked: Tensor) -> tuple[Tensor, Tensor]:
    """Return context and patch, [..., D] each, from the states [..., 4, D] at the positions 0, a-1, b, e."""
    first, before, end, last = picked.unbind(-2)
    return (before - first) + (last - end), end - before


def triple(picked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the later and the earlier step, [..., D] each, from the states [..., 3, D] at the positions s, r, t."""
    start, middle, end = picked.unbind(-2)
    return end - middle, middle - start


FORMS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"partition": partition, "triple": triple}


class Losses(NamedTuple):
    """Losses of a batch, fp32 scalars.

    Attributes:
        total: the sum to minimise, cross_entropy + weight * span.
        cross_entropy: mean over tokens, in nats.
        span: mean over spans, unweighted and detached (None without spans).
    """

    total: Tensor
    cross_entropy: Tensor
    span: Tensor | None


class NextTokenLoss(nn.Module):
    """A GPT and its loss as one module, which is compiled and wrapped for distributed training as a whole.

    Without spans its graph is that of the plain GPT. With spans it is a second graph, and only one: positions and
    weight are tensors, so no step recompiles.

    Args:
        model: the model to train.
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
        """Return the losses of predicting each token from those before it.

        Args:
            tokens: int64 [B, T + 1].
            looped: layers that are run twice.
            positions: span positions, int64 [B, S, 3 or 4], within the first T tokens.
            weight: weight of the span loss, fp32 scalar. Without it or `positions` there is no span loss.
        """
        states = self.model.states(tokens[:, :-1], tap=self.layer, looped=looped)
        cross_entropy = self.model.cross_entropy(states.final, tokens[:, 1:])
        if positions is None or weight is None:
            return Losses(cross_entropy, cross_entropy, None)
        span = span_loss(states.tapped, positions, self.form)
        return Losses(cross_entropy + weight * span, cross_entropy, span.detach())
