"""Records of several lines: what continues a line, what does not, and the same as they come."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lang_jepa.data.sources import records as module
from lang_jepa.data.sources.conversations import text_in_units
from lang_jepa.data.sources.records import Habits, RecordReader, habits_of, records, records_text
from lang_jepa.data.sources.source import open_source
from lang_jepa.settings.data import DataSettings

PYTHON = """10:00:01 ERROR job failed
Traceback (most recent call last):
  File "job.py", line 3, in run
    start()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "job.py", line 9, in run
ValueError: no job"""
JAVA = """2024-01-02 03:04:05,678 ERROR [main] c.f.Bar - failed
java.lang.IllegalStateException: no state
\tat com.foo.Bar.run(Bar.java:12)
\tat java.base/java.lang.Thread.run(Thread.java:829)
Caused by: java.io.IOException: gone
\tat com.foo.Disk.read(Disk.java:7)
\t... 12 more"""
NODE = """[info] request
TypeError: x is not a function
    at Object.<anonymous> (/srv/app/index.js:10:15)
    at node:internal/main:23:47"""
HEADS = ["10:00:02 INFO next", "10:00:03 INFO last"]


@pytest.mark.parametrize("trace", [PYTHON, JAVA])
def test_a_stack_trace_belongs_to_its_line(trace: str) -> None:
    lines = [HEADS[0], *trace.split("\n"), HEADS[1]]
    joined = " ".join(line.strip() for line in trace.split("\n") if line)
    for habits in (Habits(), Habits(stamped=True), habits_of(lines)):
        assert list(records(lines, habits)) == [HEADS[0], joined, HEADS[1]]


def test_frames_without_times_are_continued_by_white_space() -> None:
    found = list(records(NODE.split("\n"), Habits()))
    assert found == [
        "[info] request",
        "TypeError: x is not a function at Object.<anonymous> (/srv/app/index.js:10:15) at node:internal/main:23:47",
    ]


def test_an_exception_without_a_stack_is_a_line_of_its_own() -> None:
    lines = ["start", "java.io.IOException: gone", "java.io.IOException: gone", "  since noon", "stop"]
    assert list(records(lines, Habits())) == [*lines[:2], "java.io.IOException: gone since noon", "stop"]


def test_lines_without_a_time_continue_where_records_begin_with_one() -> None:
    lines = [f"2024-01-02 03:04:{n:02} INFO step {n}" for n in range(9)]
    lines[3:3] = ["SELECT a", "FROM b"]
    assert habits_of(lines) == Habits(stamped=True)
    found = list(records(lines, habits_of(lines)))
    assert found[2] == "2024-01-02 03:04:02 INFO step 2 SELECT a FROM b"
    assert len(found) == 9
    mixed = [*lines[:3], "one", "two", "three"]
    assert list(records(mixed, habits_of(mixed))) == mixed


@pytest.mark.parametrize(
    "line",
    [
        "Jun  9 06:06:20 combo sshd: x", "[Sun Dec 04 04:47:44 2005] [notice] x", "081109 203615 148 INFO x",
        "- 1117838570 2005.06.03 R02 x", "<34>1 2003-10-11T22:14:15.003Z host x", "INFO [main] 2024-01-02 03:04:05 x",
        "[   12.345678] usb x", "   2024-01-02 03:04:05 x", "03-17 16:13:38.811  1702 D x", "1700000000.123 x",
    ],
)  # fmt: skip
def test_a_line_with_a_time_begins_a_record(line: str) -> None:
    assert list(records([line, "more", line], Habits(stamped=True))) == [f"{line.strip()} more", line.strip()]


def test_where_every_line_begins_with_white_space_it_means_nothing() -> None:
    lines = [f"   {n} a line of a table" for n in range(30)]
    assert habits_of(lines).indented is False
    assert list(records(lines, habits_of(lines))) == [line.strip() for line in lines]


def test_no_line_of_twelve_systems_is_taken_for_a_continuation(shared_data: Path) -> None:
    import pyarrow.parquet as pq

    whole, contents = defaultdict(list), defaultdict(list)
    for row in pq.read_table(shared_data / "logs.parquet").to_pylist():
        whole[row["system"]].append(row["raw"].strip())
        contents[row["system"]].append(row["content"].strip())
    for some in [*whole.values(), *contents.values()]:
        assert records_text("\n".join(some)).split("\n") == some
    assert [name for name, some in whole.items() if not habits_of(some).stamped] == ["HPC"]


@given(st.lists(st.sampled_from([*PYTHON.split("\n"), *JAVA.split("\n"), *NODE.split("\n"), *HEADS, "plain", "  in"])))
def test_nothing_is_lost_or_reordered(lines: list[str]) -> None:
    for habits in (Habits(), Habits(stamped=True), Habits(indented=False)):
        found = list(records(lines, habits))
        assert " ".join(found).split() == " ".join(lines).split()
        reader = RecordReader(habits)
        came = [record for line in lines for record in reader.feed(line)]
        assert came == found[: len(came)]
        assert reader.flush() == found[len(came) :]
        assert reader.flush() == []


def test_a_record_ends_after_so_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 3)
    assert list(records(["a", *["  b"] * 4, "c"], Habits())) == ["a b b", "b b", "c"]


def test_files_and_texts_are_read_as_records_where_the_settings_say_so(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("\n".join([*HEADS, PYTHON, HEADS[0]]))
    settings = DataSettings(train_file=str(tmp_path), units="lines", min_length=0)
    (plain,) = open_source(settings).rows()
    together = settings.model_copy(update={"records": True})
    (found,) = open_source(together).rows()
    assert len(plain.text.split("\n")) == 14
    assert len(found.text.split("\n")) == 4
    assert text_in_units(plain.text, together) == found.text
    assert open_source(settings).fingerprint() != open_source(together).fingerprint()
