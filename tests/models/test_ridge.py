"""The transformer that starts as a closed-form regression."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import PENALTIES, context_means
from lang_jepa.models.context import Context
from lang_jepa.models.predictors.concept_transformer import RidgeTransformer
from lang_jepa.training.start import start_model
from lang_jepa.training.train import train
from tiny import assert_same_run, tiny_settings, train_in_two_parts

DIM, WINDOW = 12, 8
RIDGE = ("data.context=concepts", "model.predictor=ridge_transformer")


def context(length: int = 11) -> Context:
    states = torch.randn(length, DIM, generator=torch.Generator().manual_seed(1))
    windows = torch.arange(length)[:, None] + torch.arange(1 - WINDOW, 1)
    return Context(states, torch.arange(length), windows.clamp(min=-1), torch.tensor([length]))


def test_what_the_regression_reads() -> None:
    """The last vector, the one before it, and the means that the baselines take, of whatever is there."""
    torch.manual_seed(0)
    given = context()
    unit = functional.normalize(given.states, dim=-1).numpy()
    rows = [np.array([row for row in window if row >= 0]) for window in given.windows.tolist()]
    last, of_three, of_eight = context_means(rows, unit)
    before = np.stack([unit[own[-2]] if len(own) > 1 else np.zeros(DIM, dtype=np.float32) for own in rows])
    model = RidgeTransformer(DIM, 1, 3, WINDOW)
    found = model.features(given).unflatten(1, (4, DIM)).numpy()
    np.testing.assert_allclose(found, np.stack([last, before, of_three, of_eight], axis=1), atol=1e-6)
    short = Context(given.states[:3], given.segments[:3], given.windows[:3, -3:], torch.tensor([3]))
    torch.testing.assert_close(model.features(short), model.features(given)[:3])


def test_before_the_first_step_it_is_the_ridge_regression(tmp_path: Path) -> None:
    """As scikit-learn solves it, on the whole sample, with one of the penalties; nearer to the targets than their mean."""
    from sklearn.linear_model import Ridge

    settings = tiny_settings(tmp_path / "run", *RIDGE, "model.score_sample=100000")
    corpus = prepare(settings.data)
    view = make_plain_view(settings, corpus.train, corpus.tokenizer)
    jepa = start_model(settings, corpus.tokenizer, view).eval()
    predictor = jepa.predictor
    batch = view.batch(np.arange(view.count))
    with torch.no_grad():
        given, _ = jepa.read(batch.contexts)
        x = predictor.features(given)
        targets = functional.normalize(jepa.encoder.embed_targets(batch.targets), dim=-1)
        made = predictor(given) / settings.model.embed_dim**0.5
    solved = {level: Ridge(alpha=level).fit(x.double(), targets.double()) for level in PENALTIES}
    far = [np.abs(one.predict(x.double()) - made.numpy()).max() for one in solved.values()]
    assert min(far) < 1e-4
    assert (made - targets).square().sum() < (targets.mean(0) - targets).square().sum()


def test_all_of_it_learns_and_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    train(tiny_settings(tmp_path / "whole", *RIDGE))
    train_in_two_parts(tiny_settings(tmp_path / "parts", *RIDGE), stop=4)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_it_has_one_horizon(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"leave data\.horizons at 1"):
        tiny_settings(tmp_path / "run", *RIDGE, "data.horizons=2")


def test_weights_get_a_gradient() -> None:
    model, given = RidgeTransformer(DIM, 1, 3, WINDOW), context()
    target = functional.normalize(torch.randn(11, DIM, generator=torch.Generator().manual_seed(2)), dim=-1)
    start = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        loss = (1 - functional.cosine_similarity(model(given), target)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not [name for name, weight in model.named_parameters() if torch.equal(weight, start[name])]


def test_a_regression_over_another_encoders_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"leave objective\.teacher_path out"):
        tiny_settings(
            tmp_path / "run",
            *RIDGE,
            "objective.target=frozen",
            "objective.teacher_path=x",
            "objective.regularizer=none",
        )


@pytest.mark.parametrize("batch", [2, 64])
def test_the_penalty_does_not_depend_on_the_batch(batch: int, tmp_path: Path) -> None:
    """With few passages as with many: what is solved is the same up to the order of the pairs."""
    settings = tiny_settings(tmp_path / "run", *RIDGE, "data.limit=30", f"data.batch_size={batch}")
    corpus = prepare(settings.data)
    jepa = start_model(settings, corpus.tokenizer, make_plain_view(settings, corpus.train, corpus.tokenizer))
    assert jepa.predictor.linear.weight.norm() / jepa.predictor.linear.weight.shape[0] ** 0.5 > 0.05
