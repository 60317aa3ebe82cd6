"""Labels of turns and questions about conversations: in which forms, with which numbers, and what is refused."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lang_jepa.data.sources.columns import Asked, questions, turn_labels
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

CHAT = [
    {"role": "user", "content": "Hello.", "act": "greet"},
    {"role": "assistant", "content": ""},
    {"role": "assistant", "content": "Which city?", "act": ["request", "ask", "request"]},
    {"role": "user", "content": "Ulm."},
]


def _settings(path: Path, column: str = "messages", units: str = "turns") -> DataSettings:
    return DataSettings.model_validate({"train_file": str(path), "text_column": column, "units": units})


def _lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels_are_those_of_turns_with_text_in_any_form(tmp_path: Path) -> None:
    """A key of the messages, a column beside them, or a column of JSON; a message without text has no turn."""
    keys = _lines(tmp_path / "keys.jsonl", {"messages": CHAT}, {"id": "b", "messages": CHAT[:1]})
    wanted = {"keys.jsonl:0": ["greet", "ask, request", ""], "b": ["greet"]}
    assert turn_labels(_settings(keys), "act") == wanted
    said = [{name: one[name] for name in ("role", "content")} for one in CHAT]
    acts = ["greet", "none", "request", None]
    table = pa.table({"id": ["x"], "messages": [said], "acts": [acts], "written": [json.dumps(acts)]})
    pq.write_table(table, tmp_path / "beside.parquet")
    for column in ("acts", "written"):
        assert turn_labels(_settings(tmp_path / "beside.parquet"), column) == {"x": ["greet", "request", ""]}


def test_labels_that_are_not_there_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    short = _lines(tmp_path / "short.jsonl", {"id": "a", "messages": CHAT, "acts": ["one", "two"]})
    with pytest.raises(LangJepaError, match=r"labels: acts: a of .* has 2 labels for 4 messages"):
        turn_labels(_settings(short), "acts")
    with pytest.raises(LangJepaError, match="labels: mood: no turn of"):
        turn_labels(_settings(short), "mood")
    pq.write_table(pa.table({"messages": [["a", "b"]]}), tmp_path / "chats.parquet")
    with pytest.raises(LangJepaError, match=r"labels: mood cannot be read: .*no column 'mood'"):
        turn_labels(_settings(tmp_path / "chats.parquet"), "mood")
    (tmp_path / "chat.txt").write_text("Anna: Hello.\nBen: Yes.\n")
    with pytest.raises(LangJepaError, match="has no columns, it is one text"):
        turn_labels(_settings(tmp_path / "chat.txt"), "mood")


def test_spans_count_messages_and_give_turns(tmp_path: Path) -> None:
    asked = [{"query": "Which town? ", "spans": [[1, 2], [3, 3]]}, {"query": "Who?", "spans": []}]
    path = _lines(tmp_path / "q.jsonl", {"id": "m", "messages": CHAT, "queries": asked}, {"messages": CHAT})
    found = questions(_settings(path))
    assert list(found) == ["m"]
    assert found["m"].numbers == (0, 2, 3)
    assert found["m"].questions == (Asked("Which town?", ((1, 2), (3, 3))), Asked("Who?", ()))
    assert [one.units((0, 2, 3)) for one in found["m"].questions] == [[1, 2], []]
    prose = _lines(tmp_path / "p.jsonl", {"text": "One. Two.", "queries": json.dumps(asked)})
    assert questions(_settings(prose, "text", "sentences"))["p.jsonl:0"].numbers is None
    wrong = _lines(tmp_path / "w.jsonl", {"id": "m", "messages": CHAT, "queries": [{"query": "x", "spans": [[1]]}]})
    with pytest.raises(LangJepaError, match=r"the column 'queries': m of .* something else than a list"):
        questions(_settings(wrong))
