"""Sessions that come interleaved: each is a course of its own, in what is watched and in what is usual."""

import json
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.text.masks import masked
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.courses import Courses
from lang_jepa.inference.model import ConceptModel, own_corpus
from lang_jepa.inference.monitor import Monitor, Scored
from lang_jepa.training.train import train
from tiny import tiny_settings
from typed import Type

STEPS = ("open door", "read page", "close door", "wait a while")


def _session(name: str, count: int, first: int = 0) -> list[str]:
    return [f"[{name}] 10:00:{n % 60:02} {STEPS[n % 4]} number {n}" for n in range(first, first + count)]


def _interleaved(*sessions: list[str], seed: int = 0) -> list[str]:
    """The lines of all sessions, those of each in their order."""
    left = [list(one) for one in sessions]
    generator = np.random.default_rng(seed)
    mixed = []
    while some := [one for one in left if one]:
        mixed.append(some[int(generator.integers(len(some)))].pop(0))
    return mixed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    lines = ["started", *_interleaved(*(_session(f"{n}", 60) for n in range(20)))]
    (folder / "app.log").write_text("\n".join(lines))
    train(
        tiny_settings(
            folder / "run",
            f"data.train_file={folder / 'app.log'}",
            *("data.units=lines", r"data.session=\[(\w+)\]", "data.mask=true", "data.val_split=tail"),
            *("data.val_fraction=0.4", "data.deduplicate=none", "data.limit=null", "data.min_length=1"),
        )
    )
    return folder


def _monitor(folder: Path, usual: list[str] | None = None) -> Monitor:
    model = ConceptModel.load(folder / "run")
    corpus = own_corpus(model)
    assert corpus is not None
    return Monitor(model, corpus, per_thousand=50, usual=usual)


@pytest.fixture
def watch(folder: Path) -> Monitor:
    return _monitor(folder)


def _raw_of(watch: Monitor, lines: list[str]) -> np.ndarray:
    return watch._raw([masked(lines, watch.model.settings.data)])[0]


FIRST = [*_session("71", 9), *_session("71", 1, first=8) * 4, "[71] disk failure", *_session("71", 3, first=9)]
SECOND = [*_session("72", 14, first=2), *_session("72", 1, first=15) * 3]


@pytest.mark.parametrize("block", [1, 7, 100])
def test_interleaved_sessions_are_scored_as_if_each_were_read_alone(watch: Monitor, folder: Path, block: int) -> None:
    """By context, by n-gram history and by runs of equal lines."""
    alone = {"71": list(_monitor(folder).feed(FIRST)), "72": list(_monitor(folder).feed(SECOND))}
    mixed = _interleaved(FIRST, SECOND)
    assert len({*map(str, mixed[:3])}) == 3
    found: dict[str, list[Scored]] = {"71": [], "72": []}
    for one in watch.feed(mixed, block=block):
        assert one.text == mixed[one.index]
        found[one.text[1:3]].append(one)
    for name, others in alone.items():
        ours = found[name]
        assert [one.text for one in ours] == [one.text for one in others]
        for score in ("repetition", "ngram", "novelty"):
            assert [getattr(one, score) for one in ours] == [getattr(one, score) for one in others]
        np.testing.assert_allclose([one.surprise for one in ours], [one.surprise for one in others], atol=0.1)
    assert any(one.repetition > 0 for one in found["72"])
    assert watch._courses.at("72").run == pytest.approx(_raw_of(watch, SECOND)[-1, 3])


def test_raw_scores_of_courses_are_those_of_each_alone(watch: Monitor) -> None:
    data = watch.model.settings.data
    first, second = masked(FIRST, data), masked(SECOND, data)
    courses = Courses(32)
    for name, line in (("a", first), ("b", second)):
        course = courses.at(name)
        course.before.extend(line[:5])
    together, _, runs = watch._raw([first[5:], second[5:]], [courses.at("a"), courses.at("b")])
    apart = np.concatenate([_raw_of(watch, FIRST)[5:], _raw_of(watch, SECOND)[5:]])
    np.testing.assert_allclose(together, apart, atol=1e-4)
    assert runs == [apart[len(FIRST) - 6, 3], apart[-1, 3]]
    assert runs[1] > 0


