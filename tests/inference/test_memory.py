"""What a model remembers: the same vectors, each sentence read once, and what training kept is taken over."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_plain_view
from lang_jepa.data.views.batch import Sequences
from lang_jepa.evaluation.embedder import ArrayCache
from lang_jepa.inference.cache import ConceptCache, SentenceCache
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.report import evaluate_run
from lang_jepa.report.encoder_run import without_head
from lang_jepa.report.run import EvaluateOptions, add_cache, grouped, other_corpus
from lang_jepa.training.train import train
from tiny import MODES, tiny_settings

MASKED = (
    "data.view=masked_concepts",
    "data.context=window",
    "model.predictor=neighbour_gates",
    "model.freeze_encoder=true",
    "model.head=whitened",
    "objective.target=frozen",
    "objective.regularizer=none",
)
TEXTS = ["The cat sat on the mat.", "Anna went home.", "It rained all day.", "Anna went home."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return prepare(tiny_settings(folder, *MASKED).data)


@pytest.fixture
def model(folder: Path, corpus: Corpus) -> ConceptModel:
    settings = tiny_settings(folder, *MASKED)
    torch.manual_seed(3)
    jepa = build_jepa(settings, corpus.tokenizer)
    with torch.no_grad():
        for parameter in jepa.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return ConceptModel(jepa.eval(), corpus.tokenizer, None, settings)


def test_what_is_remembered_is_what_is_read(model: ConceptModel) -> None:
    concepts, between = model.encode(TEXTS), model.predict_between([TEXTS[:2]], [TEXTS[2:]])
    model.sentence_cache = SentenceCache(model.room)
    for _ in range(2):  # read, and then remembered
        np.testing.assert_allclose(model.encode(TEXTS), concepts, atol=1e-6)
        np.testing.assert_allclose(model.predict_between([TEXTS[:2]], [TEXTS[2:]]), between, atol=1e-5)
    assert len(model.sentence_cache) == 3, "one of the four is there twice"


def test_what_another_process_read_is_taken_from_the_cache(tmp_path: Path) -> None:
    """Only for the same weights, the same room and the same question, so a result never depends on who came first."""
    asked: list[int] = []

    def read(tokens: list[np.ndarray]) -> np.ndarray:
        asked.append(len(tokens))
        return np.stack([np.full(3, ids.sum(), dtype=np.float32) for ids in tokens])

    tokens = [np.array([1, 2]), np.array([3]), np.array([1, 2])]
    expected = np.repeat(np.float32([3, 3, 3]), 3).reshape(3, 3)
    for identity, room, calls in (("a", 4, 1), ("a", 4, 1), ("b", 4, 2), ("b", 1, 3)):
        memory = SentenceCache(room, cache=ArrayCache(tmp_path), identity=identity)
        np.testing.assert_array_equal(memory.means(tokens, read), expected)
        assert len(asked) == calls
    memory = SentenceCache(4, cache=ArrayCache(tmp_path), identity="a")
    memory.means(tokens[:1], read)
    assert asked == [2, 2, 2, 1]
    for _ in range(2):
        memory.means(tokens[:1], read, "bf16")
    assert asked == [2, 2, 2, 1, 1], "vectors of another precision are not taken"


def test_what_training_kept_is_taken_over(model: ConceptModel, corpus: Corpus) -> None:
    """Vectors put in from outside are used, so nothing is read again; and they are those that would be read.

    Beside a corpus that only the model's settings name none are made.
    """
    split = corpus.validation
    texts = split.texts(np.arange(12))
    read = model.encode(texts)
    shutil.rmtree(corpus.path / "concepts", ignore_errors=True)
    add_cache(model, [corpus], None)
    assert not (corpus.path / "concepts").exists()
    assert model.sentence_cache is not None
    assert not len(model.sentence_cache)
    add_cache(model, [corpus], None, named=[corpus])
    assert model.sentence_cache is not None
    known = len(model.sentence_cache)
    np.testing.assert_allclose(model.encode(texts), read, atol=1e-5)
    assert len(model.sentence_cache) == known
    view = make_plain_view(model.settings, split, model.tokenizer)
    assert ConceptCache.open_or_make(model.jepa.encoder, view).reused
    model.sentence_cache.fill(split, np.ones((split.num_sentences, model.dim), dtype=np.float32))
    assert np.ptp(model.encode(texts), axis=0).max() < 1e-6


def test_without_the_head_it_is_the_backbone_alone(model: ConceptModel) -> None:
    model.sentence_cache = SentenceCache(model.room)
    plain = without_head(model, TEXTS[:3])
    found = plain.encode(TEXTS)
    assert not np.allclose(found, model.encode(TEXTS), atol=1e-2)
    head = model.jepa.encoder.head
    assert head is not None
    with torch.no_grad():
        head.weight.copy_(torch.eye(model.dim))
        head.bias.zero_()
    np.testing.assert_allclose(model.encode(TEXTS), found, atol=1e-6)
    assert len(model.sentence_cache) == 3


def test_other_documents_report_and_held_out_ones_choose(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    """They are cut with the run's own tokenizer, though it was learnt on another text."""
    (tmp_path / "texts").mkdir()
    for number, name in enumerate(("Anna", "Bela", "Carl")):
        text = f"{name} went home that day. It was late for {name}. Then it rained on {name} for {number} weeks in the town."
        (tmp_path / "texts" / f"{number}.txt").write_text(text + f" {name} slept.")
    settings = tiny_settings(folder, *MASKED, f"data.corpus_dir={tmp_path / 'corpora'}")
    others = other_corpus(settings, corpus, str(tmp_path / "texts"))
    assert others.tokenizer.fingerprint() == corpus.tokenizer.fingerprint()
    made = grouped(corpus, others, 200)
    assert list(made.choosing) == [True] * corpus.validation.num_documents + [False] * 3
    assert made.documents[-1][1] == "It was late for Carl."
    alone = grouped(corpus, None, 200)
    assert len(alone.documents) == corpus.validation.num_documents
    assert 0 < sum(alone.choosing) < len(alone.documents)


def test_an_evaluation_encodes_no_sentence_twice(tmp_path: Path) -> None:
    """Over a frozen encoder the trained model and its start even share what they have read."""
    frozen = ("model.freeze_encoder=true", "objective.target=frozen", "objective.regularizer=none")
    settings = tiny_settings(tmp_path / "run", *MODES["concepts"], *frozen, "optimization.max_steps=2")
    run = train(settings).folder
    taken: list[bytes] = []
    original = ConceptModel._framed

    def framed(self: ConceptModel, tokens: Sequence[np.ndarray]) -> Sequences:
        taken.extend(ids.astype(np.int64).tobytes() for ids in tokens)
        return original(self, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConceptModel, "_framed", framed)
        evaluate_run(run, EvaluateOptions(tasks="retrieval"))
    assert len(taken) == len(set(taken)) > 20
