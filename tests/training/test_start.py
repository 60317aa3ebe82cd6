"""Teachers: a model directory of ours or a pretrained encoder, and what does not fit."""

import re
from pathlib import Path

import pytest
import torch

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.models.encoder import identity_head
from lang_jepa.models.target import FrozenTarget
from lang_jepa.settings.load import load_settings
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Silent
from lang_jepa.training.start import start_model, start_target, whiten_head
from lang_jepa.training.text_size import check_sample
from lang_jepa.training.train import train
from tiny import TINY, corpora, tiny_settings

TEXTS = ["The cat sat on the mat.", "It rained."]
FROZEN = ("objective.target=frozen", "objective.regularizer=none")


class Heard(Silent):
    """Keeps the warnings and messages."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.messages: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(tiny_settings(tmp_path_factory.mktemp("run")).data)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    """A model directory with weights of its own and a head that is not the identity."""
    folder = tmp_path_factory.mktemp("teacher") / "model"
    settings = tiny_settings(folder)
    torch.manual_seed(5)
    jepa = build_jepa(settings, corpus.tokenizer)
    with torch.no_grad():
        jepa.encoder.head.weight.add_(torch.randn(32, 32))
    ConceptModel(jepa, corpus.tokenizer, None, settings).save(folder)
    return folder


def test_a_model_directory_teaches_with_its_head(teacher: Path, corpus: Corpus, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, *FROZEN, f"objective.teacher_path={teacher}")
    target = start_target(settings, build_jepa(settings, corpus.tokenizer), corpus.tokenizer)
    assert isinstance(target, FrozenTarget)
    loaded = ConceptModel.load(teacher).jepa.encoder.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in target.encoder.state_dict().items())


def test_without_a_teacher_the_start_teaches(corpus: Corpus, tmp_path: Path) -> None:
    """And the online encoder, which learns from it, is what is kept."""
    settings = tiny_settings(tmp_path / "run", *FROZEN, "model.head=none")
    start = build_jepa(settings, corpus.tokenizer)
    target = start_target(settings, start, corpus.tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(target.encoder.parameters(), start.encoder.parameters(), strict=True))
    result = train(settings)
    ours = ConceptModel.load(result.folder).encode(TEXTS)
    torch.manual_seed(settings.meta.seed)
    again = build_jepa(settings, corpus.tokenizer)
    before = ConceptModel(again, corpus.tokenizer, None, settings).encode(TEXTS)
    assert abs(ours - before).max() > 1e-3


def test_distillation_needs_no_dropout_and_no_crop(teacher: Path, tmp_path: Path) -> None:
    """The same sentence to both: the student comes to agree with its teacher, and is what is kept."""
    settings = tiny_settings(
        tmp_path / "run",
        *FROZEN,
        f"objective.teacher_path={teacher}",
        "data.view=same_sentence",
        "data.context=window",
        "data.batch_size=64",
        "model.predictor=identity",
        "model.dropout=0.0",
        "optimization.max_steps=25",
        "optimization.lr=1e-2",
    )
    result = train(settings)
    student, theirs = ConceptModel.load(result.folder), ConceptModel.load(teacher)
    agreement = (student.encode(TEXTS) * theirs.encode(TEXTS)).sum(1)
    assert agreement.min() > 0.5


def test_a_teacher_that_does_not_fit_is_refused(teacher: Path, corpus: Corpus, minilm: Path, tmp_path: Path) -> None:
    def start(*overrides: str) -> None:
        settings = tiny_settings(tmp_path, *FROZEN, *overrides)
        start_target(settings, build_jepa(settings, corpus.tokenizer), corpus.tokenizer)

    with pytest.raises(LangJepaError, match=r"has width 32, but model\.embed_dim is 64"):
        start(f"objective.teacher_path={teacher}", "model.embed_dim=64", "model.pred_dim=64")
    with pytest.raises(LangJepaError, match="a different tokenizer"):
        start(f"objective.teacher_path={minilm}", "model.embed_dim=384", "model.pred_dim=384")


def test_a_frozen_pretrained_encoder_is_left_as_it_is(minilm: Path, tmp_path: Path) -> None:
    """The concept_sequence recipe on real weights: only the predictor moves, and the export encodes as its start."""
    settings = load_settings(
        "concept_sequence",
        [
            "data.train_file=stories",
            "data.val_fraction=0.3",
            f"data.corpus_dir={corpora()}",
            f"data.tokenizer_path={minilm}",
            "model.embed_dim=384",
            "model.pred_dim=384",
            "optimization.max_steps=3",
            "logging.eval_freq=3",
            f"logging.log_dir={tmp_path / 'run'}",
        ],
        usual=TINY,
    )
    result = train(settings)
    corpus = prepare(settings.data)
    from lang_jepa.data.views import make_view

    start = start_model(settings, corpus.tokenizer, make_view(settings, corpus.train, corpus.tokenizer))
    assert not any(parameter.requires_grad for parameter in start.encoder.parameters())
    assert all(parameter.requires_grad for parameter in start.predictor.parameters())
    trained = ConceptModel.load(result.folder)
    before = ConceptModel(start, corpus.tokenizer, None, settings)
    assert abs(trained.encode(TEXTS) - before.encode(TEXTS)).max() < 1e-6
    assert abs(trained.predict_next(TEXTS) - before.predict_next(TEXTS)).max() > 1e-3


@pytest.mark.parametrize("power", [0.5, 0.25, 0.0])
def test_a_head_whitens_by_the_power_asked_for(power: float) -> None:
    """In every principal direction the variance v becomes v^(1 - 2 power); the mean goes in any case."""
    torch.manual_seed(0)
    pooled = torch.randn(4000, 3) @ torch.tensor([[3.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.2, 0.4]]) + 5
    head = identity_head(3)
    whiten_head(head, pooled, power=power)
    found = head(pooled).detach()
    assert found.mean(0).abs().max() < 1e-3
    values, vectors = torch.linalg.eigh(torch.cov(pooled.T))
    expected = (vectors * values ** (1 - 2 * power)) @ vectors.T
    torch.testing.assert_close(torch.cov(found.T), expected, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("count", [2, 16, 64, 127])
def test_a_small_sample_blows_up_no_other_sentence(count: int) -> None:
    """Of the directions that it says nothing about either; they had 500 times the variance."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(64, 64, generator=generator) * torch.linspace(0.2, 2, 64)
    sample, others = (torch.randn(n, 64, generator=generator) @ mixing for n in (count, 2000))
    head = identity_head(64)
    whiten_head(head, sample)
    assert 0.5 < float(head(others).detach().var(0).mean()) < 2


