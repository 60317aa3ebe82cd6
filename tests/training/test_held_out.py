"""Validation metrics: equal to a computation from scratch, and the same whoever did which part of the work."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_plain_view
from lang_jepa.data.views.batch import Batch
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.objectives.distance import DISTANCES, measured
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.held_out import HeldOut, Predicted, _trivial_losses
from lang_jepa.training.method import MicroStep, Validation
from lang_jepa.training.methods.encoder import EncoderMethod
from lang_jepa.training.metrics import COLUMNS
from lang_jepa.training.train import open_run
from tiny import MODES, VIEWS, tiny_settings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(tiny_settings(tmp_path_factory.mktemp("run")).data)


def _held_out(settings: Settings, corpus: Corpus, *, rank: int = 0, world: int = 1) -> HeldOut:
    view = make_plain_view(settings, corpus.validation, corpus.tokenizer)
    return HeldOut(settings, view, rank=rank, world=world)


def _coded(dim: int, seed: int) -> Callable[[Batch], Tensor]:
    """A fixed random vector for every sentence."""
    table = torch.randn(100_000, dim, generator=torch.Generator().manual_seed(seed))
    return lambda batch: table[batch.sentence_ids]


@pytest.mark.parametrize("mode", MODES)
def test_the_metrics_are_what_they_are_called(mode: str, corpus: Corpus, tmp_path: Path) -> None:
    """With a real model: loss, cosine and recall computed here in the plainest way, one sentence at a time."""
    settings = tiny_settings(tmp_path, *MODES[mode], "logging.num_examples=2")
    jepa = build_jepa(settings, corpus.tokenizer).eval()
    held_out = _held_out(settings, corpus)
    measured = held_out.measure(
        lambda b: jepa(b.contexts).predictions, lambda b: jepa.encoder.embed_targets(b.targets), CPU
    )
    predicted, target = {}, {}
    with torch.no_grad():
        for batch in held_out.batches:
            for number, row in zip(batch.sentence_ids.tolist(), jepa(batch.contexts).predictions, strict=True):
                predicted[number] = functional.normalize(row, dim=0)
            for number, row in zip(batch.sentence_ids.tolist(), jepa.encoder.embed_targets(batch.targets), strict=True):
                target[number] = functional.normalize(row, dim=0)
    ours, theirs = (torch.stack([x[n] for n in sorted(x)]) for x in (predicted, target))
    cosines = (ours * theirs).sum(1)
    assert measured.metrics["val/count"] == len(ours)
    assert measured.metrics["val/semantic/avg_similarity"] == pytest.approx(float(cosines.mean()), abs=1e-5)
    assert settings.optimization.loss_fn == "cosine"
    assert measured.metrics["val/loss"] == pytest.approx(float((1 - cosines).mean()), abs=1e-5)
    half = theirs.roll(len(theirs) // 2, 0)
    assert measured.metrics["val/distance_shuffled"] == pytest.approx(
        float((1 - (ours * half).sum(1)).mean()), abs=1e-5
    )
    mean = functional.normalize(theirs.mean(0), dim=0)
    assert measured.metrics["val/distance_mean_target"] == pytest.approx(float(1 - (theirs @ mean).mean()), abs=1e-5)
    std = float(theirs.std(0, correction=0).mean()) * 32**0.5
    assert measured.metrics["val/embeddings/target_std_relative"] == pytest.approx(std, abs=1e-5)
    assert len(measured.examples) == 2
    assert measured.metrics.keys() <= set(COLUMNS)


@pytest.mark.parametrize("mode", VIEWS)
def test_other_views_are_validated_in_the_same_way(mode: str, corpus: Corpus, tmp_path: Path) -> None:
    """Each prediction against its own target and those of other documents; the same draws in every run."""
    settings = tiny_settings(tmp_path, *VIEWS[mode])
    held_out = _held_out(settings, corpus)
    perfect = held_out.measure(_coded(32, 0), _coded(32, 0), CPU)
    assert perfect.metrics["val/retrieval/mrr"] == perfect.metrics["val/semantic/hit_rate"] == 1.0
    blind = held_out.measure(_coded(32, 0), _coded(32, 1), CPU)
    assert blind.metrics["val/retrieval/mrr"] < 0.4
    jepa = build_jepa(settings, corpus.tokenizer).eval()
    answers = held_out.collect(
        lambda b: jepa(b.contexts).predictions, lambda b: jepa.encoder.embed_targets(b.targets), CPU
    )
    assert len(answers.targets) == len(set(answers.sentences.tolist()))
    assert (answers.sentences.diff() > 0).all()
    again = _held_out(tiny_settings(tmp_path, *VIEWS[mode], "meta.seed=7"), corpus)
    for one, other in zip(held_out.batches, again.batches, strict=True):
        assert torch.equal(one.contexts.sequences.tokens, other.contexts.sequences.tokens)
        assert torch.equal(one.targets.sequences.tokens, other.targets.sequences.tokens)


def test_the_regularizer_is_measured_on_all_held_out_targets(corpus: Corpus, tmp_path: Path) -> None:
    """Each rank gives a share, since the regularizer itself sums over the ranks."""
    parts: list[Tensor] = []

    def regularizer(x: Tensor) -> Tensor:
        parts.append(x)
        return x.square().sum()

    settings = tiny_settings(tmp_path)
    table = _coded(8, 1)
    alone = _held_out(settings, corpus)
    measured = alone.measure(_coded(8, 0), table, CPU, regularizer=regularizer)
    whole = parts.pop()
    assert measured.metrics["val/regularizer"] == pytest.approx(float(whole.square().sum()))
    for rank in range(3):
        one = _held_out(settings, corpus, rank=rank, world=3)
        one.batches = alone.batches
        one.measure(_coded(8, 0), table, CPU, regularizer=regularizer)
    assert sorted(map(tuple, torch.cat(parts).tolist())) == sorted(map(tuple, whole.tolist()))


@pytest.mark.parametrize("mode", MODES)
def test_copy_forward_is_the_loss_of_the_sentence_before(mode: str, corpus: Corpus, tmp_path: Path) -> None:
    """Also where that sentence is no target itself, as a document's first."""
    settings = tiny_settings(tmp_path, *MODES[mode], "logging.val_sentences=30")
    held_out, embed = _held_out(settings, corpus), _coded(8, 1)
    measured = held_out.measure(_coded(8, 0), embed, CPU)
    numbers = torch.cat([batch.sentence_ids for batch in held_out.batches])
    table = torch.randn(100_000, 8, generator=torch.Generator().manual_seed(1))
    expected = 1 - functional.cosine_similarity(table[numbers - 1], table[numbers]).mean()
    assert measured.metrics["val/distance_copy_forward"] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("world", [2, 3, 50])