def test_lines_of_no_session_are_one_course_and_counted(watch: Monitor, folder: Path) -> None:
    plain = [line.partition("] ")[2] for line in FIRST]
    alone = list(_monitor(folder).feed(plain))
    mixed = list(watch.feed(_interleaved(plain, SECOND)))
    ours = [one for one in mixed if not one.text.startswith("[")]
    assert [one.ngram for one in ours] == [one.ngram for one in alone]
    assert (watch.apart, watch.seen) == (len(plain), len(plain) + len(SECOND))


def test_held_out_sessions_set_the_threshold_each_a_course(watch: Monitor, folder: Path) -> None:
    """Read alone or interleaved, usual sessions give the stated rate."""
    corpus = own_corpus(watch.model)
    assert corpus is not None
    assert corpus.validation.num_documents == 20
    usual = _interleaved(*(_session(f"3{n}", 40) for n in range(20)), seed=1)
    again = _monitor(folder, usual)
    assert len(again._usual) == len(usual)
    fresh = _interleaved(*(_session(f"4{n}", 40) for n in range(20)), seed=2)
    assert sum(one.alarm for one in again.feed(fresh)) <= 0.05 * len(fresh) + 1
    first = [[masked(_session(f"3{n}", 40), again.model.settings.data)] for n in range(20)]
    ngrams = np.concatenate([again._raw(one)[0][:, 2] for one in first])
    np.testing.assert_allclose(np.sort(ngrams.round(4)), again._usual._levels[2], atol=2e-4)


def test_the_state_keeps_the_sessions(watch: Monitor, folder: Path, tmp_path: Path) -> None:
    mixed = _interleaved(FIRST, SECOND, ["alone", "alone", "alone"])
    whole = list(watch.feed(mixed))
    first, second = _monitor(folder), _monitor(folder)
    list(first.feed(mixed[:17]))
    first.save(tmp_path / "state.json")
    second.restore(tmp_path / "state.json")
    rest = list(second.feed(mixed[17:]))
    assert [one.repetition for one in rest] == [one.repetition for one in whole[17:]]
    assert [one.ngram for one in rest] == [one.ngram for one in whole[17:]]
    assert (second.apart, second.seen) == (3, len(mixed))


def test_the_sessions_that_got_no_line_for_longest_are_forgotten() -> None:
    courses = Courses(2, most=2)
    for name, unit in (("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("c", "5")):
        courses.at(name).before.append(unit)
    assert len(courses) == 2
    assert list(courses.at("a").before) == ["3", "4"]
    assert list(courses.at("b").before) == []


@pytest.mark.parametrize("block", [2, 3, 7, 1000])
def test_what_is_forgotten_depends_on_the_units_alone(block: int) -> None:
    """Not on how many are taken up together: also where a course is forgotten and comes again in one block."""
    names = [f"{name}" for name in np.random.default_rng(0).integers(0, 9, size=200)]

    def befores(size: int) -> tuple[list[list[str]], list[list[object]]]:
        courses, before = Courses(3, most=4), [list[str]()] * len(names)
        for begin in range(0, len(names), size):
            for course, rows in courses.parts(names[begin : begin + size]):
                for row in rows:
                    before[begin + row] = list(course.before)
                    course.before.append(f"{begin + row}")
        return before, courses.plain()

    assert befores(block) == befores(1)
    assert [len(one) for one in befores(1)[0]].count(0) > 9


def test_scores_are_the_same_for_blocks_of_any_size_where_sessions_are_forgotten(watch: Monitor) -> None:
    mixed = _interleaved(*(_session(f"{n}", 8) for n in range(6)), seed=4)
    reach = watch._courses._reach
    found = []
    for block in (1, 5, 100):
        watch._courses = Courses(reach, most=3)
        found.append([(one.ngram, one.repetition) for one in watch.feed(mixed, block=block)])
    assert found[0] == found[1] == found[2]


def test_the_verb_watches_sessions(folder: Path, tmp_path: Path, type_in: Type) -> None:
    (tmp_path / "new.log").write_text("\n".join([*_interleaved(FIRST, SECOND), "no session"]))
    code, out, err = type_in("monitor", folder / "run", tmp_path / "new.log", "--json")
    assert code == 0
    assert "[71] disk failure" in {json.loads(line)["text"] for line in out.splitlines()}
    assert "1 unit without a session" in " ".join(err.split())


def test_too_few_usual_sessions_are_refused(folder: Path) -> None:
    with pytest.raises(LangJepaError, match="200 usual units or more, and there are 40"):
        _monitor(folder, _session("71", 40))
