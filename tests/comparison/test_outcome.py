"""Everybody's scores in one table: what is the same beside several variants stands there once."""

from lang_jepa.comparison.outcome import scores_of
from lang_jepa.evaluation.table import Report, Row


def _card(scores: dict[str, dict[str, float]]) -> Report:
    rows = [
        Row("t", "all", metric, name, value, None, None, 1)
        for metric, values in scores.items()
        for name, value in values.items()
    ]
    return Report(rows)


def _scorers(cards: dict[str, list[Report]]) -> dict[str, dict[str, float]]:
    return {one["name"]: {name: values["mean"] for name, values in one["scorers"].items()} for one in scores_of(cards)}


def test_baselines_stand_once_though_one_variant_is_not_asked() -> None:
    """A view that predicts no next sentence has no say in whether TF-IDF is the same for those that do."""
    next_sentence = [
        {"model": 0.5, "untrained": 0.1, "TF-IDF": 0.2},
        {"model": 0.4, "untrained": 0.15, "TF-IDF": 0.2},
    ]
    paraphrase = [{"model": 0.7, "TF-IDF": 0.6}, {"model": 0.8, "TF-IDF": 0.6}, {"model": 0.9, "TF-IDF": 0.6}]
    cards = {
        "concepts": [_card({"recall@1": next_sentence[0], "Spearman": paraphrase[0]})],
        "causal": [_card({"recall@1": next_sentence[1], "Spearman": paraphrase[1]})],
        "spans": [_card({"Spearman": paraphrase[2]})],
    }
    found = _scorers(cards)
    assert found["recall@1"] == {
        "concepts": 0.5,
        "untrained of concepts": 0.1,
        "TF-IDF": 0.2,
        "causal": 0.4,
        "untrained of causal": 0.15,
    }
    assert found["Spearman"] == {"concepts": 0.7, "TF-IDF": 0.6, "causal": 0.8, "spans": 0.9}


def test_one_seed_that_differs_is_enough_to_tell_them_apart() -> None:
    cards = {
        "one": [_card({"mrr": {"model": 0.5, "untrained": value}}) for value in (0.1, 0.2)],
        "other": [_card({"mrr": {"model": 0.5, "untrained": value}}) for value in (0.1, 0.3)],
    }
    assert {"untrained of one", "untrained of other"} <= _scorers(cards)["mrr"].keys()


def test_beside_one_variant_alone_nothing_is_called_common() -> None:
    cards = {"one": [_card({"mrr": {"model": 0.5, "TF-IDF": 0.2}})], "other": [_card({})]}
    assert _scorers(cards) == {"mrr": {"one": 0.5, "TF-IDF of one": 0.2}}