def test_a_large_sample_is_whitened_as_it_is() -> None:
    pooled = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))
    head = identity_head(64)
    whiten_head(head, pooled)
    assert torch.equal(head.weight, torch.from_numpy(Statistics.of(pooled.numpy(), shrinkage=1e-3).whitening))


def test_text_that_is_too_short_for_the_width_is_reported(tmp_path: Path) -> None:
    """In one warning with the numbers, where training starts; and the model starts at ordinary metrics."""
    heard = Heard()
    wide = ("data.limit=12", "model.embed_dim=256", "model.pred_dim=256", "model.head_sample=4000")
    few = ("data.val_fraction=0.3", "objective.regularizer=vicreg", "optimization.max_steps=1")
    train(tiny_settings(tmp_path / "wide", *wide, *few), heard)
    (warning,) = [text for text in heard.warnings if "model.embed_dim" in text]
    sentences = re.search(r"there are (\d+) training sentences: the whitened start and", warning)
    assert sentences is not None
    advice = f"a smaller model.embed_dim ({int(sentences[1]) // 8} at most, pred_dim with it)"
    rule = "model.embed_dim=256 needs at least 2,048 training sentences, 8 per dimension"
    assert f"{rule}. Use more text, or {advice}" in warning
    (later,) = [text for text in heard.messages if text.startswith("similarity")]
    assert later.endswith(advice)  # the same at the end
    (row,) = [row for row in read_metrics(tmp_path / "wide" / "metrics.csv") if "train/regularizer" in row]
    assert row["train/regularizer"] < 50
    narrow = Heard()
    train(tiny_settings(tmp_path / "narrow", *few), narrow)
    assert not [text for text in narrow.warnings if "model.embed_dim" in text]
    settings = tiny_settings(tmp_path / "given", "model.head_sample=32")
    corpus = prepare(settings.data)
    sample = make_plain_view(settings, corpus.train, corpus.tokenizer)
    assert str(check_sample(settings, sample)).endswith(". Raise model.head_sample")
