"""The target side: what makes the embeddings that are predicted."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from lang_jepa.data.views.batch import Batch, Targets
from lang_jepa.models.sharded import local
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import TARGET

if TYPE_CHECKING:
    from lang_jepa.models.encoder import TextEncoder


class Output(NamedTuple):
    """What one pass of the online model gives.

    Attributes:
        predictions: [Q, D], not normalised.
        embeddings: [S, D], the online embedding of every context segment that shows text, not normalised (for
            regularizers).
        targets: [Q, D], the targets, if they were made by the same pass, with gradient.
    """

    predictions: Tensor
    embeddings: Tensor
    targets: Tensor | None = None


Model = Callable[..., Output]
"""The online model as it is called in training: a `Jepa`, maybe wrapped."""


class Target(ABC):
    """Makes targets with an encoder.

    Not an nn.Module on purpose: it must not be wrapped, counted, or moved into train mode with the model. Its encoder
    is all that a checkpoint keeps of it.

    A class of one's own is called with the online encoder, and with `settings=` where it has a class `Settings`.

    Attributes:
        encoder: makes the targets.
        own: the encoder's weights are the target's alone, so that a checkpoint must keep them.
        kept: its encoder, and not the online one, is what a user gets in the end.
        stays: it never changes, so that nothing can collapse.
        follows: it follows the online encoder with the momentum of the settings.
        reads: settings that do something beside this target, and not beside every one.
    """

    own: ClassVar[bool] = True
    kept: ClassVar[bool] = False
    stays: ClassVar[bool] = False
    follows: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, encoder: "TextEncoder") -> None:
        self.encoder = encoder

    @classmethod
    def of(cls, settings: Settings, encoder: "TextEncoder") -> Self:
        """The target that the settings describe, as training begins; `encoder`: the online one, or the teacher."""
        return cls(encoder, **TARGET.options(cls, settings.own_target))

    def both_sides(self, model: Model, batch: Batch) -> tuple[Output, Tensor]:
        """Predictions of a training batch and their targets [Q, D], not normalised; no rows of a batch that counts
        nothing, though its gradients, all zero, are there for the other ranks to add to.
        """
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
    def update(self, online: "TextEncoder", momentum: float) -> None:
        """Follow the online encoder, once per optimizer step."""


class EMATarget(Target):
    """An exponential moving average of an encoder's weights; always in eval mode, never given a gradient.

    Args:
        encoder: the online encoder; its weights are copied.
    """

    kept = True
    follows = True
    reads = ("optimization.momentum_start", "optimization.momentum_end")

    def __init__(self, encoder: "TextEncoder") -> None:
        super().__init__(copy.deepcopy(encoder).eval().requires_grad_(False))

    @torch.no_grad()
    def update(self, online: "TextEncoder", momentum: float) -> None:
        """Target = momentum * target + (1 - momentum) * online; buffers are copied."""
        mine = [local(parameter) for parameter in self.encoder.parameters()]
        theirs = [local(parameter) for parameter in online.parameters()]
        torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
        for buffer, source in zip(self.encoder.buffers(), online.buffers(), strict=True):
            buffer.copy_(source)


class FrozenTarget(Target):
    """An encoder that stays as it is, in eval mode: nothing can collapse.

    Args:
        encoder: its weights are copied.
    """

    stays = True
    reads = ("objective.teacher_path",)

    def __init__(self, encoder: "TextEncoder") -> None:
        super().__init__(copy.deepcopy(encoder).eval().requires_grad_(False))

    def update(self, online: "TextEncoder", momentum: float) -> None:
        """A frozen encoder does not follow."""


class SharedTarget(Target):
    """The online encoder itself, with its dropout.

    Args:
        encoder: the online encoder.
        gradient: the loss also teaches the encoder through the targets. They are then made in the same pass of the
            model as the predictions.
    """

    own = False
    reads = ("objective.target_gradient",)

    def __init__(self, encoder: "TextEncoder", *, gradient: bool) -> None:
        super().__init__(encoder)
        self.gradient = gradient

    @classmethod
    def of(cls, settings: Settings, encoder: "TextEncoder") -> Self:
        return cls(encoder, gradient=settings.objective.target_gradient)

    def _both_sides(self, model: Model, batch: Batch) -> tuple[Output, Tensor]:
        if not self.gradient:
            return super()._both_sides(model, batch)
        output = model(batch.contexts, batch.targets)
        assert output.targets is not None
        return output, output.targets

    def update(self, online: "TextEncoder", momentum: float) -> None:
        """The online encoder is up to date with itself."""


TARGETS: dict[str, type[Target]] = {"ema": EMATarget, "shared": SharedTarget, "frozen": FrozenTarget}
"""Built-in targets by `objective.target`."""


def target_of(settings: Settings) -> type[Target]:
    """The class of the target that the settings choose."""
    chosen: type[Target] = TARGET.part(settings.objective.target)
    return chosen
