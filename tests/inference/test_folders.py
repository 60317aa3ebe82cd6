"""Lines of units, copies and words of topics: what is said of folders is where and what it says."""

import json
import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lang_jepa.errors import LangJepaError
from lang_jepa.inference.folders.duplicates import find_duplicates
from lang_jepa.inference.folders.places import _occurrences, file_of, lines_of, paragraph_at
from lang_jepa.inference.folders.reading import Collection, read_collection
from lang_jepa.inference.folders.tables import Table, check_output, write_found
from lang_jepa.inference.folders.topics import telling_words
from lang_jepa.settings.data import DataSettings

ONE = "The baker opened the shop before sunrise."
TWO = "Nobody had bought a single loaf by noon."
THREE = "A stranger asked for directions to the harbour."
FOUR = "Rain fell on the roofs until late at night."


def test_units_of_a_plain_text_are_found_exactly() -> None:
    assert lines_of(f"{ONE} {TWO}\n\n{ONE}\nYes.", [ONE, TWO, ONE, "Yes."]) == [1, 1, 3, 4]
    assert lines_of("It was\nlate. So\nwhat?", ["It was\nlate.", "So\nwhat?"]) == [1, 2]


def test_a_unit_is_placed_only_where_the_file_has_it_as_often_as_the_document() -> None:
    raw = f"# Head\n\n{ONE}\n**Bold** {TWO}\n{ONE}\n\nNot\n*{THREE}*\n"
    assert lines_of(raw, ["Head", ONE, f"Bold {TWO}", ONE, f"Not {THREE}"]) == [1, 3, None, 5, None]
    assert lines_of(f"{ONE} And once more: {ONE}", ["Something else.", ONE]) == [None, None]


def test_of_two_places_that_contradict_each_other_the_longer_text_wins() -> None:
    """The unit `Yes.` stands in markup, and its only occurrence is inside of another unit."""
    assert lines_of("**Yes**.\n\nHe said: Yes. Maybe.\n#", ["Yes.", "He said: Yes. Maybe."]) == [None, 3]


def test_paragraphs_end_at_blank_lines() -> None:
    raw = f"{ONE}\n\n{TWO}\n{THREE}\n \n{FOUR}"
    assert [paragraph_at(raw, line) for line in (1, 3, 4, 6)] == [ONE, f"{TWO}\n{THREE}", f"{TWO}\n{THREE}", FOUR]


def read(place: Path) -> Collection:
    return read_collection(DataSettings(train_file=str(place), limit=None))


def test_rows_of_json_lines_have_the_line_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(f"{json.dumps({'text': ONE})}\n\n{json.dumps({'text': f'{TWO} {THREE}', 'id': 'mine'})}\n")
    first, second = read(path).documents
    assert (first.where(0), second.name) == (f"{path}:1", "mine")
    assert [second.where(position) for position in range(2)] == [f"{path}:3"] * 2


def test_copies_and_repeated_sentences_are_found_where_they_stand(tmp_path: Path) -> None:
    texts = {
        "a.txt": f"{ONE} {TWO}\n{THREE}",
        "b.txt": f"{ONE} {TWO}\n{THREE}\n",
        "c.txt": f"{THREE}\n{TWO.upper()} {ONE} {FOUR}",
        "d.txt": f"{FOUR}\nWhat a day that was for everybody here.\n\nNo.\n{FOUR}",
        "e.txt": "No. Something entirely different happened in the other town.",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = find_duplicates(read(tmp_path))
    a, b, c, d, _ = (str(tmp_path / name) for name in texts)
    shares = {one.document: (one.kind, one.original, one.share) for one in found.duplicates}
    assert shares == {b: ("exact duplicate", a, 1.0), c: ("near duplicate", a, 0.75)}
    assert (found.documents, found.kept) == (5, 3)
    (repeated,) = found.sentences  # `No.` is too short to be a copy, and those of copies are not counted
    assert (repeated.sentence, repeated.times, repeated.documents) == (FOUR, 2, 1)
    assert repeated.places == [f"{d}:1", f"{d}:5"]
    assert [one.document for one in find_duplicates(read(tmp_path), share=0.8).duplicates] == [b]


def test_words_of_classes_are_weighted_as_the_paper_has_it() -> None:
    """tf x log(1 + A / f), by hand; what both classes share comes behind what is one's own."""
    first, second = telling_words(["bread oven bread day", "tide moon day"])
    mean = 7 / 2
    assert first[0] == ("bread", pytest.approx(2 / 4 * math.log(1 + mean / 2)))
    assert dict(first)["day"] == pytest.approx(1 / 4 * math.log(1 + mean / 2))
    assert [word for word, _ in second] == ["moon", "tide", "day"]
    assert telling_words(["the of", "and"]) == [[], []]


def test_files_hold_what_was_found(tmp_path: Path) -> None:
    table = Table("All <b>", ("place", "n"), [("a,b", 1.239), ('"<i>', None)])
    for suffix in ("csv", "json", "html"):
        write_found(tmp_path / f"x.{suffix}", {"n": 1.239}, table, [table], title="T & T", about="all")
    assert (tmp_path / "x.csv").read_text() == 'place,n\n"a,b",1.239\n"""<i>",\n'
    assert json.loads((tmp_path / "x.json").read_text()) == {"n": 1.239}
    page = (tmp_path / "x.html").read_text()
    assert "<h2>All &lt;b&gt;</h2>" in page
    assert "<td>a,b</td><td>1.24</td>" in page
    assert "&quot;&lt;i&gt;</td><td></td>" in page


def test_no_spreadsheet_computes_a_text_and_names_of_any_bytes_are_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.txt")
    table = Table("All", ("place", "n"), [("=1+1", -1.5), ("@SUM(A1)", 2), (name, 0)])
    for suffix in ("csv", "json", "html"):
        write_found(tmp_path / f"x.{suffix}", {"place": name}, table, [table], title="T", about="all")
    assert (tmp_path / "x.csv").read_text() == "place,n\n'=1+1,-1.5\n'@SUM(A1),2\n\\udcff.txt,0\n"
    assert json.loads((tmp_path / "x.json").read_text()) == {"place": name}
    with pytest.raises(LangJepaError, match="the suffix says what is written"):
        check_output(tmp_path / "x.txt")


def test_ids_name_files_below_their_folder_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "texts" / "a:b.txt", tmp_path / "secret.txt"
    inside.parent.mkdir()
    for file in (inside, outside):
        file.write_text("Good morning.")
    assert file_of("a:b.txt:3", inside.parent) == (inside, 3)
    for name in (f"{outside}:0", "../secret.txt:0", "none.txt:0", "a:b.txt:x", "a:b.txt"):
        assert file_of(name, inside.parent) is None


@given(st.text("ab ", max_size=200), st.lists(st.text("ab ", max_size=20), max_size=8))
def test_occurrences_are_those_of_a_search_for_each(text: str, units: list[str]) -> None:
    found = _occurrences(text, units)
    for unit in filter(None, units):
        assert found[unit] == [one.start() for one in re.finditer(re.escape(unit), text)]
