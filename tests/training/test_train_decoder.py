"""Training a decoder: exact resumption, refusals, what is held out, and which encoder is taken."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import join_model
from lang_jepa.models.decoder import ConceptDecoder
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.load import load_decoder_settings, load_gpt_settings, save_settings
from lang_jepa.training.checkpoint import load_checkpoint, save_checkpoint
from lang_jepa.training.load import latest_encoder, load_decoder
from lang_jepa.training.methods.decoder import LAYOUT
from lang_jepa.training.methods.decoder_data import DecoderData
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Silent
from lang_jepa.training.train import resume_settings, train
from tiny import (
    VIEWS,
    StopAt,
    assert_same_checkpoint,
    rows_of,
    tiny_decoder,
    tiny_encoder,
    tiny_settings,
)

LONG = (
    "decoder.dropout=0.2",
    "data.predicted_share=0.4",
    "optimization.max_steps=30",
    "optimization.grad_accum_steps=2",
    "logging.eval_freq=10",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("runs") / "encoder")


@pytest.fixture(scope="module")
def whole(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run with dropout and accumulation."""
    folder = tmp_path_factory.mktemp("decoders") / "whole"
    return train(tiny_decoder(folder, *LONG).of(encoder)).folder


def _assert_same(one: Path, other: Path) -> None:
    for name in (LAYOUT.last, LAYOUT.best):
        assert_same_checkpoint(one / name, other / name)
    assert rows_of(one) == rows_of(other)
    assert (one / "samples.txt").read_text() == (other / "samples.txt").read_text()


def test_stopped_and_resumed_bit_for_bit(encoder: Path, whole: Path, tmp_path: Path) -> None:
    first = train(tiny_decoder(tmp_path / "parts", *LONG).of(encoder), StopAt(13))
    assert (first.step, first.interrupted, first.model) == (13, True, None)
    done = train(resume_settings(tmp_path / "parts").of(encoder))
    assert (done.step, done.model) == (30, (encoder / "model").resolve())
    _assert_same(whole, tmp_path / "parts")


def test_it_learns_to_read_the_concept(whole: Path, encoder: Path) -> None:
    validations = [row for row in read_metrics(whole / "metrics.csv") if "val/loss" in row]
    assert [row["train/step"] for row in validations] == [0, 10, 20, 30]
    assert validations[-1]["val/loss"] < validations[0]["val/loss"]
    assert validations[-1]["val/loss_shuffled"] != validations[-1]["val/loss_own"], "the control reads other concepts"
    assert validations[-1]["val/perplexity"] == pytest.approx(np.exp(validations[-1]["val/loss_own"]))
    assert (whole / "samples.txt").read_text().count("reconstruction") == 8
    checkpoint = ConceptModel.load(encoder)
    load_decoder(whole, checkpoint)
    joined = ConceptModel.load(encoder)
    assert joined.decoder is not None
    assert checkpoint.decode(checkpoint.encode(["Anna went home."])) != []


def test_resuming_with_other_settings_is_refused(encoder: Path, whole: Path) -> None:
    settings = tiny_decoder(whole, *LONG, "optimization.lr=1e-4", "meta.load_checkpoint=true")
    with pytest.raises(LangJepaError, match=r"lr: checkpoint 0.01, now 0.0001(.|\n)*logging.log_dir"):
        train(settings.of(encoder))
    with pytest.raises(LangJepaError, match="is this a run directory"):
        resume_settings(whole.parent)


def test_a_loss_that_is_not_finite_stops_before_the_update(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ConceptDecoder,
        "memory",
        lambda self, concepts: self.prefix(concepts * 3e38 * 10).unflatten(-1, (4, -1)),
    )
    with pytest.raises(LangJepaError, match=r"step 1: the loss is nan(.|\n)*the learning rate is not the cause"):
        train(tiny_decoder(tmp_path / "run").of(encoder))
    assert not (tmp_path / "run" / LAYOUT.last).is_file()


def _data(encoder: Path, folder: Path, *overrides: str, held_out: bool) -> DecoderData:
    model = ConceptModel.load(encoder)
    data = model.settings.data
    corpus = prepare(data if held_out else data.model_copy(update={"val_fraction": 0.0}))
    settings: DecoderSettings = tiny_decoder(folder, *overrides)
    return DecoderData(settings, model, corpus, corpus.tokenizer, rank=0, world=1)


