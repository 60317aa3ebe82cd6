"""The scikit-learn transformer: in a pipeline, cloned, pickled, and by scikit-learn's own checks."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks as checks

from lang_jepa import ConceptVectorizer
from lang_jepa.inference.model import ConceptModel
from lang_jepa.stories import story
from tiny import tiny_encoder

STORIES = [" ".join(sentence.text for sentence in story(number).sentences) for number in range(60)]
CATS = [f"The cat sat on mat {number}." for number in range(12)]
TAXES = [f"A tax of {number} is due in May." for number in range(12)]
SMALL = {
    "data.vocab_size": 400,
    "data.val_fraction": 0.2,
    "model.embed_dim": 32,
    "model.pred_dim": 32,
    "model.num_heads": 2,
    "model.predictor_heads": 2,
    "model.num_layers": 1,
    "optimization.warmup_steps": 1,
    "logging.val_sentences": 64,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("runs") / "run")


def test_a_pipeline_is_a_regression_on_concepts(run: Path) -> None:
    texts, labels = [*CATS, *TAXES], ["cat"] * 12 + ["tax"] * 12
    pipeline = make_pipeline(ConceptVectorizer(run), LogisticRegression())
    pipeline.fit(texts[::2] + texts[1::4], labels[::2] + labels[1::4])
    assert pipeline.score(texts[3::4], labels[3::4]) == 1
    vectors = ConceptModel.load(run).encode(texts)
    alone = LogisticRegression().fit(vectors[[*range(0, 24, 2), *range(1, 24, 4)]], labels[::2] + labels[1::4])
    np.testing.assert_allclose(pipeline.predict_proba(texts), alone.predict_proba(vectors), atol=1e-5)


def test_transform_is_encode(run: Path) -> None:
    model = ConceptModel.load(run)
    for given in (run, str(run), model):
        found = ConceptVectorizer(given).fit_transform(CATS)
        assert (found.dtype, found.shape) == (np.float32, (12, 32))
        np.testing.assert_array_equal(found, model.encode(CATS))
    fitted = ConceptVectorizer(run).fit(CATS)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(TAXES), model.encode(TAXES))
    assert list(fitted.get_feature_names_out())[::31] == ["conceptvectorizer0", "conceptvectorizer31"]
    table = fitted.set_output(transform="pandas").transform(CATS)
    np.testing.assert_array_equal(table.to_numpy(), model.encode(CATS))
    with pytest.raises(NotFittedError):
        ConceptVectorizer(run).transform(CATS)


def test_it_can_be_cloned_and_set(run: Path) -> None:
    given = ConceptVectorizer(run, steps=3, settings=SMALL)
    copy = clone(given)
    assert copy is not given
    assert copy.get_params() == given.get_params()
    assert clone(ConceptVectorizer(run).fit(CATS)).set_params(steps=7).steps == 7
    inside = clone(ConceptVectorizer(ConceptModel.load(run))).fit(CATS)
    np.testing.assert_array_equal(inside.transform(CATS), ConceptVectorizer(run).fit_transform(CATS))


@pytest.mark.filterwarnings("ignore")
def test_it_trains_on_what_it_is_fitted_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fitted = ConceptVectorizer(steps=2, seed=1, settings=SMALL).fit(STORIES)
    assert list(tmp_path.iterdir()) == [], "only the model stays, in memory"
    assert (fitted.model_.folder, fitted.model_.run_dir) == (None, None)
    about = fitted.model_.settings
    assert (about.meta.seed, about.optimization.max_steps, about.model.embed_dim) == (1, 2, 32)
    kept = ConceptVectorizer(steps=2, seed=1, output="runs/kept", settings={**SMALL, "data.corpus_dir": "corpora"}).fit(
        STORIES
    )
    np.testing.assert_array_equal(fitted.transform(CATS), ConceptModel.load("runs/kept").encode(CATS))
    assert kept.model_.run_dir == tmp_path / "runs" / "kept"


@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_mixin_order,
    ],
    ids=lambda check: check.__name__,
)
def test_the_checks_of_scikit_learn(check: object) -> None:
    """Those that need no table of numbers."""
    check("ConceptVectorizer", ConceptVectorizer())  # type: ignore[operator]
