"""The monitor: scores by hand, the threshold's rate, blocks that change nothing, rotation, partial lines, state."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.cli.monitor import file_pieces, whole_lines
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.inference import monitor as module
from lang_jepa.inference.model import ConceptModel, own_corpus
from lang_jepa.inference.monitor import Monitor
from lang_jepa.training.train import train
from tiny import tiny_settings
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
    model, units = watch.model, _lines(6)
    found = watch._raw(units, [])
    kind, statistics = model.similarity, model.statistics
    own = prepare(model.encode(units), statistics, kind)
    known = prepare(model.encode(watch.known), statistics, kind)
    assert len(watch.known) == 4
    for place in range(1, 6):
        made = prepare(model.predict_next([units[:place]]), statistics, kind, side="predictions")[0]
        assert found[place, 0] == pytest.approx(1 - float(made @ own[place]), abs=1e-4)
        assert found[place, 1] == pytest.approx(max(0.0, 1 - float((known @ own[place]).max())), abs=1e-4)
    assert found[0, 0] == -1.0


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
    window = model.settings.data.window_size
    for block in (1, 7):
        other = Monitor(model, corpus, per_thousand=50)
        parts = list(other.feed(lines, block=block))
        assert [one.alarm for one in parts] == [one.alarm for one in whole]
        blocks = [
            other._raw(lines[at : at + block], lines[max(0, at - window) : at]) for at in range(0, len(lines), block)
        ]
        np.testing.assert_allclose(np.concatenate(blocks), other._raw(lines, []), atol=2e-4)
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
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(LangJepaError, match="is not the state of a monitor"):
        second.restore(tmp_path / "state.json")


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
    assert whole == ["eins", "zwei äö", "", "drei"]
    for size in (1, 3, 5):
        pieces = (text[at : at + size] for at in range(0, len(text), size))
        assert [line for lines in whole_lines(pieces) for line in lines] == whole
    assert list(whole_lines(iter([b"a\xff\n"]))) == [["a�"]]


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
            lines += some
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


def test_the_verb_prints_alarms_from_a_file_and_from_a_pipe(folder: Path, tmp_path: Path, type_in: Type) -> None:
    lines = [*_lines(40), "\0\0\0", "\u200b", "disk failure at sector nine"]
    (tmp_path / "new.log").write_text("\n".join(lines))
    given = ("monitor", folder / "run", tmp_path / "new.log", "--state", tmp_path / "state.json")
    code, out, _ = type_in(*given, "--json")
    assert code == 0
    alarms = [json.loads(line) for line in out.splitlines()]
    assert alarms[-1]["text"] == "disk failure at sector nine"
    assert alarms[-1]["number"] == 40
    assert json.loads((tmp_path / "state.json").read_text())["seen"] == 41
    code, out, _ = type_in(*given)
    assert "disk failure at sector nine" in out
    assert "82 units, " in out

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
