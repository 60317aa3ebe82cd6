"""Next-sentence retrieval on documents: cheats score 1, noise scores chance, baselines stand beside them."""

from collections.abc import Callable

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.retrieval import corpus_rows

OTHER, SAME = "next sentence, other documents", "next sentence, same document"


def headline(rows: list[Row], task: str, metric: str, name: str) -> Row:
    found = [r for r in rows if (r.task, r.metric, r.name, r.chosen) == (task, metric, name, True)]
    assert len(found) == 1, found
    return found[0]


def test_a_cheat_finds_every_sentence(documents: list[list[str]], cheat: Callable) -> None:  # type: ignore[type-arg]
    rows, chosen = corpus_rows({"model": cheat(documents, 5)}, documents, window_size=5)
    for task in (OTHER, SAME):
        row = headline(rows, task, "recall@1", "model")
        # Wilson's interval of nine hits of nine.
        assert (row.value, row.low, row.high) == pytest.approx((1.0, 9 / (9 + 1.96**2), 1.0), abs=1e-5)
        # 9 of 12 documents are reported; in each, 13 positions have a context.
        assert row.n == 9 * 13
        assert "9 documents" in row.note
    assert chosen == {OTHER: "raw", SAME: "raw"}


def test_noise_scores_chance_within_its_interval(documents: list[list[str]], hashed: object) -> None:
    rows, _ = corpus_rows({"model": hashed}, documents, window_size=5)  # type: ignore[dict-item]
    for task in (OTHER, SAME):
        chance = headline(rows, task, "mrr", "chance")
        row = headline(rows, task, "mrr", "model")
        assert row.value == pytest.approx(chance.value, abs=0.06)
        assert chance.low is None


def test_every_baseline_is_there_with_its_paired_lead(documents: list[list[str]], cheat: Callable) -> None:  # type: ignore[type-arg]
    model = cheat(documents, 5)
    rows, _ = corpus_rows(
        {"model": model, "untrained": type(model)(model.following, 16)},
        documents[:8], window_size=5, train_documents=documents[8:],
    )  # fmt: skip
    names = {r.name for r in rows if r.task == OTHER}
    assert names == {
        "model", "untrained", "copy-forward (model)", "copy-forward (untrained)", "recency mean (model)",
        "recency mean (untrained)", "ridge on means (model)", "TF-IDF, last 1", "TF-IDF, last 3", "TF-IDF, last 8",
        "TF-IDF, last 1 + 3 + 8", "chance",
    }  # fmt: skip
    for name in names - {"model", "chance"}:
        score = headline(rows, OTHER, "recall@1", name)
        lead = headline(rows, OTHER, "recall@1: model minus this", name)
        assert lead.value == pytest.approx(1.0 - score.value)
    assert {r.similarity for r in rows if r.name == "model" and r.metric == "mrr"} == {
        "raw",
        "centred",
        "whitened",
    }


def test_an_encoder_without_predictor_is_scored_by_copying(
    documents: list[list[str]], encoding: type, hashed: object
) -> None:
    model = encoding(lambda s: hashed.encode([s])[0], 48)  # type: ignore[attr-defined]
    rows, chosen = corpus_rows({"model": model}, documents, window_size=5)
    assert headline(rows, OTHER, "recall@1", "copy-forward (model)")
    assert not [r for r in rows if r.name == "model"]
    assert chosen == {OTHER: "", SAME: ""}


def test_wrong_shapes_and_nan_are_refused(documents: list[list[str]], hashed: object) -> None:
    hashed.predict_next = lambda contexts: hashed.encode(["x"] * (len(contexts) - 1))  # type: ignore[attr-defined]
    with pytest.raises(LangJepaError, match="predictions of model have shape"):
        corpus_rows({"model": hashed}, documents, window_size=5)  # type: ignore[dict-item]
    hashed.encode = lambda sentences: type(hashed)().encode(sentences) * float("nan")  # type: ignore[attr-defined]
    with pytest.raises(LangJepaError, match="NaN"):
        corpus_rows({"model": hashed}, documents, window_size=5)  # type: ignore[dict-item]
