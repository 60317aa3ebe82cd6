"""The sum that is minimised: its parts and weights, and micro-batches against one batch."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.models.jepa import Output
from lang_jepa.objectives.distance import DISTANCES
from lang_jepa.objectives.objective import Objective
from lang_jepa.objectives.regularizer import VICReg
from lang_jepa.settings.encoder import Settings

DIM = 8


def settings(loss_fn: str = "smooth_l1", **objective: Any) -> Settings:
    return Settings.model_validate(
        {
            "model": {"embed_dim": DIM, "pred_dim": DIM},
            "optimization": {"loss_fn": loss_fn},
            "objective": objective,
        }
    )


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.2


def output(count: int = 6, segments: int = 9, seed: int = 0) -> Output:
    return Output(rows(count, seed).requires_grad_(), rows(segments, seed + 1).requires_grad_())


@pytest.mark.parametrize("loss_fn", sorted(DISTANCES))
def test_mean_distance_without_anything_else(loss_fn: str) -> None:
    made, targets = output(), rows(6, 5)
    loss = Objective(settings(loss_fn))(made, targets, count=6)
    torch.testing.assert_close(loss.total, DISTANCES[loss_fn]()(made.predictions, targets).mean())
    loss.total.backward()
    assert made.predictions.grad.abs().sum() > 0
    assert made.embeddings.grad is None
    assert loss.regularizer.item() == 0.0


def test_weights_of_the_sum() -> None:
    chosen = {
        "regularizer": "vicreg",
        "regularizer_weight": 0.3,
        "prediction_weight": 5.0,
        "vicreg_variance": 2.0,
        "vicreg_covariance": 7.0,
    }
    made, targets = output(), rows(6, 5)
    loss = Objective(settings("cosine", **chosen))(made, targets, count=6, micro_batches=4)
    penalty = VICReg(2.0, 7.0)(made.embeddings)
    distance = DISTANCES["cosine"]()(made.predictions, targets)
    torch.testing.assert_close(loss.total, 5.0 * distance.mean() + 0.3 * penalty / 4)
    torch.testing.assert_close(loss.regularizer, penalty.detach())
    loss.total.backward()
    assert made.embeddings.grad.abs().sum() > 0


def test_metrics_are_sums_without_gradient() -> None:
    made, targets = output(), rows(6, 5)
    loss = Objective(settings())(made, targets, count=99)
    predictions = made.predictions.detach()
    expected = {
        "distance": DISTANCES["smooth_l1"]()(predictions, targets).sum(),
        "cosine": functional.cosine_similarity(predictions, targets).sum(),
        "targets_norm": targets.square().sum(1).sqrt().sum(),
        "predictions_norm": predictions.square().sum(1).sqrt().sum(),
    }
    for name, value in expected.items():
        assert not getattr(loss, name).requires_grad
        torch.testing.assert_close(getattr(loss, name), value)


# The contrastive distance looks at all targets of a micro-batch, so that its size counts.
@pytest.mark.parametrize("loss_fn", sorted(DISTANCES.keys() - {"contrastive"}))
def test_ragged_micro_batches_equal_one_batch(loss_fn: str) -> None:
    """Each prediction weighs the same, whatever the size of its micro-batch."""
    weight = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(3))
    inputs, targets = rows(12, 0), rows(12, 1)
    gradients, losses = [], []
    for sizes in ([12], [1, 8, 3]):
        objective = Objective(settings(loss_fn))
        learnt = weight.clone().requires_grad_()
        total = 0.0
        for x, y in zip(inputs.split(sizes), targets.split(sizes), strict=True):
            loss = objective(Output(x @ learnt, x), y, count=12, micro_batches=len(sizes))
            loss.total.backward()
            total += loss.total.item()
        gradients.append(learnt.grad)
        losses.append(total)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert losses[0] == pytest.approx(losses[1])


def test_regularizer_of_micro_batches_is_their_mean() -> None:
    parts = [rows(5, seed) for seed in (0, 1, 2)]
    objective = Objective(settings(regularizer="vicreg"))
    flat = rows(2, 9)
    with_penalty = sum(objective(Output(flat, part), flat, count=6, micro_batches=3).total for part in parts)
    mean = sum(VICReg()(part) for part in parts) / 3
    torch.testing.assert_close(with_penalty, mean, atol=1e-5, rtol=1e-5)


def test_centred_targets() -> None:
    """The mean of the unit targets leaves both sides before the distance, and moves with later batches."""
    objective = Objective(settings("cosine", center_targets=True))
    made, targets = output(), rows(6, 5)
    unit = functional.normalize(targets, dim=-1)
    mean = unit.mean(0)
    loss = objective(made, targets, count=6)
    ours = functional.normalize(made.predictions, dim=-1) - mean
    torch.testing.assert_close(loss.total, (1 - functional.cosine_similarity(ours, unit - mean)).mean())
    torch.testing.assert_close(objective.centre.mean, mean)
    later = rows(4, 6)
    objective(output(4), later, count=4)
    kept = objective.centre.momentum
    expected = kept * mean + (1 - kept) * functional.normalize(later, dim=-1).mean(0)
    torch.testing.assert_close(objective.centre.mean, expected)
    assert not objective.centre.mean.requires_grad
    # What is logged stays comparable: it is the cosine of the vectors as they are.
    torch.testing.assert_close(loss.cosine, functional.cosine_similarity(made.predictions, targets).sum().detach())


def test_no_centre_unless_asked_for() -> None:
    assert Objective(settings()).centre is None


def test_the_weight_of_a_step_takes_the_place_of_the_settings() -> None:
    objective = Objective(settings(regularizer="vicreg", regularizer_weight=0.5))
    made, targets = output(), rows(6, 5)
    bare = objective(made, targets, count=6, regularizer_weight=0.0)
    step = objective(made, targets, count=6, regularizer_weight=0.2)
    torch.testing.assert_close(step.total - bare.total, 0.2 * step.regularizer)
    assert step.regularizer.item() > 0


def test_held_out_distances_are_those_that_training_minimises() -> None:
    objective = Objective(settings(center_targets=True))
    made, targets = output(), rows(6, 5)
    loss = objective(made, targets, count=6)
    distances = objective.distances(made.predictions, targets)
    torch.testing.assert_close(distances.mean(), loss.total)
    assert not torch.allclose(distances, objective.distance(made.predictions, targets))
