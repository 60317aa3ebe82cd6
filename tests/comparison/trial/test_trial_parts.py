"""What a trial is made of: recognising, choosing what is held out, the words of the verdict, plain search."""

import json
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.comparison.trial.findings import _from_means
from lang_jepa.comparison.trial.pace import Pace, TooSlow
from lang_jepa.comparison.trial.plan import LEAST_STEPS, Plan, held_out, schedule
from lang_jepa.comparison.trial.recognise import language_of, recognise
from lang_jepa.comparison.trial.spaces import Openings, WordSpace
from lang_jepa.comparison.trial.verdict import SEARCH, verdict_of
from lang_jepa.data.corpus.deduplicate import hash_text, side
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.table import Report, Row
from lang_jepa.inference.folders.places import lines_in_order
from lang_jepa.inference.folders.reading import read_collection
from lang_jepa.inference.folders.study import Passage
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.load import load_settings
from lang_jepa.training.reporter import Silent as NoReporter

SPOKEN = "\n".join(f"{name}: That is what I said about it, number {i}." for i in range(8) for name in ("Anna", "Ben"))
STAMPED = "\n".join(f"2026-03-01 06:00:{i:02} something happened" for i in range(20))
LEVELS = "\n".join(f"[INFO] worker {i} is ready" for i in range(20))
PROSE = "The baker opened the shop.\nNobody came.\n" * 6
ROWS = "chat_id,author,text\n" + "\n".join(f"{i // 4},{'ab'[i % 2]},what I say {i}" for i in range(20))


