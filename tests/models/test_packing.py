"""Packed attention against the padded forward of transformers and against a dense mask written out by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, CamembertConfig, PreTrainedModel, XLMRobertaConfig

from lang_jepa.data.views.batch import Sequences
from lang_jepa.models.architecture import first_position
from lang_jepa.models.backbone import FAMILIES, build_backbone
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.packing import Packing, group_lengths, packed_attention, spare_tokens
from lang_jepa.settings.encoder import ModelSettings

PAD, VOCAB = 1, 90
LOCAL = 4  # half-width of ModernBERT's local layers, small enough to matter here
LENGTHS = [5, 1, 33, 7, 40, 7, 7, 7, 1, 19, 12]


def backbone(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if name in ("xlm-roberta", "camembert"):
        sizes = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        kind = XLMRobertaConfig if name == "xlm-roberta" else CamembertConfig
        config = kind(**sizes, intermediate_size=32, max_position_embeddings=64, pad_token_id=PAD)
        return AutoModel.from_config(config, add_pooling_layer=False).eval()
    settings = ModelSettings(
        pretrained=False,
        architecture=name,
        embed_dim=16,
        pred_dim=16,
        num_layers=4,
        num_heads=2,
        predictor_heads=2,
        max_length=48,
        embedding_std=1.0,
    )
    model = build_backbone(settings, vocab_size=VOCAB, pad_id=PAD, bos_id=0, eos_id=2).eval()
    if name == "modernbert":
        model.config.sliding_window = LOCAL
        for layer in model.layers:
            if layer.attention_type == "sliding_attention":
                layer.attn.sliding_window = LOCAL + 1
    return model


def ragged(lengths: list[int] = LENGTHS, **more: object) -> Sequences:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, VOCAB, (sum(lengths),), generator=generator)
    return Sequences(tokens, torch.tensor(lengths), **more)


def visible(i: int, j: int, ids: list[int], window: int | None, causal: bool, sliding: int | None) -> bool:
    """Whether token i of a sequence sees token j of it: the rules, one by one."""
    if causal and j > i:
        return False
    if sliding is not None and abs(i - j) > sliding:
        return False
    if ids[j] > ids[i]:
        return False
    return window is None or ids[i] - ids[j] < window


def dense_mask(sequences: Sequences, size: int, causal: bool, sliding: int | None) -> Tensor:
    """[N, 1, L, L] of 0 and a large negative number; slots of padding see themselves."""
    mask = torch.full((len(sequences), 1, size, size), torch.finfo(torch.float32).min)
    mask[:, :, range(size), range(size)] = 0
    ids = torch.zeros_like(sequences.tokens) if sequences.sentences is None else sequences.sentences
    for row, own in enumerate(ids.split(sequences.lengths.tolist())):
        own_ids = own.tolist()
        for i in range(len(own_ids)):
            for j in range(len(own_ids)):
                if visible(i, j, own_ids, sequences.window, causal, sliding):
                    mask[row, 0, i, j] = 0
    return mask


def padded_states(model: PreTrainedModel, sequences: Sequences, masks: Tensor | dict | None = None) -> Tensor:
    """States [T, D] of the ordinary padded forward; masks: a prepared mask in place of the padding mask."""
    size = int(sequences.lengths.max())
    real = torch.arange(size) < sequences.lengths[:, None]
    ids = torch.full(real.shape, PAD)
    ids[real] = sequences.tokens
    positions = torch.arange(size).expand(real.shape) + first_position(model)
    kwargs = {"attention_mask": real.long() if masks is None else masks, "position_ids": positions}
    if masks is None:
        del kwargs["position_ids"]  # the model's own numbering is part of what is compared
    return model(input_ids=ids, **kwargs).last_hidden_state[real]


def assert_same_gradients(mine: nn.Module, other: nn.Module, tolerance: float) -> None:
    """Relative to each gradient, or to a hundredth of the largest one (key biases have a gradient of exactly 0)."""
    theirs = dict(other.named_parameters())
    largest = max(float(p.grad.norm()) for p in theirs.values() if p.grad is not None)
    compared = 0
    for name, parameter in mine.named_parameters():
        if theirs[name].grad is None:
            assert parameter.grad is None, name
            continue
        size = max(float(theirs[name].grad.norm()), largest / 100)
        assert float((parameter.grad - theirs[name].grad).norm()) <= tolerance * size, name
        compared += 1
    assert compared


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", FAMILIES)
def test_packed_equals_padded(name: str, implementation: str) -> None:
    model = backbone(name)
    reference = copy.deepcopy(model)
    reference.set_attn_implementation(implementation)
    sequences = ragged()
    packed, padded = TextEncoder(model).states(sequences), padded_states(reference, sequences)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=0)
    weight = torch.randn(padded.shape, generator=torch.Generator().manual_seed(2))
    (packed * weight).sum().backward()
    (padded * weight).sum().backward()
    assert_same_gradients(model, reference, 1e-5)


@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "gpt2"])
def test_sentence_causal_equals_a_dense_mask(name: str, window: int | None) -> None:
    sentences = torch.cat([(torch.arange(length) * 5 // 23) for length in LENGTHS])
    sequences = ragged(sentences=sentences, window=window)
    model = backbone(name)
    reference = copy.deepcopy(model)
    reference.set_attn_implementation("eager")
    full = dense_mask(sequences, max(LENGTHS), name == "gpt2", None)
    masks: Tensor | dict[str, Tensor] = full
    if name == "modernbert":
        masks = {
            "full_attention": full,
            "sliding_attention": dense_mask(sequences, max(LENGTHS), False, LOCAL),
        }
    packed, dense = TextEncoder(model).states(sequences), padded_states(reference, sequences, masks)
    torch.testing.assert_close(packed, dense, atol=1e-5, rtol=0)
    weight = torch.randn(dense.shape, generator=torch.Generator().manual_seed(2))
    (packed * weight).sum().backward()
    (dense * weight).sum().backward()
    assert_same_gradients(model, reference, 1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_sentence_does_not_see_what_comes_later(name: str) -> None:
    encoder = TextEncoder(backbone(name))
    ends = [6, 11, 20, 21, 30]
    sentences = torch.bucketize(torch.arange(30), torch.tensor(ends), right=True)
    whole = ragged([30], sentences=sentences)
    states = encoder.states(whole)
    for end in ends:
        part = Sequences(whole.tokens[:end], torch.tensor([end]), sentences=sentences[:end])
        torch.testing.assert_close(encoder.states(part), states[:end], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sentence_causal", [False, True])
def test_order_and_company_of_sequences_do_not_matter(sentence_causal: bool) -> None:
    encoder = TextEncoder(backbone("bert"))
    ids = torch.cat([torch.arange(length) // 6 for length in LENGTHS]) if sentence_causal else None
    sequences = ragged(sentences=ids)
    lengths = sequences.lengths.tolist()
    states = encoder.states(sequences).split(lengths)
    tokens = sequences.tokens.split(lengths)
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(3)).tolist()
    shuffled = Sequences(
        torch.cat([tokens[i] for i in order]),
        sequences.lengths[order],
        None if ids is None else torch.cat([ids.split(lengths)[i] for i in order]),
    )
    for i, other in zip(order, encoder.states(shuffled).split([lengths[i] for i in order]), strict=True):
        torch.testing.assert_close(other, states[i], atol=1e-5, rtol=0)
    alone = Sequences(tokens[2], sequences.lengths[2:3], None if ids is None else ids.split(lengths)[2])
    torch.testing.assert_close(encoder.states(alone), states[2], atol=1e-5, rtol=0)


class Layer(nn.Module):
    """What `packed_attention` asks of an attention layer."""

    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sentence_causal", [False, True])
def test_attention_dropout_drops_and_scales_single_probabilities(causal: bool, sentence_causal: bool) -> None:
    """With the identity as values the output is the attention matrix itself."""
    lengths, width = [16, 12, 9], 16
    ids = torch.cat([torch.arange(length) // 4 for length in lengths]) if sentence_causal else None
    packing = Packing.plan(ragged(lengths, sentences=ids))
    torch.manual_seed(4)
    query, key = torch.randn(2, 1, 64, sum(lengths), width).unbind(0)
    value = torch.cat([torch.eye(width)[:length] for length in lengths]).expand(1, 64, -1, -1)
    clean, _ = packed_attention(Layer(causal), query, key, value, None, packing=packing)
    dropped, _ = packed_attention(Layer(causal), query, key, value, None, dropout=0.25, packing=packing)
    used = clean > 0
    kept = dropped > 0
    assert not (kept & ~used).any()
    torch.testing.assert_close(dropped[kept], clean[kept] / 0.75)
    rate = 1 - kept[used].double().mean().item()
    assert abs(rate - 0.25) < 4 * (0.25 * 0.75 / int(used.sum())) ** 0.5


@pytest.mark.parametrize(("length", "sliding"), [(24, None), (24, 5), (100, None), (100, 5), (1100, None)])
def test_half_precision_is_close_to_fp32_on_both_paths(length: int, sliding: int | None) -> None:
    """Up to 1024 tokens the attention matrix is written down, up to 64 in fp32; above them the fused kernel is used.

    With a sliding window the filling behind the short sequence is out of sight of every token of it.
    """
    lengths = [length, length - 15]
    ids = None if sliding else torch.cat([torch.arange(size) // 9 for size in lengths])
    packing = Packing.plan(ragged(lengths, sentences=ids))
    torch.manual_seed(5)
    tensors = [torch.randn(1, 2, sum(lengths), 8, requires_grad=True) for _ in range(3)]
    weight = torch.randn(1, sum(lengths), 2, 8)

    def run(inputs: list[Tensor]) -> list[Tensor]:
        out, _ = packed_attention(Layer(), *inputs, None, packing=packing, sliding_window=sliding)
        return [out.detach(), *torch.autograd.grad((out.float() * weight).sum(), tensors)]

    exact, half = run(tensors), run([x.bfloat16() for x in tensors])
    for got, want in zip(half, exact, strict=True):
        assert float((got.float() - want).norm() / want.norm()) < 0.02


def test_spare_tokens_leave_few_lengths_and_waste_little() -> None:
    sizes = range(6000, 10_000)
    assert len({count + spare_tokens(count) for count in sizes}) <= 40
    assert all(0 <= 32 * spare_tokens(count) <= count for count in (*range(1, 300), *sizes))


def test_groups_cover_the_slots_in_order() -> None:
    groups = group_lengths([9, 9, 7, 4, 4, 1], 4)
    assert [(g.start, g.count, g.length, g.shortest) for g in groups] == [(0, 4, 9, 4), (36, 2, 4, 1)]
    assert not groups[0].even


def test_equal_lengths_need_neither_padding_nor_mask() -> None:
    packing = Packing.plan(ragged([6] * 8))
    assert packing.place is None
    assert packing.order is None
    assert packing.slots == 48
    assert packing.mask(0, False, None, torch.float32) is None


def test_a_mask_is_made_once_for_all_layers() -> None:
    packing = Packing.plan(ragged([6, 5, 4, 3]))
    assert packing.mask(0, False, None, torch.float32) is packing.mask(0, False, None, torch.float32)
    assert packing.mask(0, True, None, torch.float32) is None  # the causal rule already hides the filling


@pytest.mark.parametrize("lengths", [[3, 3], [3, 5, -1], [7, 0]])
def test_lengths_that_do_not_fit_the_tokens_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        Packing.plan(Sequences(torch.arange(7), torch.tensor(lengths)))


def test_a_prepared_model_called_directly_says_what_to_do() -> None:
    encoder = TextEncoder(backbone("bert"))
    with pytest.raises(TypeError, match="set_attn_implementation"):
        encoder.backbone(input_ids=torch.arange(3, 9).unsqueeze(0))
