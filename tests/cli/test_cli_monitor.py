"""The verb `monitor`: where an alarm is and why it is one, from one call to the next, and what it refuses."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lang_jepa.cli.monitored import Source
from lang_jepa.inference.monitor import Monitor
from lang_jepa.settings.data import DataSettings
from lang_jepa.training.train import train
from tiny import environment, tiny_settings
from typed import Type
from warm import Popen

STEPS = ("open door", "read page", "close door", "wait a while")
FAULT = "disk failure at sector nine"
TRACE = (
    "10:00:01 request failed",
    "Traceback (most recent call last):",
    '  File "app.py", line 3, in run',
    "ValueError: no such page",
)
RECORD = " ".join(map(str.strip, TRACE))
LINES = ("data.val_fraction=0.4", "data.deduplicate=none", "data.limit=null", "data.min_length=1")


def _lines(count: int, first: int = 0) -> list[str]:
    return [f"10:00:{n % 60:02} {STEPS[n % 4]} number {n}" for n in range(first, first + count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the records of a log."""
    folder = tmp_path_factory.mktemp("monitor")
    lines = [line for n in range(100) for line in (*_lines(9, first=9 * n), *TRACE)]
    (folder / "app.log").write_text("\n".join(lines))
    given = (f"data.train_file={folder / 'app.log'}", "data.units=lines", "data.records=true", "data.mask=true")
    train(tiny_settings(folder / "run", *given, "data.val_split=tail", *LINES))
    return folder / "run"


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of conversations."""
    folder = tmp_path_factory.mktemp("chats")
    (folder / "chats.jsonl").write_text("\n".join(_chat(row) for row in range(80)))
    given = (f"data.train_file={folder / 'chats.jsonl'}", "data.text_column=messages", "data.units=turns")
    train(tiny_settings(folder / "run", *given, *LINES))
    return folder / "run"


def _chat(row: int, *more: str) -> str:
    said = [*(f"{STEPS[n % 4]} of {row}" for n in range(12)), *more]
    return json.dumps(
        {"messages": [{"role": ("user", "assistant")[n % 2], "content": one} for n, one in enumerate(said)]}
    )


def _alarms(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_an_alarm_says_where_it_is_and_by_how_much(run: Path, tmp_path: Path, type_in: Type) -> None:
    path = tmp_path / "new.log"
    path.write_text("\n".join(["", *_lines(40), "\0\0\0", "\u200b", *TRACE, f"10:01:00 {FAULT}", ""]))
    code, out, err = type_in("monitor", run, path, "--json")
    assert code == 0
    last = _alarms(out)[-1]
    assert (last["text"], last["index"], last["line"], last["file"]) == (f"10:01:00 {FAULT}", 41, 48, str(path))
    assert last["score"] > last["threshold"]
    assert "42 units, " in err
    assert f"alarms: scores above {last['threshold']:.3f}" in err
    code, out, err = type_in("monitor", run, path)
    said = " ".join(out.split())
    assert f":48 10:01:00 {FAULT}" in said
    assert f"score {last['score']:.3f} by " in said
    assert f"an alarm above {last['threshold']:.3f}" in said


def test_of_a_pipe_there_is_no_file(run: Path, tmp_path: Path, type_in: Type) -> None:
    read, write = os.pipe()
    lines = [*_lines(40), FAULT, "", f"10:01:00 {FAULT}"]
    thread = threading.Thread(target=lambda: (os.write(write, "\n".join(lines).encode()), os.close(write)))
    thread.start()
    with os.fdopen(read) as pipe:
        code, out, _ = type_in("monitor", run, "-", "--json", text=pipe)
    thread.join()
    assert code == 0
    last = _alarms(out)[-1]
    assert (last["text"], last["line"], last["file"]) == (f"10:01:00 {FAULT}", 43, None)
    code, _, err = type_in("monitor", run, "-", "--follow")
    named = tmp_path / "pipe"
    os.mkfifo(named)
    thread = threading.Thread(target=lambda: named.write_text("\n".join(lines)))
    thread.start()
    assert [one["line"] for one in _alarms(type_in("monitor", run, named, "--json").out)][-1] == 43
    thread.join()
    assert (code, "--follow has no effect on standard input" in err) == (2, True)


def test_a_record_and_the_numbers_of_lines_go_on_in_the_next_call(run: Path, tmp_path: Path, type_in: Type) -> None:
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    path.write_text("\n".join([*_lines(4), *TRACE[:2], ""]))
    given = ("monitor", run, path, "--state", state, "--json")
    _, _, err = type_in(*given)
    assert "4 units, " in err
    with path.open("a") as file:
        file.write("\n".join([*TRACE[2:], f"10:01:00 {FAULT}", "10:01:01 half a li"]))
    _, out, err = type_in(*given)
    assert "5 units, " in err  # the fault might go on
    assert json.loads(state.read_text())["place"]["line"] == 9
    with path.open("a") as file:
        file.write("ne\n10:01:02 open door\n")
    _, out, err = type_in(*given)
    assert "7 units, " in err
    assert (f"10:01:00 {FAULT}", 9) in [(one["text"], one["line"]) for one in _alarms(out)]
    path.write_text("10:01:03 open door\n10:01:04 open door\n")  # rotated: what waited is not lost
    _, _, err = type_in(*given)
    assert "9 units, " in err
    assert "is not the file that was read last" in err
    assert json.loads(state.read_text())["place"]["line"] == 2


def test_the_trace_that_waited_in_a_file_that_was_rotated_is_one_record(
    run: Path, tmp_path: Path, type_in: Type
) -> None:
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    path.write_text("\n".join([*_lines(2), "10:00:03 no such door", *TRACE[1:]]))
    given = ("monitor", run, path, "--state", state, "--json")
    _, out, err = type_in(*given)
    assert "2 units, " in err
    path.write_text("10:01:03 open door\n10:01:04 open door\n")
    _, out, err = type_in(*given)
    assert "4 units, " in err
    (first, *_) = _alarms(out)
    assert (first["text"], first["line"]) == (" ".join(["10:00:03 no such door", *map(str.strip, TRACE[1:])]), 3)


def test_too_many_alarms_are_said_once_and_soon(run: Path, tmp_path: Path, type_in: Type) -> None:
    path = tmp_path / "new.log"
    path.write_text("\n".join(f"10:00:{n % 60:02} {'xyzw'[n % 4] * (n % 7 + 1)} quux" for n in range(60)))
    code, _, err = type_in("monitor", run, path, "--json")
    said = " ".join(err.split())
    assert (code, said.count("are too many even for three times the requested rate")) == (0, 1)
    path.write_text("\n".join(_lines(60)))
    _, _, err = type_in("monitor", run, path, "--json")
    assert "too many" not in err


def test_a_stuck_line_is_one_event(run: Path, tmp_path: Path, type_in: Type) -> None:
    """One alarm, and when it is over how often it came; also where the file ends before it is over."""
    path = tmp_path / "new.log"
    path.write_text("\n".join([*_lines(41), *_lines(1) * 12, *_lines(9, first=1)]))
    _, out, err = type_in("monitor", run, path, "--json")
    alarms, ends = ([one for one in _alarms(out) if ("ends" in one) == end] for end in (False, True))
    (stuck,) = [one for one in alarms if 41 < one["line"] <= 53]
    assert 1 < stuck["times"] == stuck["line"] - 40  # line 41 is the first
    end = {name: stuck[name] for name in ("text", "line", "file")}
    assert ends == [{"ends": stuck["index"], "times": 13} | end]
    assert "too many" not in err
    path.write_text("\n".join([*_lines(41), *_lines(1) * 12]))
    _, out, _ = type_in("monitor", run, path)
    said = " ".join(out.split())
    assert f":{stuck['line']} is one event: its text came 13 times in a row, up to the end" in said


def test_an_event_that_began_in_an_earlier_call_is_known_with_its_place(
    run: Path, tmp_path: Path, type_in: Type
) -> None:
    """Where it repeats only later; where it does not, nothing is said of it."""
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    given = ("monitor", run, path, "--state", state, "--json")
    path.write_text("".join(f"{line}\n" for line in [*_lines(40), f"10:01:00 FATAL {FAULT}", f"10:01:01 {STEPS[0]} x"]))
    (alarm,) = [one for one in _alarms(type_in(*given).out) if one.get("line") == 41]
    assert json.loads(state.read_text())["seen"] == 41  # the last record might go on
    assert json.loads(state.read_text())["shown"] == [[40, 1, f"10:01:00 FATAL {FAULT}", str(path), 41]]
    once, twice = state.read_text(), path.read_text().replace(f"10:01:01 {STEPS[0]} x", f"10:01:01 FATAL {FAULT}")
    with path.open("a") as file:
        file.write(f"10:01:02 {STEPS[1]} x\n")
    assert [one for one in _alarms(type_in(*given).out) if one.get("ends") == 40] == []
    state.write_text(once)
    path.write_text(twice + f"10:01:02 {STEPS[1]} x\n10:01:03 {STEPS[2]} x\n")
    place = {name: alarm[name] for name in ("text", "line", "file")}
    ends = [one for one in _alarms(type_in(*given).out) if one.get("ends") == 40]
    assert ends == [{"ends": 40, "times": 2} | place]


def test_an_error_of_a_new_kind_is_said_to_be_one(run: Path, tmp_path: Path, type_in: Type) -> None:
    path = tmp_path / "new.log"
    path.write_text("\n".join([*_lines(40), f"10:01:00 FATAL {FAULT}", *_lines(4)]))
    code, out, _ = type_in("monitor", run, path, "--json")
    assert (code, [one["severe"] for one in _alarms(out) if one["line"] == 41]) == (0, [True])
    _, out, err = type_in("monitor", run, path)
    assert "an alarm by its level, an error or worse: no usual unit is of its kind" in " ".join(out.split())
    assert "and new kinds of errors; " in err


def test_a_compressed_log_is_read(run: Path, tmp_path: Path, type_in: Type) -> None:
    (tmp_path / "new.log.gz").write_bytes(gzip.compress("\n".join([*_lines(9), f"10:01:00 {FAULT}"]).encode()))
    code, out, err = type_in("monitor", run, tmp_path / "new.log.gz", "--json", "--state", tmp_path / "state.json")
    assert (code, _alarms(out)[-1]["line"], "10 units" in err) == (0, 10, True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.csv", "is a table, and lines are read here: write its text as a file of lines"),
        ("a.parquet", "is a table (parquet)"),
        ("a.jsonl", "pipe the text in, `jq -r .text "),
    ],
)
def test_a_table_is_refused_before_anything_is_prepared(
    name: str, said: str, run: Path, tmp_path: Path, type_in: Type
) -> None:
    (tmp_path / name).write_text('{"text": "one"}\n')
    code, _, err = type_in("monitor", run, tmp_path / name)
    assert (code, said in " ".join(err.split()), "decides" in err) == (2, True, False)
    (tmp_path / "new.log").write_text("\n".join(_lines(9)))
    code, _, err = type_in("monitor", run, tmp_path / "new.log", "--usual", tmp_path / name)
    assert (code, said in " ".join(err.split())) == (2, True)


def test_conversations_are_courses_of_their_own(chats: Path, tmp_path: Path, type_in: Type) -> None:
    """What is usual in each, read turn by turn, is usual in all; a list is a conversation as an object is."""
    lines = [_chat(row) for row in range(30)]
    lines[7] = json.dumps(
        json.loads(_chat(7, "segfault at sector nine"))["messages"] + [{"role": "user", "content": []}]
    )
    (tmp_path / "new.jsonl").write_text("\n".join([*lines, '{"id": 3}', ""]))
    given = ("monitor", chats, tmp_path / "new.jsonl", "--per-thousand", 30)
    code, out, err = type_in(*given, "--json", "--state", tmp_path / "state.json")
    assert code == 0
    alarms = _alarms(out)
    assert ("segfault at sector nine", 8) in [(one["text"], one["line"]) for one in alarms]
    assert "361 units, " in err
    left_out = (
        "1 line left out, JSON without a message (first: line 31); no prose, left out of the texts: 1 message without"
    )
    assert left_out in " ".join(err.split())
    assert json.loads((tmp_path / "state.json").read_text())["courses"] == []
    usual = [*(_chat(row) for row in range(30)), "{}"]
    (tmp_path / "usual.jsonl").write_text("\n".join(usual))
    code, out, err = type_in(*given, "--usual", tmp_path / "usual.jsonl")
    assert (code, "361 units" in out) == (0, True)
    assert "usual.jsonl: 1 line left out, JSON without a message (first: line 31)" in " ".join(err.split())


def test_a_name_in_a_text_is_no_part_of_a_turn_where_the_model_knows_none(
    chats: Path, tmp_path: Path, type_in: Type
) -> None:
    """The same turns as text and as messages have the same scores."""
    turns = [f"{STEPS[n % 4]} of {n}" for n in range(12)] + ["segfault at sector nine"]
    said = [{"role": ("David", "Anna")[n % 2], "content": one} for n, one in enumerate(turns)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, said)))
    (tmp_path / "a.txt").write_text(
        "\n".join(f"{one['role']}: {one['content']}".replace(" of", "\n of") for one in said)
    )
    given = ("--per-thousand", 300, "--json")
    expected, found = (_alarms(type_in("monitor", chats, tmp_path / name, *given).out) for name in ("a.jsonl", "a.txt"))
    assert expected[-1]["text"] == "segfault at sector nine"
    assert [(one["text"], one["score"]) for one in found] == [(one["text"], one["score"]) for one in expected]
    assert found[-1]["line"] == 25


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        (
            "a.csv",
            "role,content",
            "is a table, and lines are read here: write a message or a conversation in JSON a line",
        ),
        ("a.json", "[", "line 1, is neither a message (role and content) nor a conversation (`messages`) in JSON"),
        ("a.jsonl", '{"id": 3, "note": "one"}', "is neither a message (role and content)"),
    ],
)
def test_what_is_no_conversation_is_refused(
    name: str, line: str, said: str, chats: Path, tmp_path: Path, type_in: Type
) -> None:
    (tmp_path / name).write_text(f"{line}\n")
    code, _, err = type_in("monitor", chats, tmp_path / name)
    assert (code, said in " ".join(err.split()), "decides" in err) == (2, True, False)


def test_messages_of_interleaved_groups_are_courses(tmp_path: Path, type_in: Type) -> None:
    """As in a table with a message a row, which such a model was trained on."""
    rows = [{"chat": n % 40, "role": "user", "text": f"{STEPS[n // 40 % 4]} of {n % 40}"} for n in range(800)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = (f"data.train_file={tmp_path / 'rows.jsonl'}", "data.group_column=chat", "data.units=turns")
    train(tiny_settings(tmp_path / "run", *given, *LINES))
    new = [*rows[:400], {"chat": 7, "role": "user", "text": "Well."}, {"role": "user", "content": "Hm."}]
    (tmp_path / "new.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in new))
    state = tmp_path / "state.json"
    code, out, _ = type_in("monitor", tmp_path / "run", tmp_path / "new.jsonl", "--state", state)
    assert code == 0
    assert "402 units" in out
    assert "1 unit without a session, scored as one sequence" in " ".join(out.split())
    courses = {name: before for name, before, *_ in json.loads(state.read_text())["courses"]}
    assert len(courses) == 41
    assert courses["7"][-2:] == [f"{STEPS[9 % 4]} of 7", "Well."]
    assert courses[None] == ["Hm."]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_followed_file_with_a_summary(number: signal.Signals, run: Path, tmp_path: Path) -> None:
    """Which is all that is said, also where it waits for more lines."""
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    path.write_text("\n".join([*_lines(30), ""]))
    given = ["monitor", run, path, "--follow", "--state", state]
    command = [sys.executable, "-m", "lang_jepa.cli", *map(str, given)]
    process = Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    while "decides" not in (line := process.stderr.readline()):
        assert line, "it ended before it began"
    while process.poll() is None and not (state.exists() and json.loads(state.read_text())["seen"] == 30):
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert "30 units, " in out
    assert "Traceback" not in err
    assert "ended before it was done" not in err
    assert json.loads(state.read_text())["place"]["offset"] <= path.stat().st_size


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_state_that_was_left_by_a_signal_loses_no_alarm_and_repeats_none(
    run: Path, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, type_in: Type
) -> None:
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    some = _lines(900)
    for row in range(40, 900, 60):
        some[row] = f"10:01:00 {FAULT} {row}"
    path.write_text("\n".join([*some, ""]))
    expected = [one["line"] for one in _alarms(type_in("monitor", run, path, "--json").out)]
    score, calls = Monitor.score, []

    def interrupted(self: Monitor, *given: Any, **named: Any) -> Any:
        calls.append(1)
        found = score(self, *given, **named)
        if len(calls) == 2:
            signal.raise_signal(number)  # courses have gone on, and nothing is shown yet
        return found

    monkeypatch.setattr(Monitor, "score", interrupted)
    first = type_in("monitor", run, path, "--json", "--state", state)
    assert first.status == 128 + number
    second = type_in("monitor", run, path, "--json", "--state", state)
    assert [one["line"] for one in _alarms(first.out) + _alarms(second.out)] == expected
    assert len(_alarms(first.out)) < len(expected)
    assert "899 units, " in second.err  # none was scored twice, and the last record waits


def _killed(run: Path, path: Path, state: Path, until: int) -> list[dict[str, Any]]:
    """The alarms of a process that follows a file and is killed when its state is that of so many units."""
    command = [sys.executable, "-m", "lang_jepa.cli", "monitor", run, path, "--follow", "--state", state, "--json"]
    process = Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment())
    while process.poll() is None and not (state.exists() and json.loads(state.read_text())["seen"] == until):
        time.sleep(0.05)
    process.kill()
    out, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    return _alarms(out)


def test_after_a_kill_nothing_is_skipped_and_what_was_seen_is_not_seen_again(
    run: Path, tmp_path: Path, type_in: Type
) -> None:
    """Under a new name too, and what was written there meanwhile."""
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    given = ("monitor", run, path, "--state", state, "--json")
    path.write_text("".join(f"{line}\n" for line in [*_lines(40), f"10:01:00 FATAL {FAULT}", *_lines(9)]))
    first = _killed(run, path, state, until=50)
    assert 41 in [one["line"] for one in first]
    with path.open("a") as file:
        file.write(f"10:02:00 FATAL another {FAULT}\n" + "".join(f"{line}\n" for line in _lines(9)))
    path.rename(tmp_path / "new.log.1")
    path.write_text(f"10:03:00 FATAL a third {FAULT}\n10:03:01 open door\n")
    _, out, err = type_in(*given)
    assert [(one["file"], one["line"]) for one in _alarms(out) if one["severe"]] == [
        (str(tmp_path / "new.log.1"), 51), (str(path), 1),
    ]  # fmt: skip
    assert "61 units, " in err
    assert f"from its beginning, after what was left in {tmp_path / 'new.log.1'}" in " ".join(err.split())
    assert json.loads(state.read_text())["place"]["line"] == 2


@pytest.mark.parametrize("rest", ["", "half"])
def test_the_place_is_one_of_the_file_whose_lines_were_handled(rest: str, tmp_path: Path) -> None:
    """Whichever file has its name by now; of one that is over and removed the next one's beginning."""
    path, moved = tmp_path / "new.log", tmp_path / "new.log.1"
    path.write_text(f"one\ntwo\n{rest}")
    source = Source(str(path), DataSettings(train_file=str(path), units="lines"), lasting=True)
    batches = source.lines(None, None, follow=True)

    def place() -> tuple[str, int]:
        found = source.place()
        assert found is not None
        return found["file"], found["offset"]

    assert place() == (str(path), 0)
    first, second = next(batches) or ()
    source.passed(first)
    path.rename(moved)
    path.write_text("three\n")
    assert place() == (str(moved), 4)
    source.passed(second)
    assert place() == (str(moved), 8)
    for some in batches:
        if some is None:
            break
        for line in some:
            assert line.text == "half"
            source.passed(line)
            assert place() == (str(path), 0)
    source.another()
    (third,) = next(batches) or ()
    assert place() == (str(path), 0)
    source.passed(third)
    assert place() == (str(path), 6)