@pytest.mark.parametrize("mode", ["concepts", "window"])
def test_ranks_share_the_work_and_not_the_result(mode: str, world: int, corpus: Corpus, tmp_path: Path) -> None:
    """The parts of all ranks are disjoint and whole, and what is computed of them is what one rank computes."""
    settings = tiny_settings(tmp_path, *MODES[mode])
    ranks = [_held_out(settings, corpus, rank=rank, world=world) for rank in range(world)]
    alone = _held_out(settings, corpus)
    numbers = [n for rank in ranks for batch in rank.batches for n in batch.sentence_ids.tolist()]
    assert sorted(numbers) == sorted(n for batch in alone.batches for n in batch.sentence_ids.tolist())
    assert len(numbers) == len(set(numbers))
    predict, embed = _coded(8, 0), _coded(8, 1)
    alone.batches = [batch for rank in ranks for batch in rank.batches]  # in the order in which ranks are gathered
    assert alone.measure(predict, embed, CPU) == _held_out(settings, corpus).measure(predict, embed, CPU)


def test_a_perfect_prediction_finds_its_sentence(corpus: Corpus, tmp_path: Path) -> None:
    measured = _held_out(tiny_settings(tmp_path), corpus).measure(_coded(32, 0), _coded(32, 0), CPU)
    assert measured.metrics["val/semantic/avg_similarity"] == pytest.approx(1.0)
    assert measured.metrics["val/retrieval/recall@1"] == measured.metrics["val/retrieval/mrr"] == 1.0
    assert measured.metrics["val/loss"] == pytest.approx(0.0, abs=1e-6)
    for example in measured.examples:
        after, following, found = (line[11:] for line in example.split("\n"))
        assert following == found != after


def test_examples_quote_what_really_follows(corpus: Corpus, tmp_path: Path) -> None:
    measured = _held_out(tiny_settings(tmp_path, "logging.num_examples=5"), corpus).measure(
        _coded(8, 0), _coded(8, 1), CPU
    )
    texts = corpus.validation.texts(np.arange(corpus.validation.num_sentences))
    pairs = set(itertools.pairwise(texts))
    for example in measured.examples:
        after, following, _ = (line[11:] for line in example.split("\n"))
        assert (after, following) in pairs


def test_the_sample_is_fixed_and_within_its_budget(corpus: Corpus, tmp_path: Path) -> None:
    """A run's seed must not choose the data that it is compared on."""

    def numbers(*overrides: str) -> list[int]:
        held_out = _held_out(tiny_settings(tmp_path, *MODES["window"], *overrides), corpus)
        return sorted(n for batch in held_out.batches for n in batch.sentence_ids.tolist())

    assert numbers("logging.val_sentences=20") == numbers("logging.val_sentences=20", "meta.seed=5")
    assert len(numbers("logging.val_sentences=20")) == 20
    everything = numbers("logging.val_sentences=100000")
    assert len(everything) == make_plain_view(tiny_settings(tmp_path), corpus.validation, corpus.tokenizer).targets


def test_validating_leaves_no_gradient_and_draws_nothing(corpus: Corpus, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, "model.dropout=0.5")
    jepa = build_jepa(settings, corpus.tokenizer).eval()
    before = torch.get_rng_state()

    def measure() -> Validation:
        held_out = _held_out(settings, corpus)
        return held_out.measure(
            lambda b: jepa(b.contexts).predictions, lambda b: jepa.encoder.embed_targets(b.targets), CPU
        )

    assert measure() == measure()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in jepa.parameters())


