"""The online module against its parts by hand."""

import pytest
import torch
from small_models import DIM, encoder, sequences, settings
from torch import Tensor

from lang_jepa.data.views.batch import Contexts, Sequences
from lang_jepa.models.context import Context
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import build_predictor


def jepa(predictor: str = "attention_query", *, reads_sentences: bool = False, **changes: object) -> Jepa:
    online = encoder(**changes)
    return Jepa(
        online,
        build_predictor(settings(predictor=predictor, **changes), window=3),
        reads_sentences=reads_sentences,
    ).eval()


def window_contexts(packed: Sequences) -> Contexts:
    count = len(packed)
    return Contexts(packed, packed.owner(), torch.arange(count)[:, None], torch.ones(count, dtype=torch.int64))


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
            alone = Context(own, torch.zeros(len(own), dtype=torch.int64), torch.tensor([[0]]), torch.tensor([1]))
            torch.testing.assert_close(output.predictions[number], model.predictor(alone)[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(output.embeddings[number], own.mean(0), atol=1e-5, rtol=1e-4)
        # The regularizer sees what the target side would give for the same text.
        torch.testing.assert_close(output.embeddings, model.encoder.embed(packed), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("predictor", ["concept_transformer", "recency_transformer", "attention_query"])
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
