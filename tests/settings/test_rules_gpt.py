"""Settings of a GPT that do not fit together, its recipes, and which file is a GPT's."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import (
    load_gpt_settings,
    save_settings,
)
from lang_jepa.settings.recipes import recipe_names


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
    assert recipe_names("gpt") == ["gpt_jepa", "gpt_jepa_public"]
    public = load_gpt_settings("gpt_jepa_public")
    assert (public.model.loop_layers, public.model.loop_starts) == ((4, 5), (0.5, 0.65))
    save_settings(public, tmp_path / "settings.yaml")
    assert load_gpt_settings(str(tmp_path / "settings.yaml")) == public, "tuples survive YAML"
    with pytest.raises(LangJepaError, match="did you mean 'weight'"):
        load_gpt_settings("gpt_jepa", ["jepa.wieght=1"])


def test_the_corpus_is_prepared_with_the_same_settings() -> None:
    ours = load_gpt_settings("gpt_jepa", ["data.limit=7", "data.train_file=a.txt", "data.val_fraction=0.3"])
    theirs = ours.data.corpus()
    assert (theirs.limit, theirs.train_file, theirs.val_fraction) == (7, "a.txt", 0.3)
    assert (theirs.vocab_size, theirs.tokenizer_path) == (1024, "trained")
