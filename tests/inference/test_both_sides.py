"""Predictions from both sides equal those of training, and encoding each sentence once changes nothing."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_view
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model import ConceptModel
from tiny import MODES, VIEWS, noisy_model, tiny_settings

MASKED_CONCEPTS = (
    "data.view=masked_concepts",
    "data.context=window",
    "data.window_size=3",
    "data.passage_size=6",
    "model.predictor=neighbour_attention",
)
Make = Callable[..., ConceptModel]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(tiny_settings(tmp_path_factory.mktemp("run")).data)


@pytest.fixture(scope="module")
def make(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Make:
    def build(*overrides: str) -> ConceptModel:
        settings = tiny_settings(tmp_path_factory.mktemp("run"), *overrides)
        return noisy_model(settings, corpus)

    return build


def test_masked_concepts_are_predicted_as_in_training(make: Make, corpus: Corpus) -> None:
    """Every question of a batch, asked again with sentences as text: one side, the other, or both."""
    model, split = make(*MASKED_CONCEPTS), corpus.validation
    batch = make_view(model.settings, split, corpus.tokenizer).batch(np.arange(3))
    with torch.no_grad():
        made = model.jepa.eval()(batch.contexts).predictions
    expected = functional.normalize(made, dim=-1).numpy()
    firsts = np.concatenate([[0], np.cumsum(batch.contexts.passages.numpy())])
    numbers = {}
    for row, sentence in zip(batch.targets.picked.tolist(), batch.sentence_ids.tolist(), strict=True):
        numbers[row] = sentence
    windows = batch.contexts.windows.tolist()
    texts = [[split.texts([numbers[r] for r in half if r >= 0]) for half in (w[:3], w[3:])] for w in windows]
    found = model.predict_between([before for before, _ in texts], [after for _, after in texts])
    assert np.abs(found - expected).max() < 2e-6
    past = [i for i, (before, after) in enumerate(texts) if before and not after]
    assert len(past) == sum(int(b - a) - 1 for a, b in pairwise(firsts))
    assert np.abs(model.predict_next([texts[i][0] for i in past]) - expected[past]).max() < 2e-6
    assert np.abs(expected - expected[0]).max() > 0.01, "all predictions are alike: the test shows nothing"


def test_masked_sentences_are_predicted_as_in_training(make: Make, corpus: Corpus) -> None:
    """The prediction of training where one sentence of a passage is hidden, with the passage as text around it."""
    model, split = make(*VIEWS["masked"], "data.masked_sentences=1"), corpus.validation
    view = make_view(model.settings, split, corpus.tokenizer)
    inner = 0
    for epoch in range(6):
        batch = view.batch(np.arange(1), epoch)
        (place,) = batch.sentence_ids.tolist()
        count = int(batch.contexts.passages[0]) - 2  # beside the two special tokens
        with torch.no_grad():
            made = model.jepa.eval()(batch.contexts).predictions
        expected = functional.normalize(made, dim=-1).numpy()
        before, after = split.texts(np.arange(place)), split.texts(np.arange(place + 1, count))
        assert np.abs(model.predict_between([before], [after]) - expected).max() < 2e-6
        inner += bool(before and after)
    assert inner


@pytest.mark.parametrize("mode", ["concepts", "masked", "masked_concepts"])
def test_company_does_not_show(mode: str, make: Make, corpus: Corpus) -> None:
    """Contexts that share sentences, asked together and one by one."""
    model = make(*(MODES | VIEWS | {"masked_concepts": MASKED_CONCEPTS})[mode])
    texts = corpus.validation.texts(np.arange(12))
    contexts = [texts[max(0, i - 5) : i] for i in range(1, 12)]
    together = model.predict_next(contexts)
    assert np.abs(together - np.stack([model.predict_next(one) for one in contexts])).max() < 2e-6
    if model.sees_both_sides:
        sides = [texts[:i] for i in range(12)], [texts[i + 1 :] for i in range(12)]
        between = model.predict_between(*sides)
        alone = [model.predict_between([a], [b])[0] for a, b in zip(*sides, strict=True)]
        assert np.abs(between - np.stack(alone)).max() < 2e-6


def test_only_the_nearest_are_read(make: Make, corpus: Corpus) -> None:
    model, texts = make(*MASKED_CONCEPTS), corpus.validation.texts(np.arange(12))
    near = model.predict_between([texts[3:6]], [texts[7:10]])
    assert np.abs(model.predict_between([texts[:6]], [texts[7:]]) - near).max() < 1e-6
    assert np.abs(model.predict_between([texts[4:6]], [texts[7:10]]) - near).max() > 1e-4


def test_questions_that_make_no_sense(make: Make) -> None:
    model = make(*MASKED_CONCEPTS)
    with pytest.raises(LangJepaError, match="two sides"):
        model.predict_between([["A cat."]], [])
    with pytest.raises(LangJepaError, match="two sides"):
        model.predict_between([[]], [[]])
    with pytest.raises(LangJepaError, match="has no token"):
        model.predict_between([["A cat."]], [[" "]])
    assert model.predict_between([], []).shape == (0, model.dim)
    with pytest.raises(LangJepaError, match="reads the past only"):
        make(*MODES["concepts"]).predict_between([["A cat."]], [[]])


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"set model\.predictor=neighbour_weights"):
        tiny_settings(tmp_path, *MASKED_CONCEPTS, "model.predictor=linear")
    with pytest.raises(LangJepaError, match=r"data\.passage_size=3 or more"):
        tiny_settings(tmp_path, *MASKED_CONCEPTS, "data.passage_size=2")
