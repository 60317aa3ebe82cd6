"""Conversations in the forms that files have: each is read by any model of turns, and what cannot be is explained."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lang_jepa.cli.options import messages_in
from lang_jepa.data.sources import formats, forms
from lang_jepa.data.sources.columns import questions, turn_labels
from lang_jepa.data.sources.conversations import context_of
from lang_jepa.data.sources.source import elsewhere, open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

CHATS = [[("user", "Is it open?"), ("assistant", "Until six.")], [("user", "Hello."), ("assistant", "Good evening.")]]
TEXTS = ["\n".join(f"{name}: {text}" for name, text in chat) for chat in CHATS]
MESSAGES = [[{"role": name, "content": text} for name, text in chat] for chat in CHATS]
ROWS = [
    {"conversation_id": number, "role": name, "text": text} for number, chat in enumerate(CHATS) for name, text in chat
]
OF_LISTS = DataSettings(train_file="gone.jsonl", text_column="messages", units="turns", min_length=0, limit=None)
OF_ROWS = OF_LISTS.model_copy(update={"text_column": "text", "group_column": "conversation_id"})


def _csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def _lines(path: Path, values: list[Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, values)), encoding="utf-8")
    return path


def _written(folder: Path, form: str) -> tuple[Path, int]:
    """A file of one or of both conversations, and how many it holds."""
    match form:
        case "list.json":
            path = _lines(folder / form, MESSAGES[:1])
        case "object.json":
            path = _lines(folder / form, [{"messages": MESSAGES[0]}])
        case "indented.json":
            path = folder / form
            path.write_text(json.dumps({"title": "x", "messages": MESSAGES[0]}, indent=1))
        case "text.txt":
            path = folder / form
            path.write_text(TEXTS[0])
        case "lists.jsonl":
            path = _lines(folder / form, MESSAGES)
        case "lists.json":
            path = folder / form
            path.write_text(json.dumps(MESSAGES))
        case "chats.jsonl":
            path = _lines(folder / form, [{"nr": 1, "chat": one, "topics": ["a", "b"]} for one in MESSAGES])
        case "texts.csv":
            path = _csv(folder / form, [{"nr": n, "dialog_text": one} for n, one in enumerate(TEXTS)])
        case _:
            path = folder / form
            pq.write_table(pa.table({"messages": MESSAGES, "text": ["No.", "Yes."]}), path)
    one = form in ("list.json", "object.json", "indented.json", "text.txt")
    return path, 1 if one else 2


FORMS = ("list.json", "object.json", "indented.json", "text.txt", "lists.jsonl", "lists.json", "chats.jsonl",
         "texts.csv", "chats.parquet")  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("settings", [OF_LISTS, OF_ROWS], ids=["lists", "rows"])
def test_every_form_is_read_whatever_that_of_the_training_was(
    form: str, settings: DataSettings, tmp_path: Path
) -> None:
    path, count = _written(tmp_path, form)
    rejected: Counter[str] = Counter()
    found = [one.text for one in open_source(elsewhere(settings, str(path))).documents(rejected)]
    assert (found, rejected) == (TEXTS[:count], {})


def test_a_table_with_a_message_a_row_is_grouped_as_in_training_or_as_it_is_said(tmp_path: Path) -> None:
    path = str(_csv(tmp_path / "rows.csv", ROWS))
    grouped = [elsewhere(OF_ROWS, path), elsewhere(OF_LISTS, path, text_column="text", group_column="conversation_id")]
    for settings in grouped:
        assert [one.text for one in open_source(settings).documents(Counter())] == TEXTS
    with pytest.raises(LangJepaError) as refused:
        elsewhere(OF_LISTS, path)
    said = str(refused.value)
    assert "no column 'messages'; its columns are conversation_id, role, text. Name the column" in said
    assert "by --text-column NAME" in said
    assert "('conversation_id' looks like it) by --group-column NAME" in said
    assert "data." not in said


def test_a_message_that_looks_like_a_conversation_is_one_message(tmp_path: Path) -> None:
    rows = [*ROWS, {"conversation_id": ROWS[-1]["conversation_id"], "role": "user", "text": "Name: Anna\nPhone: 123"}]
    path = str(_csv(tmp_path / "rows.csv", rows))
    assert len(list(open_source(elsewhere(OF_ROWS, path)).documents(Counter()))) == len(TEXTS)
    with pytest.raises(LangJepaError, match="conversation_id' looks like it"):
        elsewhere(OF_LISTS, path)


def test_a_damaged_message_of_a_context_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"role": "user", "content": "Hello."}\n{"role": "user", "cont\n')
    kind = formats.kind_of_named(path)
    assert kind is not None
    with pytest.raises(LangJepaError, match=r"line 2 is not a message \(damaged JSON.*fix it, or leave it out"):
        forms.messages_of(path, kind, OF_LISTS, ())


@pytest.mark.parametrize("units", ["turns", "sentences"])
def test_several_lists_in_one_file_are_called_so(units: str, tmp_path: Path) -> None:
    path = tmp_path / "chats.json"
    path.write_text("\n".join(json.dumps(one, indent=1) for one in MESSAGES))
    settings = OF_LISTS.model_copy(update={"train_file": str(path), "units": units, "text_column": "content"})
    with pytest.raises(
        LangJepaError, match=r"several JSON lists.*each is a conversation, write one a line \(`jq -c \. in"
    ):
        list(open_source(settings).documents(Counter()))
    with pytest.raises(LangJepaError, match="holds several JSON values, but one conversation is expected"):
        messages_in(path.read_text(), str(path))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table_in_utf16_is_refused_by_name(encoding: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes("text\tid\nHello there.\t1\nGood evening.\t2\n".encode(encoding))
    settings = DataSettings(train_file=str(path), min_length=0)
    with pytest.raises(LangJepaError, match=rf"rows\{suffix} is UTF-16 or binary.*save it as UTF-8"):
        open_source(settings)


def test_a_column_of_speakers_needs_a_group(tmp_path: Path) -> None:
    path, chats = str(_csv(tmp_path / "rows.csv", ROWS)), str(_lines(tmp_path / "chats.jsonl", MESSAGES))
    said = r"--speaker-column has no effect without --group-column"
    for source, more in ((path, {"text_column": "text"}), (chats, {}), (str(_written(tmp_path, "list.json")[0]), {})):
        with pytest.raises(LangJepaError, match=said):
            elsewhere(OF_LISTS, source, speaker_column="role", **more)
    of_sentences = OF_ROWS.model_copy(update={"units": "sentences"})
    with pytest.raises(LangJepaError, match="no effect: the model was trained on sentences, and not on turns"):
        elsewhere(of_sentences, path, speaker_column="role")
    assert elsewhere(OF_ROWS, path, speaker_column="role").speaker_column == "role"


def test_training_hints_at_the_column_of_groups(tmp_path: Path) -> None:
    path = _csv(tmp_path / "rows.csv", ROWS)
    for column, said in (("text", "has a message a row in 'text', and no"), ("messages", "has no column 'messages'")):
        settings = OF_LISTS.model_copy(update={"train_file": str(path), "text_column": column})
        with pytest.raises(LangJepaError, match=rf"{said}.*'conversation_id' looks like it\) by data\.group_column="):
            open_source(settings)


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"id": "a", "x": 1}, {"id": "a", "x": 2}], "id"),
        ([{"user_id": 1, "threadId": 7}, {"user_id": 1, "threadId": 7}], "threadId"),
        ([{"id": 1, "thread": None}, {"id": 2, "thread": None}], None),
        ([{"idea": "x", "chat": 1}, {"idea": "x", "chat": 2}], None),
        ([{"sender_id": 1, "text": "x"}, {"sender_id": 1, "text": "y"}], None),  # who speaks
        ([{"sender_id": 1, "role": "x"}, {"sender_id": 1, "role": "y"}], None),
        ([{"user_id": 1, "text": "x"}, {"user_id": 1, "text": "y"}], None),
        ([{"user_id": 1, "role": "x"}, {"user_id": 1, "role": "y"}], "user_id"),  # whose conversation it is
    ],
)
def test_a_column_of_groups_has_such_a_name_and_repeats(rows: list[dict[str, Any]], column: str | None) -> None:
    assert forms.Head(Path(), list(rows[0]), rows).group() == column  # type: ignore[arg-type]


def test_speakers_of_another_table_may_have_another_column(tmp_path: Path) -> None:
    path = str(_csv(tmp_path / "rows.csv", ROWS))
    named = OF_ROWS.model_copy(update={"speaker_column": "who", "speakers": "embedding"})
    assert elsewhere(named, path).speaker_column is None
    nobody = str(_csv(tmp_path / "nobody.csv", [{"conversation_id": 1, "said_by": "a", "text": "Hm."}] * 2))
    with pytest.raises(LangJepaError, match=r"no column 'who', which says who speaks; .*said_by.* --speaker-column"):
        elsewhere(named, nobody)
    chosen = elsewhere(named, nobody, speaker_column="said_by")
    assert [one.text for one in open_source(chosen).documents(Counter())] == ["a: Hm.\na: Hm."]


@pytest.mark.parametrize("form", ["list.json", "object.json", "chats.jsonl", "rows.csv", "messages.jsonl"])
def test_the_conversation_of_a_table_is_found(form: str, tmp_path: Path) -> None:
    if form == "rows.csv":
        path = _csv(tmp_path / form, ROWS[:2])
    elif form == "messages.jsonl":
        path = _lines(tmp_path / form, list(MESSAGES[0]))
    else:
        path = _lines(tmp_path / form, [{"messages": MESSAGES[0]}])
    kind = formats.kind_of_named(path)
    assert kind is not None
    found = forms.messages_of(path, kind, OF_LISTS, ())
    assert context_of(found, OF_LISTS.model_copy(update={"speakers": "embedding"})) == TEXTS[0].split("\n")


def test_a_table_of_several_conversations_is_no_context(tmp_path: Path) -> None:
    for path in (_csv(tmp_path / "rows.csv", ROWS), _lines(tmp_path / "a.jsonl", [{"x": one} for one in MESSAGES])):
        kind = formats.kind_of_named(path)
        assert kind is not None
        with pytest.raises(LangJepaError, match=r"holds .*2 conversations.*, but exactly one is expected"):
            forms.messages_of(path, kind, OF_LISTS, ())


def test_labels_of_grouped_rows_are_those_of_their_turns(tmp_path: Path) -> None:
    rows = [
        {**row, "act": act}
        for row, act in zip([*ROWS, {**ROWS[0], "text": ""}], ["q", "s", "hi", "", "x"], strict=True)
    ]
    settings = OF_ROWS.model_copy(update={"train_file": str(_csv(tmp_path / "rows.csv", rows))})
    assert turn_labels(settings, "act") == {"0": ["q", "s"], "1": ["hi", ""]}
    with pytest.raises(LangJepaError, match=r"labels: mood cannot be read: .* no column 'mood'.* Set --labels"):
        turn_labels(settings, "mood")
    with pytest.raises(LangJepaError, match=r"has a message a row \(grouped by 'conversation_id'\)"):
        questions(settings)


@pytest.mark.parametrize(
    ("speakers", "given", "read"),
    [
        ("none", ["Anna: Hi.", "Bo: Yes."], ["Hi.", "Yes."]),
        ("none", "Anna: Hi.\nBo: Yes.", ["Hi.", "Yes."]),
        ("none", "Hi.\n\nNo.", ["Hi.", "No."]),
        ("none", ["user: Hi.", "Note: this", "Oh."], ["Hi.", "Note: this", "Oh."]),
        ("embedding", ["user: Hi.", "Note: this", "Oh."], ["user: Hi.", "-: Note: this", "-: Oh."]),
        ("prefix", ["Hi.\nthere", "user: No."], ["Hi. there", "user: No."]),
    ],
)
def test_a_context_is_read_alike_as_text_and_as_turns(speakers: str, given: object, read: list[str]) -> None:
    assert context_of(given, OF_LISTS.model_copy(update={"speakers": speakers})) == read