@pytest.mark.parametrize(
    ("name", "text", "kind", "said"),
    [
        ("a.txt", PROSE, "documents", "prose"),
        ("a.txt", SPOKEN, "dialogues", '16 of 16 lines begin with a name, as "Anna:"'),
        ("b.txt", SPOKEN.replace("Ben", "+49 170 555 12"), "dialogues", '16 of 16 lines begin with a name, as "Anna:"'),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n<v Anna>Good morning.\n\n2\n00:00:03,000 --> 00:00:04,000\n"
         "<v Ben>Good morning to you.\n", "dialogues", 'as "Anna:"'),
        ("a.txt", STAMPED, "logs", "begin with a time"),
        ("messages", STAMPED, "logs", "begin with a time"),
        ("a.txt", LEVELS, "logs", "20 of the first 20 lines have a level"),
        ("a.log", PROSE, "logs", "named like a log"),
        ("a.csv", ROWS, "dialogues", "who says it in 'author', and 'chat_id' is shared"),
        ("b.csv", ROWS.replace("author,text", "Author,Text"), "dialogues", "a row in 'Text', who says it in 'Author'"),
        ("a.csv", "title,body\nx,A long text of some words.\ny,Another one.\n", "documents", "in the column 'body'"),
        ("a.json", json.dumps([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]),
         "dialogues", "one conversation in each file"),
        ("a.jsonl", json.dumps({"talk": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}),
         "dialogues", "the column 'talk' holds"),
    ],
)  # fmt: skip
def test_what_files_are_taken_for(name: str, text: str, kind: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    taken = recognise(tmp_path / name)
    assert (taken.kind, said in taken.why) == (kind, True), taken
    settings = DataSettings.model_validate({**taken.data, "limit": None})
    assert read_collection(settings).units  # the settings read it


def test_of_a_mixed_folder_most_is_taken_and_the_rest_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(PROSE * 9)
    (tmp_path / "app.log").write_text(STAMPED)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    taken = recognise(tmp_path)
    assert (taken.kind, taken.data["include"]) == ("documents", ("**/*.md",))
    assert "app.log (1 kB) (they look like logs)" in taken.others
    assert "picture.png (0 kB) (unknown kind)" in taken.others
    assert recognise(tmp_path, "logs").data["include"] == ("**/*.log",)
    for rotated in ("app.log.1", "app.log-20260101", "app.log.2.gz"):
        (tmp_path / rotated).write_bytes(b"x")
    found = recognise(tmp_path, "logs").data["include"]
    assert found == ("**/*.log", "**/*.log-20260101", "**/*.log.1", "**/*.log.2.gz")
    with pytest.raises(LangJepaError, match="is not there"):
        recognise(tmp_path / "gone")


def test_a_broken_link_is_named_where_it_would_be_read(tmp_path: Path) -> None:
    """As in training, which reads the same files."""
    (tmp_path / "b.md").symlink_to(tmp_path / "gone.md")
    with pytest.raises(LangJepaError, match=r"b\.md is a link to .*gone\.md, which does not exist\. Fix the link"):
        recognise(tmp_path)
    (tmp_path / "app.log").write_text(STAMPED)
    (tmp_path / "x.bin").symlink_to(tmp_path / "gone.bin")
    taken = recognise(tmp_path)
    assert (taken.kind, taken.data["include"]) == ("logs", ("**/*.log",))
    assert "b.md (0 kB)" in taken.others
    assert "x.bin (0 kB)" in taken.others
    (tmp_path / "a.md").write_text(PROSE * 99)
    with pytest.raises(LangJepaError, match=r"b\.md is a link to") as ours:
        recognise(tmp_path)
    with pytest.raises(LangJepaError) as theirs:
        open_source(DataSettings(train_file=str(tmp_path)))
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("count", [2, 5, 24, 61, 200])
def test_as_many_documents_are_held_out_as_wanted(count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    held = sum(side(int(hash_text(text)), held_out(texts)) == "validation" for text in texts)
    assert held == max(1, round(count * (0.25 if count < 60 else 0.2)))


def test_languages_are_guessed_or_not() -> None:
    assert language_of("The dog that was not here is with you, and this is the end of it.") == "en"
    assert language_of("Il n'est pas dans la maison avec les autres, et il ne vient pas pour vous.") == "fr"
    assert language_of("猫が好きです。犬も好きです。") == "ja"
    assert language_of("xq zzt 12 blorp") is None


def test_records_of_several_lines_stand_where_they_begin() -> None:
    raw = "one\n\n  two\n    more of two\none\nthree"
    assert lines_in_order(raw, ["one", "two more of two", "one", "three", "gone"]) == [1, 3, 5, 6, None]


def report(rows: dict[str, tuple[float, float, float]], own: float = 0.3) -> Report:
    """A report of recall@1: of each name its score, and the ends of what the model has more."""
    at = ("next turn, other conversations", "held out")
    found = [Row(*at, "recall@1", "model", own, own - 0.05, own + 0.05, 100)]
    for name, (value, low, high) in rows.items():
        found.append(Row(*at, "recall@1", name, value, value - 0.05, value + 0.05, 100))
        found.append(Row(*at, "recall@1: model minus this", name, own - value, low, high, 100))
    return Report(found)


COPY = {"copy-forward (model)": (0.1, 0.15, 0.25), "TF-IDF, last 1": (0.12, 0.1, 0.2)}


def test_a_predictor_that_is_ahead_helps() -> None:
    rows = {**COPY, "ridge on means (model)": (0.2, 0.02, 0.15), "untrained": (0.2, 0.02, 0.15)}
    found = verdict_of(report(rows), "turn")
    assert found.sentences[1:] == ["Before its first training step it finds 20 %."]
    assert (found.helps, found.headline) == (True, "Prediction helps here")
    assert "3.0 times as often as copying: in 30 % of 100 questions" in found.sentences[0]
    assert "against 10 % (95 % interval of the difference: [+15.0, +25.0] points)" in found.sentences[0]
    assert "comparing words (TF-IDF, last 1) with 12 %" in found.sentences[0]


def test_simpler_predictors_and_the_start_are_named() -> None:
    same = verdict_of(report({**COPY, "ridge on means (model)": (0.29, -0.04, 0.06)}), "turn")
    assert same.headline == "Prediction helps here, and a simple predictor is enough"
    said = "A linear regression (ridge on means (model)), a simpler predictor, cannot be told apart from it: 29 %."
    assert same.sentences[1:] == [said]
    better = verdict_of(
        report({**COPY, "5-gram with cache": (0.4, -0.15, -0.05), "untrained": (0.4, -0.2, -0.02)}), "line"
    )
    assert better.headline == "Prediction helps here, by a simpler predictor"
    assert better.sentences[1:] == [
        "A simpler predictor finds still more, counting which line follows which (5-gram with cache): 40 %, by "
        "[+5.0, +15.0] points.",
        "Training made it worse: before its first step it finds 40 %.",
    ]


def test_nothing_is_better_than_what_predicts_nothing() -> None:
    behind = verdict_of(report({"TF-IDF, last 1": (0.5, -0.3, -0.1)}), "sentence")
    assert (behind.helps, behind.headline) == (False, "Prediction does not help here")
    assert "comparing words (TF-IDF, last 1) does so more often: in 50 %" in behind.sentences[0]
    assert "[+10.0, +30.0] points" in behind.sentences[0]
    level = verdict_of(report({"recency mean (model)": (0.28, -0.01, 0.05)}), "sentence")
    assert level.helps is False
    assert "[-1.0, +5.0] points, holds 0" in level.sentences[0]


def test_a_predictor_over_the_encoder_is_spoken_of_where_it_finds_more() -> None:
    scratch = report({"copy-forward (model)": (0.29, -0.02, 0.06)})
    over = report({"copy-forward (model)": (0.2, 0.2, 0.4)}, own=0.5)
    found = verdict_of(scratch, "turn", over=over, encoder="mini")
    assert found.helps
    assert "a predictor over mini finds the next turn 2.5 times as often" in found.sentences[0]


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.6, -0.4, -0.2, "For plain search take mini as it is: 60 % of 100 searches"),
        (0.1, 0.1, 0.3, "in text that it was trained on, the trained encoder is better: 30 %"),
        (0.31, -0.1, 0.1, "the trained encoder and mini as it is cannot be told apart: 30 % and 31 % of 100 searches"),
    ],
)
def test_plain_search_has_a_sentence_of_its_own(value: float, low: float, high: float, said: str) -> None:
    rows = [
        Row(SEARCH, "all documents", "recall@1", "model", 0.3, 0.2, 0.4, 100),
        Row(SEARCH, "all documents", "recall@1", "mini", value, value, value, 100),
        Row(SEARCH, "all documents", "recall@1: model minus this", "mini", 0.3 - value, low, high, 100),
    ]
    whole = Report([*report(COPY).rows, *rows])
    assert said in verdict_of(whole, "turn", encoder="mini").sentences[-1]


