"""Backbones: settings that arrive in the model, and weights that do not fit are refused by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from lang_jepa.errors import LangJepaError
from lang_jepa.models.architecture import position_limit, token_embeddings
from lang_jepa.models.backbone import build_backbone
from lang_jepa.settings.encoder import ModelSettings

ARCHITECTURES = ["bert", "roberta", "modernbert", "gpt2"]
TINY = {
    "embed_dim": 16,
    "pred_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "predictor_heads": 2,
    "max_length": 40,
}


def fresh(architecture: str = "bert", **changes: object) -> PreTrainedModel:
    torch.manual_seed(0)
    settings = ModelSettings(pretrained=False, architecture=architecture, **(TINY | changes))
    return build_backbone(settings, vocab_size=90, pad_id=1, bos_id=0, eos_id=2)


def pretrained(weights: Path | str, vocab_size: int = 90, **changes: object) -> PreTrainedModel:
    return build_backbone(ModelSettings(**(TINY | changes)), vocab_size=vocab_size, weights=str(weights))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny BERT on disk."""
    fresh().save_pretrained(tmp_path)
    return tmp_path


def rates(model: PreTrainedModel) -> dict[str, float]:
    return {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sizes_come_from_the_settings(architecture: str) -> None:
    model = fresh(architecture, num_layers=3, mlp_ratio=2.0)
    assert model.config.model_type == architecture
    assert model.config.num_hidden_layers == 3
    assert position_limit(model) == 40
    assert token_embeddings(model).weight.shape == (90, 16)
    shapes = {tuple(parameter.shape) for name, parameter in model.named_parameters() if "layer" in name or "h." in name}
    assert any(32 in shape for shape in shapes)
    assert model.training


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_dropout_has_its_rate(architecture: str) -> None:
    found = rates(fresh(architecture, dropout=0.3, attention_dropout=0.2))
    attention = {name for name in found if name.endswith(("self.dropout", "attn_dropout"))}
    assert {found[name] for name in attention} <= {0.2}
    assert {rate for name, rate in found.items() if name not in attention} == {0.3}
    if architecture == "modernbert":
        assert fresh(architecture, attention_dropout=0.2).layers[0].attn.attention_dropout == 0.2
    else:
        assert attention


def test_pretrained_weights_get_the_dropout_of_the_settings(minilm: Path) -> None:
    """Its config.json says .1 and .1."""
    changes = {"embed_dim": 384, "pred_dim": 384, "dropout": 0.25, "attention_dropout": 0.0}
    model = pretrained(minilm, 30522, **changes)
    assert set(rates(model).values()) == {0.25, 0.0}
    assert model.encoder.layer[0].attention.self.dropout.p == 0.0
    assert model.training
    assert model.pooler is None


def test_half_precision_files_are_loaded_in_fp32(folder: Path) -> None:
    fresh().half().save_pretrained(folder)
    assert {parameter.dtype for parameter in pretrained(folder).parameters()} == {torch.float32}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embedding_std_acts_on_token_embeddings_alone(architecture: str) -> None:
    plain, wide = fresh(architecture), fresh(architecture, embedding_std=1.0)
    table = token_embeddings(wide).weight
    used = torch.cat([table[:1], table[2:]])
    assert abs(used.std().item() - 1.0) < 0.06
    padding = token_embeddings(wide).padding_idx
    assert padding is None or torch.equal(table[padding], torch.zeros(16))
    for (name, mine), theirs in zip(wide.named_parameters(), plain.parameters(), strict=True):
        assert mine is table or torch.equal(mine, theirs), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_residual_scale_acts_on_two_outputs_a_layer(architecture: str) -> None:
    plain, scaled = fresh(architecture), fresh(architecture, residual_scale=0.25)
    changed = []
    for (name, mine), theirs in zip(scaled.named_parameters(), plain.parameters(), strict=True):
        if not torch.equal(mine, theirs):
            torch.testing.assert_close(mine, 0.25 * theirs)
            changed.append(name)
    assert len(changed) == 2 * 2
    assert {sum(f".{layer}." in name for name in changed) for layer in (0, 1)} == {2}
    outputs = {16}  # they write into the residual stream
    shapes = [tuple(dict(scaled.named_parameters())[name].shape) for name in changed]
    assert all(outputs & set(shape) for shape in shapes)


def test_roberta_positions_begin_after_the_padding_token() -> None:
    settings = ModelSettings(pretrained=False, architecture="roberta", **TINY)
    model = build_backbone(settings, vocab_size=90, pad_id=7)
    assert model.config.max_position_embeddings == 48
    assert position_limit(model) == 40
    with pytest.raises(LangJepaError, match=r"model\.architecture=bert"):
        build_backbone(settings, vocab_size=90)


def test_modernbert_without_layers_is_refused() -> None:
    with pytest.raises(LangJepaError, match=r"model\.architecture=bert"):
        fresh("modernbert", num_layers=0)


def test_missing_weights_say_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"nowhere.*model.pretrained=false"):
        pretrained(tmp_path / "nowhere")


def test_another_width_names_the_value(folder: Path) -> None:
    with pytest.raises(LangJepaError, match=r"width 16.*model.embed_dim=16 and model.pred_dim=16"):
        pretrained(folder, embed_dim=32, pred_dim=32)


def test_a_larger_vocabulary_is_refused(folder: Path) -> None:
    pretrained(folder, 90)
    with pytest.raises(LangJepaError, match=r"91 tokens.*embeddings for 90"):
        pretrained(folder, 91)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_longer_max_length_is_refused(tmp_path: Path, architecture: str) -> None:
    fresh(architecture).save_pretrained(tmp_path)
    pretrained(tmp_path, max_length=40)
    with pytest.raises(LangJepaError, match=r"Set model.max_length=40"):
        pretrained(tmp_path, max_length=41)


def test_incomplete_weights_are_refused_by_name(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    lost = "encoder.layer.1.output.dense.weight"
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LangJepaError, match=lost):
        pretrained(folder)


def test_extra_weights_of_a_head_are_fine(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.bias"] = torch.zeros(90)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(token_embeddings(pretrained(folder)).weight, tensors["embeddings.word_embeddings.weight"])


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"] = torch.zeros(70, 16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LangJepaError, match="cannot be loaded"):
        pretrained(folder)