def test_a_link_that_leads_elsewhere_loses_nothing(run: Path, tmp_path: Path, type_in: Type) -> None:
    link, state = tmp_path / "new.log", tmp_path / "state.json"
    (tmp_path / "1.log").write_text("\n".join([*_lines(9), f"10:01:00 FATAL {FAULT}"]))
    (tmp_path / "2.log").write_text("".join(f"{line}\n" for line in _lines(9)))
    link.symlink_to(tmp_path / "1.log")
    given = ("monitor", run, link, "--state", state, "--json")
    _, out, err = type_in(*given)
    assert "8 units, " in err  # the ninth might go on
    link.unlink()
    link.symlink_to(tmp_path / "2.log")
    _, out, err = type_in(*given)
    assert [(one["file"], one["line"]) for one in _alarms(out) if one["severe"]] == [(str(tmp_path / "1.log"), 10)]
    assert "18 units, " in err


def test_what_nobody_read_is_shown_again(run: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    path.write_text("\n".join([*_lines(40), *(f"10:01:00 {FAULT} {row}" for row in range(40)), ""]))
    given = ["monitor", run, path, "--json", "--state", state]
    command = [sys.executable, "-m", "lang_jepa.cli", *map(str, given)]
    read, write = os.pipe()
    os.close(read)  # whoever was to read is gone
    process = Popen(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment())
    os.close(write)
    _, said = process.communicate()
    assert (process.returncode, state.exists(), "Traceback" in said) == (141, False, False)


def test_a_file_that_is_rotated_while_the_monitor_is_prepared_is_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_in: Type
) -> None:
    path, made = tmp_path / "new.log", Monitor.__init__
    path.write_text("".join(f"{line}\n" for line in [*_lines(20), f"10:01:00 FATAL {FAULT}"]))

    def rotated(self: Monitor, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        path.rename(tmp_path / "new.log.1")
        path.write_text("".join(f"{line}\n" for line in _lines(9)))

    monkeypatch.setattr(Monitor, "__init__", rotated)
    _, out, err = type_in("monitor", run, path, "--state", tmp_path / "state.json", "--json")
    assert [(one["file"], one["line"]) for one in _alarms(out) if one["severe"]] == [(str(tmp_path / "new.log.1"), 21)]
    assert "29 units, " in err
