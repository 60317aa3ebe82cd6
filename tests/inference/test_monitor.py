"""The monitor: scores by hand, what decides, the threshold's rate, blocks that change nothing, rotation, state."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.cli.lines import check_lines, file_pieces, found_place, place_in, whole_lines, whole_records
from lang_jepa.cli.monitor import _unit
from lang_jepa.data.sources.records import Habits, habits_of
from lang_jepa.data.text.masks import masked
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.ngrams import UnitNGram
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.evaluation.rarity import SCORES, named
from lang_jepa.inference import monitor as module
from lang_jepa.inference import monitor_data
from lang_jepa.inference.model import ConceptModel, own_corpus
from lang_jepa.inference.monitor import Monitor
from lang_jepa.training.train import train
from tiny import environment, tiny_settings
from typed import Type

STEPS = ("open door", "read page", "close door", "wait a while")


def _lines(count: int, first: int = 0) -> list[str]:
    return [f"10:00:{n % 60:02} {STEPS[n % 4]} number {n}" for n in range(first, first + count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("monitor")
    (folder / "app.log").write_text("\n".join(_lines(1000)))
    train(
        tiny_settings(
            folder / "run",
            f"data.train_file={folder / 'app.log'}",
            *("data.units=lines", "data.mask=true", "data.val_split=tail", "data.val_fraction=0.4"),
            *("data.deduplicate=none", "data.limit=null", "data.min_length=1"),
        )
    )
    return folder


@pytest.fixture
def watch(folder: Path) -> Monitor:
    model = ConceptModel.load(folder / "run")
    corpus = own_corpus(model)
    assert corpus is not None
    return Monitor(model, corpus, per_thousand=50)


def test_scores_are_distances_from_the_prediction_and_from_what_is_known(watch: Monitor) -> None:
    model, units = watch.model, masked(_lines(6), watch.model.settings.data)
    found, expected, _ = watch._raw([units])
    kind, statistics = model.similarity, model.statistics
    own = prepare(model.encode(units), statistics, kind)
    known = prepare(model.encode(watch.known), statistics, kind)
    assert len(watch.known) == 4
    contexts = [units[:place] for place in range(1, 6)]  # in one batch, since these predictions are nearly alike
    predicted = prepare(model.predict_next(contexts), statistics, kind, side="predictions")
    np.testing.assert_allclose(expected[1:], predicted, atol=1e-5)
    for place, made in enumerate(predicted, start=1):
        assert found[place, 0] == pytest.approx(1 - float(made @ own[place]), abs=1e-4)
        assert found[place, 1] == pytest.approx(1 - float((known @ own[place]).max()), abs=1e-4)
    assert found[0, 0] == -1.0


def test_n_grams_are_those_of_the_training_lines(watch: Monitor) -> None:
    """Counted as tokens on disk, and looked up from the text of new lines."""
    data = watch.model.settings.data
    model = UnitNGram([masked(_lines(600), data)])
    units = masked([*_lines(9), "disk failure", *_lines(3), *_lines(1) * 4], data)
    found, _, (last,) = watch._raw([units])
    np.testing.assert_allclose(found[:, 2], model.surprise(units))
    np.testing.assert_allclose(found[:, 3], model.runs(units))
    assert found[-1, 3] == last > found[-3, 3] > found[-4, 3] == 0


def test_of_much_training_text_the_last_share_of_each_file_is_counted(
    watch: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, room = own_corpus(watch.model).train, watch.model.room  # type: ignore[union-attr]
    (whole,), rows = monitor_data.counted_units(train, room, names=False)
    assert (len(whole), rows.tolist()) == (600, [0, 1, 2, 3])
    monkeypatch.setattr(monitor_data, "COUNTED", 150)
    monkeypatch.setattr(monitor_data, "KNOWN", 3)
    (last,), rows = monitor_data.counted_units(train, room, names=False)
    assert last == whole[-150:]
    assert len({whole[row] for row in rows}) == 3
    assert min(rows) >= 450


def test_a_stuck_line_is_seen_over_blocks(watch: Monitor) -> None:
    watch.decides = [SCORES.index("repetition")]
    for _ in range(3):
        (one,) = watch.score(_lines(1))
        later = watch.score(_lines(1) * 2)
        assert one.repetition <= later[0].repetition <= later[1].repetition
    course = watch._courses.at(None)
    assert course.run == pytest.approx(8 * watch._ngrams.repetition(watch._read(course.before)[-1].key))


def test_faults_decide_which_scores_count(watch: Monitor) -> None:
    assert watch.merits[named(watch.decides)] == pytest.approx(max(watch.merits.values()), abs=1e-3)
    assert len(watch.merits) == 15
    assert watch.merits["n-gram + repetition"] > 0.9  # the lines have one course
    assert watch.merits["novelty"] < 0.8


def test_the_threshold_gives_the_stated_rate_on_what_was_held_out(watch: Monitor) -> None:
    corpus = own_corpus(watch.model)
    assert corpus is not None
    held = corpus.validation.texts(np.arange(corpus.validation.num_sentences))
    alarms = sum(one.alarm for one in watch.score(held))
    assert alarms <= 0.05 * len(held) + 1
    assert (watch.seen, watch.alarms) == (len(held), alarms)


def test_what_is_new_is_an_alarm_and_blocks_change_nothing(watch: Monitor, folder: Path) -> None:
    lines = [*_lines(40), "disk failure at sector nine", *_lines(20, first=40)]
    whole = list(watch.feed(lines))
    model = ConceptModel.load(folder / "run")
    corpus = own_corpus(model)
    assert corpus is not None
    for block in (1, 7):
        other = Monitor(model, corpus, per_thousand=50)
        parts = list(other.feed(lines, block=block))
        assert [one.alarm for one in parts] == [one.alarm for one in whole]
        assert [one.repetition for one in parts] == [one.repetition for one in whole]
        assert [one.ngram for one in parts] == [one.ngram for one in whole]
        np.testing.assert_allclose([one.surprise for one in parts], [one.surprise for one in whole], atol=0.1)
    assert whole[40].alarm
    assert whole[40].novelty == 1.0
    assert len(whole[40].expected) == 3
    assert set(whole[40].expected) <= set(watch.known)
    assert all(one.expected == () for one in whole if not one.alarm)


def test_the_state_is_taken_up(watch: Monitor, folder: Path, tmp_path: Path) -> None:
    lines = _lines(30)
    whole = [one.surprise for one in watch.score(lines)]
    model = ConceptModel.load(folder / "run")
    corpus = own_corpus(model)
    assert corpus is not None
    first, second = Monitor(model, corpus, per_thousand=50), Monitor(model, corpus, per_thousand=50)
    parts = [one.surprise for one in first.score(lines[:11])]
    first.save(tmp_path / "state.json")
    second.restore(tmp_path / "state.json")
    rest = second.score(lines[11:])
    assert parts == whole[:11]
    assert [one.surprise > 0.5 for one in rest] == [surprise > 0.5 for surprise in whole[11:]]
    assert (rest[0].number, second.seen) == (11, 30)
    assert second._courses.at(None).run == first._courses.at(None).run == 0


@pytest.mark.parametrize(
    "change",
    [
        {"courses": "open door"},
        {"courses": [[None, ["open door"]]]},
        {"courses": [[1, ["open door"], 0.0]]},
        {"courses": [[None, [1], 0.0]]},
        {"courses": [[None, ["open door"], "0"]]},
        {"recent": [0]},
        {"seen": -1},
        {"alarms": True},
        {"apart": None},
        {"format": 2},
        {"model": None},
    ],
)
def test_a_state_that_is_none_is_refused(change: dict[str, object], watch: Monitor, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    watch.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LangJepaError, match="is not the state of a monitor"):
        watch.restore(path)
    path.write_text("[]")
    with pytest.raises(LangJepaError, match="state of a monitor"):
        watch.restore(path)


def test_the_state_of_another_model_is_refused(watch: Monitor, tmp_path: Path) -> None:
    watch.save(tmp_path / "state.json")
    next(watch.model.jepa.parameters()).data.add_(1)
    with pytest.raises(LangJepaError, match="a monitor with another model"):
        watch.restore(tmp_path / "state.json")


def test_a_rate_that_usual_units_cannot_set_is_refused(watch: Monitor) -> None:
    corpus = own_corpus(watch.model)
    assert corpus is not None
    count = corpus.validation.num_sentences
    assert Monitor(watch.model, corpus).per_thousand == pytest.approx(1000 / (count + 1))
    with pytest.raises(LangJepaError, match=f"{count} held-out units set no threshold for 0.01 false alarms"):
        Monitor(watch.model, corpus, per_thousand=0.01)


def test_usual_units_of_another_file_set_the_threshold(watch: Monitor) -> None:
    corpus = own_corpus(watch.model)
    assert corpus is not None
    other = [f"wait {STEPS[n % 3]}" for n in range(400)]  # none is known
    assert sum(one.alarm for one in watch.score(other)) > 200
    again = Monitor(watch.model, corpus, per_thousand=50, usual=other)
    assert sum(one.alarm for one in again.score(other)) <= 21
    with pytest.raises(LangJepaError, match="200 usual units or more, and there are 3: give a longer file"):
        Monitor(watch.model, corpus, usual=other[:3])


def test_too_many_alarms_are_called_drift(watch: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not watch.drifts
    watch._recent.extend([True] * 140 + [False] * 860)
    assert not watch.drifts  # 50 in a thousand were asked for
    watch._recent.extend([True] * 200)
    assert watch.drifts
    monkeypatch.setattr(module, "LEAST", 10_000)
    with pytest.raises(LangJepaError, match="a threshold needs 10000 held-out units"):
        Monitor(watch.model, own_corpus(watch.model), per_thousand=1)  # type: ignore[arg-type]
    with pytest.raises(LangJepaError, match="not 0"):
        Monitor(watch.model, own_corpus(watch.model), per_thousand=0)  # type: ignore[arg-type]


def test_lines_are_whole_however_they_arrive() -> None:
    text = "eins\nzwei äö\n\ndrei".encode()
    whole = [line for lines in whole_lines(iter([text])) for line in lines]
    assert whole == [("eins", 5), ("zwei äö", 15), ("", 16), ("drei", 20)]
    for size in (1, 3, 5):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert [line for lines in whole_lines(iter(pieces)) for line in lines] == whole
        assert [line for lines in whole_lines(iter(pieces), unfinished=False) for line in lines] == whole[:3]
    assert list(whole_lines(iter([b"a\xff\n"]), 7)) == [[("a�", 10)]]
    assert list(whole_lines(iter([b"half", None, b"one\n"]))) == [[("half", 0)], [("one", 4)]]


def test_a_place_is_found_again_in_the_same_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\n")
    place = place_in(path, 4)
    assert found_place(path, place) == 4
    path.write_text("one\nmore\nthree\n")
    assert found_place(path, place) == 4
    for other in (None, {}, "a", place | {"offset": -1}, place | {"offset": 99}, place | {"offset": "4"}):
        assert found_place(path, other) is None
    path.write_text("new\nmore\nthree\n")
    assert found_place(path, place) is None
    (tmp_path / "b.log").write_text("one\ntwo\n")
    assert found_place(tmp_path / "b.log", place) is None
    assert place_in(tmp_path / "gone", 3) == {}


class Ended(Exception):
    pass


def _followed(path: Path, acts: list[Callable[[], object]]) -> list[str]:
    """Lines of a followed file, in which something happens whenever there is nothing new."""
    left = iter(acts)

    def wait() -> None:
        act = next(left, None)
        if act is None:
            raise Ended
        act()

    lines: list[str] = []
    try:
        for some in whole_lines(file_pieces(path, follow=True, wait=wait)):
            lines += [line for line, _ in some]
    except Ended:
        pass
    return lines


def test_a_file_is_followed_over_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntw")

    def append(text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    def rotate() -> None:
        append("half")
        path.rename(tmp_path / "a.log.1")

    acts = [
        lambda: append("o\nthree\n"),
        rotate,
        lambda: path.write_text("four\n"),
        lambda: path.write_text("5\n"),
        lambda: append("six\n"),
    ]
    assert [line for line in _followed(path, acts) if line] == ["one", "two", "three", "half", "four", "5", "six"]
    with pytest.raises(LangJepaError, match="cannot read"):
        list(file_pieces(tmp_path / "none", follow=False))


def test_a_followed_file_that_becomes_a_folder_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\n")
    with pytest.raises(LangJepaError, match=r"cannot read .*a.log: Is a directory"):
        _followed(path, [path.unlink, path.mkdir])


def test_the_verb_prints_alarms_from_a_file_and_from_a_pipe(folder: Path, tmp_path: Path, type_in: Type) -> None:
    lines = [*_lines(40), "\0\0\0", "\u200b", "disk failure at sector nine", ""]
    (tmp_path / "new.log").write_text("\n".join(lines))
    given = ("monitor", folder / "run", tmp_path / "new.log", "--state", tmp_path / "state.json")
    code, out, _ = type_in(*given, "--json")
    assert code == 0
    alarms = [json.loads(line) for line in out.splitlines()]
    assert alarms[-1]["text"] == "disk failure at sector nine"
    assert alarms[-1]["number"] == 40
    assert json.loads((tmp_path / "state.json").read_text())["seen"] == 41
    code, out, _ = type_in(*given)
    assert out.startswith("41 units, ")  # it goes on where it was
    with (tmp_path / "new.log").open("a") as file:
        file.write("open a door that is not there\nhalf a li")
    code, out, err = type_in(*given)
    assert "42 units, " in out
    assert "open a door" in out
    assert "n-gram" in out
    assert "decides: " in err
    (tmp_path / "new.log").write_text("another file\n")
    code, out, err = type_in(*given)
    assert "43 units, " in out
    assert "is not the file that was read last" in err

    read, write = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(write, "\n".join(lines).encode()), os.close(write)))
    thread.start()
    with os.fdopen(read) as pipe:
        code, out, _ = type_in("monitor", folder / "run", "-", "--json", text=pipe)
    thread.join()
    assert code == 0
    assert json.loads(out.splitlines()[-1])["text"] == "disk failure at sector nine"
    code, _, err = type_in("monitor", folder / "run", "-", "--follow")
    assert (code, "--follow has no effect on standard input" in err) == (2, True)


@pytest.mark.parametrize(
    ("speakers", "predictor"), [("none", "concept_transformer"), ("embedding", "turn_transformer")]
)
def test_turns_are_known_as_the_model_reads_them(speakers: str, predictor: str, tmp_path: Path) -> None:
    """With who says them only where the model reads that: else a name would be text that it never saw."""
    chats = [json.dumps({"messages": [{"role": ("user", "assistant")[n % 2], "content": f"{STEPS[n % 4]} of {row}"}
                                      for n in range(12)]}) for row in range(40)]  # fmt: skip
    (tmp_path / "chats.jsonl").write_text("\n".join(chats))
    given = (f"data.train_file={tmp_path / 'chats.jsonl'}", "data.text_column=messages", "data.units=turns")
    more = (f"data.speakers={speakers}", f"model.predictor={predictor}", "data.val_fraction=0.5", "data.min_length=1")
    train(tiny_settings(tmp_path / "run", *given, *more, "data.deduplicate=none", "data.limit=null"))
    model = ConceptModel.load(tmp_path / "run")
    corpus = own_corpus(model)
    assert corpus is not None
    known = Monitor(model, corpus).known
    assert all(unit.startswith(("user: ", "assistant: ")) == (speakers == "embedding") for unit in known)
    data = model.settings.data
    assert _unit('{"role": "user", "content": "open it"}', data) == ("user: " * (speakers == "embedding")) + "open it"
    assert _unit('{"role": "assistant", "content": null, "tool_calls": []}', data) == ""
    assert _unit('{"role": "user"', data) == '{"role": "user"'


def test_documents_without_room_for_faults_decide_nothing(watch: Monitor) -> None:
    assert watch._decide([_lines(4), _lines(3)]) == ([0, 1], {})
    decides, merits = watch._decide([_lines(4), _lines(30)])
    assert named(decides) in merits


@pytest.mark.parametrize(
    ("name", "said"), [("a.gz", "is compressed"), ("folder", "it is a folder"), ("none", "no such")]
)
def test_what_holds_no_lines_is_refused_first(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(LangJepaError, match=said):
        check_lines(tmp_path / name)


def test_a_signal_ends_a_followed_file_with_a_summary(folder: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "new.log", tmp_path / "state.json"
    path.write_text("\n".join([*_lines(30), ""]))
    given = ["monitor", folder / "run", path, "--follow", "--state", state]
    command = [sys.executable, "-m", "lang_jepa.cli", *map(str, given)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    while "decides" not in (line := process.stderr.readline()):
        assert line, "it ended before it began"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert " units, " in out
    assert "Traceback" not in err
    assert json.loads(state.read_text())["place"]["offset"] in (0, path.stat().st_size)


TRACE = (
    "10:00:01 request failed",
    "Traceback (most recent call last):",
    '  File "app.py", line 3, in run',
    "ValueError: no such page",
    "10:00:02 open door",
)
RECORD = (
    "10:00:01 request failed Traceback (most recent call last): "
    + 'File "app.py", line 3, in run ValueError: no such page'
)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_records_are_whole_however_their_lines_arrive(size: int) -> None:
    """And where reading stops, what waits for further lines is read again."""
    whole = "".join(f"{line}\n" for line in TRACE).encode()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    batches = [one for one in whole_records(whole_lines(iter(pieces)), habits_of(TRACE)) if one]
    assert [record for some in batches for record, _ in some] == [RECORD, TRACE[-1]]
    ends = [at for some in batches for _, at in some]
    assert whole[ends[0] :].decode() == TRACE[-1] + "\n"
    assert ends[1] == len(whole)


def test_a_record_is_complete_where_a_log_pauses_or_another_begins() -> None:
    begun = "".join(f"{line}\n" for line in TRACE[:4]).encode()
    for pause in (b"", None):
        pieces: list[bytes | None] = [begun, pause, b"10:00:03 more\n"]
        batches = list(whole_records(whole_lines(iter(pieces)), habits_of(TRACE)))
        assert [record for some in batches for record, _ in some] == [RECORD, "10:00:03 more"]
        assert batches[0] == []


def test_a_model_of_records_watches_records(tmp_path: Path, type_in: Type) -> None:
    """A stack trace is one unit, in the file that is watched as in the training."""
    lines = [line for n in range(100) for line in (*_lines(9, first=9 * n), *TRACE[:4])]
    (tmp_path / "app.log").write_text("\n".join(lines))
    train(
        tiny_settings(
            tmp_path / "run",
            f"data.train_file={tmp_path / 'app.log'}",
            *("data.units=lines", "data.records=true", "data.mask=true", "data.val_split=tail"),
            *("data.val_fraction=0.4", "data.deduplicate=none", "data.limit=null", "data.min_length=1"),
        )
    )
    (tmp_path / "new.log").write_text("\n".join([*_lines(3), *TRACE]))
    code, out, _ = type_in("monitor", tmp_path / "run", tmp_path / "new.log")
    assert (code, out.splitlines()[-1].split(",")[0]) == (0, "5 units")


def test_a_blank_line_moves_no_place() -> None:
    """Going on from a record's place reads again all that waited for further lines, whatever blank lines stood there."""
    whole = b"INFO a\ncom.x.FooException: bad\n\n   indented text\nINFO b\n"
    batches = whole_records(whole_lines(iter([whole])), Habits(stamped=False, indented=True))
    record, place = next(line for some in batches for line in some)
    assert (record, whole[place:].split(b"\n")[0]) == ("INFO a", b"com.x.FooException: bad")
