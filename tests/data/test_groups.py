"""Rows of tables, a message each, that become documents: order, speakers, rows that stand apart, what is refused."""

import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lang_jepa.cli.rank import _conversations
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.corpus.statistics import Losses
from lang_jepa.data.sources import groups
from lang_jepa.data.sources.base import Document, Rejection, Row
from lang_jepa.data.sources.hub import HubSource
from lang_jepa.data.sources.source import elsewhere, open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import SplitDocuments
from lang_jepa.inference.model import ConceptModel
from lang_jepa.report.run import other_corpus
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.load import load_settings
from lang_jepa.training.train import train
from tiny import tiny_settings

ROWS = [
    {"chat": "a", "role": "user", "text": "Is it open?"},
    {"chat": "b", "role": "user", "text": "Good\nevening."},
    {"chat": "a", "role": "assistant", "text": "Until six."},
    {"chat": "b", "role": "assistant", "text": "Hello."},
    {"chat": "a", "role": "user", "text": "Thanks."},
]
TURNS = {"a": "user: Is it open?\nassistant: Until six.\nuser: Thanks.", "b": "user: Good evening.\nassistant: Hello."}


def _table(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        fields = [[str(value).replace("\n", " ") for value in row.values()] for row in rows]
        path.write_text("\n".join(",".join(f'"{one}"' for one in row) for row in [list(rows[0]), *fields]))
    return path


def _settings(path: Path, **changes: Any) -> DataSettings:
    chosen = {"train_file": str(path), "group_column": "chat", "units": "turns", "min_length": 0, "limit": None}
    return DataSettings(**{**chosen, **changes})


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "csv"])
def test_rows_of_a_group_are_one_conversation_in_their_order(tmp_path: Path, kind: str) -> None:
    source = open_source(_settings(_table(tmp_path, kind, ROWS)))
    found = list(source.rows())
    assert {row.id: row.text for row in found if isinstance(row, Document)} == TURNS
    assert [row.id for row in found if isinstance(row, Document)] == ["b", "a"]  # as their last rows stand
    assert list(source.rows(1)) == found[1:]


@pytest.mark.parametrize(("units", "joined"), [("lines", "\n"), ("sentences", "\n\n")])
def test_groups_of_lines_and_of_sentences_are_joined(tmp_path: Path, units: str, joined: str) -> None:
    rows = [*ROWS, {"chat": "a", "role": "user", "text": None}, {"chat": "a", "role": "user", "text": "One\nmore."}]
    source = open_source(_settings(_table(tmp_path, "jsonl", rows), units=units))
    found = {one.id: one for one in source.documents(Counter())}
    last = "One more." if units == "lines" else "One\nmore."
    assert found["a"].text == joined.join(["Is it open?", "Until six.", "Thanks.", last])
    assert found["a"].left_out == (("rows without text", 1),)


@pytest.mark.parametrize("name", ["from", "speaker", "author", "sender", "Author", "Role", "SENDER"])
def test_columns_of_the_usual_names_say_who_speaks(tmp_path: Path, name: str) -> None:
    rows = [{"chat": 7, name: who, "text": "Hm."} for who in ("Anna", "Bo")]
    (found,) = open_source(_settings(_table(tmp_path, "parquet", rows))).documents(Counter())
    assert (found.id, found.text) == ("7", "Anna: Hm.\nBo: Hm.")


def test_of_two_columns_of_speakers_the_first_in_the_list_counts(tmp_path: Path) -> None:
    rows = [{"chat": 7, "Author": "x", "ROLE": "user", "text": "Hm."}, {"chat": 7, "Author": "Bo", "text": "Hm."}]
    (found,) = open_source(_settings(_table(tmp_path, "jsonl", rows))).documents(Counter())
    assert found.text == "user: Hm.\nBo: Hm."


def test_a_column_can_be_named_as_the_speakers(tmp_path: Path) -> None:
    rows = [{"chat": "a", "role": "x", "who": 17, "text": "Hm."}]
    path = _table(tmp_path, "csv", rows)
    assert next(open_source(_settings(path, speaker_column="who")).documents(Counter())).text == "17: Hm."
    with pytest.raises(LangJepaError, match=r"no column 'whom'.*chat, role, who, text.* Set data\.speaker_column"):
        open_source(_settings(path, speaker_column="whom"))


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), [1], {"id": 1}])
def test_rows_without_a_group_are_counted(tmp_path: Path, value: object) -> None:
    rows = [*ROWS, {"chat": value, "role": "user", "text": "Lost."}]
    source = open_source(_settings(_table(tmp_path, "jsonl", rows)))
    rejected: Counter[str] = Counter()
    assert len(list(source.documents(rejected))) == 2
    assert rejected == {"no group in 'chat'": 1}
    assert source.examples == {"no group in 'chat'": ["rows.jsonl:line 6"]}


def test_a_value_that_can_be_written_names_a_group() -> None:
    assert [groups.group_of(value) for value in (3, 3.0, "3", 3.5)] == ["3", "3", "3", "3.5"]
    assert [groups.group_of(value) for value in (False, date(2026, 1, 2))] == ["False", "2026-01-02"]
    assert [groups.group_of(value) for value in ("nan", "NaN", float("nan"))] == ["nan", "NaN", None]


