"""Distances between predictions and targets, one value per prediction.

`smooth_l1` and `cosine` L2-normalise both sides first, so a predictor cannot lower its loss by shrinking.
`mse` compares the vectors unscaled, which needs a regularizer or a frozen target to keep their size.
Only `contrastive` uses the other targets too, and the length of predictions but not of targets.
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
    """A function that gives one value for each prediction and its target.

    A custom class is constructed without arguments, or with `settings=` if it has a class `Settings`.

    Attributes:
        of_directions: it does not depend on the length of either side.
        among_targets: it uses the other targets of the batch, and is also called with all targets' positions.
        by_text: with `among_targets`, it is also called with a number for the text of each target (`texts`).
        uncentred: why a running mean may not be subtracted from both sides, as text; {} is the distance's name.
        reads: settings that have an effect with this distance but not with every other.
    """

    of_directions: ClassVar[bool] = True
    among_targets: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    uncentred: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Construct the distance from the settings of a run."""
        return cls(**DISTANCE.options(cls, settings.own_distance))

    @abstractmethod
    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return float32 [Q] for predictions [Q, D] and targets [Q, D], neither normalised."""

    def over_ranks(
        self, predictions: Tensor, targets: Tensor, positions: Tensor | None = None, texts: Tensor | None = None
    ) -> Tensor:
        """Return the same in training, where a distance that uses other targets may take those of all ranks."""
        return measured(self, predictions, targets, positions, texts)


class SmoothL1(Distance):
    """Smooth-L1 loss of the vectors scaled to unit RMS, averaged over dimensions.

    Unit vectors are multiplied by sqrt(D) first. Without that, differences above 1 do not occur in practice, the
    linear part is not reached, and the loss is (1 - cosine) / D: the cosine distance at a vanishing scale. I-JEPA's
    LayerNorm of the targets (arXiv 2301.08243) has the same effect.
    """

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return float32 [Q]: 0 for equal directions, (2 sqrt(D) - 0.5) / D for opposite one-hot vectors."""
        scale = predictions.shape[-1] ** 0.5
        ours, theirs = (functional.normalize(x.float(), dim=-1) * scale for x in (predictions, targets))
        return functional.smooth_l1_loss(ours, theirs, reduction="none").mean(-1)


class Cosine(Distance):
    """1 - cosine similarity."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return float32 [Q] in [0, 2]."""
        return 1.0 - functional.cosine_similarity(predictions.float(), targets.float(), dim=-1)


class MSE(Distance):
    """Squared difference of the un-normalised vectors, averaged over dimensions (LeJEPA, arXiv 2511.08544)."""

    of_directions = False
    uncentred = "changes nothing under optimization.loss_fn={} (the mean cancels)"

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return float32 [Q]: 2 on average for independent standard normal vectors."""
        return (predictions.float() - targets.float()).square().mean(-1)


class Contrastive(Distance):
    """Cross-entropy of identifying each prediction's own target among all targets of the batch.

    InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) with the logits (prediction / sqrt(D)) . unit target /
    temperature. A prediction of unit RMS is thus compared by cosine similarity; a longer one is more confident, a
    shorter one less. (With one length for all, predictors gave up directions to express uncertainty.) The negatives are
    the other targets of the same call: those of one micro-batch, of all ranks in training. Negatives from the same
    document teach what tells its positions apart. Targets with the text of a prediction's own target are not negatives.
    (Texts decide, not vectors: a collapsed encoder's are all equal, which would leave no negatives and a loss of 0.)

    Args:
        temperature: divisor of the logits.
        near: targets up to this many positions away in the text are not negatives: they make up the context, which a
            prediction rightly resembles. 0 is harder if what was just said never comes next, as in dialogues.
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
        positions: Tensor | None = None,
        texts: Tensor | None = None,
        *,
        first: int = 0,
    ) -> Tensor:
        """Return the cross-entropies, at least 0; log N on average for uninformed predictions, targets near orthogonal.

        Args:
            predictions: [Q, D], un-normalised.
            targets: [N, D], among them those of the predictions, consecutive and in the same order.
            positions: int64 [N], the targets' positions in the text. Targets up to `near` away are not negatives, and
                so neither is the same target occurring again for another prediction.
            texts: int64 [N], equal for targets with the same text, which are not negatives of each other.
            first: row of the first prediction's target.

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
        if positions is not None:
            at = positions.to(ours.device)
            left_out |= (at[own, None] - at[None, :]).abs() <= self.near
        left_out[torch.arange(len(own)), own] = False
        scores = (ours @ theirs.T / self.temperature).masked_fill(left_out, -torch.inf)
        return functional.cross_entropy(scores, own, reduction="none")

    def over_ranks(
        self, predictions: Tensor, targets: Tensor, positions: Tensor | None = None, texts: Tensor | None = None
    ) -> Tensor:
        """Return the values of this rank's predictions, float32 [Q], among the targets of all ranks."""
        everyone, first = rows_of_all_ranks(targets.float())
        positions, texts = (
            None if one is None else rows_of_all_ranks(one.to(targets.device))[0] for one in (positions, texts)
        )
        return self(predictions, everyone, positions, texts, first=first)