def test_documents_are_held_out_where_the_corpus_holds_none(encoder: Path, tmp_path: Path) -> None:
    data = _data(encoder, tmp_path, "data.val_fraction=0.3", held_out=False)
    documents = [set(side.split.document_of(side.rows).tolist()) for side in (data.train, data.held_out)]
    assert not documents[0] & documents[1]
    assert documents[0] | documents[1] == set(range(data.corpus.train.num_documents))
    assert 0.1 < len(documents[1]) / data.corpus.train.num_documents < 0.5


def test_a_batch_pairs_each_sentence_with_its_own_concept(encoder: Path, tmp_path: Path) -> None:
    data = _data(encoder, tmp_path, held_out=True)
    assert data.held_out.split is data.corpus.validation
    examples = np.array([5, 2, 17])
    batch = data.train.batch(examples)
    texts = data.train.texts(examples)
    np.testing.assert_allclose(batch.concepts, ConceptModel.load(encoder).encode(texts), atol=1e-6)
    assert [data.tokenizer.decode(row.tolist()) for row in batch.tokens] == texts
    swapped = data.train.own(examples, concepts_of=examples[::-1])
    np.testing.assert_array_equal(swapped.concepts, batch.concepts.flip(0))
    np.testing.assert_array_equal(swapped.tokens, batch.tokens)


def test_a_share_of_the_texts_is_read_from_what_was_predicted_of_them(encoder: Path, tmp_path: Path) -> None:
    """The text stays, the concept is the predictor's, a document's first sentence keeps its own; drawn anew by epoch."""
    model = ConceptModel.load(encoder)
    data = _data(encoder, tmp_path, "data.predicted_share=0.5", held_out=True)
    plain = _data(encoder, tmp_path, held_out=True)
    examples = np.arange(200)
    own, mixed = plain.train.batch(examples), data.train.batch(examples, epoch=3)
    np.testing.assert_array_equal(own.tokens, mixed.tokens)
    moved = (own.concepts != mixed.concepts).any(1).numpy()
    documents = plain.train.split.document_starts
    firsts = np.isin(examples, documents)
    assert not moved[firsts].any()
    assert 0.35 < moved[~firsts].mean() < 0.65
    for example in np.flatnonzero(moved)[::9]:
        begin = documents[documents <= example][-1]
        context = plain.train.texts(np.arange(begin, example))
        np.testing.assert_allclose(mixed.concepts[example], model.predict_next(context), atol=2e-5)
    again, later = data.train.batch(examples, epoch=3), data.train.batch(examples, epoch=4)
    assert torch.equal(again.concepts, mixed.concepts)
    assert not torch.equal(later.concepts, mixed.concepts)
    predicted = data.train.predicted(examples)
    assert len(predicted.concepts) == (~firsts).sum()
    np.testing.assert_array_equal(predicted.concepts[moved[~firsts]], mixed.concepts[moved])


def test_the_best_validation_is_by_what_is_trained(encoder: Path, tmp_path: Path) -> None:
    """Own and predicted concepts by their shares; the loss on predictions is that of `score_texts`."""
    settings = tiny_decoder(tmp_path / "run", "data.predicted_share=0.25")
    folder = train(settings.of(encoder)).folder
    validations = [row for row in read_metrics(folder / "metrics.csv") if "val/loss" in row][1:]
    trained = [0.75 * row["val/loss_own"] + 0.25 * row["val/loss_predicted"] for row in validations]
    assert [row["val/loss"] for row in validations] == pytest.approx(trained)
    step, loss = load_checkpoint(folder / LAYOUT.last)["best"]
    assert (step, loss) == (validations[int(np.argmin(trained))]["train/step"], pytest.approx(min(trained)))
    data = _data(encoder, tmp_path, "data.predicted_share=0.25", held_out=True)
    examples = data.sample[data.held_out.concepts.is_predicted(data.sample)]
    model = ConceptModel.load(encoder)
    load_decoder(folder, model)
    predicted = data.held_out.concepts.predicted(examples).numpy()
    scores = model.score_texts(predicted, data.held_out.texts(examples))
    best = validations[int(np.argmin(trained))]["val/loss_predicted"]
    assert scores.nats.sum() / scores.tokens.sum() == pytest.approx(best, rel=1e-4)


