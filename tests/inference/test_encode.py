"""The options of `encode`, the model's own similarity, and what vector stores ask for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.prepare import prepare as prepare_corpus
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Predictable, Similarity, Statistics
from lang_jepa.inference.model import ConceptModel
from tiny import noisy_model, tiny_settings

TEXTS = ["A dog barked.", "Anna went home with two birds.", "No.", "It rained all day, and then it snowed for a week."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConceptModel:
    """With statistics of some texts that it is not asked about."""
    settings = tiny_settings(tmp_path_factory.mktemp("run"))
    found = noisy_model(settings, prepare_corpus(settings.data))
    learnt = found.encode([f"{text} {number}" for number in range(20) for text in TEXTS])
    predictable = Predictable.of(np.roll(learnt, 1, axis=0) + learnt, learnt)
    found.statistics = Statistics.of(learnt, predictable=predictable)
    return found


def passes(model: ConceptModel, monkeypatch: pytest.MonkeyPatch, **options: int) -> list[int]:
    """Texts in each pass of `encode`."""
    sizes: list[int] = []
    states = model._states
    with monkeypatch.context() as patch:
        patch.setattr(model, "_states", lambda tokens: (sizes.append(len(tokens)), states(tokens))[1])
        model.encode(TEXTS, **options)  # type: ignore[call-overload]
    return sizes


def test_batch_size_is_a_number_of_texts(model: ConceptModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert passes(model, monkeypatch) == [4]
    assert passes(model, monkeypatch, batch_size=3) == [3, 1]
    assert passes(model, monkeypatch, batch_size=3, batch_tokens=1) == [1, 1, 1, 1]
    assert np.abs(model.encode(TEXTS, batch_size=np.int64(1)) - model.encode(TEXTS)).max() < 1e-6
    for wrong in (0, -1, 1.5, "8"):
        with pytest.raises(LangJepaError, match="batch_size is a number of texts"):
            model.encode(TEXTS, batch_size=wrong)  # type: ignore[arg-type]


def test_tensors_hold_what_arrays_hold(model: ConceptModel) -> None:
    expected = model.encode(TEXTS)
    whole = model.encode(TEXTS, convert_to_tensor=True)
    assert (type(whole), whole.dtype, whole.device) == (torch.Tensor, torch.float32, model.device)
    np.testing.assert_array_equal(whole.numpy(), expected)
    rows = model.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(rows, list)
    np.testing.assert_array_equal(torch.stack(rows).numpy(), expected)
    assert isinstance(model.encode(TEXTS, convert_to_numpy=False, convert_to_tensor=True), torch.Tensor)
    assert model.encode(TEXTS[0]).shape == (model.dim,)
    for one in (model.encode(TEXTS[0], convert_to_tensor=True), model.encode(TEXTS[0], convert_to_numpy=False)):
        np.testing.assert_array_equal(np.asarray(one), model.encode(TEXTS[:1])[0])


def test_without_normalising_vectors_keep_their_length(model: ConceptModel) -> None:
    long = model.encode(TEXTS, normalize_embeddings=False)
    lengths = np.linalg.norm(long, axis=1)
    assert np.abs(lengths - 1).min() > 0.01
    np.testing.assert_allclose(long / lengths[:, None], model.encode(TEXTS), atol=1e-6)
    np.testing.assert_array_equal(
        model.encode(TEXTS, normalize_embeddings=False, convert_to_tensor=True),
        model.embed_tokens(model.tokenize(TEXTS)),
    )


def test_the_bar_is_shown_where_it_is_asked_for(model: ConceptModel, capsys: pytest.CaptureFixture[str]) -> None:
    plain = model.encode(TEXTS)
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(model.encode(TEXTS, show_progress_bar=True), plain)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Batches" in shown.err
    assert "100%" in shown.err


@pytest.mark.parametrize("kind", ["raw", "centred", "whitened", "predictable"])
def test_similarity_is_that_of_the_model(kind: Similarity, model: ConceptModel) -> None:
    """The formulas of each kind, in float64."""
    model.similarity_kind = kind
    x, s = model.encode(TEXTS).astype(np.float64), model.statistics
    assert s.predictable is not None
    mapped = {
        "raw": x,
        "centred": x - s.mean,
        "whitened": (x - s.mean) @ s.whitening,
        "predictable": (x - s.predictable.concept_mean) @ s.predictable.concepts,
    }[kind]
    unit = mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
    found = model.similarity(TEXTS, TEXTS[:2])
    assert (found.shape, found.dtype) == ((4, 2), np.float32)
    np.testing.assert_allclose(found, unit @ unit[:2].T, atol=1e-5)
    np.testing.assert_allclose(model.similarity_pairwise(TEXTS, TEXTS[::-1]), (unit * unit[::-1]).sum(1), atol=1e-5)
    np.testing.assert_allclose(np.array(model.embed_documents(TEXTS)), unit, atol=1e-5)
    assert model.embed_query(TEXTS[1]) == pytest.approx(unit[1].tolist(), abs=1e-5)
    assert kind == "raw" or np.abs(unit @ unit.T - x @ x.T).max() > 0.01, "all kinds are alike: the test shows nothing"


def test_texts_and_vectors_are_one_thing(model: ConceptModel) -> None:
    model.similarity_kind = "centred"
    expected, vectors = model.similarity(TEXTS, TEXTS), model.encode(TEXTS)
    tensors = list(torch.from_numpy(vectors))  # as encode(convert_to_numpy=False) gives
    for given in (
        vectors,
        torch.from_numpy(vectors),
        vectors.tolist(),
        list(vectors),
        vectors * np.float32(1e30),
        tensors,
        (text for text in TEXTS),
    ):
        np.testing.assert_allclose(model.similarity(given, TEXTS), expected, atol=1e-6)
    for one in (TEXTS[2], vectors[2], vectors[2].tolist(), torch.from_numpy(vectors[2]), [TEXTS[2]]):
        np.testing.assert_allclose(model.similarity(one, np.array(TEXTS)), expected[2:3], atol=1e-6)
    half = torch.from_numpy(vectors).bfloat16()
    np.testing.assert_allclose(model.similarity(half, TEXTS), model.similarity(half.float(), TEXTS), atol=1e-6)
    assert model.similarity([], TEXTS).shape == (0, 4)
    assert np.diag(expected) == pytest.approx(1, abs=1e-6)
    assert expected.max() <= 1
    with pytest.raises(LangJepaError, match="as many on both sides, not 4 and 1"):
        model.similarity_pairwise(TEXTS, TEXTS[0])
    with pytest.raises(LangJepaError, match=r"expected vectors \[n, 32\], not \[1, 7\]"):
        model.similarity(vectors[0, :7], TEXTS)
    with pytest.raises(LangJepaError, match="text 1 is not a string"):
        model.similarity([TEXTS[0], None], TEXTS)


def test_what_vector_stores_hold_are_plain_lists(model: ConceptModel) -> None:
    rows, one = model.embed_documents(TEXTS), model.embed_query(TEXTS[0])
    assert [type(part) for part in (rows, rows[0], rows[0][0], one, one[0])] == [list, list, float, list, float]
    assert model.embed_documents([]) == []
    with pytest.raises(LangJepaError, match="not a single string"):
        model.embed_documents(TEXTS[0])  # type: ignore[arg-type]


def test_a_model_names_its_run(model: ConceptModel, tmp_path: Path) -> None:
    assert model.run_dir is None
    model.save(tmp_path / "run" / "model")
    assert ConceptModel.load(tmp_path / "run" / "model").run_dir is None
    (tmp_path / "run" / "settings.yaml").write_text("")
    assert ConceptModel.load(tmp_path / "run").run_dir == tmp_path / "run"
