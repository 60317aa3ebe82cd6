"""An export compares as the model does: the cosines of its vectors are the model's similarity."""

from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.corpus.prepare import prepare as prepare_corpus
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Predictable, Similarity, Statistics
from lang_jepa.export.export import export_run
from lang_jepa.inference.model import ConceptModel
from tiny import noisy_model, tiny_settings

TEXTS = [f"{who} {what}" for who in ("Anna", "A dog", "The old cat") for what in ("went home.", "barked.", "sat down.")]
ASKED = ["Anna sat down with a dog.", "It rained.", "No."]
KINDS: tuple[Similarity, ...] = ("raw", "centred", "whitened", "predictable")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConceptModel:
    settings = tiny_settings(tmp_path_factory.mktemp("run"))
    found = noisy_model(settings, prepare_corpus(settings.data))
    learnt = found.encode([f"{text} {number}" for number in range(20) for text in TEXTS])
    predictable = Predictable.of(np.roll(learnt, 1, axis=0) + learnt, learnt)
    found.statistics = Statistics.of(learnt, predictable=predictable)
    return found


def saved(model: ConceptModel, kind: Similarity, folder: Path) -> Path:
    model.similarity_kind = kind
    model.save(folder / "run" / "model")
    return folder / "run"


@pytest.mark.parametrize("kind", KINDS)
def test_sentence_transformers_ranks_as_the_model_does(kind: Similarity, model: ConceptModel, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    run = saved(model, kind, tmp_path)
    done = export_run(run, tmp_path / "out", "sentence-transformers")
    loaded = library.SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=False)
    found = loaded.similarity(loaded.encode(ASKED), loaded.encode(TEXTS)).numpy()
    expected = ConceptModel.load(run).similarity(ASKED, TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(np.argsort(-found, axis=1), np.argsort(-expected, axis=1))
    assert np.linalg.norm(loaded.encode(TEXTS), axis=1) == pytest.approx(1, abs=1e-6)
    assert done.difference < 1e-5
    names = [type(module).__name__ for module in loaded]
    added = ["Dense", "Normalize"] if kind != "raw" else []
    assert names == ["Transformer", "Pooling", "Dense", "Normalize", *added]
    card = (tmp_path / "out" / "README.md").read_text()
    said = "plain cosine, the similarity that the model uses itself" if kind == "raw" else f"the similarity `{kind}`"
    assert said in card
    plain = model.encode(ASKED) @ model.encode(TEXTS).T
    assert kind == "raw" or np.abs(plain - expected).max() > 0.01, "all kinds are alike: the test shows nothing"


def test_onnx_has_it_in_its_graph(model: ConceptModel, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from transformers import AutoTokenizer

    run = saved(model, "whitened", tmp_path)
    export_run(run, tmp_path / "out", "onnx")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    batch = tokenizer([*ASKED, *TEXTS], padding=True, truncation=True, return_tensors="np")
    (found,) = session.run(["sentence_embedding"], {name: batch[name].astype(np.int64) for name in batch})
    np.testing.assert_allclose(found[:3] @ found[3:].T, ConceptModel.load(run).similarity(ASKED, TEXTS), atol=1e-4)


def test_an_export_that_is_no_plain_encoder_says_so(model: ConceptModel, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    export_run(saved(model, "centred", tmp_path), tmp_path / "out", "sentence-transformers")
    with pytest.raises(LangJepaError, match="Normalize, Dense, Normalize; only"):
        ConceptModel.load(tmp_path / "out")
    export_run(saved(model, "raw", tmp_path), tmp_path / "raw", "sentence-transformers")
    np.testing.assert_allclose(ConceptModel.load(tmp_path / "raw").encode(TEXTS), model.encode(TEXTS), atol=1e-5)
