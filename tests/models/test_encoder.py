"""The encoder as others use it: embeddings, real weights, checkpointing, half precision, wrong input."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

from lang_jepa.data.views.batch import Sequences
from lang_jepa.errors import LangJepaError
from lang_jepa.models.backbone import build_backbone
from lang_jepa.models.encoder import TextEncoder, build_encoder
from lang_jepa.models.packing import spare_tokens
from lang_jepa.settings.encoder import ModelSettings

LENGTHS = [5, 1, 17, 7, 7, 12]
ARCHITECTURES = ["bert", "roberta", "modernbert", "gpt2"]
SENTENCES = [
    "A short one.",
    "No.",
    "The mitochondrion is the powerhouse of the cell, as every textbook of biology says at least once.",
    "Supply and demand set the price of a good in a competitive market.",
]


def settings(architecture: str = "bert", **changes: object) -> ModelSettings:
    values = {
        "embed_dim": 16,
        "pred_dim": 16,
        "num_layers": 2,
        "num_heads": 2,
        "predictor_heads": 2,
        "max_length": 40,
    }
    return ModelSettings(pretrained=False, architecture=architecture, **(values | changes))


def encoder(architecture: str = "bert", checkpointing: bool = False, **changes: object) -> TextEncoder:
    torch.manual_seed(0)
    return build_encoder(
        settings(architecture, **changes),
        vocab_size=90,
        pad_id=1,
        bos_id=0,
        eos_id=2,
        gradient_checkpointing=checkpointing,
    )


def ragged(lengths: list[int] = LENGTHS) -> Sequences:
    generator = torch.Generator().manual_seed(1)
    return Sequences(torch.randint(3, 90, (sum(lengths),), generator=generator), torch.tensor(lengths))


def test_real_weights_equal_the_padded_model(minilm: Path) -> None:
    """Embeddings and gradients of MiniLM against transformers' own padded forward with mean pooling."""
    batch = AutoTokenizer.from_pretrained(minilm)(SENTENCES, padding=True, return_tensors="pt")
    real = batch["attention_mask"].bool()
    sequences = Sequences(batch["input_ids"][real], real.sum(1))
    chosen = ModelSettings(embed_dim=384, pred_dim=384)
    packed = build_encoder(chosen, vocab_size=30522, weights=str(minilm)).eval()
    reference = AutoModel.from_pretrained(minilm, add_pooling_layer=False)
    states = reference(**batch).last_hidden_state
    mean = (states * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)
    embeddings = packed.embed(sequences)
    torch.testing.assert_close(embeddings, mean, atol=1e-5, rtol=0)
    weight = torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    (embeddings * weight).sum().backward()
    (mean * weight).sum().backward()
    theirs = dict(reference.named_parameters())
    largest = max(float(p.grad.norm()) for p in theirs.values())
    for name, parameter in packed.backbone.named_parameters():
        size = max(float(theirs[name].grad.norm()), largest / 1000)
        assert float((parameter.grad - theirs[name].grad).norm()) <= 1e-5 * size, name


def test_embedding_is_the_head_of_the_mean_over_all_tokens() -> None:
    model = encoder(head="linear").eval()
    with torch.no_grad():
        model.head.weight.normal_()
        model.head.bias.normal_()
    sequences = ragged()
    states = model.states(sequences)
    assert states.shape == (sum(LENGTHS), 16)
    means = torch.stack([part.mean(0) for part in states.split(LENGTHS)])
    torch.testing.assert_close(model.embed(sequences), model.head(means))
    torch.testing.assert_close(model(sequences), model.head(means))
    torch.testing.assert_close(model.pool(states, sequences.owner(), len(LENGTHS)), means)


def test_head_begins_as_the_identity() -> None:
    assert encoder().head is None
    with_head, without = encoder(head="whitened").eval(), encoder().eval()
    assert torch.equal(with_head.embed(ragged()), without.embed(ragged()))


