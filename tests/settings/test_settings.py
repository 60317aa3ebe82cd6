"""Settings: the promised defaults, strictness, YAML's traps, overrides, and saving and reading back."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings, Section
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.effect import without_effect
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTDataSettings, GPTSettings
from lang_jepa.settings.load import (
    apply_override,
    build,
    build_saved,
    load_decoder_settings,
    load_gpt_settings,
    load_run_settings,
    load_settings,
    read_settings,
    save_settings,
    settings_class,
)
from lang_jepa.settings.parts import AXES
from lang_jepa.settings.recipes import recipe_names, system_of
from lang_jepa.settings.yaml_files import parse_yaml

PROMISED = {
    "data": {
        "train_file": "sample-10BT",
        "batch_size": 32,
        "num_workers": 4,
        "tokenizer_path": "roberta-base",
        "limit": 10_000,
        "min_length": 100,
        "min_sentences": 2,
        "window_size": 8,
        "val_fraction": 0.0,
        "streaming": False,
        "shuffle_buffer": 10_000,
        "splitter_device": "cpu",
        "language": "en",
    },
    "model": {
        "pretrained": True,
        "embed_dim": 768,
        "pred_dim": 768,
        "max_length": 512,
        "num_layers": 12,
        "num_heads": 12,
        "mlp_ratio": 4.0,
        "dropout": 0.1,
    },
    "optimization": {
        "epochs": 5,
        "lr": 1e-4,
        "warmup": 2,
        "weight_decay": 0.04,
        "final_weight_decay": 0.4,
        "final_lr": 1e-6,
        "loss_fn": "smooth_l1",
        "momentum_start": 0.996,
        "momentum_end": 1.0,
        "grad_accum_steps": 1,
        "max_steps": None,
    },
    "logging": {
        "log_dir": "logs/lang_jepa",
        "log_freq": 50,
        "checkpoint_freq": 1,
        "num_examples": 3,
        "log_to_wandb": False,
    },
    "meta": {
        "use_bfloat16": False,
        "load_checkpoint": False,
        "checkpoint_path": None,
        "use_gradient_checkpointing": False,
    },
}
"""Names and defaults that users of the predecessor know."""


def tree(text: str) -> dict[str, object]:
    """A YAML tree of settings."""
    return parse_yaml(text, where="here")


def message(text: str) -> str:
    """What a user is told about settings with mistakes."""
    with pytest.raises(LangJepaError) as caught:
        build(Settings, tree(text), where="here")
    return str(caught.value)


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, fields in PROMISED.items() for name in fields]
)
def test_promised_default(section: str, name: str) -> None:
    promised = PROMISED[section][name]
    assert build(Settings, {section: {name: promised}}, where="") == Settings()
    if name in type(getattr(Settings(), section)).model_fields:
        value = getattr(getattr(Settings(), section), name)
        assert isinstance(value, bool) == isinstance(promised, bool)
    else:
        assert f"{section}.{name}" in Settings.OLD_NAMES


def test_promised_defaults_of_a_decoder() -> None:
    """By the names of the predecessor."""
    training = {
        "batch_size": 32,
        "learning_rate": 1e-4,
        "num_epochs": 10,
        "weight_decay": 0.01,
        "grad_clip": 1.0,
    }
    training |= {"grad_accum_steps": 1, "eval_ratio": 0.1, "output_dir": "outputs/decoder"}
    tree = {
        "decoder": {"hidden_dim": 1536, "num_layers": 4, "num_heads": 8, "dropout": 0.1, "max_length": 128},
        "training": training,
        "evaluation": {"eval_steps": 100, "save_steps": 1000, "num_samples": 5},
    }
    assert build(DecoderSettings, tree, where="") == DecoderSettings()


def sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def test_every_setting_is_described() -> None:
    groups = sections(Settings)
    assert set(groups) == {"data", "model", "objective", "optimization", "logging", "meta"}
    assert all(group.__doc__ != Section.__doc__ for group in groups.values())
    undescribed = [
        f"{name}.{field}"
        for name, group in groups.items()
        for field, about in group.model_fields.items()
        if not about.description
    ]
    assert undescribed == []
    assert all(field.description for field in Settings.model_fields.values() if field.annotation not in groups.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {batchsize: 3}", "data.batchsize: unknown setting; did you mean 'batch_size'?"),
        ("optimisation: {lr: 1.0}", "optimisation: unknown setting; did you mean 'optimization'?"),
        ("model: {zzz: 3}", "model.zzz: unknown setting\n"),
        ("data: {a.b: 3}", "data.a.b: unknown setting"),
        ("optimization: {learning_rate: 1, lrr: 1}", "optimization.lrr: unknown setting; did you mean 'lr'?"),
    ],
)
def test_unknown_key_names_the_nearest(text: str, said: str) -> None:
    assert said in message(text) + "\n"


@pytest.mark.parametrize(
    ("text", "path", "given_value"),
    [
        ("data: {batch_size: '32'}", "data.batch_size", "'32'"),
        ("data: {batch_size: 32.0}", "data.batch_size", "32.0"),
        ("data: {batch_size: true}", "data.batch_size", "True"),
        ("data: {batch_size: 0}", "data.batch_size", "0"),
        ("data: {train_file: 3}", "data.train_file", "3"),
        ("data: {language: tlh}", "data.language", "'tlh'"),
        ("data: {streaming: 1}", "data.streaming", "1"),
        ("optimization: {lr: fast}", "optimization.lr", "'fast'"),
        ("optimization: {lr: .inf}", "optimization.lr", "inf"),
        ("optimization: {lr: .nan}", "optimization.lr", "nan"),
        ("optimization: {loss_fn: l2}", "optimization.loss_fn", "'l2'"),
        ("model: {dropout: 1.0}", "model.dropout", "1.0"),
        ("model: 3", "model", "3"),
    ],
)
def test_wrong_value_names_its_path(text: str, path: str, given_value: str) -> None:
    (line,) = message(text).splitlines()[1:]
    assert line.strip().startswith(f"{path}: ")
    assert line.endswith(f"(given: {given_value})")


def test_all_mistakes_in_one_message() -> None:
    said = message("data: {batchsize: 3, limit: many}\nmodel: {dropout: -1}\nextra: 1")
    lines = said.splitlines()
    assert lines[0].startswith("here: ")
    for path in ("data.batchsize", "data.limit", "model.dropout", "extra"):
        assert sum(line.strip().startswith(f"{path}: ") for line in lines) == 1
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        ("-2e3", -2e3),
        (".5", 0.5),
        ("1.", 1.0),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("true", True),
        ("null", None),
        ("'3e-4'", "3e-4"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("3e", "3e"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    parsed = parse_yaml(text, where="here")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: 2\na: 3", 3), ("data:\n  limit: 1\n  limit: 2", 3), ("data: {}\nmodel: {}\ndata: {}", 3)],
)
def test_duplicate_keys_are_refused(text: str, line: int) -> None:
    with pytest.raises(LangJepaError, match=rf"^here, line {line}: the key '\w+' occurs twice"):
        parse_yaml(text, where="here")


@pytest.mark.parametrize("text", ["{", "a: b: c", "? [1, 2]\n: 3", "a: \x00", "!!python/object:os.system x"])
def test_what_is_no_plain_yaml_is_refused(text: str) -> None:
    with pytest.raises(LangJepaError, match=r"^here is not YAML: "):
        parse_yaml(text, where="here")


def test_equal_keys_in_different_sections_are_no_duplicates() -> None:
    assert parse_yaml("a: {x: 1}\nb: {x: 2}", where="") == {"a": {"x": 1}, "b": {"x": 2}}


def test_overrides_win_and_the_last_one_most() -> None:
    settings = load_settings(
        "concepts",
        [
            "optimization.lr=3e-4",
            "data.train_file=a=b.txt",
            "data.limit=null",
            "meta.seed=1",
            "meta.seed=2",
            "logging.log_to_wandb=true",
        ],
    )
    assert settings.optimization.lr == 3e-4
    assert settings.data.train_file == "a=b.txt"
    assert settings.data.limit is None
    assert settings.meta.seed == 2
    assert settings.logging.log_to_wandb is True
    assert settings.data.context == "concepts"  # what the recipe says stays
    assert settings.recipe == "concepts"


@pytest.mark.parametrize("override", ["data.limit", "=3", ".limit=3", "data..limit=3", ""])
def test_malformed_override(override: str) -> None:
    with pytest.raises(LangJepaError, match=r"not of the form section\.key=value"):
        load_settings("concepts", [override])


def test_override_below_a_value() -> None:
    with pytest.raises(LangJepaError, match="'limit' is a value, not a section"):
        apply_override({"data": {"limit": 3}}, "data.limit.x=3", Settings)
    with pytest.raises(LangJepaError, match=r"data\.batchsize: unknown setting; did you mean 'batch_size'"):
        load_settings("concepts", ["data.batchsize=3"])


@pytest.mark.parametrize(
    ("text", "cures"),
    [
        ("model: {pred_dim: 64}", ["model.pred_dim=768"]),
        ("model: {pretrained: false, num_heads: 7}", ["model.num_heads", "model.embed_dim"]),
        ("model: {predictor_heads: 7}", ["model.predictor_heads", "model.embed_dim"]),
        ("data: {streaming: true}", ["optimization.max_steps=50000"]),
        (
            "model: {predictor: concept_transformer}",
            ["data.context=concepts", "model.predictor=attention_query"],
        ),
        ("optimization: {momentum_end: 0.9}", ["optimization.momentum_end", "momentum_start"]),
    ],
)
def test_settings_that_do_not_fit_name_the_cure(text: str, cures: list[str]) -> None:
    said = message(text)
    for cure in cures:
        assert cure in said


def test_mended_settings_fit() -> None:
    build(Settings, tree("data: {streaming: true}\noptimization: {max_steps: 5}"), where="")
    build(Settings, tree("model: {predictor: concept_transformer}\ndata: {context: concepts}"), where="")
    build(Settings, tree("model: {num_heads: 7}"), where="")  # pretrained: the weights say how many heads


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_parses_and_survives_saving(name: str, tmp_path: Path) -> None:
    settings, kind = load_run_settings(name), settings_class(system_of(name))
    assert (settings.recipe, settings.system) == (name, system_of(name))
    assert settings != kind(recipe=name) or name == "concept_decoder_original"
    save_settings(settings, tmp_path / "settings.yaml")
    assert read_settings(tmp_path / "settings.yaml", kind) == settings
    assert load_run_settings(str(tmp_path / "settings.yaml")) == settings


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_sets_nothing_without_effect(name: str) -> None:
    """Not by what it inherits either: what differs from the defaults in its resolved settings does something."""
    settings = load_run_settings(name)
    sections = {one: section for one, section in settings if isinstance(section, BaseModel)}
    changed = {f"{one}.{key}": 0 for one, own in sections.items() for key in own.model_dump(exclude_defaults=True)}
    assert list(without_effect(settings, changed)) == []


def test_recipe_names() -> None:
    assert {"next_sentence", "concepts"} <= set(recipe_names("encoder"))
    assert {"gpt_jepa"} <= set(recipe_names("gpt"))
    by_system = [name for system in ("encoder", "decoder", "gpt") for name in recipe_names(system)]
    assert sorted(by_system) == recipe_names()
    assert not [name for name in recipe_names() if name.startswith("_")]


@hypothesis_settings(max_examples=50, deadline=None)
@given(
    folder=st.sampled_from(["3e4", "1e-5", "true", "null", "0x1", "a: b", "-", "é\u2028x", "1_000", "12:30", " x "])
    | st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8),
    rate=st.floats(1e-12, 10),
    limit=st.none() | st.integers(1, 10**9),
)
def test_saved_settings_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, folder: str, rate: float, limit: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    plain = Settings()
    settings = plain.model_copy(
        update={
            "logging": plain.logging.model_copy(update={"log_dir": folder}),
            "optimization": plain.optimization.model_copy(update={"lr": rate}),
            "data": plain.data.model_copy(update={"limit": limit}),
        }
    )
    save_settings(settings, path)
    assert read_settings(path) == settings


def test_recipe_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optimization: {lr: 3e-4}")
    settings = load_settings(str(path), ["meta.seed=4"])
    assert (settings.recipe, settings.optimization.lr, settings.meta.seed) == ("mine", 3e-4, 4)
    path.write_text("# nothing yet\n")
    assert load_settings(str(path)) == Settings(recipe="mine")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a\n- b", "expected sections of settings, found list"),
        (b"data: {limit: 1, limit: 2}", "occurs twice"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_bad_recipe_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(LangJepaError) as caught:
        load_settings(str(path))
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_absent_recipes() -> None:
    with pytest.raises(LangJepaError, match="did you mean 'next_sentence'"):
        load_settings("next_sentense")
    with pytest.raises(LangJepaError, match=r"no recipe file at nowhere\.yaml"):
        load_settings("nowhere.yaml")
    with pytest.raises(LangJepaError, match="is this a run directory"):
        read_settings(Path("nowhere/settings.yaml"))


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().data.limit = 3  # type: ignore[misc]


def test_saved_settings_are_plain_yaml_and_complete(tmp_path: Path) -> None:
    save_settings(Settings(), tmp_path / "settings.yaml")
    plain = yaml.safe_load((tmp_path / "settings.yaml").read_text())
    own = [f"own_{axis.name}" for axis in AXES]  # left out where nothing in them is set
    assert list(plain) == ["version", *(name for name in Settings.model_fields if name not in own)]
    assert all(list(plain[name]) == list(model.model_fields) for name, model in sections(Settings).items())


def _recipes(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_file_changes_the_recipe_that_it_names(tmp_path: Path) -> None:
    """Its own settings win, sections are joined, and overrides come last; nothing of `base` is left."""
    folder = _recipes(tmp_path, mine="base: concepts\nmodel: {num_layers: 3}\n")
    mine, base = load_settings(str(folder / "mine.yaml"), ["optimization.lr=0.5"]), load_settings("concepts")
    assert (mine.recipe, mine.model.num_layers, mine.optimization.lr) == ("mine", 3, 0.5)
    expected = base.model_dump() | {"recipe": "mine"}
    expected["model"] |= {"num_layers": 3}
    expected["optimization"] |= {"lr": 0.5}
    assert mine.model_dump() == expected


def test_a_base_may_have_a_base_and_its_path_counts_from_the_file(tmp_path: Path) -> None:
    folder = _recipes(
        tmp_path / "a",
        first="base: gpt_jepa\njepa: {weight: 0.5, layer: 2}\n",
        second="base: first.yaml\njepa: {weight: 0.25}\n",
    )
    third = _recipes(tmp_path / "b", third="base: ../a/second.yaml\nevaluation: {val_every: 7}\n") / "third.yaml"
    assert system_of(str(third)) == "gpt", "though only its base's base says so"
    settings = load_gpt_settings(str(third))
    assert (settings.jepa.weight, settings.jepa.layer, settings.logging.eval_freq) == (0.25, 2, 7)
    assert settings.model == load_gpt_settings("gpt_jepa").model
    assert (folder / "second.yaml").is_file()


def test_a_saved_run_can_be_a_base(tmp_path: Path) -> None:
    save_settings(load_settings("concepts", ["model.num_layers=5"]), tmp_path / "settings.yaml")
    _recipes(tmp_path, wider="base: settings.yaml\nmodel: {predictor_layers: 2}\n")
    settings = load_settings(str(tmp_path / "wider.yaml"))
    assert (settings.recipe, settings.model.num_layers, settings.model.predictor_layers) == ("wider", 5, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: concpts", r"no recipe named 'concpts' \(the base of .*one.yaml\); did you mean 'concepts'"),
        ("base: no.yaml", r"no recipe file at .*no.yaml \(the base of .*one.yaml\)"),
        ("base: one.yaml", r"inherits from itself: .*one.yaml -> .*one.yaml"),
        ("base: two.yaml", r"inherits from itself: .*one.yaml -> .*two.yaml -> .*one.yaml"),
        ("base: [concepts]", r"base is the name of a recipe or the path of a YAML file, not \['concepts'\]"),
        ("base:", "not None"),
        ("base: gpt_jepa\nmodel: {num_layers: 2}", "trains system gpt, but a recipe for system encoder is expected"),
        ("base: concepts\nmodel: {num_layrs: 2}", "model.num_layrs: unknown setting"),
    ],
)
def test_mistakes_in_a_base_are_named(text: str, message: str, tmp_path: Path) -> None:
    _recipes(tmp_path, one=text, two="base: one.yaml")
    with pytest.raises(LangJepaError, match=message):
        load_settings(str(tmp_path / "one.yaml"))


def test_a_base_is_no_setting() -> None:
    with pytest.raises(LangJepaError, match="base: unknown setting"):
        load_settings("concepts", ["base=documents"])


@pytest.mark.parametrize(
    ("load", "override", "meant"),
    [
        ("concepts", "optimization.learning_rate", "lr"),
        ("concepts", "training.learning_rate", "optimization.lr"),
        ("concepts", "learning_rate", "optimization.lr"),
        ("concepts", "model.lr", "optimization.lr"),
        ("concepts", "data.batch", "batch_size"),
        ("concepts", "model.dropout_rate", "dropout"),
        ("concepts", "seed", "meta.seed"),
        ("concepts", "training.output_dir", "logging.log_dir"),
        ("concepts", "optimization.bacth_size", "data.batch_size"),
        ("concept_decoder", "training.lr", "optimization.lr"),
        ("concept_decoder", "optimization.learning_rate", "lr"),
        ("concept_decoder", "training.save_dir", "logging.log_dir"),
        ("gpt_jepa", "optimization.learning_rate", "lr"),
        ("gpt_jepa", "data.batch_size", "batch_tokens"),
        ("gpt_jepa", "model.embed_dim", "model_dim"),
    ],
)
def test_other_programs_names_are_understood_in_the_message(load: str, override: str, meant: str) -> None:
    loads = {"concept_decoder": load_decoder_settings, "gpt_jepa": load_gpt_settings}
    with pytest.raises(LangJepaError) as caught:
        loads.get(load, load_settings)(load, [f"{override}=1"])
    assert str(caught.value).endswith(f"{override}: unknown setting; did you mean '{meant}'?")


TYPED = (
    "2024",
    "no",
    "on",
    "null",
    "1e5",
    "~",
    "a: b",
    "*.txt",
    "a #b.txt",
    "[x]",
    "2024-01-01",
    "@x",
    "0x1F",
)


@pytest.mark.parametrize("typed", TYPED)
def test_a_text_setting_takes_what_was_typed(typed: str, tmp_path: Path) -> None:
    assert load_settings("concepts", [f"data.train_file={typed}"]).data.train_file == typed
    if typed in ("2024", "no", "on", "null", "1e5", "2024-01-01", "0x1F"):
        (tmp_path / "mine.yaml").write_text(f"base: concepts\ndata:\n  train_file: {typed}\n")
        assert load_settings(str(tmp_path / "mine.yaml")).data.train_file == typed


def test_quotes_and_null_keep_their_meaning() -> None:
    def loaded(*overrides: str) -> Settings:
        return load_settings("concepts", overrides)

    assert loaded("data.train_file='2024'").data.train_file == "2024"
    assert loaded("meta.checkpoint_path=null").meta.checkpoint_path is None
    assert loaded("meta.checkpoint_path='null'").meta.checkpoint_path == "null"
    assert loaded("meta.checkpoint_path=7").meta.checkpoint_path == "7"
    assert loaded("logging.eval_freq=null").logging.eval_freq is None
    with pytest.raises(LangJepaError, match=r"data\.train_file: input should be a valid string"):
        loaded("data.train_file=")


def test_a_file_of_another_version_says_so_and_a_typing_mistake_does_not(tmp_path: Path) -> None:
    """In saved settings, as a recipe or read by themselves, with the version or from before it was written."""
    path, mine = tmp_path / "settings.yaml", tmp_path / "mine.yaml"
    save_settings(load_settings("concepts"), path)
    text = path.read_text().replace("meta:\n", "meta:\n  old_key: 3\n")
    path.write_text(text.replace("version: ", "version: 0.0."))
    said = r"settings\.yaml was written by version 0\.0\.\S+ of lang-jepa: .* has no meta\.old_key\. .*remove"
    for read in (read_settings, lambda path: load_settings(str(path), ["meta.load_checkpoint=true"])):
        with pytest.raises(LangJepaError, match=said):
            read(path)
    path.write_text("".join(line for line in text.splitlines(True) if not line.startswith("version")))
    with pytest.raises(LangJepaError, match="written by another version"):
        load_settings(str(path))
    with pytest.raises(LangJepaError, match=r"x was written by another version.* a checkpoint cannot be changed"):
        build_saved(Settings, Settings().model_dump() | {"old": 1}, where="x")
    mine.write_text("base: concepts\nmeta: {old_key: 3}\n")
    with pytest.raises(LangJepaError, match=r"mine\.yaml: the settings have mistakes:\n  meta\.old_key: unknown"):
        load_settings(str(mine))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.streaming=true", "data.limit=5"], r"data\.limit has no effect beside data\.streaming=true"),
        (["data.streaming=true", "data.deduplicate=exact"], r"data\.deduplicate has no effect"),
        (["data.shuffle_buffer=5"], r"data\.shuffle_buffer has no effect beside data\.streaming=false"),
        (["data.near_duplicate_share=0.2", "data.deduplicate=exact"], r"belongs to data\.deduplicate=near"),
        (
            ["data.tokenizer_path=some/folder", "data.vocab_size=4000"],
            r"data\.vocab_size has no effect beside",
        ),
        (
            ["objective.sigreg_knots=9", "objective.regularizer=vicreg"],
            r"it belongs to objective\.regularizer=sigreg",
        ),
        (
            ["objective.regularizer_weight=2", "objective.regularizer=none"],
            r"=vicreg or sigreg; leave it out",
        ),
        (
            ["optimization.epochs=9", "optimization.max_steps=3"],
            r"it belongs to optimization\.max_steps=null",
        ),
        (
            ["model.num_layers=3", "model.pretrained=true", "data.tokenizer_path=x"],
            "model.num_layers has no effect",
        ),
        (["data.chunk_size=99"], r"beside data\.view=next_sentence: it belongs to data\.view=spans"),
    ],
)
def test_a_chosen_setting_without_effect_is_refused(overrides: list[str], said: str, tmp_path: Path) -> None:
    """As an override and in a user's file; what a recipe, a default or saved settings say stands there unnoticed."""
    steps = "optimization.max_steps=3"
    with pytest.raises(LangJepaError, match=said):
        load_settings("concepts", [*overrides, steps])
    streamed = load_settings("concepts", ["data.streaming=true", steps], usual=["data.limit=5"])
    save_settings(streamed, tmp_path / "settings.yaml")
    assert load_settings(str(tmp_path / "settings.yaml")) == streamed
    (tmp_path / "mine.yaml").write_text("base: concepts\ndata: {limit: 9}\n")
    with pytest.raises(LangJepaError, match=r"mine\.yaml: data\.limit has no effect"):
        load_settings(str(tmp_path / "mine.yaml"), ["data.streaming=true", steps])


