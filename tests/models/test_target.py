"""What makes the targets: a moving average by its formula, the encoder itself, or one that never moves."""

import pytest
import torch
from small_models import DIM, encoder, sequences
from torch import Tensor

from lang_jepa.data.views.batch import Batch, Contexts, Sequences, Targets
from lang_jepa.models.encoder import TextEncoder, segment_mean
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import LinearPredictor
from lang_jepa.models.target import TARGETS, EMATarget, FrozenTarget, SharedTarget


def weights(module: TextEncoder) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.996, 1.0])
def test_target_moves_by_the_formula(momentum: float) -> None:
    target = EMATarget(encoder(0))
    online = encoder(1)
    before, source = weights(target.encoder), weights(online)
    target.update(online, momentum)
    for name, value in weights(target.encoder).items():
        torch.testing.assert_close(value, momentum * before[name] + (1 - momentum) * source[name])
        if momentum == 0.0:
            assert torch.equal(value, source[name])
        if momentum == 1.0:
            assert torch.equal(value, before[name])
    assert all(torch.equal(value, source[name]) for name, value in weights(online).items())


def test_known_value_after_two_updates() -> None:
    target, online = EMATarget(encoder(0)), encoder(0)
    with torch.no_grad():
        target.encoder.head.bias.fill_(1.0)
        online.head.bias.fill_(0.0)
    for expected in (0.9, 0.81):
        target.update(online, 0.9)
        torch.testing.assert_close(target.encoder.head.bias, torch.full((DIM,), expected))


def test_target_begins_equal_and_shares_nothing() -> None:
    online = encoder(0)
    target = EMATarget(online)
    packed = sequences([4, 6])
    online.eval()
    torch.testing.assert_close(target.embed(Targets.whole(packed)), online.embed(packed))
    before = weights(target.encoder)
    with torch.no_grad():
        for weight in online.parameters():
            weight.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in weights(target.encoder).items())


def test_target_has_no_gradient_and_no_dropout() -> None:
    """Even if someone puts it into train mode, or the online encoder is frozen or has gradients."""
    online = encoder(0, dropout=0.5)
    online.train()
    target = EMATarget(online)
    assert not any(weight.requires_grad for weight in target.encoder.parameters())
    packed = sequences([4, 6])
    first = target.embed(Targets.whole(packed))
    assert not first.requires_grad
    target.encoder.train()
    assert torch.equal(target.embed(Targets.whole(packed)), first)
    assert not target.encoder.training
    online.embed(packed).sum().backward()
    target.update(online, 0.5)
    assert not any(weight.requires_grad for weight in target.encoder.parameters())
    assert all(weight.requires_grad for weight in online.parameters())
    assert online.training


def test_buffers_are_copied() -> None:
    online = encoder(0)
    online.register_buffer("seen", torch.tensor([1.0]))
    target = EMATarget(online)
    online.seen.fill_(7.0)
    target.update(online, 0.9)
    assert target.encoder.seen.item() == 7.0
    online.seen.fill_(8.0)
    assert target.encoder.seen.item() == 7.0


def batch() -> Batch:
    """Three contexts; the target side is read once, and one of its sequences is the target of two of them."""
    contexts, targets = sequences([5, 9, 2]), sequences([4, 6], seed=9)
    return Batch(
        contexts=Contexts(contexts, contexts.owner(), torch.arange(3)[:, None], torch.ones(3, dtype=torch.int64)),
        targets=Targets.whole(targets, torch.tensor([1, 0, 1])),
        sentence_ids=torch.tensor([1, 0, 1]),
        document_ids=torch.zeros(3, dtype=torch.int64),
    )


def model(**changes: object) -> Jepa:
    online = encoder(0, **changes)
    return Jepa(online, LinearPredictor(DIM), reads_sentences=True)


