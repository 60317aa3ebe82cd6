"""Pretrained encoders as they are: loaded by ConceptModel.load, equal to sentence-transformers, usable by the verbs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from lang_jepa import ConceptModel
from lang_jepa.cli.app import app
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.errors import LangJepaError
from scripts import script

cases = script("reliability/architectures")
TEXTS = [
    "A dog barked.",
    "  An indented line, with  two spaces.",
    "No.",
    "Ein Käse für Zoë – 日本語 🙂",
    "It went on and on. " * 60,
    "42 ships came, and then it rained for a week.",
]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_tokenizer(TEXTS * 5, cases.VOCAB + 200)


def transformer(folder: Path, tokenizer: TextTokenizer, name: str = "mpnet") -> Path:
    """A tiny Hugging Face folder with weights and a tokenizer."""
    cases.write(name, folder, vocab_size=tokenizer.vocab_size)
    tokenizer.save(folder)
    return folder


def st_folder(folder: Path, plain: Path, pooling: str, *, dense: bool = False, normalize: bool = True) -> Path:
    """What sentence-transformers saves of it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    torch.manual_seed(1)
    parts: list[nn.Module] = [
        modules.Transformer(str(plain), max_seq_length=24),
        modules.Pooling(cases.WIDTH, pooling),
    ]
    if dense:
        parts += [
            modules.Dense(cases.WIDTH, 12, bias=False, activation_function=nn.Identity()),
            modules.Dense(12, 20, activation_function=nn.Identity()),
        ]
    whole = SentenceTransformer(modules=[*parts, *([modules.Normalize()] if normalize else [])], device="cpu")
    whole.save(str(folder), create_model_card=False)
    return folder


def theirs(folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)
    return model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)


def test_minilm_is_what_sentence_transformers_makes_of_it(minilm: Path) -> None:
    model = ConceptModel.load(minilm)
    np.testing.assert_allclose(model.encode(TEXTS), theirs(minilm), atol=1e-5)
    assert (model.room, model.dim, model.similarity_kind) == (254, 384, "raw")  # 256 with [CLS] and [SEP]
    assert repr(model).endswith(
        "sentence-transformers model, bert, mean of the token states; 384 numbers, no predictor)"
    )


