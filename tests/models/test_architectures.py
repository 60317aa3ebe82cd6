"""Any text encoder of transformers: equal to its own padded forward, and refused by name where it cannot work."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lang_jepa.data.views.batch import Sequences
from lang_jepa.errors import LangJepaError
from lang_jepa.models.architecture import position_limit
from lang_jepa.models.backbone import build_backbone, check_encoder
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.settings.encoder import Settings
from scripts import script

cases = script("reliability/architectures")
PADDED = [name for name, row in cases.TABLE.items() if not row.packed]
FOLDERS: dict[str, Path] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Where a tiny model of a row lies."""

    def of(name: str) -> Path:
        if name not in FOLDERS:
            FOLDERS[name] = tmp_path_factory.mktemp(name)
            cases.write(name, FOLDERS[name])
        return FOLDERS[name]

    return of


def encoder(where: Path, name: str, **changes: Any) -> TextEncoder:
    checkpointing = changes.pop("gradient_checkpointing", False)
    backbone = build_backbone(cases.settings(name, **changes), vocab_size=cases.VOCAB, weights=str(where))
    return TextEncoder(backbone, gradient_checkpointing=checkpointing)


def run_settings(where: Path, **changes: Any) -> Settings:
    """Settings of a run on an encoder; changes with dots in their names."""
    tree: dict[str, dict[str, Any]] = {
        "data": {"tokenizer_path": str(where)},
        "model": {"embed_dim": cases.WIDTH, "pred_dim": cases.WIDTH, "max_length": 48, "dropout": 0.0},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tree.setdefault(section, {})[name] = value
    return Settings.model_validate(tree)


@pytest.mark.parametrize("name", cases.TABLE)
def test_states_and_gradients_are_those_of_the_padded_forward(name: str, tmp_path: Path) -> None:
    assert cases.difference(name, tmp_path) <= cases.TOLERANCE


@pytest.mark.parametrize("name", PADDED)
def test_dropout_of_the_settings_applies_or_is_refused(name: str, folder: Any) -> None:
    where, sequences = folder(name), cases.ragged((5, 9))
    quiet = encoder(where, name).train()
    assert torch.equal(quiet.states(sequences), quiet.states(sequences))
    if cases.TABLE[name].dropout:
        loud = encoder(where, name, dropout=0.3).train()
        assert not torch.equal(loud.states(sequences), loud.states(sequences))
        loud.eval()
        assert torch.equal(loud.states(sequences), loud.states(sequences))
    else:
        for build in (
            lambda: encoder(where, name, dropout=0.3),
            lambda: check_encoder(run_settings(where, model__dropout=0.3)),
        ):
            with pytest.raises(LangJepaError, match=rf"'{name}' have no dropout of hidden states.*set model.dropout=0"):
                build()
    frozen = {"model__freeze_encoder": True, "objective__target": "frozen", "model__dropout": 0.3}
    check_encoder(run_settings(where, **frozen))  # the predictor has the dropout


def test_attention_dropout_is_apart_from_the_rate_that_t5_ties_it_to(folder: Any) -> None:
    rates = {
        module.dropout
        for module in encoder(folder("t5"), "t5", dropout=0.3).modules()
        if hasattr(module, "has_relative_attention_bias")
    }
    assert rates == {0.0}
    with pytest.raises(LangJepaError, match="no dropout of attention probabilities"):
        encoder(folder("fnet"), "fnet", attention_dropout=0.1)


@pytest.mark.parametrize(("name", "limit"), [("mpnet", 62), ("distilbert", 64), ("bart", 64), ("t5", None)])
def test_length_is_checked_before_the_start(name: str, limit: int | None, folder: Any) -> None:
    where = folder(name)
    assert position_limit(encoder(where, name).backbone) == limit
    if limit is None:
        check_encoder(run_settings(where, model__max_length=4096))
        return
    check_encoder(run_settings(where, model__max_length=limit))
    encoder(where, name, max_length=limit).states(cases.ragged((limit, 3)))
    with pytest.raises(LangJepaError, match=rf"positions for {limit} tokens. Set model.max_length={limit} or less"):
        check_encoder(run_settings(where, model__max_length=limit + 1))
    with pytest.raises(LangJepaError, match=f"model.max_length <= {limit}"):
        encoder(where, name).states(cases.ragged((limit + 1,)))


def test_what_the_padded_path_cannot_do_is_refused_with_what_to_use(folder: Any) -> None:
    where = folder("deberta")
    causal = {"data__context": "causal", "model__predictor": "attention_query"}
    with pytest.raises(LangJepaError, match=r"'deberta'.*data.context=concepts"):
        check_encoder(run_settings(where, **causal))
    check_encoder(run_settings(folder("bert"), **causal))
    part = Sequences(torch.arange(3, 9), torch.tensor([6]), sentences=torch.tensor([0, 0, 0, 1, 1, 1]))
    with pytest.raises(LangJepaError, match="cannot hide later sentences"):
        encoder(where, "deberta").states(part)
    with pytest.raises(LangJepaError, match=r"width 32, but model.embed_dim is 64"):
        check_encoder(run_settings(where, model__embed_dim=64, model__pred_dim=64))


@pytest.mark.parametrize("name", ["distilbert", "llama", "t5"])
def test_checkpointing_and_bfloat16(name: str, folder: Any) -> None:
    sequences, grads = cases.ragged(), []
    plain = encoder(folder(name), name)
    for one in (plain, encoder(folder(name), name, gradient_checkpointing=True)):
        one.train().embed(sequences).square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None]))
    torch.testing.assert_close(grads[0], grads[1])
    exact = plain.embed(sequences)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = plain.embed(sequences)
    assert float((half - exact).norm() / exact.norm()) < 0.03


