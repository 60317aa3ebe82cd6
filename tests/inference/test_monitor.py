"""The monitor: scores by hand, what decides, the threshold's rate, blocks that change nothing, rotation, state."""

import json
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.cli.lines import Line, Spoken
from lang_jepa.cli.units import UnitReader
from lang_jepa.data.text.masks import masked
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.ngrams import UnitNGram
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.evaluation.rarity import SCORES, named
from lang_jepa.inference import monitor_data
from lang_jepa.inference.events import STUCK, Drift, FirstUnits, NewKinds, Over, per_run, stuck_runs
from lang_jepa.inference.model import ConceptModel, own_corpus
from lang_jepa.inference.monitor import STUCK_SHARE, Monitor
from lang_jepa.inference.monitor_choice import Likeliest, choose_scores
from lang_jepa.training.train import train
from tiny import tiny_settings

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
    kind, statistics = model.similarity_kind, model.statistics
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


def test_a_stuck_line_is_one_alarm_whatever_decides(watch: Monitor, folder: Path) -> None:
    """Where its run is less probable than the stuck lines' share of the rate, from `STUCK` on, and once in a run."""
    watch.threshold = np.inf
    share = 0.05 * STUCK_SHARE / 2
    assert watch.least_run == pytest.approx((-np.log(share), -np.log(share)))  # no usual line comes twice in a row
    lines = [*_lines(9), *_lines(1) * 12, *_lines(7, first=1)]  # the ninth is of their kind
    each = watch._ngrams.repetition(watch._read(masked(lines[:1], watch.model.settings.data))[0].key)
    assert 2 * each > watch.least_run[0]  # three in a row would be improbable enough
    for block in (3, 100):
        other = Monitor(watch.model, own_corpus(watch.model), per_thousand=50)  # type: ignore[arg-type]
        other.threshold = np.inf
        found = list(other.feed(lines, block=block))
        first = 8 + STUCK - 1  # nine lines, then the twelve that follow the first of their kind
        assert [(one.index, one.times, one.event) for one in found if one.alarm] == [(first, STUCK, first)]
        assert [(one.index, one.over) for one in found if one.over] == [(21, Over(first, 13))]
        assert [one.stuck for one in found] == [first <= row < 21 for row in range(len(found))]


def test_an_event_is_taken_up_with_the_state(watch: Monitor, folder: Path, tmp_path: Path) -> None:
    error = "10:00:00 ERROR no such page"
    (*_, alarm) = [one for one in watch.score([*_lines(9), *[error] * 3]) if one.alarm]
    assert (alarm.index, alarm.times) == (9, 1)
    watch.save(tmp_path / "state.json")
    again = Monitor(watch.model, own_corpus(watch.model), per_thousand=50)  # type: ignore[arg-type]
    again.restore(tmp_path / "state.json")
    assert again.open_events() == watch.open_events() == [Over(alarm.index, 3)]
    found = again.score([error, *_lines(1)])
    assert [(one.alarm, one.event, one.over) for one in found] == [
        (False, alarm.index, None), (found[1].alarm, found[1].event, Over(alarm.index, 4)),
    ]  # fmt: skip


def test_a_run_of_usual_lines_counts_once_in_the_threshold() -> None:
    again = np.array([False, True, True, False, False, True])
    runs = stuck_runs(np.arange(8.0), np.array([False, *[True] * (STUCK - 1), False, True, True]))
    assert runs.tolist() == [0, 0, 0, 0, 4, 0, 0, 0]
    np.testing.assert_array_equal(
        per_run(np.array([1.0, 3.0, 2.0, 5.0, 4.0, 0.0]), again), [3.0, -np.inf, -np.inf, 5.0, 4.0, -np.inf]
    )


