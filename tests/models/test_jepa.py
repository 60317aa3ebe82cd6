"""The online module against its parts by hand, and the moving average of its encoder."""

import pytest
import torch
from torch import Tensor

from lang_jepa.config import ModelSettings
from lang_jepa.data.sequences import Contexts, Sequences, Targets
from lang_jepa.models.context import Context
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictor import build_predictor
from lang_jepa.models.target import EMATarget

DIM = 32


def settings(**changes: object) -> ModelSettings:
    values = {
        "pretrained": False,
        "architecture": "bert",
        "embed_dim": DIM,
        "pred_dim": DIM,
        "num_layers": 1,
        "num_heads": 2,
        "predictor_heads": 2,
        "max_length": 40,
        "dropout": 0.0,
        "head": "linear",
    }
    return ModelSettings.model_validate(values | changes)


def encoder(seed: int = 0, **changes: object) -> TextEncoder:
    torch.manual_seed(seed)
    made = build_encoder(settings(**changes), vocab_size=90, pad_id=1, bos_id=0, eos_id=2)
    if made.head is not None:
        with torch.no_grad():  # away from the identity, so that a forgotten head shows
            made.head.weight.add_(0.3 * torch.randn(DIM, DIM))
            made.head.bias.add_(torch.randn(DIM))
    return made


def jepa(predictor: str = "attention_query", *, reads_sentences: bool = False, **changes: object) -> Jepa:
    online = encoder(**changes)
    return Jepa(
        online,
        build_predictor(settings(predictor=predictor, **changes), window=3),
        reads_sentences=reads_sentences,
    ).eval()


def sequences(lengths: list[int], seed: int = 1) -> Sequences:
    generator = torch.Generator().manual_seed(seed)
    return Sequences(torch.randint(3, 90, (sum(lengths),), generator=generator), torch.tensor(lengths))


def window_contexts(packed: Sequences) -> Contexts:
    count = len(packed)
    return Contexts(
        packed, packed.owner(), torch.arange(count)[:, None], torch.ones(count, dtype=torch.int64)
    )


def sentence_contexts(packed: Sequences, passages: list[int]) -> Contexts:
    windows = []
    for first, length in zip(torch.tensor([0, *passages]).cumsum(0).tolist(), passages, strict=False):
        for place in range(length):
            seen = list(range(first + max(0, place - 2), first + place + 1))
            windows.append([-1] * (3 - len(seen)) + seen)
    return Contexts(packed, packed.owner(), torch.tensor(windows), torch.tensor(passages))


def one_by_one(model: Jepa, packed: Sequences) -> list[Tensor]:
    """Token states of every sequence in a pass of its own, after the head."""
    states = []
    for tokens in packed.tokens.split(packed.lengths.tolist()):
        alone = model.encoder.states(Sequences(tokens, torch.tensor([len(tokens)])))
        states.append(alone if model.encoder.head is None else model.encoder.head(alone))
    return states


@pytest.mark.parametrize("head", ["none", "linear"])
def test_window_mode_is_encoder_head_predictor(head: str) -> None:
    model, packed = jepa(head=head), sequences([5, 1, 12, 7])
    with torch.no_grad():
        output = model(window_contexts(packed))
        states = one_by_one(model, packed)
        for number, own in enumerate(states):
            alone = Context(
                own, torch.zeros(len(own), dtype=torch.int64), torch.tensor([[0]]), torch.tensor([1])
            )
            torch.testing.assert_close(
                output.predictions[number], model.predictor(alone)[0], atol=1e-5, rtol=1e-4
            )
            torch.testing.assert_close(output.embeddings[number], own.mean(0), atol=1e-5, rtol=1e-4)
        # The regularizer sees what the target side would give for the same text.
        torch.testing.assert_close(output.embeddings, model.encoder.embed(packed), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("predictor", ["concept_transformer", "attention_query"])
def test_concepts_mode_reads_one_vector_per_sentence(predictor: str) -> None:
    model, packed = jepa(predictor, reads_sentences=True), sequences([5, 1, 12, 7, 3])
    contexts = sentence_contexts(packed, [3, 2])
    with torch.no_grad():
        output = model(contexts)
        vectors = torch.stack([own.mean(0) for own in one_by_one(model, packed)])
        expected = model.predictor(Context(vectors, torch.arange(5), contexts.windows, contexts.passages))
    torch.testing.assert_close(output.predictions, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.embeddings, vectors, atol=1e-5, rtol=1e-4)
    # In token mode the same contexts are read token by token.
    tokens = Jepa(model.encoder, jepa().predictor, reads_sentences=False)
    assert tokens(contexts).predictions.shape == (5, DIM)


def test_causal_mode_reaches_back_and_never_ahead() -> None:
    """A prediction reads three sentences, and one encoder layer lets the oldest of them see two more."""
    model = jepa()
    lengths = [4, 3, 5, 2, 4, 1, 3]
    base = sequences([sum(lengths)])
    local = torch.repeat_interleave(torch.arange(7), torch.tensor(lengths))
    windows = torch.arange(7)[:, None] + torch.arange(-2, 1)
    windows[windows < 0] = -1

    def predictions(tokens: Tensor) -> Tensor:
        packed = Sequences(tokens, base.lengths, sentences=local, window=3)
        with torch.no_grad():
            return model(Contexts(packed, local, windows, torch.tensor([7]))).predictions

    before = predictions(base.tokens)
    for sentence in range(7):
        tokens = base.tokens.clone()
        tokens[local == sentence] = tokens[local == sentence] % 80 + 5
        changed = (predictions(tokens) - before).abs().amax(1) > 1e-6
        assert changed.tolist() == [sentence <= place < sentence + 5 for place in range(7)]


def test_every_weight_learns() -> None:
    """The head gets its gradient from the predictions alone, too."""
    model = jepa()
    model(window_contexts(sequences([5, 9]))).predictions.square().sum().backward()
    silent = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert silent == []


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
