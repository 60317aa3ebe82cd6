"""What the document tools say is what their definitions say, with whichever way was measured to be better."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.document_rules import REACH
from lang_jepa.evaluation.metrics.similarity import Statistics, unit_rows
from lang_jepa.evaluation.metrics.similarity import prepare as prepared
from lang_jepa.evaluation.scoreboard import Candidate, Choice
from lang_jepa.inference.document import REPEATED, outliers, redundant, segment, sentences_of, study, surprise
from lang_jepa.inference.document_reading import LEAST_REFERENCE, of_document, of_others
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from tiny import MODES, VIEWS, tiny_settings

MASKED = ("data.view=masked_concepts", "data.context=window", "model.predictor=neighbour_attention")
WAYS = MODES | VIEWS | {"masked_concepts": (*MASKED, "data.passage_size=6")}
Make = Callable[[str], ConceptModel]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(tiny_settings(tmp_path_factory.mktemp("run")).data)


@pytest.fixture(scope="module")
def make(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Make:
    def build(mode: str) -> ConceptModel:
        settings = tiny_settings(tmp_path_factory.mktemp("run"), *WAYS[mode])
        torch.manual_seed(3)
        jepa = build_jepa(settings, corpus.tokenizer)
        with torch.no_grad():
            for parameter in jepa.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model = ConceptModel(jepa, corpus.tokenizer, None, settings)
        sample = model.encode(corpus.train.texts(np.arange(80)))
        model.statistics = Statistics.of(sample, keep=40)
        return model

    return build


@pytest.fixture(scope="module")
def text(corpus: Corpus) -> list[str]:
    return corpus.validation.texts(np.arange(30))


def test_surprise_is_the_z_score_of_its_definition(make: Make, text: list[str]) -> None:
    model = make("concepts")
    found = surprise(model, text, using="predictor")
    assert found.against == "document"
    assert (found.sentences[0].fit, found.sentences[0].surprise) == (None, None)
    space = prepared(model.encode(text), model.statistics, "centred").astype(np.float64)
    for place in (1, 9, 14, 29):
        made = model.predict_next(text[:place])[None]
        expected = prepared(made, model.statistics, "centred", side="predictions")[0].astype(np.float64)
        others = [space[i] @ expected for i in range(30) if abs(i - place) > 8]
        one = found.sentences[place]
        assert one.fit == pytest.approx(space[place] @ expected, abs=1e-5)
        assert one.surprise == pytest.approx((np.mean(others) - one.fit) / np.std(others), abs=1e-3)
    trained = surprise(model, text, using="predictor", against="training")
    expected = prepared(model.predict_next(text[:9])[None], model.statistics, "centred", side="predictions")[0]
    fits = prepared(model.statistics.sample, model.statistics, "centred") @ expected
    one = trained.sentences[9]
    assert one.surprise == pytest.approx((fits.mean() - one.fit) / fits.std(), abs=1e-3)


def test_a_short_document_is_compared_with_training_sentences(make: Make, text: list[str]) -> None:
    model = make("concepts")
    assert surprise(model, text[:20]).against == "training"
    assert surprise(model, text[:5], against="document").sentences[3].surprise is not None
    bare = make("concepts")
    bare.statistics = dataclasses.replace(bare.statistics, sample=None)
    assert surprise(bare, text[:5]).against == "document"
    with pytest.raises(LangJepaError, match="has no training sentences"):
        surprise(bare, text, against="training")


def test_a_sentence_from_elsewhere_is_out_of_place() -> None:
    """Two clusters that any mean tells apart, without a predictor."""

    class Clusters(ConceptModel):
        def encode(self, sentences, **options):  # type: ignore[no-untyped-def, override]
            rows = [np.eye(8)[0 if "cat" in text else 1] + 0.05 * _noise(text) for text in sentences]
            return np.stack(rows).astype(np.float32) / np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)

    model = Clusters.__new__(Clusters)
    model.settings = tiny_settings(Path("unused"), *VIEWS["spans"])
    model.statistics, model.similarity_kind, model.dim = Statistics.identity(8), "raw", 8
    model.choices, model.decoder = {}, None
    model.jepa = SimpleNamespace(predictor=None)  # type: ignore[assignment]
    sentences = [f"The cat sat on mat {i}." for i in range(30)]
    sentences[12] = "A tax is due in May."
    ranked = model.outliers(sentences)
    assert (ranked[0].position, ranked[0].surprise > 3) == (12, True)  # type: ignore[operator]
    mixed = [f"The cat sat on mat {i}." for i in range(10)] + [f"A tax of {i} is due." for i in range(12)]
    topics = segment(model, mixed, count=2)
    assert topics.boundaries == [10]
    assert [len(one) for one in topics.segments()] == [10, 12]
    assert segment(model, mixed).boundaries == [10]
    assert segment(model, "The cat sat.").segments() == [["The cat sat."]]
    assert "not measured" in topics.used


def _noise(text: str) -> np.ndarray:
    return np.random.default_rng(sum(text.encode())).standard_normal(8)


def test_what_was_measured_to_be_better_is_used(make: Make, text: list[str]) -> None:
    model = make("concepts")
    with_it = Candidate("prediction", "centred", {}, 0.4)
    without = Candidate("recency mean", "raw", {}, 0.3)
    for better, worse in ((0.4, "prediction"), (0.2, "recency mean")):
        one = dataclasses.replace(with_it, merit=better)
        model.choices = {"next": Choice("MRR", False, 9, one, without)}
        found = surprise(model, text)
        assert found.used.startswith(worse)
        assert f"{better:.3f}" in found.used
        assert "0.300" in found.used
        way = "predictor" if better > 0.3 else "baseline"
        assert found.sentences == surprise(model, text, using=way).sentences  # type: ignore[arg-type]
        other = "baseline" if better > 0.3 else "predictor"
        assert found.sentences != surprise(model, text, using=other).sentences  # type: ignore[arg-type]
    model.choices = {"next": Choice("MRR", False, 9, None, without)}
    with pytest.raises(LangJepaError, match="no predictor"):
        surprise(model, text, using="predictor")


def test_next_ranks_candidates_by_the_prediction(make: Make, text: list[str]) -> None:
    model = make("concepts")
    ranked = model.next(text[:6], text[6:14], using="predictor")
    expected = prepared(model.predict_next(text[:6])[None], model.statistics, "centred", side="predictions")[0]
    scores = prepared(model.encode(text[6:14]), model.statistics, "centred") @ expected
    assert [one.sentence for one in ranked] == [text[6 + i] for i in np.argsort(-scores)]
    assert ranked[0].fit == pytest.approx(scores.max(), abs=1e-5)
    assert sum(one.lead for one in ranked) == pytest.approx(0, abs=1e-9)
    with pytest.raises(LangJepaError, match="list of candidates"):
        model.next(text[:6], "A sentence.")


def test_repetitions_are_found_and_nothing_else(make: Make) -> None:
    model = make("concepts")
    sentences = [
        "Nora lost her keys.",
        "It rained all day in Rome.",
        "Nora lost her keys.",
        "Two dogs barked at him.",
    ]
    found = redundant(model, sentences, threshold=0.999)
    assert [(one.position, one.earlier, one.repeats) for one in found if one.repeats] == [(2, 0, True)]
    assert found[1].cosine == pytest.approx(1, abs=1e-5)
    assert [one.position for one in model.redundant(sentences)][:1] == [2]
    assert 0 < REPEATED < 1


def test_repetitions_go_by_what_was_measured(make: Make) -> None:
    model = make("concepts")
    sentences = ["Nora lost her keys.", "It rained all day in Rome.", "Two dogs barked at him."]
    raw = model.encode(sentences).astype(np.float64) @ model.encode(sentences).T
    threshold = float(raw[1, 0]) - 0.01
    way = Candidate("nearest earlier sentence", "raw", {"threshold": threshold}, 0.9)
    model.choices = {"redundant": Choice("repetitions, average precision", False, 9, None, way)}
    found = redundant(model, sentences)
    assert found[0].cosine == pytest.approx(raw[1, 0], abs=1e-6)
    assert found[0].repeats
    assert not redundant(model, sentences, threshold=threshold + 0.02)[0].repeats


@pytest.mark.parametrize("mode", WAYS)
def test_every_kind_of_model_tells_about_a_document(mode: str, make: Make, text: list[str]) -> None:
    model = make(mode)
    found = study(model, " ".join(text), candidates=text[:3])
    assert len(found.surprise.sentences) == len(found.outliers.sentences) == len(found.topics.sentences)
    values = [one.surprise for one in found.outliers.sentences]
    assert all(value is not None and np.isfinite(value) for value in values)
    assert len(found.topics.scores) == len(values) - 1
    assert len(found.next) == 3
    if model.predicts_next:
        asked = study(model, text, using="predictor")
        assert asked.surprise.sentences != surprise(model, text).sentences
        assert "as asked" in asked.topics.used or "not measured" in asked.topics.used
    else:
        with pytest.raises(LangJepaError, match="no predictor"):
            outliers(model, text, using="predictor")


def test_a_text_is_split_in_the_language_of_the_training(make: Make) -> None:
    model = make("concepts")
    text = "Die Fahrt kostet 5 Mio. Euro usw. und so fort."
    assert len(sentences_of(model, text)) > 1
    data = model.settings.data.model_copy(update={"language": "de"})
    model.settings = model.settings.model_copy(update={"data": data})
    assert sentences_of(model, text) == [text]


def test_nothing_to_read(make: Make) -> None:
    model = make("concepts")
    for nothing in ("", "  \n ", []):
        with pytest.raises(LangJepaError, match="holds no text"):
            surprise(model, nothing)
    with pytest.raises(LangJepaError, match="sentence 1 has no token"):
        surprise(model, ["A sentence.", " "])
    with pytest.raises(LangJepaError, match="at least one segment"):
        segment(model, "One sentence. And another one.", count=0)


def test_what_is_usual_equals_the_table_of_all_fits() -> None:
    """Sums give what the table of places by sentences gives, for documents of any length, copies among them."""
    rng = np.random.default_rng(5)
    for count in (2, 7, 12, 27, 28, 60):
        own, expected = (unit_rows(rng.normal(size=(count, 6)).astype(np.float32)) for _ in range(2))
        own[count // 2] = own[0]
        table = expected.astype(np.float64) @ own.T
        distance = np.abs(np.arange(count)[:, None] - np.arange(count))
        for place, (mean, spread) in enumerate(zip(*of_document(expected, own), strict=True)):
            counted = distance[place] > REACH
            counted = counted if counted.sum() >= LEAST_REFERENCE else distance[place] > 0
            fits = table[place, counted]
            assert (mean, spread) == pytest.approx((fits.mean(), fits.std()), abs=1e-7)
        for found, right in zip(of_others(expected, own), (table.mean(1), table.std(1)), strict=True):
            np.testing.assert_allclose(found, right, atol=1e-7)
    alike = np.ones((30, 4), dtype=np.float32) / 2
    assert not of_document(alike, alike)[1].any()  # what does not vary has no deviation, not a tiny one


def test_repetitions_in_parts_equal_those_of_one_table(
    make: Make, text: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of sentences that stand there three times: the first of equally near ones is named."""
    model = make("concepts")
    sentences = [*text, *text[:9], *text[3:7]]
    whole, said = redundant(model, sentences), []
    assert [one.earlier for one in whole[len(text) - 1 :]] == [*range(9), *range(3, 7)]
    monkeypatch.setattr("lang_jepa.inference.document._ROWS", 7)
    monkeypatch.setattr("lang_jepa.inference.document_reading.PART", 8)
    parts = study(model, sentences, progress=lambda *event: said.append(event))
    assert [(one.earlier, one.repeats) for one in parts.repetitions] == [(one.earlier, one.repeats) for one in whole]
    np.testing.assert_allclose([one.cosine for one in parts.repetitions], [one.cosine for one in whole], atol=1e-6)
    stages = list(dict.fromkeys(what for what, *_ in said))
    assert stages[0] == "sentences read"
    assert stages[-1] == "sentences compared"
    assert all(done <= total for _, done, total in said)


def test_fewer_segments_than_were_asked_for_are_reported(make: Make, text: list[str]) -> None:
    found = segment(make("concepts"), text[:6], count=6)
    assert len(found.boundaries) < 5
    assert "; 6 sentences have" in found.used
    assert "at most, of" not in segment(make("concepts"), text[:6], count=1).used
