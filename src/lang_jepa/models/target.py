"""The target side, which computes the embeddings to predict."""

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
    """The result of one pass of the online model.

    Attributes:
        predictions: [Q, D], not normalised.
        embeddings: [S, D], online embeddings of the context segments that show text, not normalised (for regularizers).
        targets: [Q, D], with gradient, if the same pass computed the targets.
    """

    predictions: Tensor
    embeddings: Tensor
    targets: Tensor | None = None


Model = Callable[..., Output]
"""The online model as called in training: a `Jepa`, possibly wrapped."""


class Target(ABC):
    """Computes targets with an encoder.

    Deliberately not an nn.Module: it must not be wrapped, counted, or put into train mode with the model. A checkpoint
    stores nothing of it but its encoder.

    A custom class is called with the online encoder, and with `settings=` if it has a class `Settings`.

    Attributes:
        encoder: computes the targets.
        own: the encoder has weights of its own, which a checkpoint must store.
        kept: this encoder, rather than the online one, is the result of training.
        stays: the encoder never changes, so nothing can collapse.
        follows: the encoder follows the online one with the momentum of the settings.
        reads: settings that have an effect with this target but not with every target.
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
        """The target of the settings at the start of training; `encoder` is the online one or the teacher."""
        return cls(encoder, **TARGET.options(cls, settings.own_target))

    def both_sides(self, model: Model, batch: Batch) -> tuple[Output, Tensor]:
        """Predictions of a training batch and their targets [Q, D], not normalised. An idle batch gives no rows, but
        has gradients, all zero, to which the other ranks can add.
        """
        output, targets = self._both_sides(model, batch)
        if not batch.idle:
            return output, targets
        views = None if output.targets is None else output.targets[:0]
        return Output(output.predictions[:0], output.embeddings[:0], views), targets[:0]

    def _both_sides(self, model: Model, batch: Batch) -> tuple[Output, Tensor]:
        """Like `both_sides`, with all rows of any batch."""
        return model(batch.contexts), self.embed(batch.targets)

    @torch.no_grad()
    def embed(self, targets: Targets) -> Tensor:
        """Embeddings of the targets, [Q, D], not normalised, without gradient."""
        if self.own:
            self.encoder.eval()
        return self.encoder.embed_targets(targets)

    @abstractmethod
    def update(self, online: "TextEncoder", momentum: float) -> None:
        """Follow the online encoder, once per optimizer step."""


class EMATarget(Target):
    """An exponential moving average of an encoder's weights, always in eval mode and without gradient.

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
        """Set target = momentum * target + (1 - momentum) * online; buffers are copied."""
        mine = [local(parameter) for parameter in self.encoder.parameters()]
        theirs = [local(parameter) for parameter in online.parameters()]
        torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
        for buffer, source in zip(self.encoder.buffers(), online.buffers(), strict=True):
            buffer.copy_(source)


class FrozenTarget(Target):
    """An encoder that never changes, in eval mode, so nothing can collapse.

    Args:
        encoder: its weights are copied.
    """

    stays = True
    reads = ("objective.teacher_path",)

    def __init__(self, encoder: "TextEncoder") -> None:
        super().__init__(copy.deepcopy(encoder).eval().requires_grad_(False))

    def update(self, online: "TextEncoder", momentum: float) -> None:
        """Do nothing: a frozen encoder does not follow."""


class SharedTarget(Target):
    """The online encoder itself, with its dropout.

    Args:
        encoder: the online encoder.
        gradient: the loss also trains the encoder through the targets, which are then computed in the same pass of the
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
        """Do nothing: the target is the online encoder."""


TARGETS: dict[str, type[Target]] = {"ema": EMATarget, "shared": SharedTarget, "frozen": FrozenTarget}
"""Built-in targets by `objective.target`."""


def target_of(settings: Settings) -> type[Target]:
    """The class of the target that the settings choose."""
    chosen: type[Target] = TARGET.part(settings.objective.target)
    return chosen