def test_predictions_need_a_predictor_of_the_next_sentence(tmp_path: Path) -> None:
    folder = train(tiny_settings(tmp_path / "spans", *VIEWS["spans"], "optimization.max_steps=1")).folder
    with pytest.raises(LangJepaError, match=r"data.view=spans(.|\n)*data.predicted_share=0"):
        train(tiny_decoder(tmp_path / "run", "data.predicted_share=0.5").of(folder))
    assert train(tiny_decoder(tmp_path / "run", "data.predicted_share=0").of(folder)).step == 6


def test_resuming_with_another_predictor_is_refused(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "encoder")
    share = "data.predicted_share=0.5"
    train(tiny_decoder(tmp_path / "run", share).of(tmp_path / "encoder"), StopAt(3))
    model = ConceptModel.load(tmp_path / "encoder")
    with torch.no_grad():
        next(model.jepa.predictor.parameters()).add_(1e-3)
    model.save(tmp_path / "encoder" / "model")
    with pytest.raises(LangJepaError, match="data: checkpoint"):
        train(resume_settings(tmp_path / "run"))


def test_other_data_in_the_tokens_of_the_encoder(encoder: Path, tmp_path: Path) -> None:
    train(tiny_decoder(tmp_path / "run").of(encoder, ["data.limit=30"]))
    with pytest.raises(LangJepaError, match="the encoder is frozen"):
        train(tiny_decoder(tmp_path / "no").of(encoder, ["model.dropout=0.5"]))
    with pytest.raises(LangJepaError, match="did you mean 'limit'"):
        train(tiny_decoder(tmp_path / "no").of(encoder, ["data.limt=5"]))


def test_the_latest_encoder(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match="--encoder RUN"):
        latest_encoder(tmp_path)
    for number, name in enumerate(("logs/one", "runs/two", "runs/three")):
        card = tmp_path / name / "model" / "lang_jepa.json"
        card.parent.mkdir(parents=True)
        card.write_text("{}")
        os.utime(card, (number, number))
    assert latest_encoder(tmp_path) == Path("runs/three")
    save_checkpoint(tmp_path / "logs" / "killed" / "checkpoint-last.pth", {})
    assert latest_encoder(tmp_path) == Path("logs/killed/checkpoint-last.pth")
    for name in ("gpt", "killed_gpt"):  # newer, but they have no concepts
        save_checkpoint(tmp_path / "runs" / name / "checkpoint-last.pth", {})
        save_settings(load_gpt_settings("gpt_jepa"), tmp_path / "runs" / name / "settings.yaml")
    (tmp_path / "runs" / "gpt" / "model").mkdir()
    (tmp_path / "runs" / "gpt" / "model" / "gpt.json").write_text("{}")
    assert latest_encoder(tmp_path) == Path("logs/killed/checkpoint-last.pth")


def test_recipes() -> None:
    assert load_decoder_settings("concept_decoder_original") == DecoderSettings(recipe="concept_decoder_original")
    with pytest.raises(LangJepaError, match=r"decoder\.num_heads"):
        load_decoder_settings("concept_decoder", ["decoder.num_heads=5"])
    with pytest.raises(LangJepaError, match="did you mean 'hidden_dim'"):
        load_decoder_settings("concept_decoder", ["decoder.hiden_dim=5"])


def test_only_a_model_directory_is_joined(tmp_path: Path, encoder: Path) -> None:
    model = ConceptModel.load(encoder)
    load_decoder(train(tiny_decoder(tmp_path / "run").of(encoder)).folder, model)
    assert model.decoder is not None
    with pytest.raises(LangJepaError, match="is this a model directory"):
        join_model(tmp_path, model.decoder)


def test_what_is_cut_is_reported_where_training_starts(encoder: Path, tmp_path: Path) -> None:
    heard = Heard()
    settings = tiny_decoder(tmp_path / "run", "decoder.max_length=6", "optimization.max_steps=1")
    train(settings.of(encoder), heard)
    (line,) = [text for text in heard.warnings if " documents: " in text]
    assert re.search(r"cut [\d,]+ \([\d.]+%\) of [\d,]+ sentences at 6 tokens. Check decoder.max_length$", line)


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)
