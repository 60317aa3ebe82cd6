"""The transformer over the window of each prediction: it starts as the mean, and knows order and speakers."""

from dataclasses import replace

import pytest
import torch

from lang_jepa.models.context import Context
from lang_jepa.models.predictors.concept_transformer import RecencyTransformer
from lang_jepa.models.predictors.turns import TurnTransformer

DIM, WINDOW = 12, 4


def model() -> TurnTransformer:
    torch.manual_seed(0)
    return TurnTransformer(DIM, 2, 3, WINDOW).eval()


def trained() -> TurnTransformer:
    """One whose correction and embeddings are not zero any more."""
    one = model()
    with torch.no_grad():
        for parameter in (*one.output.parameters(), one.positions, one.roles, one.asked, one.same):
            parameter.normal_()
    return one


def context(length: int = 7) -> Context:
    states = torch.randn(length, DIM, generator=torch.Generator().manual_seed(1))
    windows = torch.arange(length)[:, None] + torch.arange(1 - WINDOW, 1)
    speakers, asked = torch.arange(length) % 2 + 1, (torch.arange(length) + 1) % 2 + 1
    return Context(
        states,
        torch.arange(length),
        windows.clamp(min=-1),
        torch.tensor([length]),
        speakers=speakers,
        asked=asked,
    )


def test_it_starts_as_the_recency_weighted_mean() -> None:
    given = context()
    torch.manual_seed(0)
    torch.testing.assert_close(model()(given), RecencyTransformer(DIM, 1, 3, WINDOW).eval()(given))


def test_a_prediction_depends_on_its_window_alone() -> None:
    given, one = context(), trained()
    whole = one(given)
    for query in range(len(whole)):
        rows = [row for row in given.windows[query].tolist() if row >= 0]
        windows = torch.tensor([[*range(len(rows))]])
        alone = Context(given.states[rows], torch.arange(len(rows)), windows, torch.tensor([len(rows)]))
        assert given.speakers is not None
        assert given.asked is not None
        alone = replace(alone, speakers=given.speakers[rows], asked=given.asked[query : query + 1])
        torch.testing.assert_close(one(alone)[0], whole[query])


@pytest.mark.parametrize("change", ["order", "speakers", "asked", "unknown"])
def test_order_and_speakers_change_a_prediction(change: str) -> None:
    given, one = context(), trained()
    assert given.speakers is not None
    assert given.asked is not None
    other = {
        "order": replace(given, windows=given.windows[:, [1, 0, 2, 3]]),
        "speakers": replace(given, speakers=3 - given.speakers),
        "asked": replace(given, asked=3 - given.asked),
        "unknown": replace(given, asked=torch.zeros_like(given.asked)),
    }[change]
    added = (one(given) - model()(given)) - (one(other) - model()(other))  # the mean set aside
    assert float(added[4:].detach().abs().max()) > 1e-3


def test_who_has_a_name_matters_only_as_the_same_one() -> None:
    """Anna and Ben are to it what Carla and Dora are; a third speaker is not the one who is asked."""
    given, one = context(), trained()
    assert given.speakers is not None
    assert given.asked is not None
    named = replace(given, speakers=given.speakers + 10, asked=given.asked + 10)
    others = replace(given, speakers=given.speakers + 90, asked=given.asked + 90)
    torch.testing.assert_close(one(named), one(others))
    third = replace(named, asked=torch.full_like(given.asked, 200))
    assert not torch.allclose(one(named), one(third))


def test_all_of_it_learns_once_it_has_moved() -> None:
    one, given = trained(), context()
    one(given).square().sum().backward()
    silent = [name for name, part in one.named_parameters() if part.grad is None or not part.grad.abs().sum() > 0]
    assert silent == []