def test_the_mean_target_of_an_mse_is_the_mean_of_the_targets_as_they_are() -> None:
    """Targets that share an offset: the mean of their directions would be far from all of them."""
    targets = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) + 10.0
    answers = Predicted(targets.flip(0), targets, torch.arange(40), torch.arange(40))
    losses = _trivial_losses(
        answers, torch.arange(40), targets, partial(measured, DISTANCES["mse"]()), of_directions=False
    )
    expected = (targets - targets.mean(0)).square().mean()
    assert losses["val/distance_mean_target"] == pytest.approx(expected.item(), rel=1e-5)


def test_what_has_the_text_of_the_target_is_no_wrong_candidate(tmp_path: Path) -> None:
    """Lines that repeat everywhere: a perfect prediction is first, where ties would cost it half of the ranks."""
    (tmp_path / "logs").mkdir()
    for number in range(12):
        lines = [("start", "open", "read", "close")[line % 4] + " of the service" for line in range(24)]
        (tmp_path / "logs" / f"{number}.txt").write_text("\n".join([*lines, f"end of log {number}"]))
    of_lines = (f"data.train_file={tmp_path / 'logs'}", "data.units=lines", "data.min_length=1", "data.val_fraction=0.4",
                "data.deduplicate=none", "data.limit=null")  # fmt: skip
    settings = tiny_settings(tmp_path / "run", *of_lines)
    held_out = _held_out(settings, prepare(settings.data))
    texts = {text: torch.randn(16) for text in held_out.view.split.texts(np.arange(held_out.view.split.num_sentences))}

    def embed(batch: Batch) -> Tensor:
        return torch.stack([texts[text] for text in held_out.view.split.texts(batch.sentence_ids.numpy())])

    found = held_out.measure(embed, embed, CPU).metrics
    assert found["val/retrieval/recall@1"] == pytest.approx(1)
    assert found["val/retrieval/mrr"] == pytest.approx(1)


def test_the_contrastive_loss_of_a_collapsed_encoder_counts_the_other_texts(tmp_path: Path) -> None:
    """In training and on held-out data: all vectors are equal, so each of the other texts is as likely as the own."""
    (tmp_path / "logs").mkdir()
    for number in range(12):
        lines = [("start", "open", "read", "close")[(line + number) % 4] + " of the service" for line in range(24)]
        (tmp_path / "logs" / f"{number}.txt").write_text("\n".join([*lines, f"end of log {number}"]))
    settings = tiny_settings(
        tmp_path / "run", f"data.train_file={tmp_path / 'logs'}", "data.units=lines", "data.min_length=1",
        "data.val_fraction=0.4", "data.deduplicate=none", "data.limit=null", "optimization.loss_fn=contrastive",
        "objective.contrastive_near=0", "optimization.momentum_start=0.9",
    )  # fmt: skip
    method = EncoderMethod(settings)
    open_run(method)
    method.open_data()
    method.build()
    for encoder in (method.jepa.encoder, method.target.encoder):
        assert encoder.head is not None
        torch.nn.init.zeros_(encoder.head.weight)
        torch.nn.init.ones_(encoder.head.bias)
    batch = next(method.batches(None))
    found = method.loss(batch, MicroStep(step=0, seconds=0.0, count=batch.predictions, number=0, micro_batches=1)).sums[
        "distance"
    ]
    split = method.data.sample_view.split
    training = _log_of_texts([str(text) for text in split.texts(batch.sentence_ids.numpy())])
    assert float(found) / batch.predictions == pytest.approx(training, rel=1e-4)
    held_out = method.data.held_out
    assert held_out is not None
    texts = [text for one in held_out.batches for text in held_out.view.split.texts(one.sentence_ids.numpy())]
    validation = method.validate(0, 0.0, last=False)
    assert validation is not None
    assert validation.metrics["val/distance"] == pytest.approx(_log_of_texts(texts), rel=1e-4)


def _log_of_texts(texts: list[str]) -> float:
    """Mean over Q targets of log(1 + targets with another text)."""
    return float(np.mean([np.log(1 + sum(other != text for other in texts)) for text in texts]))


def test_every_rank_makes_as_many_passes(corpus: Corpus, tmp_path: Path) -> None:
    """Also of a sample that does not divide: processes that share out the weights gather them together."""
    settings = tiny_settings(tmp_path, "logging.val_sentences=100", "data.batch_size=1")
    whole = _held_out(settings, corpus)
    count = len(whole.batches)
    world = next(world for world in range(2, count) if count % world)
    passes, targets = [], 0
    for rank in range(world):
        seen: list[int] = []

        def predict(batch: Batch, seen: list[int] = seen) -> Tensor:
            seen.append(len(batch.sentence_ids))
            return _coded(8, 0)(batch)

        targets += len(_held_out(settings, corpus, rank=rank, world=world).collect(predict, _coded(8, 1), CPU).targets)
        passes.append(len(seen))
    assert passes == [count // world + 1] * world
    assert targets == len(whole.collect(_coded(8, 0), _coded(8, 1), CPU).targets)
