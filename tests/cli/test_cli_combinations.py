"""Every option of every verb stands in the table of combinations, and what has no effect is refused before any work."""

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from lang_jepa.cli.app import app
from lang_jepa.cli.combinations import ALWAYS, COMBINATIONS, Checked
from typed import Type

VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def test_every_option_of_every_verb_was_thought_about() -> None:
    assert all(isinstance(verb, Checked) for verb in VERBS.values())
    assert VERBS.keys() == COMBINATIONS.keys()
    for name, verb in VERBS.items():
        assert {one.name for one in verb.params} - {"help"} == COMBINATIONS[name].keys(), name


def test_conditions_are_options_values_of_options_or_facts() -> None:
    """A condition that nothing can meet would be a rule without effect."""
    for name, table in COMBINATIONS.items():
        options = {one.name: one for one in VERBS[name].params}
        for when in table.values():
            for condition in (*when.needs, *when.bars):
                word = condition.partition("=")[0]
                assert word in options or " " in word, (name, condition)


GPT_FOLDER, FOLDER = "a GPT", "a folder of documents"
ARGUMENTS = {
    "train": ["concepts"],
    "evaluate": [GPT_FOLDER],
    "infer": ["run"],
    "index": ["run", "stories", "--output", "x"],
    "search": ["x", "query"],
    "export": ["run", "x"],
    "document": ["run", "text.txt"],
    "topics": ["run", "texts.txt"],
    "duplicates": ["texts.txt"],
    "rank": ["run", "--context", "chat.json"],
    "generate": ["run", "--temperature", "0"],
    "shards": ["stories", "x"],
    "prepare": ["concepts"],
    "bits": [GPT_FOLDER],
}


def rules() -> list[tuple[str, str]]:
    return [(verb, name) for verb, table in COMBINATIONS.items() for name, when in table.items() if when != ALWAYS]


@pytest.mark.parametrize(("verb", "name"), rules())
def test_an_option_without_effect_is_refused_at_once(
    verb: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_in: Type
) -> None:
    """Nothing that is named here exists, so any work would end in another message."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / GPT_FOLDER).mkdir()
    (tmp_path / GPT_FOLDER / "gpt.json").write_text("{}")
    (tmp_path / GPT_FOLDER / "manifest.json").write_text("{}")
    option = next(one for one in VERBS[verb].params if one.name == name)
    flag = max(option.opts, key=len)
    typed = [flag] if getattr(option, "is_flag", False) else [flag, "500"]
    when = COMBINATIONS[verb][name]
    beside: list[str] = []
    if when.needs == ("to=sentence-transformers", "to=onnx"):
        beside = ["--to", "int6"]
    elif when.bars == ("executor=slurm",):
        beside = ["--executor", "slurm"]
    elif when.bars and when.bars[0] in {one.name for one in VERBS[verb].params} - {"file"}:
        barring = next(one for one in VERBS[verb].params if one.name == when.bars[0])
        beside = [max(barring.opts, key=len), *([] if barring.is_flag else ["1"])]
    elif when.bars == ("as_json",):
        beside = ["--json"]
    elif when.bars == ("method=hdbscan",):
        beside = ["--method", "hdbscan"]
    given = [GPT_FOLDER if when.bars == (FOLDER,) and word == "text.txt" else word for word in ARGUMENTS[verb]]
    ran = type_in(verb, *given, *beside, *typed)
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith(f"error: {flag} has no effect with"), ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [GPT_FOLDER]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["export", "r", "x", "--to", "int6", "--push-to-hub", "a/b"],
            "--push-to-hub has no effect without --to sent",
        ),
        (
            ["export", "r", "x", "--to", "onnx", "--gptq"],
            "--gptq has no effect without --to int8 or --to int6",
        ),
        (
            ["infer", "r", "--context", "a", "--candidate", "b", "--text", "c"],
            "--text has no effect with --context",
        ),
        (
            ["infer", "r", "--context", "a", "--continue", "1", "--decode"],
            "--decode has no effect with --context",
        ),
        (
            ["infer", "r", "--context", "a", "--continue", "1", "--candidate", "b"],
            "--candidate has no effect with --co",
        ),
        (
            ["infer", "r", "--text", "a", "--sample", "--beams", "2"],
            "--beams has no effect with --sample: choose one",
        ),
        (["infer", "r", "--text", "a", "--top-k", "2"], "--top-k has no effect without --corpus"),
        (["evaluate", "r", "--tasks", "sts", "--tasks", "au"], "--tasks is given twice"),
    ],
)
def test_what_is_dropped_is_named(typed: list[str], said: str, type_in: Type) -> None:
    ran = type_in(*typed)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err


def test_defaults_and_what_is_switched_off_are_no_mistakes(type_in: Type) -> None:
    assert "no recipe named 'nothing'" in type_in("train", "nothing", "--no-debug").err
    assert "no model at r" in type_in("infer", "r", "--text", "a", "--sample", "--temperature", "0.5").err
