"""The target side: what makes the embeddings that are predicted."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from lang_jepa.data.views.batch import Batch, Targets
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.jepa import Output

Model = Callable[..., Output]
"""The online model as it is called in training: a `Jepa`, maybe wrapped."""


class Target(ABC):
    """Makes targets with an encoder.

    Not an nn.Module on purpose: it must not be wrapped, counted, or moved into train mode with the model.

    Attributes:
        encoder: makes the targets.
        own: the encoder's weights are the target's alone, so that a checkpoint must keep them.
        kept: its encoder, and not the online one, is what a user gets in the end.
    """

    own = True
    kept = False

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def both_sides(self, model: Model, batch: Batch) -> tuple[Output, Tensor]:
        """Predictions of a training batch and their targets [Q, D], not normalised; no rows of a batch that counts
        nothing, though its gradients, all zero, are there for the other ranks to add to."""
        output, targets = self._both_sides(model, batch)
        if not batch.idle:
            return output, targets
        views = None if output.targets is None else output.targets[:0]
        return Output(output.predictions[:0], output.embeddings[:0], views), targets[:0]

    def _both_sides(self, model: Model, batch: Batch) -> tuple[Output, Tensor]:
        """The same of any batch, all rows."""
        return model(batch.contexts), self.embed(batch.targets)

    @torch.no_grad()
    def embed(self, targets: Targets) -> Tensor:
        """[Q, D] embeddings of the targets, not normalised, without gradient."""
        if self.own:
            self.encoder.eval()
        return self.encoder.embed_targets(targets)

    @abstractmethod
    def update(self, online: TextEncoder, momentum: float) -> None:
        """Follow the online encoder, once per optimizer step."""


class EMATarget(Target):
    """An exponential moving average of an encoder's weights; always in eval mode, never given a gradient.

    Args:
        encoder: the online encoder; its weights are copied.
    """

    kept = True

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__(copy.deepcopy(encoder).eval().requires_grad_(False))

    @torch.no_grad()
    def update(self, online: TextEncoder, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * online; buffers are copied."""
        mine = [parameter.data for parameter in self.encoder.parameters()]
        theirs = [parameter.data for parameter in online.parameters()]
        torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
        for buffer, source in zip(self.encoder.buffers(), online.buffers(), strict=True):
            buffer.copy_(source)


class FrozenTarget(Target):
    """An encoder that stays as it is, in eval mode: nothing can collapse.

    Args:
        encoder: its weights are copied.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__(copy.deepcopy(encoder).eval().requires_grad_(False))

    def update(self, online: TextEncoder, momentum: float) -> None:
        """Nothing moves."""


class SharedTarget(Target):
    """The online encoder itself, with its dropout.

    Args:
        encoder: the online encoder.
        gradient: the loss also teaches the encoder through the targets. They are then made in the same pass of the
            model as the predictions.
    """

    own = False

    def __init__(self, encoder: TextEncoder, *, gradient: bool) -> None:
        super().__init__(encoder)
        self.gradient = gradient

    def _both_sides(self, model: Model, batch: Batch) -> tuple[Output, Tensor]:
        if not self.gradient:
            return super()._both_sides(model, batch)
        output = model(batch.contexts, batch.targets)
        assert output.targets is not None
        return output, output.targets

    def update(self, online: TextEncoder, momentum: float) -> None:
        """It is the online encoder."""


TARGETS: dict[str, type[Target]] = {"ema": EMATarget, "shared": SharedTarget, "frozen": FrozenTarget}