def test_what_is_put_on_top_may_leave_what_is_below_without_effect(tmp_path: Path) -> None:
    """A short run of a file with epochs; an heir that takes another regularizer. Within one file it is a mistake."""
    (tmp_path / "mine.yaml").write_text(
        "base: concepts\noptimization: {epochs: 9, max_steps: null}\nobjective: {vicreg_variance: 5.0}\n"
    )
    (tmp_path / "heir.yaml").write_text("base: mine.yaml\nobjective: {regularizer: sigreg}\n")
    assert load_settings(str(tmp_path / "mine.yaml"), ["optimization.max_steps=3"]).optimization.epochs == 9
    load_settings(str(tmp_path / "mine.yaml"), (), ["optimization.max_steps=3"])
    load_settings(str(tmp_path / "heir.yaml"))
    (tmp_path / "wrong.yaml").write_text("base: mine.yaml\nobjective: {regularizer: none, vicreg_covariance: 9.0}\n")
    with pytest.raises(LangJepaError, match=r"objective\.vicreg_covariance has no effect"):
        load_settings(str(tmp_path / "wrong.yaml"))


def test_a_setting_that_is_given_its_default_or_has_an_effect_passes() -> None:
    load_settings("concepts", ["optimization.epochs=5", "optimization.max_steps=3", "objective.sigreg_knots=17"])
    load_settings("concepts", ["objective.regularizer=sigreg", "objective.sigreg_knots=9", "data.vocab_size=900"])
    load_gpt_settings("gpt_jepa", ["data.tokenizer_path=some/folder", "data.vocab_size=900"])  # which is compared


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("data: {seq_len: 64}\nmodel: {model_dim: 32}\nevaluation: {val_every: 10}\n", "gpt"),
        ("evaluation: {sample_tokens: 5}\nlogging: {log_dir: x}\n", "gpt"),
        ("decoder: {hidden_dim: 32}\nevaluation: {eval_steps: 5}\n", "decoder"),
        ("training: {max_steps: 5}\n", "decoder"),
    ],
)
def test_a_file_says_what_it_trains(text: str, system: str, tmp_path: Path) -> None:
    """Nothing is guessed: a file without a system or a base is an encoder's, and one of another is told what to add."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert system_of(str(path)) == "encoder"
    with pytest.raises(LangJepaError, match=f"begin it with `system: {system}`"):
        load_run_settings(str(path))
    path.write_text(f"system: {system}\n{text}")
    assert load_run_settings(str(path)).system == system
    other = {"gpt": load_settings, "decoder": load_gpt_settings}[system]
    with pytest.raises(LangJepaError, match=r"trains system .*, but a recipe for system .* is expected"):
        other(str(path))


def test_a_system_that_derives_from_a_built_in_one_takes_its_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "derived.py").write_text(
        "from lang_jepa.settings.encoder import Settings\n"
        "from lang_jepa.training.methods.encoder import EncoderMethod\n"
        "class Own(Settings):\n    system: str = 'derived:Derived'\n"
        "class Derived(EncoderMethod):\n    settings_class = Own\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "mine.yaml"
    path.write_text("system: derived:Derived\nbase: dialogue\noptimization: {lr: 3.0e-4}\n")
    settings = load_run_settings(str(path))
    assert settings.system == "derived:Derived"
    expected = load_settings("dialogue", ["optimization.lr=3e-4"]).model_dump(exclude={"system", "recipe"})
    assert settings.model_dump(exclude={"system", "recipe"}) == expected
    path.write_text("system: derived:Derived\nbase: gpt_jepa\n")
    with pytest.raises(LangJepaError, match="its base gpt_jepa is a recipe of system gpt"):
        load_run_settings(str(path))


def test_one_setting_by_two_names_is_refused() -> None:
    both = ["training.learning_rate=3e-3", "optimization.lr=1e-3"]
    with pytest.raises(LangJepaError, match=r"learning_rate and optimization\.lr are one setting, .*: give it once"):
        load_decoder_settings("concept_decoder", both)


def test_old_names_mean_the_same_everywhere(tmp_path: Path) -> None:
    old = ["training.learning_rate=3e-3", "training.output_dir=2024", "training.use_bfloat16=true"]
    new = ["optimization.lr=3e-3", "logging.log_dir=2024", "meta.precision=bf16"]
    expected = load_decoder_settings("concept_decoder", new)
    assert load_decoder_settings("concept_decoder", old) == expected
    (tmp_path / "mine.yaml").write_text(
        "base: concept_decoder\nrecipe: concept_decoder\n"
        "training: {learning_rate: 3e-3, output_dir: 2024, use_bfloat16: true}\n"
    )
    assert load_decoder_settings(str(tmp_path / "mine.yaml")) == expected
    tree = expected.model_dump()
    tree["training"] = {"learning_rate": tree["optimization"].pop("lr")}
    assert build_saved(DecoderSettings, tree, where="") == expected
    with pytest.raises(LangJepaError, match=r"training\.seed and meta\.seed are one setting"):
        build(DecoderSettings, {"training": {"seed": 1}, "meta": {"seed": 1}}, where="x")
    with pytest.raises(LangJepaError, match=r"optimization\.lr: .*greater than 0"):
        load_decoder_settings("concept_decoder", ["training.learning_rate=0"])
    for kind in (Settings, DecoderSettings, GPTSettings):
        for now in kind.OLD_NAMES.values():
            section, name = now.split(".")
            assert name in kind.model_fields[section].annotation.model_fields, now


@pytest.mark.parametrize(
    ("typed", "patterns"),
    [("*.md", ("*.md",)), ('["*.md", "guide/**"]', ("*.md", "guide/**")), ("[]", ()), ("2024", ("2024",))],
)
def test_a_list_of_texts_on_the_command_line(typed: str, patterns: tuple[str, ...]) -> None:
    assert load_settings("documents", [f"data.include={typed}"]).data.include == patterns


@pytest.mark.parametrize(("written", "read"), [("EN", "en"), ("de-AT", "de"), ("zh_CN", "zh"), ("pt-BR", "pt")])
def test_a_language_may_be_written_with_its_region(written: str, read: str) -> None:
    """The settings hold the bare code, so that the same corpus is found by either."""
    assert DataSettings.model_validate({"language": written}) == DataSettings.model_validate({"language": read})
    assert GPTDataSettings.model_validate({"language": written}).language == read
