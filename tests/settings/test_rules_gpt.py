"""Settings of a GPT that do not fit together, its recipes, and which file is a GPT's."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import (
    gpt_recipe_names,
    is_decoder_recipe,
    is_gpt_recipe,
    load_gpt_settings,
    save_settings,
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"num_heads": 7}}, ["model.num_heads (7)", "model.model_dim"]),
        ({"model": {"num_kv_heads": 3}}, ["model.num_kv_heads (3)", "model.num_heads"]),
        ({"model": {"loop_layers": [1]}}, ["model.loop_starts", "each looped layer"]),
        ({"model": {"loop_layers": [1, 1], "loop_starts": [0.1, 0.2]}}, ["names a layer twice"]),
        ({"model": {"loop_layers": [11], "loop_starts": [0.5]}}, ["0 to 10", "model.loop_layers=[]"]),
        ({"model": {"loop_layers": [1], "loop_starts": [2.0]}}, ["fractions of training"]),
        ({"jepa": {"layer": 11}}, ["jepa.layer (11)", "-1 to 10"]),
        ({"jepa": {"start_frac": 0.5, "ramp_frac": 0.4, "end_frac": 0.8}}, ["jepa.end_frac (0.8)"]),
        ({"data": {"seq_len": 100}}, ["data.batch_tokens", "multiple of data.seq_len (100)"]),
        ({"data": {"micro_batch_tokens": 3072}}, ["data.micro_batch_tokens (3072)", "divide"]),
        ({"data": {"vocab_size": 70_000}}, ["vocab_size"]),
    ],
)
def test_what_does_not_fit(changes: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValidationError) as raised:
        GPTSettings.model_validate(changes)
    for word in words:
        assert word in str(raised.value)


def test_recipes(tmp_path: Path) -> None:
    assert gpt_recipe_names() == ["gpt_jepa", "gpt_jepa_public"]
    public = load_gpt_settings("gpt_jepa_public")
    assert (public.model.loop_layers, public.model.loop_starts) == ((4, 5), (0.5, 0.65))
    save_settings(public, tmp_path / "settings.yaml")
    assert load_gpt_settings(str(tmp_path / "settings.yaml")) == public, "tuples survive YAML"
    with pytest.raises(LangJepaError, match="did you mean 'weight'"):
        load_gpt_settings("gpt_jepa", ["jepa.wieght=1"])


def test_which_file_is_a_gpts(tmp_path: Path) -> None:
    files = {
        "jepa: {weight: 0.1}": (True, False),
        "recipe: gpt_jepa\nevaluation: {stride: 8}": (True, False),
        "evaluation: {eval_steps: 8}": (False, True),
        "decoder: {num_layers: 1}": (False, True),
        "model: {num_layers: 2}": (False, False),
    }
    for text, expected in files.items():
        (tmp_path / "one.yaml").write_text(text)
        path = str(tmp_path / "one.yaml")
        assert (is_gpt_recipe(path), is_decoder_recipe(path)) == expected, text
    assert is_gpt_recipe("gpt_jepa")
    assert not is_gpt_recipe("concepts")


def test_the_corpus_is_prepared_with_the_same_settings() -> None:
    ours = load_gpt_settings("gpt_jepa", ["data.limit=7", "data.train_file=a.txt", "data.val_fraction=0.3"])
    theirs = ours.data.corpus()
    assert (theirs.limit, theirs.train_file, theirs.val_fraction) == (7, "a.txt", 0.3)
    assert (theirs.vocab_size, theirs.tokenizer_path) == (1024, "trained")
