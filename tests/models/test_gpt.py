"""The GPT: its parts against their formulas, its order of layers, its taps, and generation with a cache."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.inference.gpt import _choose, generate
from lang_jepa.models.gpt import FINAL, GPT, MLP, CausalAttention, Rotary, layer_order, rms_norm, rotate
from lang_jepa.settings.gpt import GPTModelSettings

EVERYTHING = {
    "num_layers": 5,
    "parallel_from": 3,
    "rope_fraction": 0.5,
    "tie_embeddings": False,
    "logit_softcap": 5.0,
}


def settings(**changes: object) -> GPTModelSettings:
    sizes = {"num_layers": 3, "model_dim": 24, "num_heads": 4, "num_kv_heads": 2}
    return GPTModelSettings.model_validate({**sizes, **changes})


def model(**changes: object) -> GPT:
    """One whose zero-initialised matrices and gates are random too."""
    torch.manual_seed(0)
    gpt = GPT(settings(**changes), vocab_size=50, seq_len=16)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return gpt.eval()


def tokens(length: int = 12, batch: int = 3) -> Tensor:
    return torch.randint(50, (batch, length), generator=torch.Generator().manual_seed(1))


def test_rms_norm_and_mlp() -> None:
    x = torch.randn(2, 3, 24)
    expected = x / x.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(rms_norm(x), expected)
    mlp = MLP(settings(activation_slope=0.5))
    inner = x @ mlp.up.weight.T
    inner = torch.where(inner > 0, inner, 0.5 * inner) ** 2
    torch.testing.assert_close(mlp(x), inner @ mlp.down.weight.T)


def test_rotation_turns_pairs_by_their_position_and_leaves_the_rest() -> None:
    rotary = Rotary(8, fraction=0.5, base=100.0, length=10)
    x = torch.randn(1, 1, 10, 8)
    turned = rotate(x, rotary.at(0, 10))
    for position in range(10):
        for pair, frequency in ((0, 1.0), (1, 0.1)):
            before = torch.complex(x[0, 0, position, pair], x[0, 0, position, pair + 2])
            after = torch.complex(turned[0, 0, position, pair], turned[0, 0, position, pair + 2])
            angle = torch.tensor(position * frequency)
            torch.testing.assert_close(after, before * torch.complex(angle.cos(), angle.sin()))
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert torch.equal(rotate(x, Rotary(8, fraction=0.0, base=100.0, length=10).at(0, 10)), x)


def test_attention_is_that_of_the_formula() -> None:
    attention = CausalAttention(settings())
    with torch.no_grad():
        attention.gain.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    x = torch.randn(2, 7, 24)
    turn = Rotary(6, fraction=1.0, base=1e4, length=7).at(0, 7)
    heads = []
    for head in range(4):
        own, shared = slice(6 * head, 6 * head + 6), slice(6 * (head // 2), 6 * (head // 2) + 6)
        query = rms_norm(x @ attention.query.weight[own].T) * attention.gain[head]
        key = rms_norm(x @ attention.key.weight[shared].T)
        query, key = (rotate(part[:, None], turn)[:, 0] for part in (query, key))
        scores = query @ key.transpose(1, 2) / math.sqrt(6)
        scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), float("-inf"))
        heads.append(scores.softmax(-1) @ (x @ attention.value.weight[shared].T))
    expected = torch.cat(heads, -1) @ attention.out.weight.T
    torch.testing.assert_close(attention(x, turn), expected)


@pytest.mark.parametrize(
    ("count", "looped", "order"),
    [
        (3, (), (0, 1, 2)),
        (5, (1, 2), (0, 1, 2, 1, 2, 3, 4)),
        (4, (0, 2), (0, 0, 1, 2, 2, 3)),
        (3, (2, 0, 1), (0, 1, 2, 0, 1, 2)),
        (6, (1, 2, 4, 5), (0, 1, 2, 1, 2, 3, 4, 5, 4, 5)),
    ],
)
def test_order_of_layers(count: int, looped: tuple[int, ...], order: tuple[int, ...]) -> None:
    assert layer_order(count, looped) == order


def by_hand(gpt: GPT, x: Tensor, order: list[int]) -> tuple[Tensor, dict[int, Tensor]]:
    """The residual stream as the documentation has it, block by block."""
    turn = gpt.rotary.at(0, x.shape[1])
    stream, outputs = rms_norm(gpt.embedding.weight[x]), {}
    for number in order:
        block = gpt.blocks[number]
        mirrored = gpt.settings.num_layers - 1 - number
        if mirrored < number:
            stream = stream + torch.sigmoid(block.gate) * outputs[mirrored]
        attended = block.attention(rms_norm(stream), turn)
        if gpt.settings.parallel_from is not None and number >= gpt.settings.parallel_from:
            stream = stream + attended + block.mlp(rms_norm(stream))
        else:
            stream = stream + attended
            stream = stream + block.mlp(rms_norm(stream))
        outputs[number] = stream
    return stream, outputs


def test_kernel_skips_parallel_layers_loops_and_taps() -> None:
    gpt, x = model(**EVERYTHING), tokens()
    for looped, order in (((), [0, 1, 2, 3, 4]), ((1, 2), [0, 1, 2, 1, 2, 3, 4])):
        final, outputs = by_hand(gpt, x, order)
        for tap in range(5):
            states = gpt.states(x, tap=tap, looped=looped)
            torch.testing.assert_close(states.final, final)
            torch.testing.assert_close(states.tapped, outputs[tap])
        states = gpt.states(x, tap=FINAL, looped=looped)
        assert states.tapped is states.final
        scores = rms_norm(final) @ gpt.head.weight.T
        torch.testing.assert_close(gpt(x, looped=looped), 5.0 * torch.tanh(scores / 5.0))
    assert not torch.allclose(gpt(x), gpt(x, looped=(1, 2)))


def test_without_skips_nothing_has_a_gate_and_tied_heads_are_the_embeddings() -> None:
    gpt = model(skips=False, logit_softcap=None)
    assert not [name for name, _ in gpt.named_parameters() if "gate" in name or "head" in name]
    final = gpt.states(tokens()).final
    torch.testing.assert_close(gpt(tokens()), rms_norm(final) @ gpt.embedding.weight.T)


def test_nothing_is_seen_of_later_tokens() -> None:
    gpt, x = model(**EVERYTHING), tokens()
    changed = x.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 50
    before, after = gpt(x, looped=(0,)), gpt(changed, looped=(0,))
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


@pytest.mark.parametrize("looped", [(), (1, 2)])
def test_cached_states_equal_those_of_one_pass(looped: tuple[int, ...]) -> None:
    """One token at a time, several at once behind others, and the whole beginning."""
    gpt, x = model(**EVERYTHING), tokens()
    whole = gpt.states(x, looped=looped).final
    for cuts in ([5, 6, 9, 12], list(range(1, 13)), [12]):
        cache = gpt.make_cache(3, 12, looped=looped)
        parts, start = [], 0
        for stop in cuts:
            parts.append(gpt.states(x[:, start:stop], looped=looped, cache=cache).final)
            start = stop
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_generation_with_the_cache_equals_that_without(temperature: float) -> None:
    gpt = model(**EVERYTHING)
    options = {"tokens": 9, "temperature": temperature, "top_k": 20, "seed": 3, "looped": (1,)}
    state = torch.get_rng_state()
    written = generate(gpt, tokens(4), **options)
    plain, generator = tokens(4), torch.Generator().manual_seed(3)
    for _ in range(9):
        logits = gpt.logits(gpt.states(plain, looped=(1,)).final[:, -1]).detach()
        chosen = _choose(logits, temperature=temperature, top_k=20, top_p=1.0, generator=generator)
        plain = torch.cat([plain, chosen], dim=1)
    assert torch.equal(written, plain)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert written.shape == (3, 13)
    assert torch.equal(written[:, :4], tokens(4))
    if not temperature:
        assert torch.equal(written[:, 5:], gpt(written, looped=(1,))[:, 4:-1].argmax(-1))


def test_generation_ends_with_the_positions_and_draws_from_the_likeliest() -> None:
    gpt = model()
    assert generate(gpt, tokens(10), tokens=100).shape == (3, 16)
    many = generate(gpt, tokens(1, batch=1).expand(400, 1), tokens=1, top_k=3, temperature=5.0)[:, 1]
    likeliest = gpt(tokens(1, batch=1))[0, -1].topk(3).indices
    assert set(many.tolist()) == set(likeliest.tolist())
    with pytest.raises(LangJepaError, match="1 to 16 tokens"):
        generate(gpt, tokens(17), tokens=1)
    with pytest.raises(LangJepaError, match="must not be negative"):
        generate(gpt, tokens(2), tokens=1, temperature=-1.0)
    with pytest.raises(LangJepaError, match=r"data\.seq_len"):
        gpt.make_cache(1, 17)


def test_it_starts_as_the_embeddings_alone() -> None:
    """Output matrices begin at zero, so every layer adds nothing but its skip connection."""
    torch.manual_seed(0)
    gpt = GPT(settings(skips=False, embedding_std=0.02), vocab_size=50, seq_len=16)
    torch.testing.assert_close(gpt.states(tokens()).final, rms_norm(gpt.embedding(tokens())))
    loss = functional.cross_entropy(gpt(tokens()).flatten(0, 1), tokens().flatten().roll(1))
    assert float(loss.detach()) == pytest.approx(math.log(50), abs=0.2)
    assert 0.018 < float(gpt.embedding.weight.detach().std()) < 0.022


def test_top_p_draws_from_the_fewest_likeliest_that_reach_it() -> None:
    gpt, prompt = model(), tokens(4, batch=400)
    prompt[:] = prompt[0]
    probabilities = gpt(prompt[:1])[0, -1].softmax(-1)
    falling, order = probabilities.sort(descending=True)
    for top_p in (0.2, 0.6):
        count = int((falling.cumsum(-1) < top_p).sum()) + 1
        drawn = generate(gpt, prompt, tokens=1, top_p=top_p)[:, -1]
        assert set(drawn.tolist()) <= set(order[:count].tolist())
        assert len(set(drawn.tolist())) > count / 3
    likeliest = generate(gpt, prompt, tokens=3, top_p=1e-6)
    assert torch.equal(likeliest, generate(gpt, prompt, tokens=3, temperature=0))
    assert torch.equal(generate(gpt, prompt, tokens=3, top_p=1.0), generate(gpt, prompt, tokens=3))
    for wrong in (0.0, 1.5):
        with pytest.raises(LangJepaError, match="top_p"):
            generate(gpt, prompt, tokens=1, top_p=wrong)