def test_damaged_rows_stand_for_themselves_even_where_a_group_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in ROWS]
    path.write_text("\n".join([*lines, "{damaged", json.dumps({"chat": "b", "role": "user"})]))
    rejected: Counter[str] = Counter()
    found = {one.id: one.text for one in open_source(_settings(path)).documents(rejected)}
    assert found == TURNS
    assert rejected == {"damaged JSON": 1, "no 'text' key": 1}


def test_a_group_that_is_no_utf8_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"chat,role,text\ncaf\xe9,user,One.\na,user,Two.\ncaf\xe9,user,Three.\n")
    found = {one.id: one.text for one in open_source(_settings(path)).documents(Counter())}
    assert found == {"a": "user: Two.", "caf\\udce9": "user: One.\nuser: Three."}


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, kind: str) -> None:
    path = _table(tmp_path, kind, ROWS)
    with pytest.raises(LangJepaError, match=r"no (column|key) 'dialog'.*chat, role, text.* Set data\.group_column"):
        open_source(_settings(path, group_column="dialog"))


def test_what_has_no_columns_has_no_groups(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Anna: Hm.")
    with pytest.raises(LangJepaError, match="groups rows of tables"):
        open_source(_settings(tmp_path / "a.txt"))
    with pytest.raises(LangJepaError, match="the built-in stories are not a table"):
        open_source(_settings(Path("stories"), units="sentences"))
    _table(tmp_path, "csv", ROWS)  # beside a table, a text stays a document
    assert {one.id for one in open_source(_settings(tmp_path)).documents(Counter())} == {"a", "b", "a.txt:0"}


def test_other_documents_of_a_run_need_no_groups(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Anna: Hm.")
    settings = _settings(tmp_path / "gone.csv")
    assert elsewhere(settings, str(tmp_path / "a.txt")).group_column is None
    assert elsewhere(settings, str(tmp_path)).group_column is None
    assert elsewhere(settings, str(_table(tmp_path, "csv", ROWS))).group_column == "chat"


def test_ids_that_two_files_have_are_told_apart(tmp_path: Path) -> None:
    for kind in ("csv", "jsonl"):
        _table(tmp_path, kind, ROWS)
    source = open_source(_settings(tmp_path))
    ids = [one.id for one in source.documents(Counter(), source.rows())]
    assert ids == ["b@rows.csv:1", "a@rows.csv:0", "b@rows.jsonl:1", "a@rows.jsonl:0"]


def test_groups_that_wait_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST", 20)
    with pytest.raises(LangJepaError, match=r"of 2 groups, wait for rows .* Sort the rows by 'chat'"):
        list(open_source(_settings(_table(tmp_path, "csv", ROWS))).rows())
    apart = sorted(ROWS, key=lambda row: str(row["chat"]))[:3]
    monkeypatch.setattr(groups, "MOST", 30)
    assert len(list(open_source(_settings(_table(tmp_path, "csv", apart))).rows())) == 1


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_no_row_is_lost_and_none_is_doubled(names: list[str]) -> None:
    rows = [Row(number, "", text=f"{number}", beside={"chat": name}) for number, name in enumerate(names)]
    last = {name: number for number, name in enumerate(names)}
    settings = DataSettings(group_column="chat", units="lines", min_length=0)
    found = list(groups.grouped(((row, last[names[row.number]] == row.number) for row in rows), settings))
    assert {str(one.id): str(one.text).split("\n") for one in found} == {
        name: [str(number) for number, other in enumerate(names) if other == name] for name in set(names)
    }


def test_a_stream_of_the_hub_needs_rows_that_follow_each_other() -> None:
    def rows(names: str) -> list[Row]:
        return [Row(n, f"row {n}", text=name, beside={"chat": name.strip()}) for n, name in enumerate(names)]

    ends = list(groups.adjacent(rows("aa bbc"), "chat"))
    assert [(row.text, is_last) for row, is_last in ends if row.text != " "] == [
        ("a", False), ("a", True), ("b", False), ("b", True), ("c", True),
    ]  # fmt: skip
    with pytest.raises(LangJepaError, match=r"rows of 'a' do not follow each other \(row 2\)"):
        list(groups.adjacent(rows("aba"), "chat"))


def test_groups_reach_the_corpus_with_their_speakers(tmp_path: Path) -> None:
    rows = [{**row, "chat": f"{row['chat']}{n}", "text": f"{row['text']} {n}"} for n in range(8) for row in ROWS]
    path = _table(tmp_path, "parquet", rows)
    of_chats = ("data.group_column=chat", "data.units=turns", "data.min_length=1", "data.deduplicate=none",
                "data.limit=null", "data.val_fraction=0")  # fmt: skip
    corpus = prepare(tiny_settings(tmp_path / "run", f"data.train_file={path}", *of_chats).data)
    assert corpus.train.num_documents == 16
    first = corpus.train.document_id(0)
    assert first == "b0"
    assert corpus.train.units([0, 1]) == ["user: Good evening. 0", "assistant: Hello. 0"]
    assert np.bincount(corpus.train.speakers(np.arange(40))).tolist() == [0, 24, 16]
    other = prepare(
        tiny_settings(tmp_path / "run", f"data.train_file={path}", *of_chats, "data.speaker_column=chat").data
    )
    assert other.path != corpus.path


def test_a_trained_model_reads_other_tables_the_same_way(tmp_path: Path) -> None:
    rows = [{**row, "chat": f"{row['chat']}{n}", "text": f"{row['text']} {n}"} for n in range(12) for row in ROWS]
    settings = tiny_settings(
        tmp_path / "run", f"data.train_file={_table(tmp_path, 'csv', rows)}", "data.group_column=chat", "data.units=turns",
        "data.min_length=1", "data.deduplicate=none", "data.limit=null", "optimization.max_steps=2",
    )  # fmt: skip
    train(settings)
    model, bank = ConceptModel.load(tmp_path / "run"), str(_table(tmp_path, "jsonl", ROWS))
    turns = [["Good evening.", "Hello."], ["Is it open?", "Until six.", "Thanks."]]
    assert [one.units for one in _conversations(bank, model.settings.data, {}, with_speakers=False)] == turns
    others = other_corpus(model.settings, prepare(settings.data), bank).train
    assert [others.document_id(number) for number in range(2)] == ["b", "a"]
    index = Index.build(model, SplitDocuments.open(elsewhere(model.settings.data, bank)), tmp_path / "index")
    assert len(index) == 5
    assert index.search(["Until six."], top_k=1)[0][0].text == "Until six."


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.speaker_column=x", "data.units=turns"], r"speaker_column has no effect beside data\.group_column=null"),
        (
            ["data.group_column=x", "data.speaker_column=x"],
            r"speaker_column has no effect beside data\.units=sentences",
        ),
        (["data.group_column=x", "data.join_rows=3"], "both make documents of rows"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(LangJepaError, match=said):
        load_settings("documents", overrides)


def test_rejections_name_their_places(tmp_path: Path) -> None:
    path = _table(tmp_path, "jsonl", [{"chat": "a", "role": "user", "text": 5}])
    (row,) = open_source(_settings(path)).rows()
    assert isinstance(row, Rejection)
    assert row.reason == "a message whose content is no text (int): its group is left out whole"


def test_a_damaged_message_leaves_its_group_out_with_a_count(tmp_path: Path) -> None:
    """Once, under a reason that says so, at the place of the message; the preparation's summary has it."""
    rows = [{**row, "chat": f"{row['chat']}{n}"} for n in range(9) for row in ROWS]
    rows[2]["text"] = {"a": 1}
    path = _table(tmp_path, "jsonl", rows)
    source, rejected = open_source(_settings(path)), Counter[str]()
    assert "a0" not in {one.id for one in source.documents(rejected)}
    reason = "a message whose content is no text (dict): its group is left out whole"
    assert (rejected, source.examples) == ({reason: 1}, {reason: ["rows.jsonl:line 3"]})
    given = (f"data.train_file={path}", "data.group_column=chat", "data.units=turns", "data.min_length=1")
    more = ("data.deduplicate=none", "data.limit=null", "data.val_fraction=0")
    corpus = prepare(tiny_settings(tmp_path / "run", *given, *more).data)
    assert Losses.of_manifest(corpus.manifest["statistics"]).line() == f"of 18 documents: rejected 1 (5.6%): 1 {reason}"


@pytest.mark.parametrize("units", ["turns", "lines"])
def test_a_group_of_damaged_rows_alone_is_counted_once(tmp_path: Path, units: str) -> None:
    rows = [
        *ROWS,
        {"chat": "c", "role": "user"},
        {"chat": "c", "role": "user"},
        {"chat": "d", "role": "u", "text": None},
    ]
    source, rejected = open_source(_settings(_table(tmp_path, "jsonl", rows), units=units)), Counter[str]()
    assert {one.id for one in source.documents(rejected)} == {"a", "b"}
    assert rejected == {"no 'text' key": 2, "a conversation without text" if units == "turns" else "empty text": 1}


def test_a_data_set_of_the_hub_is_grouped_as_it_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    _table(tmp_path / "set", "jsonl", sorted(ROWS, key=lambda row: str(row["chat"])))
    source = HubSource(_settings(tmp_path / "set"), "set", {}, str(tmp_path / "set"))
    assert {one.id: one.text for one in source.documents(Counter())} == TURNS
    assert [row.id for row in source.rows(1) if isinstance(row, Document)] == ["b"]
    apart = HubSource(_settings(tmp_path / "set", group_column="text"), "set", {}, str(tmp_path / "set"))
    assert apart.fingerprint() != source.fingerprint()
    nowhere = HubSource(_settings(tmp_path / "set", group_column="dialog"), "set", {}, str(tmp_path / "set"))
    with pytest.raises(LangJepaError, match=r"no column 'dialog'.*chat, role, text\. Set data\.group_column"):
        list(nowhere.rows())
    _table(tmp_path / "set", "jsonl", ROWS)
    with pytest.raises(LangJepaError, match="do not follow each other"):
        list(source.rows())
