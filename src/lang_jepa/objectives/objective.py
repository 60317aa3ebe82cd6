"""The sum that is minimised.

loss = prediction_weight * mean distance(prediction, target) + regularizer_weight * regularizer(embeddings)

The embeddings are those of the context, or, where the gradient flows into the targets, those of both views: SIGReg and
VICReg's variance term are then the mean over them, VICReg's covariance term is their sum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.models.jepa import Output
from lang_jepa.objectives.distance import Centre, Distance, make_distance, measured
from lang_jepa.objectives.reduction import sum_over_ranks, world_size
from lang_jepa.objectives.regularizer import make_regularizer, over_views
from lang_jepa.settings.encoder import Settings


@dataclass(frozen=True, slots=True)
class Loss:
    """One micro-batch's loss and what is worth logging about it.

    Attributes:
        total: scalar to call backward on.
        distance: sum of the distances of this rank's predictions, detached.
        regularizer: the regularizer's value, detached (0 without one).
        moments: float64 [3, D], of this rank's un-normalised online embeddings: their number, sum, and sum of squares.
        cosine: sum of the cosines between predictions and targets, detached.
        targets_norm: sum of the targets' norms before normalisation, detached.
        predictions_norm: sum of the predictions' norms before normalisation, detached.
    """

    total: Tensor
    distance: Tensor
    regularizer: Tensor
    moments: Tensor
    cosine: Tensor
    targets_norm: Tensor
    predictions_norm: Tensor


class Objective:
    """Distance and regularizer with their weights.

    Args:
        settings: `optimization.loss_fn` chooses the distance, `objective` everything else.

    Raises:
        LangJepaError: see `make_regularizer`.
    """

    def __init__(self, settings: Settings) -> None:
        self.distance: Callable[..., Tensor] = make_distance(settings)
        self.regularizer = make_regularizer(settings)
        self.weights = settings.objective
        self.centre = Centre(settings.model.embed_dim) if settings.objective.center_targets else None

    @property
    def by_text(self) -> bool:
        """Whether the distance wants to know which targets have the same text."""
        return bool(getattr(self.distance, "by_text", False))

    def __call__(
        self,
        output: Output,
        targets: Tensor,
        *,
        count: int,
        micro_batches: int = 1,
        regularizer_weight: float | None = None,
        step: int = 0,
        numbers: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> Loss:
        """Loss of one micro-batch.

        Args:
            output: of the online model, predictions [Q, D].
            targets: [Q, D], un-normalised; without gradient, or the output's own.
            count: predictions in the whole optimizer step, over all micro-batches and ranks. Dividing by it makes
                ragged micro-batches and ranks weigh by their predictions; the factor world_size undoes the average
                that DDP takes over ranks.
            micro_batches: micro-batches in the step, over which the regularizer is averaged.
            regularizer_weight: of this step (None: the settings' at the first step).
            step: optimizer step, from which SIGReg draws its directions.
            numbers, texts: int64 [Q], the targets' positions in the text, and `Targets.texts`, for distances that look
                at other targets too.
        """
        predictions = output.predictions
        if predictions.shape != targets.shape:
            raise LangJepaError(
                f"the predictor gave {tuple(predictions.shape)}, expected {tuple(targets.shape)}, as targets"
            )
        if self.centre is not None:
            self._move_centre(targets)
        distances = self.distances(predictions, targets, numbers, texts, over_ranks=True)
        if distances.shape != predictions.shape[:1]:
            wanted = f"expected ({len(predictions)},): a value for each prediction"
            raise LangJepaError(f"{type(self.distance).__name__} gave {tuple(distances.shape)}, {wanted}")
        total = self.weights.prediction_weight * distances.sum() * (world_size() / count)
        regularizer = total.new_zeros(())
        if self.regularizer is not None:
            views = [output.embeddings] if output.targets is None else [output.embeddings, output.targets]
            regularizer = over_views(self.regularizer, views, step)
            weight = self.weights.regularizer_weight if regularizer_weight is None else regularizer_weight
            total = total + weight * regularizer / micro_batches
        with torch.no_grad():
            return Loss(
                total=total,
                distance=distances.detach().sum(),
                regularizer=regularizer.detach(),
                moments=_moments(output.embeddings),
                cosine=functional.cosine_similarity(predictions.float(), targets.float(), dim=-1).sum(),
                targets_norm=targets.float().norm(dim=-1).sum(),
                predictions_norm=predictions.float().norm(dim=-1).sum(),
            )

    def distances(
        self,
        predictions: Tensor,
        targets: Tensor,
        numbers: Tensor | None = None,
        texts: Tensor | None = None,
        *,
        over_ranks: bool = False,
    ) -> Tensor:
        """Distance of each prediction to its target, float32 [Q]; of both minus the centre, where there is one.

        Args:
            predictions, targets: [Q, D], not normalised.
            numbers, texts: int64 [Q], the targets' positions in the text, and a number for the text of each.
            over_ranks: among the targets of all ranks, for distances that look at other targets.
        """
        if self.centre is not None:
            predictions, targets = self.centre.apply(predictions), self.centre.apply(targets)
        if over_ranks and isinstance(self.distance, Distance):
            return self.distance.over_ranks(predictions, targets, numbers, texts)
        return measured(self.distance, predictions, targets, numbers, texts)

    @torch.no_grad()
    def _move_centre(self, targets: Tensor) -> None:
        """Update the running mean with all ranks' targets."""
        assert self.centre is not None
        unit = functional.normalize(targets.float(), dim=-1)
        total = sum_over_ranks(torch.cat([unit.sum(0), unit.new_tensor([float(len(unit))])]))
        self.centre.update(total[:-1], round(float(total[-1])))


def _moments(x: Tensor) -> Tensor:
    """Number, sum and sum of squares of the rows, float64 [3, D]."""
    x = x.double()
    return torch.stack([x.new_full(x.shape[1:], float(len(x))), x.sum(0), x.square().sum(0)])


def spread_of(moments: Tensor) -> float:
    """Standard deviation, mean over dimensions, from summed moments [3, D]."""
    count, total, squares = moments
    return float((squares / count - (total / count).square()).clamp(min=0).sqrt().mean())
