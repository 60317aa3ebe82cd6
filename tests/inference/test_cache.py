"""Cached concepts: the encoder's own vectors, made once, resumed after a kill, and never taken for others."""

import copy
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import View, make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.inference import cache as module
from lang_jepa.inference.cache import ConceptCache, reads_cached
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.engine import Engine
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.train import train
from tiny import assert_same_run, tiny_settings, train_in_two_parts, write_parquet

FROZEN = (
    "model.freeze_encoder=true",
    "model.dropout=0.1",
    "model.head=whitened",
    "objective.target=frozen",
    "objective.center_targets=true",
    "objective.regularizer=none",
)
"""A frozen encoder with dropout in the predictor; the encoder must not drop anything."""


def _settings(folder: Path, *overrides: str) -> Settings:
    return tiny_settings(folder / "run", *FROZEN, f"data.corpus_dir={folder / 'corpora'}", *overrides)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return prepare(_settings(tmp_path).data)


@pytest.fixture
def encoder(tmp_path: Path, corpus: Corpus) -> TextEncoder:
    torch.manual_seed(0)
    return build_jepa(_settings(tmp_path), corpus.tokenizer).encoder


@pytest.fixture
def view(tmp_path: Path, corpus: Corpus) -> View:
    return make_plain_view(_settings(tmp_path), corpus.train, corpus.tokenizer)


def _passes(encoder: TextEncoder, after: Callable[[int], None] = lambda count: None) -> list[int]:
    """A list that grows by one at every pass of the encoder; `after` gets how many there were."""
    passes: list[int] = []

    def count(*_: Any) -> None:
        passes.append(1)
        after(len(passes))

    encoder.backbone.register_forward_pre_hook(count)
    return passes


def test_a_row_is_the_mean_state_of_its_sentence_alone(encoder: TextEncoder, view: View) -> None:
    encoder.train()
    found = ConceptCache.open_or_make(encoder, view)
    assert encoder.training
    assert found.vectors.shape == (view.split.num_sentences, encoder.dim)
    assert found.vectors.dtype == np.float32
    encoder.eval()
    with torch.inference_mode():
        for number in range(0, view.split.num_sentences, 7):
            alone = encoder.states(view.sentences(np.array([number]))).mean(0).numpy()
            np.testing.assert_allclose(found.vectors[number], alone, atol=2e-6)


def test_training_reads_the_same_from_it_and_never_runs_the_encoder(tmp_path: Path) -> None:
    """Against a run whose equal, but named, teacher keeps it from the cache: losses, scores and the exported model."""

    def no_pass(run: Engine) -> None:
        for encoder in (run.method.jepa.encoder, run.method.target.encoder):
            encoder.backbone.register_forward_pre_hook(lambda *_: pytest.fail("the encoder was run"))

    cached = _settings(tmp_path)
    train(cached, on_start=no_pass)
    plain = _settings(tmp_path, f"logging.log_dir={tmp_path / 'plain'}", f"objective.teacher_path={tmp_path / 'run'}")
    assert reads_cached(cached)
    assert not reads_cached(plain)
    train(plain)
    ours, theirs = (read_metrics(tmp_path / name / "metrics.csv") for name in ("run", "plain"))
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for name in our.keys() - {"train/seconds", "train/targets_per_second", "epoch/time"}:
            assert our[name] == pytest.approx(their[name], rel=2e-4, abs=2e-5), name
    texts = ["The dog ran to the lake.", "It was late."]
    ours, theirs = (ConceptModel.load(tmp_path / name) for name in ("run", "plain"))
    np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=1e-6)
    np.testing.assert_allclose(ours.predict_next(texts), theirs.predict_next(texts), atol=1e-4)


def test_a_run_in_two_parts_is_the_whole_run(tmp_path: Path) -> None:
    """With accumulation, and loader processes that read the same file."""
    options = ("optimization.grad_accum_steps=2", "data.num_workers=1")
    train(_settings(tmp_path, *options, f"logging.log_dir={tmp_path / 'whole'}"))
    train_in_two_parts(_settings(tmp_path, *options, f"logging.log_dir={tmp_path / 'parts'}"), stop=3)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("lost", [False, True])
