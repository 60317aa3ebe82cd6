"""Distances between predictions and targets, one value per prediction.

`smooth_l1` and `cosine` L2-normalise both sides first: a predictor must not lower its loss by shrinking.
`mse` compares the vectors as they are, which needs a regularizer or a frozen target that keeps their size.
`contrastive` alone looks at other targets too, and at the length of predictions, but not of targets.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.objectives.reduction import rows_of_all_ranks
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import DISTANCE


class Distance(ABC):
    """One value for each prediction and its target.

    A class of one's own is called without arguments, or with `settings=` where it has a class `Settings`.

    Attributes:
        of_directions: the length of neither side matters.
        among_targets: it looks at the other targets of the batch, and is called with their positions in the text too.
        by_text: with `among_targets`, it is called with a number for the text of each target as well (`texts`).
        uncentred: why a running mean may not be taken from both sides, in words; {} is the distance's name.
        reads: settings that do something beside this distance, and not beside every one.
    """

    of_directions: ClassVar[bool] = True
    among_targets: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    uncentred: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The distance that the settings of a run describe."""
        return cls(**DISTANCE.options(cls, settings.own_distance))

    @abstractmethod
    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """float32 [Q] of predictions [Q, D] and targets [Q, D], neither normalised."""

    def over_ranks(
        self, predictions: Tensor, targets: Tensor, numbers: Tensor | None = None, texts: Tensor | None = None
    ) -> Tensor:
        """The same in training, where one that looks at other targets may take those of all ranks."""
        return measured(self, predictions, targets, numbers, texts)


class SmoothL1(Distance):
    """Smooth-L1 of the unit-RMS vectors, mean over dimensions.

    Unit vectors are multiplied by sqrt(D) first. Without that, no difference exceeds 1, the linear part is never
    reached, and the loss is exactly (1 - cosine) / D: the cosine distance with a vanishing scale. I-JEPA's
    LayerNorm of the targets (arXiv 2301.08243) has the same effect.
    """

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """float32 [Q]: 0 for equal directions, (2 sqrt(D) - 0.5) / D for opposite one-hot vectors."""
        scale = predictions.shape[-1] ** 0.5
        ours, theirs = (functional.normalize(x.float(), dim=-1) * scale for x in (predictions, targets))
        return functional.smooth_l1_loss(ours, theirs, reduction="none").mean(-1)


class Cosine(Distance):
    """1 - cosine similarity."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """float32 [Q] in [0, 2]."""
        return 1.0 - functional.cosine_similarity(predictions.float(), targets.float(), dim=-1)


class MSE(Distance):
    """Squared difference of the un-normalised vectors, mean over dimensions (LeJEPA, arXiv 2511.08544)."""

    of_directions = False
    uncentred = "changes nothing under optimization.loss_fn={} (the mean cancels)"

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """float32 [Q]: 2 on average for independent standard normal vectors."""
        return (predictions.float() - targets.float()).square().mean(-1)


class Contrastive(Distance):
    """Cross-entropy of finding each prediction's own target among all targets of the batch.

    InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) by the dot product of the prediction over sqrt(D) with the unit
    target, over a temperature. A prediction of unit RMS is thus compared by its cosine; a longer one is surer, a
    shorter one less sure. (Where all had one length, predictors spent directions on being unsure.) The wrong targets
    are the other targets of the same call: those of one micro-batch, of all ranks in training. Sentences of one
    document teach what tells its positions apart. A target with the text of the own one is none. Texts decide, and not
    vectors: those of a collapsed encoder are all equal, which would leave no wrong target and a loss of 0.

    Args:
        temperature: what the products are divided by.
        near: targets up to so many positions away in the text are no wrong ones. A context, which a prediction
            resembles for good reason, consists of them; where its turns are never what comes next, 0 is harder.
    """

    among_targets = True
    by_text = True
    reads = ("objective.contrastive_temperature", "objective.contrastive_near")
    uncentred = "takes the length from predictions, which optimization.loss_fn={} looks at"

    def __init__(self, *, temperature: float = 0.1, near: int = 8) -> None:
        self.temperature, self.near = temperature, near

    @classmethod
    def of(cls, settings: Settings) -> Self:
        objective = settings.objective
        return cls(temperature=objective.contrastive_temperature, near=objective.contrastive_near)

    def __call__(
        self,
        predictions: Tensor,
        targets: Tensor,
        numbers: Tensor | None = None,
        texts: Tensor | None = None,
        *,
        first: int = 0,
    ) -> Tensor:
        """Values, at least 0; log N on average for predictions that know nothing of nearly orthogonal targets.

        Args:
            predictions: [Q, D], not normalised.
            targets: [N, D], among them those of the predictions, in their order.
            numbers: int64 [N], the targets' positions in the text; those up to `near` away are no wrong targets, nor is
                one that stands in the batch again for another prediction.
            texts: int64 [N], equal for targets of the same text, which are no wrong targets of each other.
            first: the row of the first prediction's target.

        Returns:
            float32 [Q].
        """
        ours = predictions.float() * predictions.shape[-1] ** -0.5
        theirs = functional.normalize(targets.float(), dim=-1)
        own = torch.arange(first, first + len(ours), device=ours.device)
        left_out = torch.zeros(len(own), len(theirs), dtype=torch.bool, device=ours.device)
        if texts is not None:
            same = texts.to(ours.device)
            left_out |= same[own, None] == same[None, :]
        if numbers is not None:
            positions = numbers.to(ours.device)
            left_out |= (positions[own, None] - positions[None, :]).abs() <= self.near
        left_out[torch.arange(len(own)), own] = False
        scores = (ours @ theirs.T / self.temperature).masked_fill(left_out, -torch.inf)
        return functional.cross_entropy(scores, own, reduction="none")

    def over_ranks(
        self, predictions: Tensor, targets: Tensor, numbers: Tensor | None = None, texts: Tensor | None = None
    ) -> Tensor:
        """Values of this rank's predictions, float32 [Q], among the targets [Q, D] of all ranks."""
        everyone, first = rows_of_all_ranks(targets.float())
        numbers, texts = (
            None if one is None else rows_of_all_ranks(one.to(targets.device))[0] for one in (numbers, texts)
        )
        return self(predictions, everyone, numbers, texts, first=first)


