"""`lang_jepa.train`: the run of the command line, whatever texts are handed over in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

import lang_jepa
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model import ConceptModel, own_corpus
from lang_jepa.python.texts import Given, name_of
from lang_jepa.python.train import _chosen, _typed
from lang_jepa.settings.load import load_settings
from lang_jepa.stories import story
from lang_jepa.training.train import train as train_run
from tiny import TINY, corpora

STORIES = [" ".join(sentence.text for sentence in story(number).sentences) for number in range(60)]
CHATS: list[list[dict[str, Any]]] = [
    [{"role": ("user", "assistant")[turn % 2], "content": sentence.text} for turn, sentence in enumerate(one.sentences)]
    for one in map(story, range(40))
]
SETTINGS: dict[str, object] = {
    **{
        name: json.loads(value)
        for name, value in (setting.split("=", 1) for setting in TINY)
        if "predictor" not in name
    },
    "model.predictor_heads": 2,
    "data.corpus_dir": "",
    "data.val_fraction": 0.2,
    "data.batch_size": 4,
    "model.num_layers": 1,
    "optimization.warmup_steps": 1,
    "logging.val_sentences": 64,
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(SETTINGS, "data.corpus_dir", corpora())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(data: object, recipe: str = "documents", **options: Any) -> ConceptModel:
    settings = {**SETTINGS, **options.pop("settings", {})}
    return lang_jepa.train(data, recipe, **{"steps": 2, "quiet": True, "settings": settings, **options})


def sizes(model: ConceptModel) -> tuple[int, int]:
    """Documents and units of the corpus that a model was trained on."""
    corpus = own_corpus(model)
    assert corpus is not None
    sides = (corpus.train, corpus.validation)
    return sum(side.num_documents for side in sides), sum(side.num_sentences for side in sides)


def speakers(model: ConceptModel) -> set[int]:
    """Numbers of those who speak in it."""
    corpus = own_corpus(model)
    assert corpus is not None
    return set(corpus.train.speakers(np.arange(corpus.train.num_sentences)).tolist())


@pytest.mark.filterwarnings("ignore")
def test_it_is_the_run_of_the_command_line(place: Path) -> None:
    model = train(STORIES, seed=5, output="runs/mine")
    (file,) = (place / "runs" / "texts").iterdir()
    assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == STORIES
    typed = [f"{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    typed += [f"data.train_file={file}", "optimization.max_steps=2", "meta.seed=5", "logging.log_dir=runs/other"]
    folder = train_run(load_settings("documents", typed)).folder
    assert model.run_dir == place / "runs" / "mine"
    other = ConceptModel.load(folder)
    np.testing.assert_array_equal(model.encode(STORIES[:3]), other.encode(STORIES[:3]))
    np.testing.assert_array_equal(model.predict_next(STORIES[:3]), other.predict_next(STORIES[:3]))
    assert model.card["corpus"] == other.card["corpus"]
    assert not np.array_equal(train(STORIES, seed=6).encode(STORIES[:3]), other.encode(STORIES[:3]))
    assert (place / "runs" / "documents" / "model").is_dir(), "the recipe's own run directory"
    assert [one.name for one in (place / "runs" / "texts").iterdir()] == [file.name], "the same texts, once"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["rows", "dataset"])
def test_conversations_in_every_form_are_the_same(form: str) -> None:
    given: Any = {
        "rows": [{"id": "a", "messages": one} for one in CHATS],
        "dataset": datasets.Dataset.from_list([{"conversations": one} for one in CHATS]),
    }[form]
    settings = {"data.batch_size": 8, "model.embed_dim": 32}
    model = train(given, "dialogue", settings=settings)
    assert model.settings.data.units == "turns"
    expected = train(CHATS, "dialogue", settings=settings, output="runs/expected")
    np.testing.assert_array_equal(model.encode(["Good morning."]), expected.encode(["Good morning."]))
    assert model.predict_next(["Good morning."]).shape == (32,)


@pytest.mark.parametrize("form", ["tuple", "generator", "array", "series", "frame", "column", "dataset", "rows"])
def test_texts_in_every_form_are_the_same_file(form: str) -> None:
    frame = pd.DataFrame({"text": STORIES, "stars": 3})
    given: Any = {
        "tuple": lambda: tuple(STORIES),
        "generator": lambda: (text for text in STORIES),
        "array": lambda: np.array(STORIES),
        "series": lambda: frame["text"],
        "frame": lambda: frame,
        "column": lambda: datasets.Dataset.from_pandas(frame)["text"],
        "dataset": lambda: datasets.Dataset.from_pandas(frame),
        "rows": lambda: [{"text": text, "stars": 3} for text in STORIES],
    }[form]()
    data = load_settings("documents").data
    found = Given.of(given)
    found.check(data, found.column(data, chosen=False))
    rows = list(found.rows(data, "text"))
    assert rows == [{"text": text} for text in STORIES]
    assert name_of(found.rows(data, "text")) == name_of({"text": text} for text in STORIES)


def test_what_pandas_calls_missing_is_missing() -> None:
    data = load_settings("documents").data
    found = Given.of(pd.Series([*STORIES, None], dtype="string"))
    found.check(data, found.column(data, chosen=False))
    assert [row["text"] for row in found.rows(data, "text")] == [*STORIES, None]


def test_home_is_a_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dict(_chosen({}, output="~/run")) == {"logging.log_dir": str(tmp_path / "run")}


def test_a_setting_may_be_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (typed,) = _typed({"data.corpus_dir": Path("~/corpora")})
    assert load_settings("documents", [typed]).data.corpus_dir == str(tmp_path / "corpora")


def test_columns_of_one_name_that_are_not_read_are_no_fault() -> None:
    given = Given.of(pd.DataFrame([["a", 1, 2]], columns=["text", "n", "n"]))
    data = load_settings("documents").data
    assert list(given.rows(data, given.column(data, chosen=False))) == [{"text": "a"}]


@pytest.mark.filterwarnings("ignore")
def test_a_table_with_a_message_a_row_is_grouped() -> None:
    table = pd.DataFrame(
        [
            {"chat": number, "who": one["role"], "said": one["content"]}
            for number, chat in enumerate(CHATS)
            for one in chat
        ]
    )
    settings = {"data.text_column": "said", "data.group_column": "chat", "data.speaker_column": "who"}
    model = train(table, "dialogue", settings={**settings, "data.batch_size": 8})
    assert (sizes(model), speakers(model)) == ((40, sum(map(len, CHATS))), {1, 2})
    data = load_settings("dialogue", ["data.text_column=said", "data.group_column=chat"]).data
    for usual in ("role", "Author"):
        rows = list(Given.of(table.rename(columns={"who": usual})).rows(data, "said"))
        assert rows[1] == {"said": CHATS[0][1]["content"], "chat": 0, usual: "assistant"}


@pytest.mark.filterwarnings("ignore")
def test_a_call_without_content_leaves_its_conversation_as_it_is() -> None:
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "look"}}]}
    model = train([[one[0], call, *one[1:]] for one in CHATS], "dialogue", settings={"data.batch_size": 8})
    assert (sizes(model), speakers(model)) == ((40, sum(map(len, CHATS))), {1, 2})


@pytest.mark.filterwarnings("ignore")
def test_turns_may_be_plain_strings() -> None:
    said = [[message["content"] for message in one] for one in CHATS]
    model = train(said, "dialogue", settings={"data.batch_size": 8})
    assert (sizes(model), speakers(model)) == ((40, sum(map(len, CHATS))), {0})


WRONG = {
    "texts for dialogue": (lambda: (STORIES, "dialogue"), "plain texts: take recipe='documents'"),
    "messages without content": (
        lambda: ([[{"role": "user", "parts": ["Hi."]}]] * 3, "dialogue"),
        "item 0 is none: a message without role and content.*Give each conversation as a list",
    ),
    "another key": (lambda: ([{"turns": CHATS[0]}], "dialogue"), r"item 0 is none: no list of messages \(dict\)"),
    "messages for documents": (lambda: (CHATS, "documents"), "item 0 is a list: take recipe='dialogue'"),
    "sentences": (lambda: ([["A.", "B."]], "documents"), 'one string, " ".join'),
    "a column of messages": (
        lambda: (datasets.Dataset.from_list([{"messages": one} for one in CHATS]), "documents"),
        "no column 'text'; its columns are messages; a column 'messages' is for recipe='dialogue'",
    ),
    "one conversation": (lambda: (CHATS[0], "dialogue"), r"put it into a list, \[messages\]"),
    "one text": (lambda: ("It rained.\nWe stayed.", "documents"), r"put it into a list, \[text\]"),
    "log lines": (lambda: (["a 1", "b 2"], "log"), r'one text, \["\\n".join\(lines\)\]'),
    "nothing": (lambda: ([], "documents"), "the data are empty"),
    "bytes": (lambda: ([b"a"], "documents"), r"item 0 is a bytes: give strings, a document each\. Bytes become one by"),
    "bytes for dialogue": (lambda: ([b"a"], "dialogue"), r"no list of messages \(bytes\)\. Give each conversation"),
    "numbers": (lambda: (pd.Series([3, 4]), "documents"), "item 0 is a int: give strings, a document each"),
    "another table": (
        lambda: (pytest.importorskip("polars").DataFrame({"text": STORIES}), "documents"),
        "tables of pandas and of datasets.*to_pandas",
    ),
    "two columns": (
        lambda: (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "documents"),
        "the table has 2 columns 'text', and one is read: rename the others",
    ),
    "a number": (lambda: (3, "documents"), "not int"),
    "an array that is one text": (lambda: (np.array("x"), "documents"), "not ndarray"),
    "no recipe": (lambda: (STORIES, None), "recipe is the name of a recipe or a path, not None"),
    "splits": (
        lambda: (datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": STORIES})), "documents"),
        r"take one of its splits, such as data\['train'\]",
    ),
    "a gpt": (lambda: (STORIES, "gpt_jepa"), "lang_jepa.train trains encoders"),
    "a wrong name": (lambda: (STORIES, "document"), "no recipe named 'document'"),
    "no such path": (lambda: ("my_texs", "documents"), "there is no file or folder 'my_texs'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_before_anything_is_written(case: str, place: Path) -> None:
    make, said = WRONG[case]
    data, recipe = make()
    with pytest.raises(LangJepaError, match=said):
        train(data, recipe)
    assert list(place.iterdir()) == []


def test_files_of_another_kind_are_refused(place: Path) -> None:
    (place / "chats.jsonl").write_text("".join(json.dumps({"messages": one}) + "\n" for one in CHATS))
    (place / "texts").mkdir()
    (place / "texts" / "a.txt").write_text(STORIES[0])
    with pytest.raises(LangJepaError, match="conversations in the column 'messages': take recipe='dialogue'"):
        train(place / "chats.jsonl")
    with pytest.raises(LangJepaError, match="holds plain texts: take recipe='documents'"):
        train("texts", "dialogue")
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"settings": {"data.limt": 3}}, "data.limt: unknown setting"),
        ({"settings": {"data.limit": "3"}}, "data.limit: .*integer"),
        ({"settings": {"optimization.max_steps": 3}, "steps": 4}, "are one setting: give it once"),
        ({"settings": {"data.train_file": "x"}}, "is the first argument of train"),
        ({"settings": {"data.limit": object()}}, "data.limit cannot be"),
        ({"settings": {"data.mask": True}}, "data.mask"),
        ({"settings": {"data": {"limit": 3}}}, "settings are dotted names with values"),
        ({"settings": ["data.limit=3"]}, "settings are dotted names with values"),
        ({"output": 3}, "output is the path of a folder, not 3"),
        ({"output": ""}, "output is the path of a folder, not ''"),
        ({"output": "a\0b"}, "output is the path of a folder"),
    ],
)
def test_settings_follow_the_rules_of_the_command_line(options: dict[str, Any], said: str, place: Path) -> None:
    with pytest.raises(LangJepaError, match=said):
        lang_jepa.train(STORIES, quiet=True, **options)
    assert not (place / "runs").exists()


def test_too_little_text_and_what_was_left_out_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LangJepaError, match="rejected"):
        train(["Too short."] * 3)
    with pytest.warns(UserWarning, match=r"of 100 documents: rejected 40"):
        train([*STORIES, *["Short."] * 40], settings={"data.limit": None})
    assert capsys.readouterr() == ("", "")


def test_importing_the_package_loads_no_torch() -> None:
    code = (
        "import sys, lang_jepa; dir(lang_jepa); print(sorted({'torch', 'sklearn', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert callable(lang_jepa.train)
    assert set(lang_jepa.__all__) == {*lang_jepa._MODULES, "__version__"}