def test_openings_are_answered_by_their_own_documents(tmp_path: Path) -> None:
    """Each document has a word of its own in its opening and once below; two openings share it with another document."""
    words = [
        "apple",
        "river",
        "candle",
        "garden",
        "violin",
        "winter",
        "mirror",
        "kettle",
        "basket",
        "lantern",
        "ladder",
        "pencil",
    ]
    for number, word in enumerate(words):
        other = words[1] if number == 0 else word
        text = f"Something about the {word}.\n\nNobody came at all.\n\nThere was one {other} {other} on the table."
        (tmp_path / f"{number:02}.txt").write_text(text)
    asked = Openings.of(read_collection(DataSettings(train_file=str(tmp_path), limit=None)))
    assert asked is not None
    space = WordSpace([*asked.queries, *asked.units], "en")
    hits = asked.hits(space)
    assert hits[2:].tolist() == [1.0] * (len(words) - 2)
    assert hits[0] == 0.0  # `apple` stands nowhere else
    rows = asked.rows({"model": space, "TF-IDF": space})
    assert rows[0].value == pytest.approx(float(np.mean(hits)))
    assert rows[-1].value == 0.0  # two equal ones


def test_documents_that_were_held_out_are_not_more_surprising_for_it() -> None:
    def passage(document: str, position: int, surprise: float | None, fit: float | None = 0.0) -> Passage:
        return Passage("", document, position, surprise, fit, "", "", False, None)

    learnt = [passage("a", 0, None, -3.0), passage("a", 1, -3.0, -3.0), passage("a", 2, -1.0, -3.0)]
    held_out = [passage("b", 0, None, None), passage("b", 1, 1.5, None), passage("b", 2, 0.5, None)]
    found = _from_means([*learnt, *held_out])
    assert [one.surprise for one in found] == [None, -1.0, 1.0, None, 0.5, -0.5]
    assert [one.out_of_place for one in found] == [0.0, 0.0, 0.0, None, None, None]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _train(
    each: float, *, total: int, start: int = 0, validation: float = 0.0, slow: int = 999, starting: float = 0.0
) -> TooSlow | None:
    """A training for which 80 seconds are given, and of which each step takes so many; five times as many after `slow`
    steps. A validation comes before the first step and after each tenth.
    """
    clock = Clock()
    pace = Pace(NoReporter(), 80, least=20, validations=11, clock=clock)
    clock.now += starting
    pace.begin(total=total, start=start, every=1, info=[])
    try:
        for step in range(start, total + 1):
            if step:
                clock.now += each * (5 if step > slow else 1)
                pace.step(step, {})
            if step % (total // 10) == 0:
                clock.now += validation
                pace.validation(step, {})
    except TooSlow as found:
        return found
    return None


def test_a_training_that_will_be_late_ends_while_little_is_lost() -> None:
    found = _train(1.0, total=100)
    assert found is not None
    assert (found.seconds, found.per_step, found.per_validation) == (10, 1.0, 0.0)
    assert _train(0.85, total=100) is None  # late by less than a tenth
    assert _train(0.75, total=100, validation=1.0) is None
    found = _train(0.5, total=100, validation=4.0)
    assert found is not None
    assert (found.seconds, found.per_step, found.per_validation) == pytest.approx((13.5, 0.5, 4.0))
    found = _train(0.6, total=100, slow=30)
    assert found is not None
    assert found.seconds < 40
    assert _train(0.6, total=100, slow=60) is None  # more would be lost than won
    assert _train(1.0, total=100, starting=15) is None  # starting again would take as long
    assert _train(9.0, total=100, start=50) is None  # resumed: it ends as it was planned
    assert _train(9.0, total=20) is None  # the fewest steps


def test_a_shorter_plan_differs_in_its_schedule_alone() -> None:
    settings = load_settings("documents", ["data.val_fraction=0.3"])
    overrides = ["data.val_fraction=0.3", *schedule(settings, 400)]
    shorter = Plan("documents", overrides, 0.1, 400).shorter(95, 0.5, 0.0)
    assert (shorter.steps, shorter.seconds_per_step) == (180, 0.5)
    assert shorter.overrides == ["data.val_fraction=0.3", *schedule(settings, 180)]
    assert shorter.shorter(95, 0.5, 2.0).steps == 136
    assert shorter.shorter(0.1, 0.5, 0.0).steps == LEAST_STEPS
    assert shorter.shorter(1e6, 0.5, 0.0).steps == 180