def test_segments_inside_a_sequence_as_targets() -> None:
    """In context: the mean over a segment's states in the pass over the whole sequence, then the head."""
    packed, online = sequences([7, 5]), encoder(0).eval()
    segments = torch.tensor([0, 1, 1, 2, 2, 2, 3, 4, 5, 5, 5, 6])
    targets = Targets(packed, segments, 7, torch.tensor([5, 1, 5]))
    expected = online.head(segment_mean(online.states(packed), segments, 7))[[5, 1, 5]]
    torch.testing.assert_close(EMATarget(online).embed(targets), expected.detach())
    alone = Sequences(packed.tokens[1:3], torch.tensor([2]))
    assert not torch.allclose(online.embed(alone)[0], expected[1], atol=1e-2)


@pytest.mark.parametrize("name", TARGETS)
def test_all_begin_with_the_online_encoder(name: str) -> None:
    jepa = model().eval()
    target = SharedTarget(jepa.encoder, gradient=False) if name == "shared" else TARGETS[name](jepa.encoder)
    output, targets = target.both_sides(jepa, batch())
    assert output.targets is None
    assert not targets.requires_grad
    torch.testing.assert_close(targets, jepa.encoder.embed(batch().targets.sequences)[[1, 0, 1]].detach())
    assert target.own == (name != "shared")
    assert target.kept == (name == "ema")


def test_a_frozen_target_never_moves() -> None:
    online = encoder(0)
    target = FrozenTarget(online)
    before = weights(target.encoder)
    with torch.no_grad():
        for weight in online.parameters():
            weight.add_(1.0)
    target.update(online, 0.0)
    assert all(torch.equal(value, before[name]) for name, value in weights(target.encoder).items())


def test_a_shared_target_is_the_encoder_with_its_dropout() -> None:
    jepa = model(dropout=0.5).train()
    target = SharedTarget(jepa.encoder, gradient=False)
    assert not torch.equal(target.embed(batch().targets), target.embed(batch().targets))
    assert jepa.encoder.training
    with torch.no_grad():
        jepa.encoder.head.bias.add_(100.0)
    assert float(target.embed(batch().targets).mean()) > 50


def test_the_gradient_of_a_shared_target_is_that_of_both_sides() -> None:
    """The model's one pass gives the gradient of the plain formula; without gradient only the context's half."""
    jepa = model().eval()
    made = {}
    for gradient in (True, False):
        output, targets = SharedTarget(jepa.encoder, gradient=gradient).both_sides(jepa, batch())
        loss = (output.predictions - targets).square().sum()
        made[gradient] = torch.autograd.grad(loss, list(jepa.encoder.parameters()))
    plain = jepa.encoder.embed(batch().targets.sequences)[[1, 0, 1]]
    predictions = jepa(batch().contexts).predictions
    both = torch.autograd.grad((predictions - plain).square().sum(), list(jepa.encoder.parameters()), retain_graph=True)
    half = torch.autograd.grad((predictions - plain.detach()).square().sum(), list(jepa.encoder.parameters()))
    for ours, theirs in zip([*made[True], *made[False]], [*both, *half], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert any(not torch.allclose(a, b, atol=1e-2) for a, b in zip(both, half, strict=True))


def test_an_encoder_that_is_not_trained_has_no_dropout_and_no_gradient() -> None:
    jepa = model(dropout=0.5)
    jepa.encoder.requires_grad_(False)
    jepa.train()
    assert jepa.predictor.training
    output = jepa(batch().contexts)
    assert torch.equal(output.embeddings, jepa(batch().contexts).embeddings)
    assert not output.embeddings.requires_grad
    assert output.predictions.requires_grad


def test_masks_are_no_embeddings_to_regularize() -> None:
    jepa, contexts = model().eval(), batch().contexts
    contexts.shown = torch.tensor([2, 0])
    torch.testing.assert_close(jepa(contexts).embeddings, jepa.encoder.embed(contexts.sequences)[[2, 0]])
