"""Runs that should start alike and do not are refused, and so are unequal terms."""

from dataclasses import replace

import pytest

from lang_jepa.comparison.budget import Budget
from lang_jepa.comparison.kind import check_environment, check_pair
from lang_jepa.comparison.plan import Plan, Variant, refuse_different_settings
from lang_jepa.comparison.systems import ENCODERS, GPTS
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import load_gpt_settings, load_settings

ALL = {"corpus": True, "order": True, "backbone": True, "encoder": True}
FACTS = {
    "torch": "2.13",
    "python": "3.11",
    "device": "cpu",
    "threads": 1,
    "precision": "fp32",
    "compile": "off",
    "processes": 1,
    **dict.fromkeys(ALL, "abc"),
}


@pytest.mark.parametrize(
    ("override", "unequal"),
    [
        ("objective.regularizer=none", set()),
        ("optimization.lr=0.1", set()),
        ("model.predictor_layers=2", set()),
        ("model.dropout=0.3", set()),
        ("data.num_workers=2", set()),
        ("data.batch_size=7", {"order", "encoder"}),
        ("model.head=none", {"encoder"}),
        ("model.whitening_power=0.25", {"encoder"}),
        ("model.num_layers=3", {"backbone", "encoder"}),
        ("model.embedding_std=0.5", {"backbone", "encoder"}),
        ("data.limit=100", {"corpus", "order", "backbone", "encoder"}),
    ],
)
def test_what_must_be_equal_follows_from_the_settings(override: str, unequal: set[str]) -> None:
    expected = ENCODERS.expected_equal(load_settings("concepts", [override]), load_settings("concepts"))
    assert {name for name, must in expected.items() if not must} == unequal


@pytest.mark.parametrize(
    ("override", "unequal"),
    [
        ("jepa.weight=0.1", set()),
        ("jepa.layer=2", set()),
        ("optimization.lr=0.1", set()),
        ("data.micro_batch_tokens=1024", set()),
        ("data.batch_tokens=2048", {"order"}),
        ("data.seq_len=128", {"order", "weights"}),
        ("data.vocab_size=2000", {"corpus", "order", "weights"}),
        ("data.limit=100", {"corpus", "order"}),
        ("model.num_layers=3", {"weights"}),
    ],
)
def test_what_must_be_equal_of_two_gpts(override: str, unequal: set[str]) -> None:
    expected = GPTS.expected_equal(load_gpt_settings("gpt_jepa", [override]), load_gpt_settings("gpt_jepa"))
    assert {name for name, must in expected.items() if not must} == unequal


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        ("corpus", "the corpus"),
        ("order", "the order of the training data"),
        ("backbone", "the initial weights of the encoder"),
        ("encoder", "the encoder's head"),
    ],
)
def test_a_pair_that_starts_apart_is_refused(fact: str, words: str) -> None:
    other = {**FACTS, fact: "xyz"}
    with pytest.raises(LangJepaError, match=f"{words}.*xyz there, abc here"):
        check_pair(FACTS, other, ALL, what="variant, seed 0")
    check_pair(FACTS, other, {**ALL, fact: False}, what="variant, seed 0")


@pytest.mark.parametrize(("fact", "value"), [("threads", 2), ("compile", "on"), ("torch", "2.12")])
def test_unequal_terms_are_refused_unless_allowed(fact: str, value: object) -> None:
    with pytest.raises(LangJepaError, match=f"{fact}: {FACTS[fact]} there, {value} here"):
        check_environment({**FACTS, fact: value}, FACTS, what="a run", allow=False)
    check_environment({**FACTS, fact: value}, FACTS, what="a run", allow=True)


def test_precision_must_be_allowed_to_differ() -> None:
    variants = (
        Variant("plain", load_settings("concepts")),
        Variant("half", load_settings("concepts", ["meta.precision=bf16"])),
    )
    plan = Plan(variants, (0,), Budget("steps", 1), ("stories",))
    with pytest.raises(LangJepaError, match=r"meta\.precision: 'fp32' in plain, 'bf16' in half"):
        refuse_different_settings(plan)
    assert refuse_different_settings(replace(plan, allow_different=True)) == [
        "meta.precision: 'fp32' in plain, 'bf16' in half"
    ]