def test_zero_layers_is_a_bag_of_tokens_and_positions() -> None:
    model = encoder(num_layers=0).eval()
    assert not any("layer." in name for name, _ in model.named_parameters())
    sequences = ragged()
    one_by_one = [model.backbone.embeddings(part.unsqueeze(0))[0] for part in sequences.tokens.split(LENGTHS)]
    torch.testing.assert_close(model.states(sequences), torch.cat(one_by_one))


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2"])
def test_zero_layers_trains(architecture: str) -> None:
    model = encoder(architecture, checkpointing=True, num_layers=0)
    model.embed(ragged()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpointing_changes_nothing_dropout_included(architecture: str) -> None:
    rates = {"dropout": 0.2, "attention_dropout": 0.2}
    results = []
    for checkpointing in (False, True):
        model = encoder(architecture, checkpointing, **rates).train()
        torch.manual_seed(3)
        states = model.states(ragged())
        torch.rand(5)  # the generator moves on between the passes
        states.square().sum().backward()
        results.append((states, [parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_checkpointing_recomputes_the_layers() -> None:
    model = encoder(checkpointing=True).train()
    calls = []
    model.backbone.encoder.layer[0].attention.register_forward_hook(lambda *_: calls.append(1))
    model.embed(ragged()).sum().backward()
    assert len(calls) == 2


def test_two_encoders_may_interleave() -> None:
    """The plan travels with the call: a second forward between another's forward and backward disturbs nothing."""
    gradients = []
    for interleaved in (False, True):
        model = encoder(checkpointing=True).train()
        other = copy.deepcopy(model)
        torch.manual_seed(4)
        states = model.states(ragged())
        if interleaved:
            with torch.no_grad():
                other.embed(ragged([3, 30]))
        states.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_compiled_backbone_is_the_same_and_is_not_compiled_for_every_grouping() -> None:
    compiled_graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        compiled_graphs.append(graph)
        return graph.forward

    model = encoder(num_layers=1).eval()
    lengths = [LENGTHS, [3, 9, 9, 20], [4, 5, 1, 1, 30, 2], [6] * 9]
    expected = [model.states(ragged(each)) for each in lengths]
    model.backbone.compile(backend=backend)
    counts = []
    for each, states in zip(lengths, expected, strict=True):
        torch.testing.assert_close(model.states(ragged(each)), states, atol=1e-5, rtol=0)
        counts.append(len(compiled_graphs))
    assert counts[0] > 0
    assert counts[3] == counts[2] == counts[1]  # the second batch makes the number of tokens a variable


@pytest.mark.parametrize("lengths", [LENGTHS, [40, 40, 31, 40, 39]])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bf16_autocast_is_close_to_fp32(architecture: str, lengths: list[int]) -> None:
    """The second batch is made longer, by tokens that belong to nobody."""
    assert (spare_tokens(sum(lengths)) > 0) == (lengths is not LENGTHS)
    model, read = encoder(architecture, num_layers=3).eval(), ragged(lengths)
    model.embed(read).square().sum().backward()
    exact = model.embed(read).detach()
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        half = model.embed(read)
        assert model.states(read).shape[0] == sum(lengths)
    half.float().square().sum().backward()
    assert float((half.float() - exact).detach().norm() / exact.norm()) < 0.02
    half_gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert float(torch.cosine_similarity(gradients, half_gradients, dim=0)) > 0.995


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_applies_in_training_and_not_in_evaluation(architecture: str) -> None:
    model = encoder(architecture, dropout=0.3)
    sequences = ragged()
    assert not torch.equal(model.embed(sequences), model.embed(sequences))
    model.eval()
    assert torch.equal(model.embed(sequences), model.embed(sequences))
    quiet = encoder(architecture, dropout=0.0)
    assert torch.equal(quiet.embed(sequences), quiet.embed(sequences))


def test_attention_dropout_applies_by_itself() -> None:
    model = encoder(dropout=0.0, attention_dropout=0.3)
    assert not torch.equal(model.embed(ragged()), model.embed(ragged()))


@pytest.mark.parametrize("lengths", [[41], [40, 41, 3]])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_sequence_beyond_the_positions_is_refused(architecture: str, lengths: list[int]) -> None:
    model = encoder(architecture)
    model.states(ragged([40]))
    with pytest.raises(LangJepaError, match=r"41 tokens.*model.max_length <= 40"):
        model.states(ragged(lengths))


@pytest.mark.parametrize(
    "sequences",
    [Sequences(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)), ragged([3, 0])],
)
def test_empty_input_is_refused(sequences: Sequences) -> None:
    with pytest.raises(LangJepaError, match="without tokens"):
        encoder().states(sequences)


def test_an_exported_backbone_is_an_ordinary_model(tmp_path: Path) -> None:
    """Saved and loaded without this package's attention, the padded forward gives the same states."""
    model = encoder("roberta").eval()
    model.backbone.save_pretrained(tmp_path)
    plain = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert plain.config._attn_implementation in ("sdpa", "eager")
    sequences = ragged([9])
    torch.testing.assert_close(
        plain(sequences.tokens.unsqueeze(0)).last_hidden_state[0], model.states(sequences), atol=1e-5, rtol=0
    )


def test_backbone_given_directly_is_prepared() -> None:
    """A model loaded elsewhere gets packing and cheap dropout by being wrapped."""
    backbone = build_backbone(settings(), vocab_size=90, pad_id=1)
    assert any(type(module) is nn.Dropout for module in backbone.modules())
    wrapped = TextEncoder(backbone)
    assert not any(type(module) is nn.Dropout for module in wrapped.modules())
    assert wrapped.dim == 16
