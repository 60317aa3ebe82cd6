"""Training on encoders that run padded: what cannot work is refused before anything is prepared, the rest trains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lang_jepa import ConceptModel
from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import load_settings
from lang_jepa.stories import generate
from lang_jepa.training.train import train
from scripts import script

cases = script("reliability/architectures")


def settings(folder: Path, name: str, *more: str, **changes: Any) -> Settings:
    """A tiny run on a tiny encoder of a type."""
    stories = generate(60, seed=0, split="train")
    tokenizer = train_tokenizer([" ".join(one.text for one in story.sentences) for story in stories], 500)
    cases.write(name, folder / "encoder", **({"vocab_size": tokenizer.vocab_size} | changes))
    tokenizer.save(folder / "encoder")
    options = [
        "data.limit=40",
        "data.train_file=stories",
        f"data.tokenizer_path={folder / 'encoder'}",
        f"data.corpus_dir={folder / 'corpora'}",
        f"logging.log_dir={folder / 'run'}",
        "logging.val_sentences=32",
        "model.embed_dim=32",
        "model.pred_dim=32",
        "model.max_length=48",
        "model.head_sample=32",
        "model.score_sample=32",
        "model.predictor_heads=2",
        "optimization.max_steps=2",
    ]
    return load_settings("pretrained", [*options, *more])


@pytest.mark.parametrize("name", ["distilbert", "bart"])
def test_a_padded_encoder_trains_and_loads(name: str, tmp_path: Path) -> None:
    result = train(settings(tmp_path, name, "meta.precision=bf16", "meta.use_gradient_checkpointing=true"))
    model = ConceptModel.load(result.folder)
    assert name in repr(model)
    start = ConceptModel.load(tmp_path / "encoder").encode(["It rained."])
    assert not np.allclose(model.encode(["It rained."]), start, atol=1e-3)
    assert model.predict_next(["It rained."]).shape == (32,)


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("deberta", ["data.context=causal", "model.predictor=attention_query"], "data.context=concepts"),
        ("mpnet", ["model.max_length=63"], "Set model.max_length=62"),
        ("llama", ["model.dropout=0.1"], "set model.dropout=0"),
        (
            "mpnet",
            ["objective.target=frozen", "objective.teacher_path={encoder}/../vision"],
            "does not read the tokens",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_prepared(
    name: str, more: list[str], why: str, tmp_path: Path
) -> None:
    from transformers import ViTConfig

    ViTConfig(hidden_size=32).save_pretrained(tmp_path / "vision")
    options = [one.format(encoder=tmp_path / "encoder") for one in more]
    with pytest.raises(LangJepaError, match=why):
        train(settings(tmp_path, name, *options))
    assert not (tmp_path / "corpora").exists()
    assert not (tmp_path / "run").exists()
