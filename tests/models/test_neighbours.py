"""The predictor from neighbours: where it starts, what it reads, and that all of it learns."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.evaluation.baselines.copying import RECENCY as BASELINE
from lang_jepa.evaluation.baselines.copying import recency_mean
from lang_jepa.models.context import Context
from lang_jepa.models.predictors.neighbours import (
    RECENCY,
    NeighbourAttention,
    NeighbourGates,
    NeighbourWeights,
)

DIM, WINDOW = 12, 8


def predictor(*, trained: bool = False) -> NeighbourAttention:
    torch.manual_seed(0)
    model = NeighbourAttention(DIM, 3, WINDOW).eval()
    if trained:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def context(before: list[int], after: list[int], vectors: Tensor | None = None) -> Context:
    """One question over twenty vectors."""
    states = torch.randn(20, DIM, generator=torch.Generator().manual_seed(1)) if vectors is None else vectors
    slots = [-1] * (WINDOW - len(before)) + before + after + [-1] * (WINDOW - len(after))
    return Context(states, torch.arange(20), torch.tensor([slots]), torch.tensor([20]))


def test_it_starts_as_the_recency_weighted_mean() -> None:
    assert dict(RECENCY) == BASELINE
    made = context(list(range(2, 10)), [])
    space = functional.normalize(made.states, dim=-1).numpy()
    expected = recency_mean([np.arange(2, 10)], space)
    found = functional.normalize(predictor()(made), dim=-1).detach().numpy()
    assert np.abs(found - expected).max() < 1e-6
    mirrored = context([], list(range(9, 1, -1)))
    assert np.abs(functional.normalize(predictor()(mirrored), dim=-1).detach().numpy() - expected).max() < 1e-6
    both = predictor()(context(list(range(2, 10)), list(range(11, 19))))
    after = recency_mean([np.arange(18, 10, -1)], space)
    mean = (recency_sum(space, range(9, 1, -1)) + recency_sum(space, range(11, 19))) / 2
    assert np.abs(functional.normalize(both, dim=-1).detach().numpy() - mean / np.linalg.norm(mean)).max() < 1e-6
    assert np.abs(after - expected).max() > 0.1


def recency_sum(space: np.ndarray, nearest_first: range) -> np.ndarray:
    weights = [sum(w / span for span, w in RECENCY if i < span) for i in range(8)]
    return np.sum([w * space[row] for w, row in zip(weights, nearest_first, strict=True)], axis=0)


def test_weights_may_become_negative_and_are_others_with_both_sides() -> None:
    model = predictor()
    with torch.no_grad():
        model.weights.zero_()
        model.weights[0, WINDOW - 2 : WINDOW] = torch.tensor([-0.05, 0.1])
        model.weights[1, WINDOW] = 0.1
    x = functional.normalize(context([], []).states, dim=-1)
    one = functional.normalize(model(context([3, 4], [])), dim=-1)[0]
    torch.testing.assert_close(one, functional.normalize(x[4] - 0.5 * x[3], dim=-1))
    torch.testing.assert_close(functional.normalize(model(context([3, 4], [6])), dim=-1)[0], x[6])


def test_it_reads_its_window_and_nothing_else() -> None:
    made = context([3, 4, 5], [7, 8])
    states = made.states.clone().requires_grad_()
    output = predictor(trained=True)(context([3, 4, 5], [7, 8], states))
    (gradient,) = torch.autograd.grad(output.square().sum(), states)
    assert torch.nonzero(gradient.abs().sum(1)).flatten().tolist() == [3, 4, 5, 7, 8]


def test_lengths_do_not_matter_and_sides_do() -> None:
    model, made = predictor(trained=True), context([3, 4], [6, 7])
    scaled = context([3, 4], [6, 7], made.states * torch.linspace(0.5, 3, 20)[:, None])
    torch.testing.assert_close(model(scaled), model(made), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model(context([4, 3], [7, 6])), model(made), atol=1e-2)
    assert not torch.allclose(model(context([7, 6], [4, 3])), model(made), atol=1e-2)


def test_all_predictors_start_alike() -> None:
    made = context([1, 2, 3], [5])
    torch.testing.assert_close(NeighbourWeights(WINDOW)(made), predictor()(made))
    torch.testing.assert_close(NeighbourWeights(WINDOW)(made), NeighbourGates(WINDOW)(made))
    assert NeighbourWeights(WINDOW)(context([], [])).tolist() == [[0.0] * DIM]


def gates() -> NeighbourGates:
    torch.manual_seed(0)
    model = NeighbourGates(WINDOW)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def test_gates_read_cosines_of_neighbours_and_at_no_direction() -> None:
    """A rotation of the space rotates the prediction; another neighbour changes the weights of the rest."""
    model, made = gates(), context([1, 2, 3], [5, 6])
    rotation = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(2)))[0]
    turned = context([1, 2, 3], [5, 6], made.states @ rotation)
    torch.testing.assert_close(model(turned), model(made) @ rotation, atol=1e-4, rtol=1e-4)
    states = made.states.clone()
    states[1] = states[3]
    change = model(context([1, 2, 3], [5, 6], states)) - model(made)
    moved = functional.normalize(states[[1]], dim=-1) - functional.normalize(made.states[[1]], dim=-1)
    assert functional.cosine_similarity(change, moved).abs().item() < 0.99


def test_gates_read_their_window_and_nothing_else() -> None:
    made = context([3, 4, 5], [7, 8])
    states = made.states.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gates()(context([3, 4, 5], [7, 8], states)).square().sum(), states)
    assert torch.nonzero(gradient.abs().sum(1)).flatten().tolist() == [3, 4, 5, 7, 8]
    assert gates()(context([], [])).tolist() == [[0.0] * DIM]


def test_a_window_without_neighbours_is_finite() -> None:
    assert torch.isfinite(predictor(trained=True)(context([], []))).all()


@pytest.mark.parametrize("model", [predictor(), NeighbourGates(WINDOW)], ids=["attention", "gates"])
def test_every_weight_learns_from_the_second_step_on(model: NeighbourWeights) -> None:
    made = context([1, 2, 3], [5, 6])
    target = torch.randn(1, DIM)
    for _ in range(3):
        model.zero_grad()
        (model(made) - target).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.001 * parameter.grad
    silent = [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0]
    assert silent == []


def test_it_wants_one_vector_per_sentence() -> None:
    made = context([1], [])
    wrong = Context(made.states, made.segments, made.windows, torch.tensor([7]))
    with pytest.raises(ValueError, match="one vector per segment"):
        predictor()(wrong)
