"""The transformer that starts as the recency-weighted mean of its window."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lang_jepa.evaluation.baselines.copying import recency_mean
from lang_jepa.models.context import Context
from lang_jepa.models.predictors.concept_transformer import RecencyTransformer, recency_table

DIM, WINDOW = 12, 8


def model(seed: int = 0) -> RecencyTransformer:
    torch.manual_seed(seed)
    return RecencyTransformer(DIM, 1, 3, WINDOW).eval()


def context(length: int = 11) -> Context:
    states = torch.randn(length, DIM, generator=torch.Generator().manual_seed(1))
    windows = torch.arange(length)[:, None] + torch.arange(1 - WINDOW, 1)
    return Context(states, torch.arange(length), windows.clamp(min=-1), torch.tensor([length]))


def test_it_starts_as_the_mean_that_evaluation_scores() -> None:
    """Of 1, 2, ... 8 sentences, as the baseline of the retrieval task computes it."""
    given = context()
    unit = functional.normalize(given.states, dim=-1).numpy()
    rows = [np.array([row for row in window if row >= 0]) for window in given.windows.tolist()]
    expected = torch.from_numpy(recency_mean(rows, unit))
    made = model()(given)
    torch.testing.assert_close(functional.normalize(made, dim=-1), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(made.square().mean(1), torch.ones(len(made)))


def test_parts_of_the_mean() -> None:
    table = recency_table(WINDOW)
    torch.testing.assert_close(table[1:].sum(1), torch.ones(WINDOW))
    torch.testing.assert_close(table[2, :3], torch.tensor([0.2 + 0.4, 0.4, 0.0]))
    torch.testing.assert_close(table[8], torch.tensor([0.3625, 0.1625, 0.1625, *[0.0625] * 5]))


def test_windows_with_fewer_slots_are_read_from_the_last() -> None:
    """A batch whose longest context has three sentences comes with three slots."""
    given = context(3)
    short = Context(given.states, given.segments, given.windows[:, -3:], given.passages)
    one = model()
    with torch.no_grad():
        one.weights.normal_()
    torch.testing.assert_close(one(short), one(given))


def test_weights_by_distance_and_the_correction_are_learnt() -> None:
    one, given = model(), context()
    target = functional.normalize(torch.randn(11, DIM, generator=torch.Generator().manual_seed(2)), dim=-1)
    optimizer = torch.optim.AdamW(one.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (1 - functional.cosine_similarity(one(given), target)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    untouched = {name for name, weight in one.named_parameters() if torch.equal(weight, model().get_parameter(name))}
    assert untouched == set()
    assert one.weights.abs().min() > 0


@pytest.mark.parametrize("place", [0, 4, 10])
def test_nothing_later_is_read(place: int) -> None:
    given = context()
    states = given.states.clone().requires_grad_()
    output = model()(Context(states, given.segments, given.windows, given.passages))
    (gradient,) = torch.autograd.grad(output[place].sum(), states)
    read = (gradient.abs().sum(1) > 0).nonzero().flatten().tolist()
    assert read == list(range(max(0, place - WINDOW + 1), place + 1))
