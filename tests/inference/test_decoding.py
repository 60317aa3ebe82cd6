"""A decoder in a model directory, the cache of concepts, and imagined sentences."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import prepare as prepared
from lang_jepa.inference.decoding import TextDecoder, build_decoder
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import DECODER_WEIGHTS, join_model
from lang_jepa.models.decoder import Generation
from lang_jepa.training.methods.decoder_data import SplitConcepts
from lang_jepa.training.train import train
from tiny import tiny_decoder, tiny_encoder

SENTENCES = ["Anna went home.", "It rained all day.", "The cat sat on the mat."]
CONTEXT = ["Anna lost her keys.", "She looked for them."]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder's run directory whose model a decoder has joined."""
    folder = tmp_path_factory.mktemp("runs")
    encoder = tiny_encoder(folder / "encoder")
    settings = tiny_decoder(folder / "decoder", "optimization.max_steps=60", "logging.eval_freq=60")
    assert train(settings.of(encoder)).model == encoder / "model"
    return encoder


@pytest.fixture(scope="module")
def model(run: Path) -> ConceptModel:
    return ConceptModel.load(run)


@pytest.fixture(scope="module")
def corpus(model: ConceptModel) -> Corpus:
    return prepare(model.settings.data)


def test_the_decoder_joins_the_encoder_and_stays_with_it(model: ConceptModel, run: Path, tmp_path: Path) -> None:
    decoded = model.decode(model.encode(SENTENCES))
    assert len(decoded) == 3
    assert any(decoded)
    assert not model.decoder_is_foreign
    model.save(tmp_path / "again", step=1)
    again = ConceptModel.load(tmp_path / "again")
    assert again.decode(again.encode(SENTENCES)) == decoded
    (tmp_path / "again" / DECODER_WEIGHTS).write_bytes(
        (tmp_path / "again" / DECODER_WEIGHTS).read_bytes()[:-4] + b"oops"
    )
    with pytest.raises(LangJepaError, match=f"{DECODER_WEIGHTS} is damaged"):
        ConceptModel.load(tmp_path / "again")


def test_a_tokenizer_of_its_own(run: Path, tmp_path: Path, model: ConceptModel) -> None:
    shutil.copytree(run, tmp_path / "encoder")
    other = tmp_path / "tokenizer"
    model.tokenizer.save(other)  # equal to the encoder's, but named as another
    settings = tiny_decoder(tmp_path / "decoder", f"decoder.tokenizer_path={other}")
    train(settings.of(tmp_path / "encoder"))
    same = tiny_decoder(tmp_path / "same")
    shutil.copytree(run, tmp_path / "second")
    train(same.of(tmp_path / "second"))
    shutil.rmtree(other)
    one, two = (ConceptModel.load(tmp_path / name) for name in ("encoder", "second"))
    assert one.decode(one.encode(SENTENCES)) == two.decode(two.encode(SENTENCES))


def test_decoding_in_blocks_and_scores(model: ConceptModel, corpus: Corpus) -> None:
    texts = corpus.train.texts(np.arange(300))
    concepts = model.encode(texts)
    decoded = model.decode(concepts)
    assert decoded[290:] == model.decode(concepts[290:])
    scores = model.score_texts(concepts, texts)
    late = model.score_texts(concepts[280:], texts[280:])
    np.testing.assert_allclose(scores.nats[280:], late.nats, rtol=1e-4)
    assert scores.tokens.tolist() == [min(24, len(ids) + 1) for ids in model.tokenizer.encode_sentences(texts)]
    samples = model.decode(concepts[:1].repeat(300, 0), "sample", seed=1)
    assert samples[:20] != samples[256:276]  # the second block draws for itself


def test_what_cannot_be_decoded_is_refused(model: ConceptModel, run: Path) -> None:
    for wrong in (np.zeros((2, 5)), np.zeros(32)):
        with pytest.raises(LangJepaError, match=r"\[n, 32\]"):
            model.decode(wrong)
    with pytest.raises(LangJepaError, match="not finite"):
        model.decode(np.full((1, 32), np.nan))
    with pytest.raises(LangJepaError, match="unknown option of decoding: beam"):
        model.decode(np.zeros((1, 32)), beam=2)
    silent = ConceptModel(model.jepa, model.tokenizer, None, model.settings)
    with pytest.raises(LangJepaError, match="train concept_decoder"):
        silent.imagine(CONTEXT, 1)


def test_a_decoder_of_another_encoder_is_noticed(model: ConceptModel, run: Path, tmp_path: Path) -> None:
    assert model.decoder is not None
    shutil.copytree(run / "model", tmp_path / "model")
    network = build_decoder(model.decoder.settings, concept_dim=32, tokenizer=model.tokenizer)
    join_model(tmp_path / "model", TextDecoder(network, model.tokenizer, model.decoder.settings, encoder="else"))
    assert ConceptModel.load(tmp_path / "model").decoder_is_foreign


def test_concepts_come_from_the_cache(model: ConceptModel, corpus: Corpus) -> None:
    """The encoder is run once over a side; what the decoder reads is what `encode` gives."""
    concepts = SplitConcepts(model, corpus.validation)
    rows = np.arange(corpus.validation.num_sentences)
    np.testing.assert_allclose(concepts.of(rows), model.encode(corpus.validation.texts(rows)), atol=1e-5)
    again = SplitConcepts(model, corpus.validation)
    assert again.vectors.tobytes() == concepts.vectors.tobytes()


def test_imagined_sentences_follow_from_each_other(model: ConceptModel) -> None:
    found = model.imagine(CONTEXT, 2, beams=4)
    sentences = list(CONTEXT)
    for one in found:
        agreements = [agreement for agreement, _ in one.alternatives]
        assert agreements == sorted(agreements, reverse=True)
        assert (one.agreement, one.text) == one.alternatives[0]
        predicted = model.predict_next(sentences)[None]
        beams = model.decode_several(predicted, beams=4, returned=4)[0]
        assert {text for _, text in one.alternatives} == {text for text in beams if text}
        sides = (
            prepared(predicted, model.statistics, model.similarity_kind, side="predictions"),
            prepared(model.encode([one.text]), model.statistics, model.similarity_kind),
        )
        assert one.agreement == pytest.approx(float((sides[0] * sides[1]).sum()), abs=1e-5)
        sentences.append(one.text)
    with pytest.raises(LangJepaError, match="at least one sentence"):
        model.imagine(CONTEXT, 0)


def test_generation_of_nothing(model: ConceptModel) -> None:
    assert model.decoder is not None
    assert model.decoder.decode(np.zeros((0, 32)), Generation()) == []
