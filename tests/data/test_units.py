"""Lines and turns are units as they are: every form of a conversation, nothing cut, nothing lost."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lang_jepa.cli.monitored import Source
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources.conversations import (
    NoConversation,
    Turn,
    conversation_text,
    joined_lines,
    said_in,
    spoken_line,
    text_in_units,
    turns,
)
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.sentences import make_splitter, split_text
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.load import load_settings

CHAT = [Turn("user", "Is it open? I have a dog. Mr. Fox."), Turn("assistant", "Yes. Until six.")]
MESSAGES = [{"role": turn.speaker, "content": turn.text} for turn in CHAT]
FORMS = {
    "openai": MESSAGES,
    "parts": [{"role": t.speaker, "content": [{"type": "text", "text": t.text}, {"type": "image_url"}]} for t in CHAT],
    "sharegpt": [{"from": turn.speaker, "value": turn.text} for turn in CHAT],
    "speaker": [{"speaker": turn.speaker, "text": turn.text} for turn in CHAT],
    "mixed": [{"role": turn.speaker, "text": turn.text} for turn in CHAT],
    "json": json.dumps(MESSAGES),
    "calls": [MESSAGES[0], {"role": "assistant", "content": None, "tool_calls": []}, MESSAGES[1]],
    "calls without content": [MESSAGES[0], {"role": "assistant", "tool_calls": [{"id": "a"}]}, MESSAGES[1]],
    "calls first": [{"from": "gpt"}, MESSAGES[0], {"speaker": "tool"}, MESSAGES[1]],
    "text": "user: Is it open?\nI have a dog. Mr. Fox.\n\nassistant: Yes. Until six.\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_turns(form: str) -> None:
    assert [turn for turn in turns(FORMS[form]) if turn.text] == CHAT


def test_strings_have_no_speakers() -> None:
    assert turns(["Hello.\nAgain.", "", "Bye."]) == [Turn("", "Hello. Again."), Turn("", ""), Turn("", "Bye.")]
    assert conversation_text(["Hello.", "", "Bye."]) == ("-: Hello.\n-: Bye.", 1)
    assert said_in(["-: Hello.", "-: Bye."], "prefix") == ["Hello.", "Bye."]


def test_speakers_stand_before_turns_where_they_are_wanted() -> None:
    whole = "user: Is it open? I have a dog. Mr. Fox.\nassistant: Yes. Until six."
    assert conversation_text(MESSAGES) == (whole, 0)
    assert said_in(whole.split("\n"), "prefix") == whole.split("\n")
    assert said_in(whole.split("\n"), "none") == [turn.text for turn in CHAT]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "no list of messages"),
        ([], "without text"),
        ([{"role": "user", "content": " "}], "without text"),
        ([3], "no object"),
        ([{"role": "user"}], "without role and content"),
        ([{"role": "user", "parts": ["Hi."]}, {"role": "model", "parts": ["Ho."]}], "without role and content"),
        ([{"role": "assistant", "tool_calls": []}], "conversation without text"),
        ([*MESSAGES, {"parts": ["Hi."]}], "without role and content"),
        ([{"role": "user", "content": 3}], "content is no text"),
        ("Once upon a time.\nThere was a fox.", "does not begin with a speaker"),
    ],
)
def test_what_is_no_conversation_is_named(value: object, reason: str) -> None:
    with pytest.raises(NoConversation, match=reason):
        turns(value)


@pytest.mark.parametrize(
    "name",
    ["+49 170 555 12", "\u202a+49 170 5551234\u202c", "(030) 555-1234", "17th", "2nd Support", "@ben", "~ Ben", "*Bot*",
     "**Bot**", "_Bot_", "[Bot]", "<ben>", "🤖 Helper", "🤖"],
)  # fmt: skip
def test_a_speaker_who_begins_with_no_letter_is_one_from_two_lines_on(name: str) -> None:
    written, name = name, name.strip("\u202a\u202c")  # marks of direction are no part of a name
    said = [("Chloé", "Hello."), (name, "Yes?"), ("Chloé", "It is me."), (name, "I see: good.")]
    text = "\n".join(f"{written if who == name else who}: {what}" for who, what in said)
    assert turns(text) == [Turn(*one) for one in said]
    assert turns("\n".join(text.split("\n")[:3])) == [
        Turn("Chloé", f"Hello. {written}: Yes?"),
        Turn("Chloé", "It is me."),
    ]
    assert turns("\n".join(reversed(text.split("\n"))))[0] == Turn(name, "I see: good.")
    assert [line.partition(": ")[2] for line in conversation_text(text)[0].split("\n")] == [what for _, what in said]


@pytest.mark.parametrize(
    "line",
    ["09:00: tea", "09: tea", "9h: tea", "5pm: tea", "17h30: tea", "2024-01-05: tea", "05.01.2024: tea", "5/1/24, 9: tea",
     "20240105: tea", "1700000000: tea", "5th May: tea", "10 %: tea", "5 kg: tea", "20kg: tea", "1990s: tea",
     "- Tea: hot", "* Tea: hot", "• Tea: hot", "→ Tea: hot", "✓ Tea: hot", "1: tea", "1. Tea: hot", "2) Tea: hot",
     "(1) Tea: hot", "[1]: tea", "[x] Tea: hot", '"Tea: hot', '"tea": "hot"', "(Note: tea)", "*Note: tea*",
     "> Ben: tea", "# Tea: hot", "// TODO: tea", "https://tea.org/a: b", "… Tea: hot"],
)  # fmt: skip
def test_times_lists_and_prose_name_no_speaker_however_often_they_come(line: str) -> None:
    text = f"Anna: Today\n{line}\nBen: Well\n{line}\n{line}"
    expected = [Turn("Anna", f"Today {line}"), Turn("Ben", f"Well {line} {line}")]
    if line.startswith("https"):  # with a space behind a colon it would be a name that begins with a letter
        text, expected = (
            text.replace(": b", ":b"),
            [Turn(one.speaker, one.text.replace(": b", ":b")) for one in expected],
        )
    assert turns(text) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Anna: Hi.\nBen:\u00a0Ho.\n\u200eAnna\uff1aYes.\n\ufeffBen: No.", ["Anna: Hi.", "Ben: Ho.", "Anna: Yes.", "Ben: No."]),
        ("Anna:\nHi.\nBen:\nHo.\nhm\nAnna:\nBen: No.", ["Anna: Hi.", "Ben: Ho. hm", "Ben: No."]),
        ("Anna: Bring:\ntea\nBen: Well\nThen:\nNo.", ["Anna: Bring: tea", "Ben: Well Then: No."]),
        ("user: Hi.\n-: Ho.\nuser: Yes.", ["user: Hi.", "-: Ho.", "user: Yes."]),
        (
            "31/12/2023, 22:15 - Messages are private.\n31/12/2023 à 22:15 – Anna: Hi.\nHo.\n"
            "12/31/23, 10:16\u202fPM - +49 170 5551234: \u200eAt 12:30: no.\n[31.12.23, 22:17:09] Ben: See [1]: it\n[22:18] Anna: No.\n"
            '[22:19] Anna named the group "Trip: 2024"\n[22:19] Look here:\n[22:20] <@cy> Anna: oh',
            [
                "-: Messages are private.", "Anna: Hi. Ho.", "+49 170 5551234: At 12:30: no.", "Ben: See [1]: it", "Anna: No.",
                '-: Anna named the group "Trip: 2024"', "-: Look here:", "cy: Anna: oh",
            ],
        ),
        (
            "Anna: Agenda\n[10:00] Coffee\n[11:00] Talk: mine\n2/3/24, 10:00 - maybe\nBen: fine\ntry:\n1\ntry:\n2",
            ["Anna: Agenda [10:00] Coffee [11:00] Talk: mine 2/3/24, 10:00 - maybe", "Ben: fine try: 1 try: 2"],
        ),
        ('{"messages": [{"author": "Anna", "text": "Hi."}]}', ["Anna: Hi."]),
    ],
)  # fmt: skip
def test_names_are_found_as_people_and_messengers_write_them(text: str, found: list[str]) -> None:
    assert conversation_text(text)[0].split("\n") == found


@pytest.mark.parametrize(
    ("turn", "line"),
    [
        ("*Bot*\uff1aHi: you.", "*Bot*: Hi: you."),
        ("+49 170 5551234: Hi.", "+49 170 5551234: Hi."),
        ("[22:15] Ben: Hi.", "Ben: Hi."),
        ("[22:15] Hi.", "-: Hi."),
        ("Anna\uff1a", "Anna: "),
    ],
)
def test_a_turn_that_begins_with_a_speaker_is_written_as_others_are(turn: str, line: str) -> None:
    assert spoken_line(turn) == line


@given(st.text(alphabet="a b\n\r\t\u2028", max_size=20))
def test_lines_are_joined_as_a_pattern_would_that_takes_the_square_of_their_length(text: str) -> None:
    assert joined_lines(text.strip()) == re.sub(r"\s*[\r\n]\s*", " ", text.strip())
    assert joined_lines(text.strip("\r\n")) == re.sub(r"\s*[\r\n]\s*", " ", text.strip("\r\n"))


@given(st.text(max_size=200))
def test_lines_lose_nothing_but_white_space(text: str) -> None:
    lines = split_text(text, make_splitter(DataSettings(units="lines")))
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(line == line.strip() and "\n" not in line for line in lines)


def _chats(folder: Path, kind: str) -> Path:
    rows = [
        {"id": f"chat/{n}", "messages": [{**m, "content": f"{m['content']} {n}" * 3} for m in MESSAGES]}
        for n in range(12)
    ]
    path = folder / f"chats.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_turns_of_a_file_reach_the_corpus_uncut(tmp_path: Path, kind: str) -> None:
    chats = _chats(tmp_path, kind)
    chosen = {"train_file": str(chats), "text_column": "messages", "units": "turns", "corpus_dir": str(tmp_path / "c")}
    settings = DataSettings(**chosen, tokenizer_path="trained", vocab_size=300, prepare_workers=1, deduplicate="none")
    corpus: Corpus = prepare(settings)
    assert corpus.train.num_documents == 12
    assert corpus.train.num_sentences == 24
    with_names = prepare(settings.model_copy(update={"speakers": "prefix"}))
    assert with_names.path != corpus.path
    assert with_names.train.num_tokens > corpus.train.num_tokens
    if kind == "parquet":
        with pytest.raises(LangJepaError, match=r"data\.units=turns for a list of messages"):
            open_source(settings.model_copy(update={"units": "sentences"}))


def test_rows_that_are_no_conversations_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    rows = [{"messages": "no speaker here"}, {"messages": None}, {"messages": [{}]}]
    rows += [{"messages": FORMS[name]} for name in ("calls", "calls without content")]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = open_source(DataSettings(train_file=str(path), text_column="messages", units="turns", min_length=0))
    rejected: Counter[str] = Counter()
    found = list(source.documents(rejected))
    assert [one.left_out for one in found] == [(("messages without text", 1),)] * 2
    assert found[0].text == found[1].text == conversation_text(MESSAGES)[0]
    assert sorted(rejected.values()) == [1, 1, 1]


def test_logs_and_rotated_logs_are_read_as_lines(tmp_path: Path) -> None:
    for name in ("app.log", "app.log.1", "app.log-20260101", "notes.bin"):
        (tmp_path / name).write_text("12:00 start. Then on. Mr. Fox\n\n12:01 stop\n" * 5, encoding="utf-8")
    settings = DataSettings(train_file=str(tmp_path), units="lines")
    source = open_source(settings)
    documents = list(source.documents(Counter()))
    assert len(documents) == 3
    assert split_text(documents[0].text, make_splitter(settings))[:2] == ["12:00 start. Then on. Mr. Fox", "12:01 stop"]
    with pytest.raises(LangJepaError, match="no file that can be read"):
        open_source(settings.model_copy(update={"units": "sentences"}))


@pytest.mark.parametrize("name", ["json.log", "json.log.1", "json.log.gz", "json.txt", "events"])
@pytest.mark.parametrize("records", [True, False])
def test_a_log_of_json_objects_is_lines_as_monitor_reads_them(tmp_path: Path, name: str, records: bool) -> None:
    lines = [json.dumps({"ts": f"2026-01-05T09:00:{n:02}Z", "level": "INFO", "msg": f"step {n}"}) for n in range(20)]
    content = "\n".join(lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    settings = DataSettings(train_file=str(tmp_path / name), units="lines", records=records)
    (document,) = open_source(settings).documents(Counter())
    assert split_text(document.text, make_splitter(settings)) == lines
    come = Source(str(tmp_path / name), settings, lasting=False).lines(None, None, follow=False)
    assert [line.text for some in come for line in some or ()] == lines


def test_json_lines_of_other_names_and_of_groups_are_tables_beside_units_of_lines(tmp_path: Path) -> None:
    rows = "\n".join(json.dumps({"session": n % 2, "text": f"step {n}"}) for n in range(6))
    for name, grouped in (("a.jsonl", None), ("a.log", "session")):
        (tmp_path / name).write_text(rows)
        settings = DataSettings(train_file=str(tmp_path / name), units="lines", group_column=grouped, min_length=0)
        texts = [document.text for document in open_source(settings).documents(Counter())]
        by_group = ["step 0\nstep 2\nstep 4", "step 1\nstep 3\nstep 5"]
        assert texts == (by_group if grouped else [f"step {n}" for n in range(6)])


def test_new_text_is_read_as_in_training() -> None:
    settings = DataSettings(units="turns", speakers="prefix")
    assert text_in_units(FORMS["text"], settings) == conversation_text(MESSAGES)[0]
    assert text_in_units("no speaker.\nNone.", DataSettings(units="turns")) == "no speaker.\nNone."
    with pytest.raises(LangJepaError, match="trained on turns like"):
        text_in_units("no speaker.\nNone.", settings)
    assert text_in_units(FORMS["text"], DataSettings()) == FORMS["text"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.units=lines", "data.language=de"],
        ["data.units=turns", "data.max_sentence_chars=100"],
        ["data.speakers=prefix"],
        ["data.units=turns", "data.join_rows=4"],
    ],
)
def test_settings_without_effect_beside_units_are_errors(overrides: list[str]) -> None:
    with pytest.raises((LangJepaError, ValidationError), match="no effect"):
        load_settings("documents", overrides)


def test_stories_have_sentences() -> None:
    with pytest.raises(LangJepaError, match="the built-in stories have sentences"):
        open_source(DataSettings(train_file="stories", units="lines"))


def test_lines_make_a_corpus_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It rained. Then it was dry.\nIt was warm. So they left.\n" * 5, encoding="utf-8")
    chosen = {"train_file": str(tmp_path / "a.txt"), "corpus_dir": str(tmp_path / "c"), "tokenizer_path": "trained"}
    settings = DataSettings(**chosen, vocab_size=300, prepare_workers=1, min_length=0)
    sentences, lines = prepare(settings), prepare(settings.model_copy(update={"units": "lines"}))
    assert sentences.path != lines.path
    assert (sentences.train.num_sentences, lines.train.num_sentences) == (20, 10)