@pytest.mark.parametrize(
    ("name", "pooling", "more"),
    [
        ("mpnet", "mean", {"dense": True}),
        ("mpnet", "max", {"normalize": False}),
        ("roberta", "cls", {}),
        ("qwen3", "lasttoken", {}),
        ("t5", "mean", {}),
    ],
)
def test_pooling_and_linear_maps_are_those_of_the_folder(
    name: str, pooling: str, more: dict[str, Any], tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    plain = transformer(tmp_path / "plain", tokenizer, name)
    folder = st_folder(tmp_path / "st", plain, pooling, **more)
    model = ConceptModel.load(folder)
    np.testing.assert_allclose(model.encode(TEXTS), theirs(folder), atol=1e-5)
    assert model.dim == (20 if more.get("dense") else cases.WIDTH)


def test_a_hugging_face_folder_is_the_mean_of_its_last_states(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = transformer(tmp_path, tokenizer, "distilbert")
    model, their, how = (
        ConceptModel.load(folder),
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    for text, vector in zip(TEXTS, model.encode(TEXTS), strict=True):
        ids = how(text, return_tensors="pt", truncation=True, max_length=64)["input_ids"]
        with torch.no_grad():
            mean = their(ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
    assert "Hugging Face model, distilbert" in repr(model)


def _set(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_what_is_not_known_of_a_folder_is_refused_by_name(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    folder = st_folder(tmp_path / "st", transformer(tmp_path / "plain", tokenizer), "mean", dense=True)
    _set(folder / "1_Pooling" / "config.json", pooling_mode="weightedmean")
    with pytest.raises(LangJepaError, match="pools by weightedmean"):
        ConceptModel.load(folder)
    _set(folder / "1_Pooling" / "config.json", pooling_mode=["cls", "mean"])
    with pytest.raises(LangJepaError, match="pools by cls and mean"):
        ConceptModel.load(folder)
    _set(folder / "1_Pooling" / "config.json", pooling_mode="mean")
    _set(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.activation.Tanh")
    with pytest.raises(LangJepaError, match="Dense with Tanh"):
        ConceptModel.load(folder)
    _set(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.linear.Identity")
    ConceptModel.load(folder)
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(LangJepaError, match="no readable weights"):
        ConceptModel.load(folder)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules[:2], modules[-1], modules[2]]))
    with pytest.raises(LangJepaError, match="made of Transformer, Pooling, Normalize, Dense"):
        ConceptModel.load(folder)


def test_what_needs_a_predictor_says_that_there_is_none(minilm: Path) -> None:
    model = ConceptModel.load(minilm)
    assert not model.has_predictor
    assert not model.predicts_next
    assert not model.sees_both_sides
    for ask in (
        lambda: model.predict_next(["It rained."]),
        lambda: model.predict_between([["It rained."]], [["It stopped."]]),
        lambda: model.imagine(["It rained."], 1),
    ):
        with pytest.raises(LangJepaError, match=r"encoder alone, without a predictor.*lang-jepa train pretrained"):
            ask()


def test_is_minilm_as_it_is_better_for_my_search(
    minilm: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands, from any folder afterwards; then the other verbs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "stsb").mkdir()
    for part in (shared_data / "stsb").glob("*.csv"):
        some = part.read_text(encoding="utf-8").splitlines()[:61]
        (tmp_path / "stsb" / part.name).write_text("\n".join(some), encoding="utf-8")
    (tmp_path / "texts" / "one.txt").write_text("A dog barked at the moon. Rain fell. Stocks fell sharply. " * 2)
    run = CliRunner()

    def said(*words: str) -> str:
        done = run.invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    said("index", str(minilm), "texts", "--output", "i")
    best = said("search", "i", "A hound howled.", "--top-k", "1")
    assert "A dog barked at the moon." in best
    assert "A dog barked" in said("infer", str(minilm), "--text", "A hound.", "--corpus", "i", "--top-k", "1")
    assert "the model is an encoder alone" in said("document", str(minilm), "texts/one.txt")
    assert "TF-IDF" in said("evaluate", str(minilm), "--tasks", "sts", "--data-dir", ".")
    assert [one.name for one in tmp_path.glob("*-scores.json")] == [f"{minilm.parent.name}-scores.json"]
    for words, why in (
        (("search", "i", "--after", "It rained."), "without a predictor"),
        (
            ("infer", str(minilm), "--context", "It rained.", "--candidate", "It stopped."),
            "without a predictor",
        ),
        (("evaluate", str(minilm), "--tasks", "retrieval"), "--beside"),
        (("export", str(minilm), "x"), "trained here"),
        (("train", "concept_decoder", "--encoder", str(minilm)), "model directory of its encoder"),
    ):
        with pytest.raises(LangJepaError, match=why):
            run.invoke(app, list(words), catch_exceptions=False)


def test_another_encoder_does_not_open_the_index(minilm: Path, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    from lang_jepa.inference.index import Index
    from lang_jepa.inference.index.source import Lines

    (tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    Index.build(ConceptModel.load(minilm), Lines(tmp_path / "lines.txt"), tmp_path / "i")
    assert len(Index.open(tmp_path / "i")) == len(TEXTS)
    other = transformer(tmp_path / "other", tokenizer)
    with pytest.raises(LangJepaError, match="made with another model"):
        Index.open(tmp_path / "i", ConceptModel.load(other))


@pytest.mark.parametrize("name", ["no-such-encoder", "nobody/no-such-encoder", "runs/missing/model", ""])
def test_a_name_that_nobody_knows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LangJepaError, match=r"no model at.*run directory.*pretrained encoder"):
        ConceptModel.load(name)


def test_a_weight_that_is_no_number_is_refused(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """Attention may hide it: what comes out can be finite, and wrong."""
    folder = transformer(tmp_path / "model", tokenizer)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("attn.q.weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LangJepaError, match=r"attn\.q\.weight holds NaN"):
        ConceptModel.load(folder)
