"""The whole task on planted vectors: who knows is chosen, who knows nothing is not, and the choice is kept."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import recency_mean
from lang_jepa.evaluation.baselines.document_rules import Positions, Reading
from lang_jepa.evaluation.metrics.similarity import Floats, Statistics, unit_rows
from lang_jepa.evaluation.scoreboard import FILE, Choices, choices_from
from lang_jepa.evaluation.tasks.document import CONTINUATION, INTRUDERS, SEGMENTS, document_rows
from lang_jepa.evaluation.tasks.request import Grouped

DIM = 24


def noise(text: str) -> Floats:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


class Planted:
    """Sentences of one document share a direction; consecutive ones share another one that no mean of them shows."""

    def __init__(self, *, knows: bool) -> None:
        self.dim, self.statistics, self.knows = DIM, Statistics.identity(DIM), knows

    def encode(self, sentences: Sequence[str]) -> Floats:
        topics = np.stack([noise(text.split(",")[0]) for text in sentences])
        own = np.stack([noise(text) for text in sentences])
        return unit_rows(0.5 * topics + own)

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> Floats:
        if not self.knows:
            return unit_rows(np.stack([noise("?" + context[-1]) for context in contexts]))
        return self.encode([_following(context[-1]) for context in contexts])


def _following(text: str) -> str:
    head, _, number = text.rstrip(".").rpartition(" ")
    return f"{head} {int(number) + 1}."


@pytest.fixture(scope="module")
def grouped() -> Grouped:
    texts = [[f"Document {d}, sentence {s}." for s in range(28)] for d in range(48)]
    return Grouped(texts, [f"book {d % 2}" for d in range(48)], [d % 4 == 0 for d in range(48)])


def test_a_predictor_that_knows_is_used_and_one_that_does_not_is_not(grouped: Grouped) -> None:
    rows, _, tools = document_rows({"model": Planted(knows=True)}, grouped, window_size=8, queries=200)
    value = {(row.task, row.metric, row.name): row.value for row in rows}
    assert value[CONTINUATION, "recall@1", "model"] == 1
    assert value[INTRUDERS["same document"], "AUC", "model"] > 0.95
    assert value[CONTINUATION, "recall@1", "recency mean (model)"] < 0.3
    assert value[INTRUDERS["same group"], "AUC", "neighbours (model)"] > 0.65
    assert value[SEGMENTS[True], "Pk", "blocks (model)"] < value[SEGMENTS[True], "Pk", "chance"] - 0.1
    lead = [r for r in rows if r.metric == "MRR: model minus this" and r.name == "recency mean (model)"]
    assert lead[0].low is not None
    assert lead[0].low > 0
    assert tools["next"].used.rule == "prediction"
    assert tools["outliers"].used.rule.startswith("prediction")

    _, _, tools = document_rows({"model": Planted(knows=False)}, grouped, window_size=8, queries=200)
    assert tools["next"].predictor is not None
    assert tools["next"].used.merit >= tools["next"].predictor.merit
    assert tools["segment"].used.rule in ("blocks", "recency mean", "prediction + blocks"), "not the prediction alone"


def test_a_better_encoder_beside_it_is_not_taken_for_its_own(grouped: Grouped) -> None:
    """Choices are among the ways of the examined model, whatever others score."""
    poor = Planted(knows=False)
    poor.encode = lambda sentences: unit_rows(np.stack([noise("!" + text) for text in sentences]))  # type: ignore[method-assign]
    _, _, alone = document_rows({"model": poor}, grouped, window_size=8, queries=100)
    _, _, beside = document_rows({"model": poor, "other": Planted(knows=True)}, grouped, window_size=8, queries=100)
    assert beside == alone
    assert alone["next"].used.merit < 0.3


def test_every_metric_stands_beside_its_baselines(grouped: Grouped) -> None:
    rows, similarity, _ = document_rows({"model": Planted(knows=True)}, grouped, window_size=8, queries=100)
    for task, metrics, names in [
        (
            SEGMENTS[False],
            {"Pk", "WindowDiff", "Pk, count unknown", "WindowDiff, count unknown"},
            {"model", "blocks (model)", "recency mean (model)", "TF-IDF drop", "TextTiling", "chance"},
        ),
        (
            INTRUDERS["same group"],
            {"AUC"},
            {"model", "neighbours (model)", "recency mean (model)", "TF-IDF, both sides", "chance"},
        ),
        (
            CONTINUATION,
            {"MRR", "recall@1"},
            {"model", "last sentence (model)", "recency mean (model)", "TF-IDF, last 8", "chance"},
        ),
    ]:
        mine = [row for row in rows if row.task == task]
        assert {row.metric for row in mine if "minus" not in row.metric} == metrics
        assert names <= {row.name for row in mine}
        assert all(row.low is not None and row.low <= row.value <= row.high for row in mine)  # type: ignore[operator]
    assert set(similarity) >= {f"{CONTINUATION}, MRR", f"{SEGMENTS[True]}, Pk"}


def test_nothing_is_chosen_on_what_is_reported(grouped: Grouped) -> None:
    """Other texts in the reported documents change the scores and not the choice."""
    other = [
        texts if chooses else [text.replace("Document", "Paper") for text in texts]
        for texts, chooses in zip(grouped.documents, grouped.choosing, strict=True)
    ]
    model = Planted(knows=False)
    _, _, one = document_rows({"model": model}, grouped, window_size=8, queries=200)
    changed = Grouped(other, grouped.groups, grouped.choosing)
    _, _, two = document_rows({"model": model}, changed, window_size=8, queries=200)
    assert one == two


def test_rules_see_what_they_should() -> None:
    model = Planted(knows=True)
    sentences = [f"Document 1, sentence {s}." for s in range(20)]
    rows = np.arange(20)
    reading = Reading(model, Positions.of(sentences, [rows], reach=8), model.encode(sentences))
    space = reading.space("raw")
    past = reading.expected("recency mean", "raw")
    assert np.abs(past[0]).max() == 0, "nothing stands before the first sentence"
    assert np.allclose(past[9], recency_mean([np.arange(1, 9)], space)[0], atol=1e-6)
    both = reading.expected("neighbours", "raw")
    future = recency_mean([np.arange(10, 18)[::-1]], space)[0]
    assert np.allclose(both[9], unit_rows((past[9] + future)[None])[0], atol=1e-6)
    assert np.allclose(both[0], recency_mean([np.arange(1, 9)[::-1]], space)[0], atol=1e-6)
    assert np.allclose(reading.expected("prediction", "raw")[5], space[5], atol=1e-6)
    gaps = Positions.of(sentences, [rows], reach=8, gaps=True)
    assert len(gaps) == 19
    assert gaps.after[0].tolist() == list(range(1, 9))
    assert gaps.before[0].tolist() == [0]


def test_choices_are_kept_with_their_weights(grouped: Grouped, tmp_path: Path) -> None:
    _, _, tools = document_rows({"model": Planted(knows=True)}, grouped, window_size=8, queries=100)
    Choices(dict(tools), "abc").save(tmp_path)
    kept = Choices.load(tmp_path, model="abc")
    assert kept is not None
    assert kept.tools == tools
    assert choices_from(json.loads((tmp_path / FILE).read_text())["tools"]) == tools
    assert "MRR 1.000" in kept.tools["next"].describe()
    with pytest.raises(LangJepaError, match="other weights"):
        Choices.load(tmp_path, model="abd")
    (tmp_path / FILE).write_text('{"format": 1, "tools": {"next": {}}, "model": "abc"}')
    with pytest.raises(LangJepaError, match=r"damaged .*evaluate RUN --tasks document"):
        Choices.load(tmp_path, model="abc")
    assert Choices.load(tmp_path / "nowhere", model="abc") is None


def test_too_few_documents() -> None:
    few = Grouped([["A b.", "C d.", "E f."]] * 4, [""] * 4, [True, False, False, False])
    with pytest.raises(
        LangJepaError,
        match=r"6 documents of one folder with 4 .*of the 1 that there are, 0 have as .*of the 3 that there are",
    ):
        document_rows({"model": Planted(knows=True)}, few, window_size=8)
