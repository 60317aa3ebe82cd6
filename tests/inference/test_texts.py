"""Odd inputs to the Python interface, those of scripts/reliability/odd_inputs.py, and what a model says it is."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.inference.model import ConceptModel

sys.path.append(str(Path(__file__).parents[2] / "scripts" / "reliability"))
import odd_inputs
from odd_inputs import Case


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConceptModel:
    return odd_inputs.tiny_model(tmp_path_factory.mktemp("odd"))


@pytest.mark.parametrize("case", odd_inputs.cases(), ids=lambda case: case.name)
def test_odd_input(case: Case, model: ConceptModel) -> None:
    assert odd_inputs.trouble(case, model) == ""


def test_one_text_gives_its_row(model: ConceptModel) -> None:
    one, two = odd_inputs.A, odd_inputs.B
    np.testing.assert_array_equal(model.encode(one), model.encode([one])[0])
    np.testing.assert_allclose(model.encode(text for text in (one, two)), model.encode([one, two]))


def test_a_model_says_what_it_is(model: ConceptModel) -> None:
    said = repr(model)
    for part in (
        "ConceptModel(concepts; 32 dimensions; encoder modernbert of ",
        "next_sentence by concept_transformer; objective ",
        "; vocabulary 400; with a decoder)",
    ):
        assert part in said
    assert "reads 32 dimensions" in repr(model.decoder)