DISTANCES: dict[str, type[Distance]] = {
    "smooth_l1": SmoothL1,
    "cosine": Cosine,
    "mse": MSE,
    "contrastive": Contrastive,
}
"""Built-in distances, by the value of `optimization.loss_fn`."""


def make_distance(settings: Settings) -> Distance:
    """Construct the distance that the settings choose."""
    chosen: type[Distance] = DISTANCE.part(settings.optimization.loss_fn)
    return chosen.of(settings)


def measured(
    distance: Callable[..., Tensor],
    predictions: Tensor,
    targets: Tensor,
    positions: Tensor | None = None,
    texts: Tensor | None = None,
) -> Tensor:
    """Call a distance, and return its values [Q]. One that uses other targets also gets their positions in the text,
    [Q], and with `by_text` the indices of their texts, [Q].

    The distance may also be a plain function that a user put into a run.
    """
    if getattr(distance, "by_text", False):
        return distance(predictions, targets, positions, texts)
    if getattr(distance, "among_targets", False):
        return distance(predictions, targets, positions)
    return distance(predictions, targets)


class Centre:
    """A running mean of unit targets, subtracted from both sides before the distance.

    What all sentences share carries no information about the next one; without it, the distance measures only what
    tells sentences apart. Only for distances of directions: in `mse` the mean would cancel. It is taken over the
    targets of all ranks, so it is the same on each.

    Attributes:
        mean: float32 [D].
        momentum: momentum of the running mean, per update.
    """

    def __init__(self, dim: int, momentum: float = 0.9) -> None:
        self.mean = torch.zeros(dim)
        self.momentum = momentum
        self.started = False

    def update(self, total: Tensor, count: int) -> None:
        """Move towards the mean of one step's unit targets, given their sum [D] and count."""
        mean = (total / count).to(self.mean)
        self.mean = torch.lerp(mean, self.mean, self.momentum) if self.started else mean
        self.started = True

    def apply(self, x: Tensor) -> Tensor:
        """Normalise vectors [Q, D] to unit length and subtract the mean."""
        return functional.normalize(x.float(), dim=-1) - self.mean.to(x.device)

    def state_dict(self) -> dict[str, Tensor | bool]:
        """Return the state that a checkpoint stores."""
        return {"mean": self.mean, "started": self.started}

    def load_state_dict(self, state: dict[str, Tensor | bool]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            LangJepaError: the mean has a different width, or the state is something else.
        """
        mean, started = state.get("mean"), state.get("started")
        if not isinstance(mean, Tensor) or mean.shape != self.mean.shape or not isinstance(started, bool):
            raise LangJepaError(f"the centre of the targets does not fit these settings: {str(state)[:200]}")
        self.mean, self.started = mean, started
