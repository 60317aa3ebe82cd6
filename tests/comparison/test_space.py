"""The text of a sweep's space, and what stands in it."""

import pytest

from lang_jepa.comparison.space import Dimension, check_free, make_space, parse_dimension
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import load_settings


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("optimization.lr=1e-4:1e-2:log", Dimension("optimization.lr", 1e-4, 1e-2, log=True)),
        ("model.num_layers=1:4", Dimension("model.num_layers", 1, 4)),
        ("model.dropout=0.0:0.3", Dimension("model.dropout", 0.0, 0.3)),
        ("model.head=none,whitened", Dimension("model.head", choices=("none", "whitened"))),
        ("objective.center_targets=true,false", Dimension("objective.center_targets", choices=(True, False))),
    ],
)
def test_is_read(text: str, dimension: Dimension) -> None:
    assert parse_dimension(text) == dimension
    assert isinstance(parse_dimension("model.num_layers=1:4").low, int)


@pytest.mark.parametrize(
    "text",
    [
        "lr=1:2",
        "optimization.lr",
        "optimization.lr=",
        "optimization.lr=1:2:3",
        "optimization.lr=a:b",
        "optimization.lr=2:1",
        "optimization.lr=0:1:log",
        "optimization.lr=1:2:log:log",
    ],
)
def test_mistakes_are_refused(text: str) -> None:
    with pytest.raises(LangJepaError, match=r"^space "):
        parse_dimension(text)


def test_default_is_the_learning_rate_around_the_recipes() -> None:
    (one,) = make_space([], load_settings("concepts"))
    assert (one.key, one.log) == ("optimization.lr", True)
    assert (one.low, one.high) == (pytest.approx(6e-4), pytest.approx(6e-2))
    with pytest.raises(LangJepaError, match="is given twice"):
        make_space(["model.head=none,linear", "model.head=none,whitened"], load_settings("concepts"))


@pytest.mark.parametrize("key", ["logging.best_metric", "meta.load_checkpoint"])
def test_what_a_sweep_sets_itself_is_refused(key: str) -> None:
    with pytest.raises(LangJepaError, match=f"--space {key}: a sweep sets {key} by itself"):
        make_space([f"{key}=a,b"], load_settings("concepts"))
    with pytest.raises(LangJepaError, match=f"-o {key}=a: a sweep sets"):
        check_free(["model.head=none", f"{key}=a"], "-o")


def test_settings_that_there_are_not_are_refused_with_the_nearest() -> None:
    with pytest.raises(LangJepaError, match=r"unknown setting; did you mean 'optimization.lr'"):
        make_space(["optimization.lrr=1e-4:1e-2"], load_settings("concepts"))
