"""The training objective of an encoder: prediction distance plus regularizer.

loss = prediction_weight * mean distance(prediction, target) + regularizer_weight * regularizer(embeddings)

The embeddings are those of the context. If the gradient also flows into the targets, they are a second view: SIGReg and
VICReg's variance term are then averaged over the two views, and VICReg's covariance term is summed over them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.models.jepa import Output
from lang_jepa.objectives.distance import Centre, Distance, make_distance, measured
from lang_jepa.objectives.reduction import sum_over_ranks, world_size
from lang_jepa.objectives.regularizer import make_regularizer, over_views
from lang_jepa.settings.encoder import Settings


class EncoderLoss(NamedTuple):
    """Loss of one micro-batch, and statistics to log. All but `total` are detached.

    Attributes:
        total: scalar to call backward on.
        distance: sum of the distances of this rank's predictions.
        regularizer: the regularizer's value (0 without one).
        moments: float64 [3, D], of this rank's un-normalised online embeddings: their number, sum, and sum of squares.
        cosine: sum of the cosine similarities between predictions and targets.
        targets_norm, predictions_norm: sums of the norms before normalisation.
    """

    total: Tensor
    distance: Tensor
    regularizer: Tensor
    moments: Tensor
    cosine: Tensor
    targets_norm: Tensor
    predictions_norm: Tensor


class Objective:
    """Weighted sum of a distance and a regularizer.

    Args:
        settings: `optimization.loss_fn` chooses the distance; the section `objective` sets everything else.

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
        """Whether the distance needs to know which targets have the same text."""
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
        positions: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> EncoderLoss:
        """Return the loss of one micro-batch.

        Args:
            output: output of the online model, with predictions [Q, D].
            targets: [Q, D], un-normalised; without gradient, or the output's own.
            count: number of predictions in the optimizer step, over all micro-batches and ranks. Dividing by it weights
                micro-batches and ranks of unequal size by their predictions; the factor world_size undoes DDP's mean.
            micro_batches: micro-batches in the step, over which the regularizer is averaged.
            regularizer_weight: its weight in this step (None: that of the first step, from the settings).
            step: optimizer step, from which SIGReg draws its directions.
            positions, texts: as in `distances`; texts are `Targets.texts`.

        Raises:
            LangJepaError: predictions and targets differ in shape, or the distance does not return [Q].
        """
        predictions = output.predictions
        if predictions.shape != targets.shape:
            raise LangJepaError(
                f"the predictor gave {tuple(predictions.shape)}, expected {tuple(targets.shape)}, as targets"
            )
        if self.centre is not None:
            self._move_centre(targets)
        distances = self.distances(predictions, targets, positions, texts, over_ranks=True)
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
            return EncoderLoss(
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
        positions: Tensor | None = None,
        texts: Tensor | None = None,
        *,
        over_ranks: bool = False,
    ) -> Tensor:
        """Return the distance of each prediction to its target, float32 [Q], both centred if there is a centre.

        Args:
            predictions, targets: [Q, D], un-normalised.
            positions, texts: int64 [Q], the targets' positions in the text, and equal indices for equal texts.
            over_ranks: distances that use the other targets too take those of all ranks.
        """
        if self.centre is not None:
            predictions, targets = self.centre.apply(predictions), self.centre.apply(targets)
        if over_ranks and isinstance(self.distance, Distance):
            return self.distance.over_ranks(predictions, targets, positions, texts)
        return measured(self.distance, predictions, targets, positions, texts)

    @torch.no_grad()
    def _move_centre(self, targets: Tensor) -> None:
        """Update the running mean with the targets of all ranks."""
        assert self.centre is not None
        unit = functional.normalize(targets.float(), dim=-1)
        total = sum_over_ranks(torch.cat([unit.sum(0), unit.new_tensor([float(len(unit))])]))
        self.centre.update(total[:-1], round(float(total[-1])))


def _moments(x: Tensor) -> Tensor:
    """Return number, sum and sum of squares of the rows, float64 [3, D]."""
    x = x.double()
    return torch.stack([x.new_full(x.shape[1:], float(len(x))), x.sum(0), x.square().sum(0)])


def spread_of(moments: Tensor) -> float:
    """Return the standard deviation, averaged over dimensions, from summed moments [3, D]."""
    count, total, squares = moments
    return float((squares / count - (total / count).square()).clamp(min=0).sqrt().mean())