def test_only_what_padding_does_not_change_is_padded(folder: Any) -> None:
    lengths = cases.ragged((2, 3, 3, 4))
    assert encoder(folder("mpnet"), "mpnet").slots(lengths) == 16
    assert encoder(folder("fnet"), "fnet").slots(lengths) == 12


TEXTLESS = {
    "CLIPVisionConfig": "does not read the tokens",
    "CLIPConfig": "more than text",
    "WhisperConfig": "does not read the tokens",
    "ViTConfig": "does not read the tokens",
    "Wav2Vec2Config": "does not read the tokens",
    "LlavaConfig": "more than text",
    "DPRConfig": "no state for each token",
    "CanineConfig": "no table of token embeddings",
    "TimesFmConfig": "does not read the tokens",
}


@pytest.mark.parametrize(("kind", "why"), TEXTLESS.items())
def test_a_type_that_cannot_work_is_refused_from_its_config_alone(kind: str, why: str, tmp_path: Path) -> None:
    getattr(transformers, kind)().save_pretrained(tmp_path)
    with pytest.raises(LangJepaError, match=why):
        check_encoder(run_settings(tmp_path, model__embed_dim=768, model__pred_dim=768))


@pytest.mark.parametrize("config", [{"model_type": "no-such-type"}, {"model_type": None}, {}])
def test_an_unknown_type_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LangJepaError, match="of no type that transformers has"):
        check_encoder(run_settings(tmp_path))


def test_the_whole_of_an_encoder_decoder_loads_its_encoder_again(folder: Any, tmp_path: Path) -> None:
    """What was saved of BART's encoder has no decoder; a missing part of the encoder itself is named."""
    from safetensors.torch import load_file, save_file

    from lang_jepa.models.backbone import save_backbone

    save_backbone(encoder(folder("bart"), "bart").backbone, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert not any("decoder" in name for name in tensors)
    lost = next(name for name in tensors if name.endswith("fc1.weight"))
    del tensors[lost]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LangJepaError, match=f"lack {lost}"):
        encoder(tmp_path, "bart")
