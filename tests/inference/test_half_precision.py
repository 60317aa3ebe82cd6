"""Encoding in bf16: near to fp32, and never mixed with it without a word."""

import re
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import Lines
from lang_jepa.inference.model import ConceptModel
from lang_jepa.models.precision import native_bf16
from typed import Type

TEXTS = [
    "The mitochondrion makes most of the chemical energy of a cell.",
    "No.",
    "Demand falls when the price of a good rises, while all else stays equal. " * 12,
    "In 1789 the Estates-General met at Versailles for the first time since 1614!",
    "x = 3 (see equation 4.2)",
]


@pytest.fixture(scope="module")
def full(minilm: Path) -> ConceptModel:
    return ConceptModel.load(minilm)


@pytest.fixture(scope="module")
def half(minilm: Path) -> ConceptModel:
    return ConceptModel.load(minilm, precision="bf16")


def test_real_weights_give_nearly_the_same_vectors(full: ConceptModel, half: ConceptModel) -> None:
    ours, theirs = half.encode(TEXTS), full.encode(TEXTS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    cosines = (ours * theirs).sum(1)
    assert cosines.min() > 0.9999
    assert np.abs(ours - theirs).max() > 1e-5, "they were computed in another precision"
    np.testing.assert_allclose(half.encode(TEXTS[:1]), ours[:1], atol=2e-3)  # in other company


def test_auto_is_what_the_processor_has(minilm: Path) -> None:
    assert ConceptModel.load(minilm, precision="auto").precision == ("bf16" if native_bf16() else "fp32")
    with pytest.raises(LangJepaError, match="not 'float16'"):
        ConceptModel.load(minilm, precision="float16")


def test_a_cache_that_two_models_share_does_not_mix_them(full: ConceptModel, half: ConceptModel) -> None:
    alone = [model.encode(TEXTS) for model in (full, half)]
    full.sentence_cache = half.sentence_cache = SentenceCache(full.room)
    try:
        for _ in range(2):
            for model, vectors in zip((full, half), alone, strict=True):
                np.testing.assert_array_equal(model.encode(TEXTS), vectors)
    finally:
        full.sentence_cache = half.sentence_cache = None


def test_an_index_remembers_its_precision(
    full: ConceptModel, half: ConceptModel, minilm: Path, tmp_path: Path, type_in: Type
) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    folder, source = tmp_path / "index", Lines(tmp_path / "lines.txt")
    done = type_in("index", minilm, tmp_path / "lines.txt", "--lines", "--output", folder, "--precision", "bf16")
    assert done.status == 0, done.err
    assert re.search(r"computed in\W+bf16", done.out)
    assert Index.open(folder).model.precision == Index.open(folder, minilm).model.precision == "bf16"
    assert Index.open(folder, half).search([TEXTS[0]])[0][0].text == TEXTS[0]
    with pytest.raises(LangJepaError, match="made in bf16, and the model given computes in fp32"):
        Index.open(folder, full)
    made = (folder / "index.json").read_bytes()
    Index.build(half, source, folder)
    assert (folder / "index.json").read_bytes() == made, "it was found done"
    again = Index.build(full, source, folder)
    assert "precision" not in again.info
    assert np.abs(again.arrays.vectors.astype(np.float32) - full.encode(TEXTS)).max() < 1e-3
    assert type_in("search", folder, TEXTS[3], "--model", minilm).status == 0