def test_what_is_likely_is_near_and_frequent() -> None:
    """Ranked by the posterior, at the temperature that the answers were drawn with, as far as the grid has it."""
    draw = np.random.default_rng(0)
    space, expected = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in draw.normal(size=(2, 400, 16)))
    space, counts, temperature = space[:5].astype(np.float32), [1, 2, 1, 500, 3], 0.1
    weights = np.exp(expected @ space.T / temperature) * counts
    came = np.array([draw.choice(5, p=row / row.sum()) for row in weights])
    likeliest = Likeliest(list("abcde"), space, counts)
    likeliest.fit(expected.astype(np.float32), came)
    assert likeliest.temperature == pytest.approx(temperature, rel=0.4)
    by_hand = np.exp(space @ expected[0] / likeliest.temperature) * counts
    assert likeliest(expected[0].astype(np.float32)) == tuple("abcde"[row] for row in np.argsort(-by_hand)[:3])
    assert likeliest(np.zeros(16, dtype=np.float32)) == ()
    likeliest.fit(expected.astype(np.float32), np.full(400, -1))  # nothing known came: it stays
    assert likeliest.temperature == pytest.approx(temperature, rel=0.4)


def test_counts_are_those_of_the_training_text(watch: Monitor) -> None:
    assert watch._ngrams.count(watch._read([watch.known[0]])[0].key) == 150  # of 600 lines of four kinds
    assert watch._ngrams.count("never seen") == 0


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
    assert (rest[0].index, second.seen) == (11, 30)
    assert second._courses.at(None).run == first._courses.at(None).run == 0


