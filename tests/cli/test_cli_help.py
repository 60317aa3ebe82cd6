"""Help in groups with examples that parse, recipes by situation, JSON alone on standard output, earlier names."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from lang_jepa.cli.app import VERBS as GROUPS
from lang_jepa.cli.app import app
from lang_jepa.cli.combinations import EARLIER_NAMES
from lang_jepa.cli.examples import EXAMPLES
from lang_jepa.evaluation.table import MOST_ROWS, Row, shortened
from lang_jepa.settings.recipes import SITUATIONS, recipe_names, recipe_purposes, system_of
from typed import Type

VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", list(VERBS))
def test_examples_of_every_verb_parse_and_stand_in_its_help(
    verb: str, type_in: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = type_in(verb, "--help").out
    assert 1 <= len(EXAMPLES[verb]) <= 3
    for command in EXAMPLES[verb]:
        assert command.replace(" ", "") in "".join(shown.split()).replace("\\", "")
        program, named, *words = shlex.split(command)
        assert (program, named) == ("lang-jepa", verb)
        VERBS[verb].make_context(verb, words)  # raises for an unknown option or a missing argument
    assert EXAMPLES.keys() == VERBS.keys()


def test_help_has_its_verbs_in_groups_and_fits_80_columns(type_in: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = type_in("--help").out.splitlines()
    assert max(map(len, lines)) <= 80
    at = [lines.index(f"{group}:") for group in GROUPS]
    assert list(GROUPS) == ["Begin", "Train", "Use", "Judge", "Ship"]
    for group, begin, end in zip(GROUPS, at, [*at[1:], len(lines)], strict=True):
        shown = [line.split()[0] for line in lines[begin + 1 : end] if line[:2] == "  " and line[2:3].strip()]
        assert shown == [verb.__name__.rstrip("_") for verb in GROUPS[group]]


def test_every_recipe_is_in_one_situation(type_in: Type) -> None:
    names = [name for some in SITUATIONS.values() for name in some]
    assert sorted(names) == sorted(recipe_names())
    found = json.loads(type_in("recipes", "--json").out)
    assert [one["name"] for one in found] == names
    for one in found:
        assert one["purpose"] == recipe_purposes()[one["name"]]
        assert one["system"] == system_of(one["name"])
        assert one["name"] in SITUATIONS[one["for"]]


def test_a_recipe_is_shown_with_what_it_builds_on(type_in: Type, tmp_path: Path) -> None:
    ran = type_in("recipes", "dialogue")
    assert ran.out.startswith("dialogue: Conversations, from scratch in minutes on a CPU")
    at = [ran.out.index(f"\n{name}:\n# ") for name in ("dialogue", "builds on documents")]
    assert at == sorted(at)
    found = json.loads(type_in("recipes", "dialogue", "--json").out)
    assert list(found["files"])[:2] == ["dialogue", "documents"]
    for text in found["files"].values():
        assert text.rstrip("\n") in ran.out
    mine = tmp_path / "mine.yaml"
    mine.write_text("# For my chats.\nbase: dialogue\ndata: {limit: 7}\n")
    shown = type_in("recipes", mine).out
    assert shown.startswith(f"{mine}: For my chats\n")
    assert shown.index("data: {limit: 7}") < shown.index("builds on dialogue:") < shown.index("builds on documents:")
    for wrong in ("dialoge", "../dialogue"):
        ran = type_in("recipes", wrong)
        assert (ran.status, f"no recipe named '{wrong}'" in ran.err) == (2, True)
    assert "did you mean 'dialogue'" in type_in("recipes", "dialoge").err


def test_earlier_names_are_understood_and_not_shown(type_in: Type) -> None:
    for verb, names in EARLIER_NAMES.items():
        known = {flag for one in VERBS[verb].params for flag in one.opts}
        for old, new in names.items():
            assert new in known
            assert old not in known
    context = VERBS["rank"].make_context("rank", ["run", "--context", "x", "--top=7"])
    assert context.params["top_k"] == 7
    assert VERBS["generate"].make_context("generate", ["run", "--top-k", "9"]).params["sample_top_k"] == 9
    assert "--top-k is given twice" in type_in("rank", "run", "--context", "x", "--top", "1", "--top-k", "2").err


def test_a_table_is_shortened_to_those_that_say_most() -> None:
    names = [
        "model",
        "untrained",
        *(f"rule {n}" for n in range(12)),
        "TF-IDF, last 1",
        "TF-IDF, last 3",
        "asked",
        "chance",
    ]
    values = dict(zip(names, [0.5, 0.1, *(n / 100 for n in range(12)), 0.001, 0.002, 0.0, 0.004], strict=True))
    rows = [Row("t", "s", metric, name, values[name], None, None, 9) for metric in ("mrr", "x") for name in names]
    kept, hidden = shortened(rows, ["asked"])
    left = list(dict.fromkeys(row.name for row in kept))
    assert len(left) == MOST_ROWS
    assert hidden == len(names) - MOST_ROWS
    assert set(left) == {
        "model",
        "untrained",
        "chance",
        "asked",
        "TF-IDF, last 3",
        *(f"rule {n}" for n in range(5, 12)),
    }
    assert left == [name for name in names if name in left]
    assert shortened(rows[:4]) == (rows[:4], 0)
    low = [Row("t", "s", "bits (lower is better)", name, values[name], None, None, 9) for name in names]
    assert "rule 0" in {row.name for row in shortened(low)[0]}


@pytest.mark.parametrize(("chosen", "left"), [("raw", ["model"]), ("centred", ["model", "model, raw"])])
def test_a_plain_cosine_that_was_chosen_stands_once_in_a_table(chosen: str, left: list[str]) -> None:
    rows = [
        Row("t", "s", "x", name, 0.5, None, None, 9, kind) for name, kind in [("model", chosen), ("model, raw", "raw")]
    ]
    assert [row.name for row in shortened(rows)[0]] == left


def test_json_of_a_ranking_is_what_is_printed(trained: Any, type_in: Type) -> None:
    words = ("infer", trained, "--context", "Anna walked.", "--candidate", "Ben sat.", "--candidate", "A lamp fell.")
    found = json.loads(type_in(*words, "--json").out)
    shown = type_in(*words).out
    assert [f"{one['score']:7.4f}  {one['text']}" for one in found] == shown.splitlines()
