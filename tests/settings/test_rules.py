"""What does not fit together is refused, and the message names the setting that mends it."""

from typing import get_args

import pytest
from pydantic import ValidationError

from lang_jepa.data.views import VIEWS
from lang_jepa.data.views.next_sentence import CONTEXTS
from lang_jepa.models.predictors.predictor import PREDICTORS
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import AXES, Axis

MASKED = {"data": {"view": "masked_sentences"}, "model": {"predictor": "mask_mlp"}}
SPANS = {"data": {"view": "spans"}, "model": {"predictor": "linear"}}
SAME = {"data": {"view": "same_sentence"}, "model": {"predictor": "identity"}}
FROZEN = {"objective": {"target": "frozen"}, "model": {"freeze_encoder": True}}


def with_changes(base: dict[str, dict[str, object]], changes: dict[str, object]) -> dict[str, dict[str, object]]:
    tree = {section: dict(values) for section, values in base.items()}
    for key, value in changes.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = value
    return tree


@pytest.mark.parametrize(
    ("base", "changes", "words"),
    [
        (MASKED, {"model.predictor": "attention_query"}, ["model.predictor=mask_mlp", "transformer"]),
        (MASKED, {"data.context": "concepts"}, ["data.context", "leave it at window"]),
        (MASKED, {"data.horizons": 2}, ["data.horizons"]),
        (MASKED, {"data.passage_size": 2}, ["data.passage_size=3"]),
        ({}, {"model.predictor": "mask_mlp"}, ["data.context=window", "model.predictor=attention_query"]),
        ({}, {"model.predictor": "transformer", "data.context": "concepts"}, ["concept_transformer"]),
        (SPANS, {"data.chunk_size": 31}, ["data.chunk_size (31)", "twice data.span_min_length"]),
        (SPANS, {"data.chunk_size": 1000}, ["984 tokens", "model.max_length"]),
        (SPANS, {"data.crop": 0.5}, ["data.crop", "same_sentence"]),
        (SAME, {"model.dropout": 0.0}, ["data.crop", "model.dropout", "objective.target=frozen"]),
        ({}, {"data.splitter": "sat", "data.language": "de"}, ["data.language at en", "data.splitter=rules"]),
        ({}, {"objective.target_gradient": True}, ["objective.target=shared", "not ema"]),
        ({}, {"objective.teacher_path": "x"}, ["objective.target=frozen"]),
        ({}, {"objective.regularizer": "vicreg", "data.batch_size": 1}, ["VICReg", "data.batch_size"]),
        (SAME, {"objective.regularizer": "vicreg", "data.batch_size": 1}, ["VICReg", "data.batch_size"]),
        (
            {},
            {"optimization.loss_fn": "mse", "objective.center_targets": True},
            ["objective.center_targets=false"],
        ),
        (FROZEN, {"objective.target": "ema"}, ["model.freeze_encoder", "objective.target=frozen"]),
        (FROZEN, {"objective.regularizer": "sigreg"}, ["objective.regularizer=none"]),
        (FROZEN, {"model.predictor": "identity"}, ["nothing to train"]),
    ],
)
def test_what_does_not_fit(base: dict[str, dict[str, object]], changes: dict[str, object], words: list[str]) -> None:
    if base:
        Settings.model_validate(base)
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate(with_changes(base, changes))
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (SAME, {"model.dropout": 0.0, "data.crop": 0.5}),
        (SAME, {"model.dropout": 0.0, "objective.target": "frozen"}),
        (MASKED, {"model.predictor": "transformer", "data.target_context": "in_context"}),
        ({}, {"objective.target": "shared", "objective.target_gradient": True, "data.horizons": 3}),
        (FROZEN, {"objective.teacher_path": "somewhere", "data.context": "concepts"}),
    ],
)
def test_what_fits(base: dict[str, dict[str, object]], changes: dict[str, object]) -> None:
    Settings.model_validate(with_changes(base, changes))


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_a_misspelt_part_is_refused_with_the_names_that_there_are(axis: Axis) -> None:
    section, _, key = axis.setting.partition(".")
    for name in axis.built_in:
        wrong = f"{name[:-1]}x"
        with pytest.raises(ValidationError, match=f"did you mean '{name}'") as raised:
            Settings.model_validate({section: {key: wrong}})
        assert all(f"'{one}'" in str(raised.value) for one in axis.built_in)


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_what_a_part_says_of_itself_names_settings_that_there_are(axis: Axis) -> None:
    for part in filter(None, axis.built_in.values()):
        for setting in part.reads:
            section, _, key = setting.partition(".")
            assert key in getattr(Settings(), section).model_fields


def test_every_predictor_fits_somewhere_and_all_views_have_one() -> None:
    """The table of what fits what, as it was before it followed from what views and predictors are."""
    views = {name: view for name, view in VIEWS.items() if name != "next_sentence"} | CONTEXTS
    fitting = {name: {known for known, one in PREDICTORS.items() if one.fits(view)} for name, view in views.items()}
    plain = {"attention_query", "linear", "identity"}
    assert fitting == {
        "window": plain,
        "causal": plain,
        "concepts": {"concept_transformer", "recency_transformer", "ridge_transformer", "turn_transformer", *plain},
        "masked_sentences": {"mask_mlp", "transformer"},
        "masked_concepts": {"neighbour_weights", "neighbour_gates", "neighbour_attention"},
        "spans": plain,
        "same_sentence": plain,
    }
    assert all(view.usual_predictor in fitting[name] for name, view in views.items())
    assert set(get_args(DataSettings.model_fields["context"].annotation)) == set(CONTEXTS)