def test_a_killed_process_is_resumed(
    lost: bool, encoder: TextEncoder, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished blocks stay, half a block is thrown away, and the file is the one that a whole run writes. Where there is
    less than was said to be finished, all is made anew."""
    monkeypatch.setattr(module, "BLOCK", 100)
    blocks = -(-view.split.num_sentences // 100)
    assert blocks > 4

    def killed(count: int) -> None:
        if count == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _passes(dying := copy.deepcopy(encoder), killed)
        ConceptCache.open_or_make(dying, view)
    (partial,) = Path(view.split.origin[0] / "concepts").glob("*.partial")
    with (partial / "vectors.f32").open("ab") as file:
        file.truncate(1000) if lost else file.write(b"half a row")
    messages: list[str] = []
    passes = _passes(going_on := copy.deepcopy(encoder))
    second = ConceptCache.open_or_make(going_on, view, on_message=messages.append)
    assert (len(passes), second.reused) == (blocks - (0 if lost else 3), False)
    assert ("300 were done earlier" in messages[0]) is not lost
    parts = (second.folder / "vectors.f32").read_bytes()
    (second.folder / "vectors.f32").unlink()
    whole = ConceptCache.open_or_make(encoder, view)
    assert (whole.folder / "vectors.f32").read_bytes() == parts
    assert not partial.exists()


def test_two_processes_encode_once(encoder: TextEncoder, view: View) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def one() -> None:
        queue.put(ConceptCache.open_or_make(encoder, view).reused)

    processes = [context.Process(target=one) for _ in range(2)]
    for process in processes:
        process.start()
    assert sorted(queue.get(timeout=300) for _ in processes) == [False, True]
    for process in processes:
        process.join()


def test_another_encoder_or_length_has_vectors_of_its_own(
    encoder: TextEncoder, view: View, tmp_path: Path, corpus: Corpus
) -> None:
    first = ConceptCache.open_or_make(encoder, view)
    assert ConceptCache.open_or_make(copy.deepcopy(encoder), view).reused
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        next(other.backbone.parameters())[5, 0] += 1e-3
    shorter = make_plain_view(_settings(tmp_path, "model.max_length=8"), corpus.train, corpus.tokenizer)
    eps = copy.deepcopy(encoder)
    eps.backbone.config.layer_norm_eps *= 2
    found = [ConceptCache.open_or_make(*pair) for pair in ((other, view), (encoder, shorter), (eps, view))]
    assert not any(one.reused for one in found)
    assert len({one.folder for one in [first, *found]}) == 4


@pytest.mark.parametrize("number", ["FORMAT", "CONCEPTS_FORMAT"])
def test_a_raised_number_has_vectors_of_its_own(
    number: str, encoder: TextEncoder, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ConceptCache.open_or_make(encoder, view)
    monkeypatch.setattr(module, number, getattr(module, number) + 1)
    assert ConceptCache.open_or_make(encoder, view).folder != first.folder


def test_the_head_is_not_in_it(encoder: TextEncoder, view: View) -> None:
    """So that runs of other seeds, whose heads were whitened on other samples, share it."""
    first = ConceptCache.open_or_make(encoder, view)
    with torch.no_grad():
        encoder.head.weight.mul_(2)
    assert ConceptCache.open_or_make(encoder, view).folder == first.folder


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("vectors.f32", b"\0" * 400, "has 400 bytes"),
        ("about.json", b'{"format": 1', "is damaged"),
        ("about.json", b'{"format": 0}', "describes something else"),
    ],
)
def test_a_damaged_one_is_made_again_and_reported(
    encoder: TextEncoder, view: View, file: str, content: bytes, reason: str
) -> None:
    first = ConceptCache.open_or_make(encoder, view)
    kept = np.array(first.vectors)
    (first.folder / file).write_bytes(content)
    messages: list[str] = []
    second = ConceptCache.open_or_make(encoder, view, on_message=messages.append)
    assert not second.reused
    assert reason in messages[0]
    np.testing.assert_array_equal(second.vectors, kept)


def test_a_flipped_bit_is_seen_and_one_without_checksum_is_used(encoder: TextEncoder, view: View) -> None:
    first = ConceptCache.open_or_make(encoder, view)
    kept, file, about = np.array(first.vectors), first.folder / "vectors.f32", first.folder / "about.json"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    messages: list[str] = []
    second = ConceptCache.open_or_make(encoder, view, on_message=messages.append)
    assert (second.reused, "checksum of vectors.f32" in messages[0]) == (False, True)
    np.testing.assert_array_equal(second.vectors, kept)
    described = json.loads(about.read_text())
    del described["crc32"]
    about.write_text(json.dumps(described))
    assert ConceptCache.open_or_make(encoder, view).reused


def test_vectors_that_are_not_finite_are_refused(encoder: TextEncoder, view: View) -> None:
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(torch.nan)
    with pytest.raises(LangJepaError, match="sentence 0 is not finite"):
        ConceptCache.open_or_make(encoder, view)
    assert not list((view.split.origin[0] / "concepts").glob("train-*/about.json"))


def test_a_stream_runs_its_encoder_at_every_step(encoder: TextEncoder, tmp_path: Path, corpus: Corpus) -> None:
    source = write_parquet(tmp_path / "source", documents=40, files=1)
    settings = _settings(
        tmp_path,
        f"data.train_file={source}",
        "data.streaming=true",
        "data.shuffle_buffer=10",
        "optimization.max_steps=2",
    )
    assert not reads_cached(settings)
    assert train(settings).step == 2
    memory = CorpusSplit.from_arrays(
        corpus.train.tokens(0, 2),
        np.concatenate([corpus.train.token_starts(np.arange(3))]),
        np.array([0, 2]),
        np.array([b"one"]),
        corpus.tokenizer,
    )
    with pytest.raises(LangJepaError, match=r"data\.streaming=false"):
        ConceptCache.open_or_make(encoder, make_plain_view(settings, memory, corpus.tokenizer))