@pytest.mark.parametrize(
    "change",
    [
        {"courses": "open door"},
        {"courses": [[None, ["open door"], 0.0]]},
        {"courses": [[1, ["open door"], 0.0, 1, None]]},
        {"courses": [[None, [1], 0.0, 1, None]]},
        {"courses": [[None, ["open door"], "0", 1, None]]},
        {"courses": [[None, ["open door"], 0.0, 1.0, None]]},
        {"courses": [[None, ["open door"], 0.0, 1, "7"]]},
        {"recent": [0]},
        {"seen": -1},
        {"alarms": True},
        {"apart": None},
        {"unjudged": -1},
        {"format": 5},
        {"kinds": ["open door"]},
        {"kinds": {"open door": "1"}},
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
    with pytest.raises(LangJepaError, match=f"{count} held-out units cannot set a threshold for 0.01 false alarms"):
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


def _drifted(per_thousand: float, alarms: list[bool], events: list[bool] | None = None) -> tuple[int, int] | None:
    drift = Drift(per_thousand)
    drift.count(alarms, events or alarms)
    return drift.found


def test_too_many_alarms_are_drift_as_soon_as_chance_cannot_be_it() -> None:
    """The binomial test by hand: at three times 1 in a thousand, 4 of 4 have .003 ** 4, 2 of 2 have 9e-6."""
    assert _drifted(1, [True]) is None  # .003
    assert _drifted(1, [True] * 50 + [False] * 10) == (2, 2)
    assert _drifted(1, [True] + [False] * 59 + [True]) is None  # 61 * 60 / 2 * .003 ** 2 = .016
    assert _drifted(50, [True] * 50 + [False] * 10) == (5, 5)  # .15 ** 5 = 8e-5
    assert _drifted(50, [True] * 4 + [False] * 90 + [True] * 4) is None
    assert _drifted(1000 / 3, [True] * 1000) is None  # all were asked for


def test_what_repeats_an_alarm_is_left_out_of_drift() -> None:
    """So that 99 repetitions are no event, and do not hide that of two other units both are alarms."""
    assert _drifted(1, [True, *[False] * 99], [True] * 100) is None
    assert _drifted(1, [True, *[False] * 99, True], [True] * 101) == (2, 2)
    assert _drifted(1, [True, *[False] * 99, True]) is None


def test_the_stated_rate_is_no_drift() -> None:
    """Nor are twice the rate, over a hundred thousand units; seven times it are."""
    generator = np.random.default_rng(0)
    for per_thousand in (1, 10, 50):
        for times in (1, 2):
            drawn = generator.random(100_000) < times * per_thousand / 1000
            assert _drifted(per_thousand, drawn.tolist()) is None
        drawn = generator.random(20_000) < 7 * per_thousand / 1000
        assert _drifted(per_thousand, drawn.tolist()) is not None


def test_a_line_of_a_new_kind_at_a_severe_level_is_an_alarm_whatever_decides(watch: Monitor) -> None:
    """Once in a while: each time would be more than the stated rate if it came to stay."""
    watch.decides, watch.threshold = [SCORES.index("repetition")], np.inf
    error = "10:00:00 ERROR no such page"
    found = watch.score([*_lines(9), error, "10:00:00 INFO no such book", *_lines(5), error])
    assert [one.text for one in found if one.alarm] == [error]
    assert [one.severe for one in found] == [one.alarm for one in found]
    (later,) = watch.score(["10:00:09 ERROR no such page"])  # the same one, masked
    assert not later.alarm
    watch.score(_lines(1000))
    assert watch.score([error])[0].severe


def test_errors_among_the_usual_lines_share_the_stated_rate_with_the_sum(watch: Monitor) -> None:
    """20 lines of 400 may be alarms; 15 are errors of different kinds, of which half the rate is for the most novel."""
    corpus = own_corpus(watch.model)
    assert corpus is not None
    usual = _lines(400)
    kinds = [f"10:00:00 ERROR {'abcdefghijklmno'[at]} {'no such page ' * (at % 7)}" for at in range(15)]
    usual[20:395:25] = kinds
    other = Monitor(watch.model, corpus, per_thousand=50, usual=usual)
    novelty = np.sort([unit.novelty for unit in other._read(masked(kinds, watch.model.settings.data))])
    assert other.least_novelty == pytest.approx(novelty[-10], abs=1e-4)
    again = Monitor(watch.model, corpus, per_thousand=50, usual=usual)
    again._kinds = NewKinds([])  # as if none of its usual ones were known
    found = again.score(usual)
    assert sum(one.severe for one in found) == 9
    assert sum(one.alarm for one in found) <= 21
    assert not any(one.severe for one in other.score(usual))  # their kinds are usual


def test_usual_units_without_any_before_them_are_refused(watch: Monitor) -> None:
    corpus = own_corpus(watch.model)
    assert corpus is not None
    lines = _lines(400)
    with pytest.raises(LangJepaError, match=r"that have another before them, and 0 of 400 have, in 400 sessions"):
        Monitor(watch.model, corpus, usual=lines, courses=[f"s{row}" for row in range(400)])
    with pytest.raises(LangJepaError, match="and 199 of 400 have, in 201 sessions"):
        Monitor(watch.model, corpus, usual=lines, courses=[f"s{max(0, row - 199)}" for row in range(400)])
    Monitor(watch.model, corpus, usual=lines, courses=[f"s{row // 2}" for row in range(400)])


def test_the_score_of_an_alarm_is_above_the_threshold_and_adds_up(watch: Monitor) -> None:
    found = watch.score([*_lines(40), "disk failure at sector nine"])
    assert all(one.alarm == (one.score > watch.threshold) for one in found)
    assert sum(one.alarm for one in found) > 0
    scores, _, _ = watch._raw([masked(_lines(40), watch.model.settings.data)])
    rarity = -np.log(
        ((watch._usual._levels[:, None, :] >= scores.T.round(4)[:, :, None]).sum(2) + 1) / (len(watch._usual) + 1)
    )
    np.testing.assert_allclose([one.score for one in found[:40]], rarity[watch.decides].sum(0), atol=0.3)


def test_a_rate_that_is_none_is_refused(watch: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LangJepaError, match="not 0"):
        Monitor(watch.model, own_corpus(watch.model), per_thousand=0)  # type: ignore[arg-type]
    lines = [line for line in _lines(300) for _ in range(2)]
    with pytest.raises(LangJepaError, match=r"leaves 300 of 600 usual units\. Ask for 500 at most"):
        Monitor(watch.model, own_corpus(watch.model), per_thousand=501, usual=lines)  # type: ignore[arg-type]
    most = Monitor(watch.model, own_corpus(watch.model), per_thousand=500, usual=lines)  # type: ignore[arg-type]
    assert np.isfinite(most.threshold)
    monkeypatch.setattr(monitor_data, "LEAST", 10_000)
    with pytest.raises(LangJepaError, match="a threshold needs 10000 held-out units"):
        Monitor(watch.model, own_corpus(watch.model), per_thousand=1)  # type: ignore[arg-type]


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
    lines = ['{"role": "user", "content": "open it"}', '{"role": "assistant", "content": null, "tool_calls": []}',
             '{"role": "user"', "", json.dumps({"messages": [{"role": "user", "content": "Hm."}, "Well."]}), '{"id": 3}']  # fmt: skip
    reader = UnitReader(model.settings.data)
    found = reader.read(Line(text, row, 0, 0) for row, text in enumerate(lines, start=1))
    who = ("user: ", "-: ") if speakers == "embedding" else ("", "")
    assert [(unit.text, unit.course, unit.line.number) for unit in found] == [
        (f"{who[0]}open it", None, 1), ('{"role": "user"', None, 3), (f"{who[0]}Hm.", 5, 5), (f"{who[1]}Well.", 5, 5),
    ]  # fmt: skip
    assert (reader.unread, reader.first, reader.silent) == (1, 6, 1)
    spoken = [Spoken("user: Note: open it", 1, 0, 0), Line("and shut it", 2, 0, 0), Spoken("@ben: Why: now?", 3, 0, 0)]
    ben = "@ben: " if speakers == "embedding" else ""
    assert [unit.text for unit in reader.read(spoken)] == [f"{who[0]}Note: open it", "and shut it", f"{ben}Why: now?"]


def test_documents_without_room_for_faults_decide_nothing(watch: Monitor) -> None:
    assert choose_scores([_lines(4), _lines(3)], lambda some: watch._raw(some)[0], watch._usual, spoken=False) == (
        [0, 1],
        {},
    )
    decides, merits = choose_scores(
        [_lines(4), _lines(30)], lambda some: watch._raw(some)[0], watch._usual, spoken=False
    )
    assert named(decides) in merits


def test_first_units_are_held_to_those_that_are_first_too() -> None:
    """At the stated rate where they are enough for it, and else above all of them and as rare among all units."""
    draw = np.random.default_rng(0)
    scores, first = draw.normal(size=(1000, 2)), np.arange(1000) < 100
    enough, few = FirstUnits(scores, first, 0.05), FirstUnits(scores, first, 0.005)
    assert (enough.sums(scores[first], own=True) > enough.threshold).sum() in (4, 5)
    assert not (few.sums(scores[first], own=True) > few.threshold).any()
    assert (few.sums(scores, own=True) > few.threshold).sum() <= 5
    far = np.full((1, 2), 9.0)
    assert enough.sums(far) > enough.threshold
    assert few.sums(far) > few.threshold
    np.testing.assert_allclose(few.sums(far), 2 * np.log(1001))


def test_the_first_line_of_a_session_can_be_an_alarm(tmp_path: Path) -> None:
    """Where surprise decides, which says nothing of it, and the first one without a session too."""
    steps = (*STEPS, "leave")
    lines = [f"[{n // 5}] {steps[n % 5]}" for n in range(1600)]
    (tmp_path / "app.log").write_text("\n".join(lines))
    given = (f"data.train_file={tmp_path / 'app.log'}", "data.units=lines", "data.mask=true", "data.val_split=tail")
    more = ("data.val_fraction=0.5", "data.deduplicate=none", "data.limit=null", "data.min_length=1")
    train(tiny_settings(tmp_path / "run", *given, *more, r"data.session=\[(\d+)\]", "optimization.max_steps=1"))
    model = ConceptModel.load(tmp_path / "run")
    corpus = own_corpus(model)
    assert corpus is not None
    watch = Monitor(model, corpus, per_thousand=10)
    assert SCORES.index("surprise") in watch.decides  # sessions are too short for faults
    assert watch.first is not None
    found = watch.score(["[900] disk failure at sector nine", "disk failure in the cellar", *lines[:15]])
    assert [one.first for one in found] == [True, True, *[True, False, False, False, False] * 3]
    assert [one.alarm for one in found[:3]] == [True, True, False]
    assert all(one.threshold == (watch.first if one.first else watch).threshold for one in found)
    usual = Monitor(model, corpus, per_thousand=10).score(lines[800:])
    assert not any(one.alarm for one in usual if one.first)


def test_without_sessions_a_unit_that_nothing_judges_is_counted(watch: Monitor) -> None:
    watch.decides = [SCORES.index("surprise")]
    watch.score(["disk failure at sector nine", *_lines(9)])
    watch.score(["disk failure at sector nine", *_lines(9)], ["other"] * 10)
    assert (watch.first, watch.unjudged) == (None, 2)
    watch.decides = [SCORES.index("surprise"), SCORES.index("novelty")]
    watch.score(["disk failure at sector nine"], ["third"])
    assert watch.unjudged == 2
