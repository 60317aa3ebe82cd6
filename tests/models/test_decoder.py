"""The concept decoder against its definition: every text alone, one token after the other, no cache and no padding."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.models.decoder import ConceptDecoder, DecoderBatch, Generation, pad_texts
from lang_jepa.settings.decoder import DecoderModelSettings

EOS, DIM = 0, 8
TEXTS = [[5, 3, 9], [7], [2, 2, 4, 11, 6], [1, 8]]


@pytest.fixture(scope="module")
def concepts() -> Tensor:
    return functional.normalize(torch.randn(len(TEXTS), DIM, generator=torch.Generator().manual_seed(1)), dim=1)


def _fresh(dropout: float = 0.0) -> ConceptDecoder:
    torch.manual_seed(0)
    sizes = DecoderModelSettings(hidden_dim=32, num_layers=1, num_heads=2, dropout=dropout, max_length=9)
    return ConceptDecoder(sizes, concept_dim=DIM, vocab_size=12, eos_id=EOS)


def _batch(concepts: Tensor, texts: list[list[int]] = TEXTS) -> DecoderBatch:
    return DecoderBatch(concepts, *pad_texts(texts, eos_id=EOS, max_length=9))


@pytest.fixture(scope="module")
def trained(concepts: Tensor) -> ConceptDecoder:
    """A decoder that knows four texts by heart."""
    decoder = _fresh().train()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    batch = _batch(concepts)
    for _ in range(80):
        nats, _ = decoder(batch)
        nats.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return decoder.eval()


def _alone(decoder: ConceptDecoder, concept: Tensor, decoded: list[int]) -> Tensor:
    """Log-probabilities [len(decoded) + 1, V] of what may follow each beginning of one text."""
    parts = [decoder.memory(concept[None])]
    if decoded:
        parts.append(decoder.model.transformer.wte(torch.tensor([decoded])))
    logits = decoder.model(inputs_embeds=torch.cat(parts, 1), use_cache=False).logits[0]
    return logits[decoder.settings.prefix_length - 1 :].log_softmax(-1)


@torch.no_grad()
def test_the_loss_is_that_of_each_text_alone_with_its_end(concepts: Tensor) -> None:
    decoder = _fresh().eval()
    nats, right = decoder(_batch(concepts))
    for row, text in enumerate(TEXTS):
        logs = _alone(decoder, concepts[row], text)
        truth = torch.tensor([*text, EOS])
        expected = -logs[torch.arange(len(truth)), truth]
        torch.testing.assert_close(nats[row, : len(truth)], expected, atol=1e-5, rtol=1e-5)
        assert right[row, : len(truth)].tolist() == (logs.argmax(-1) == truth).tolist()
        assert nats[row, len(truth) :].eq(0).all()
        assert not right[row, len(truth) :].any()


@torch.no_grad()
def test_what_fills_the_table_up_does_not_matter(concepts: Tensor) -> None:
    """It is the end token, as with tokenizers that have no padding: only the end of a text must count."""
    decoder, batch = _fresh().eval(), _batch(concepts)
    other = copy.deepcopy(batch)
    other.tokens[~other.filled] = 7
    assert torch.equal(decoder(batch)[0], decoder(other)[0])
    assert batch.predictions == sum(len(text) + 1 for text in TEXTS)


def test_a_text_that_is_cut_has_no_end() -> None:
    tokens, lengths = pad_texts([[1, 2, 3], [4]], eos_id=EOS, max_length=3)
    assert tokens.tolist() == [[1, 2, 3], [4, EOS, EOS]]
    assert lengths.tolist() == [3, 2]


def test_the_concept_reaches_every_prefix_vector_and_all_weights_learn(concepts: Tensor) -> None:
    decoder = _fresh(dropout=0.1).train()
    decoder(_batch(concepts))[0].sum().backward()
    assert [name for name, one in decoder.named_parameters() if one.grad is None or not one.grad.any()] == []
    memory = decoder.memory(concepts)
    assert memory.shape == (len(TEXTS), 4, 32)
    assert torch.pdist(memory[0]).min() > 0.1  # one vector repeated would make attention to it a constant


def test_standardisation_is_a_linear_map_to_entries_of_about_one(concepts: Tensor) -> None:
    decoder = _fresh()
    mean, whitening = torch.randn(DIM), torch.randn(DIM, DIM)
    decoder.mean.copy_(mean)
    decoder.whitening.copy_(whitening)
    standard = (concepts - mean) @ whitening
    standard = standard / standard.square().mean(1, keepdim=True).sqrt()
    expected = decoder.prefix(standard).reshape(len(TEXTS), 4, 32)
    torch.testing.assert_close(decoder.memory(concepts), expected)


def test_noise_is_for_every_second_concept_of_training(concepts: Tensor) -> None:
    sizes = DecoderModelSettings(hidden_dim=32, num_layers=1, num_heads=2, dropout=0.0, noise=1.0)
    decoder = ConceptDecoder(sizes, concept_dim=DIM, vocab_size=12, eos_id=EOS)
    many = concepts[:1].repeat(400, 1)
    clean = decoder.eval().memory(many)
    assert clean.var(0).max() < 1e-6
    moved = (decoder.train().memory(many) - clean).flatten(1).norm(dim=1) > 1e-4
    assert 0.4 < float(moved.float().mean()) < 0.6


def test_greedy_ends_each_text_by_itself(trained: ConceptDecoder, concepts: Tensor) -> None:
    assert trained.generate(concepts, Generation()) == TEXTS
    assert trained.generate(concepts[:1], Generation()) == TEXTS[:1]
    assert trained.generate(concepts, Generation(max_length=2)) == [text[:2] for text in TEXTS]


@torch.no_grad()
def test_greedy_takes_the_most_probable_token(concepts: Tensor) -> None:
    """Of an untrained decoder too, with transformers' key-value cache against no cache at all."""
    decoder = _fresh().eval()
    for concept, found in zip(concepts, decoder.generate(concepts, Generation()), strict=True):
        decoded: list[int] = []
        while len(decoded) < 9 and (best := int(_alone(decoder, concept, decoded)[-1].argmax())) != EOS:
            decoded.append(best)
        assert found == decoded


def test_beams(trained: ConceptDecoder, concepts: Tensor) -> None:
    """The likeliest text first, the others behind it; a single beam is greedy."""
    several = trained.generate(concepts, Generation("beam", beams=3, returned=3))
    assert several[::3] == TEXTS
    assert len({tuple(text) for text in several[:3]}) == 3
    fresh = _fresh().eval()
    assert fresh.generate(concepts, Generation("beam", beams=1)) == fresh.generate(concepts, Generation())


def test_sampling_is_seeded_and_leaves_no_trace(concepts: Tensor) -> None:
    decoder = _fresh(dropout=0.5).train()
    before = torch.get_rng_state()
    draws = [decoder.generate(concepts, Generation("sample", seed=seed)) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert decoder.training
    assert draws[0] == draws[1] != draws[2]
    several = decoder.generate(concepts, Generation("sample", returned=4))
    assert len({tuple(text) for text in several[:4]}) > 1


def test_sampling_from_one_token_is_greedy(trained: ConceptDecoder, concepts: Tensor) -> None:
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}):
        assert trained.generate(concepts, Generation("sample", **narrow)) == TEXTS


@pytest.mark.parametrize(
    "options",
    [
        {"method": "best"},
        {"temperature": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"beams": 0},
        {"returned": 2},
        {"method": "beam", "beams": 2, "returned": 3},
    ],
)
def test_impossible_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(LangJepaError, match=r"method|must be|texts for each"):
        Generation(**options)  # type: ignore[arg-type]