DISTANCES: dict[str, type[Distance]] = {
    "smooth_l1": SmoothL1,
    "cosine": Cosine,
    "mse": MSE,
    "contrastive": Contrastive,
}
"""Built-in distances by `optimization.loss_fn`."""


def make_distance(settings: Settings) -> Distance:
    """The distance that the settings choose."""
    chosen: type[Distance] = DISTANCE.part(settings.optimization.loss_fn)
    return chosen.of(settings)


def measured(
    distance: Callable[..., Tensor],
    predictions: Tensor,
    targets: Tensor,
    numbers: Tensor | None = None,
    texts: Tensor | None = None,
) -> Tensor:
    """A distance's values [Q]; one that looks at other targets gets their positions in the text, [Q], and with
    `by_text` the numbers of their texts, [Q].

    The distance may be a plain function too, which somebody put into a run.
    """
    if getattr(distance, "by_text", False):
        return distance(predictions, targets, numbers, texts)
    if getattr(distance, "among_targets", False):
        return distance(predictions, targets, numbers)
    return distance(predictions, targets)


class Centre:
    """A running mean of unit targets, subtracted from both sides before the distance.

    What all sentences share carries no information about the next one; without it the distance is spent on what
    tells sentences apart. For distances of directions only: in `mse` it would cancel. The mean is over all ranks'
    targets, so it is equal everywhere.

    Attributes:
        mean: float32 [D].
        momentum: of the running mean, per update.
    """

    def __init__(self, dim: int, momentum: float = 0.9) -> None:
        self.mean = torch.zeros(dim)
        self.momentum = momentum
        self.started = False

    def update(self, total: Tensor, count: int) -> None:
        """Move towards the mean of one step's unit targets, given their sum [D] and their number."""
        mean = (total / count).to(self.mean)
        self.mean = torch.lerp(mean, self.mean, self.momentum) if self.started else mean
        self.started = True

    def apply(self, x: Tensor) -> Tensor:
        """Unit vectors minus the mean, [Q, D]."""
        return functional.normalize(x.float(), dim=-1) - self.mean.to(x.device)

    def state_dict(self) -> dict[str, Tensor | bool]:
        """What a checkpoint keeps."""
        return {"mean": self.mean, "started": self.started}

    def load_state_dict(self, state: dict[str, Tensor | bool]) -> None:
        """Take back what `state_dict` gave.

        Raises:
            LangJepaError: it is of another width, or something else.
        """
        mean, started = state.get("mean"), state.get("started")
        if not isinstance(mean, Tensor) or mean.shape != self.mean.shape or not isinstance(started, bool):
            raise LangJepaError(f"the centre of the targets does not fit these settings: {str(state)[:200]}")
        self.mean, self.started = mean, started
