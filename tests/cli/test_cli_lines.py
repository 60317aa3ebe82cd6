"""Lines and records as they come: however they are cut into pieces, over rotation, from one call to the next."""

import gzip
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import pytest
import zstandard

from lang_jepa.cli.lines import (
    Batch,
    Line,
    Spoken,
    check_lines,
    file_pieces,
    first_lines,
    whole_lines,
    whole_records,
    whole_turns,
)
from lang_jepa.data.sources.conversations import conversation_text
from lang_jepa.errors import LangJepaError


def _all(batches: Iterable[Batch]) -> list[Line]:
    return [line for some in batches for line in some or ()]


def test_lines_are_whole_however_they_arrive() -> None:
    text = "eins\nzwei äö\n\ndrei".encode()
    whole = _all(whole_lines(iter([text])))
    assert whole == [("eins", 1, 5, 2), ("zwei äö", 2, 15, 3), ("", 3, 16, 4), ("drei", 4, 20, 5)]
    for size in (1, 3, 5):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert _all(whole_lines(iter(pieces))) == whole
        assert _all(whole_lines(iter(pieces), unfinished=False)) == whole[:3]
    assert list(whole_lines(iter([b"a\xff\n"]), 7, 3)) == [[("a�", 3, 10, 4)]]
    assert [line.text for line in _all(whole_lines(iter([b"\0\0\0one\n\0two \0x\n"])))] == ["one", "two \0x"]
    marked = "\ufeffa\n\ufeffb\n".encode()
    assert [line.text for line in _all(whole_lines(iter([marked])))] == ["a", "\ufeffb"]


def test_a_pipe_of_utf_16_is_refused() -> None:
    with pytest.raises(LangJepaError, match=r"what comes is not UTF-8 text: not UTF-8 \(UTF-16 with a byte order mark"):
        list(whole_lines(iter(["one\ntwo\n".encode("utf-16")])))
    for name in ("utf-16-le", "utf-16-be"):  # which have no mark
        with pytest.raises(LangJepaError, match="iconv -f UTF-16"):
            list(whole_lines(iter(["one\ntwo\n".encode(name)])))


def test_lines_of_another_file_are_counted_anew() -> None:
    batches = list(whole_lines(iter([b"one\nhalf", None, b"one\n"])))
    assert batches == [[("one", 1, 4, 2)], [("half", 2, 0, 1)], None, [("one", 1, 4, 2)]]
    assert list(whole_lines(iter([b"one\n", None, b"", b"two\n"])))[1:3] == [None, []]


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
            lines += [line.text for line in some or ()]
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


@pytest.mark.parametrize("name", ["a.log.gz", "a.log.zst"])
def test_compressed_files_are_read(name: str, tmp_path: Path) -> None:
    packed = gzip.compress(b"one\ntwo\n", mtime=0) if name.endswith("gz") else zstandard.compress(b"one\ntwo\n")
    (tmp_path / name).write_bytes(packed)
    check_lines(tmp_path / name)
    assert [line.text for line in _all(whole_lines(file_pieces(tmp_path / name, follow=False)))] == ["one", "two"]
    with pytest.raises(LangJepaError, match="does not grow"):
        check_lines(tmp_path / name, follow=True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.log", gzip.compress(b"one", mtime=0), r"is compressed: `zcat .*a\.log \| lang-jepa monitor RUN -`"),
        ("a.log.bz2", b"BZh91AY", r"bzcat .*a\.log\.bz2 \| lang-jepa"),
        (
            "a.txt",
            "one\n".encode("utf-16"),
            r"a\.txt is not UTF-8 text: not UTF-8 \(UTF-16 with a byte order mark\), at byte 0\. Save",
        ),
        ("a.txt.gz", gzip.compress("one\n".encode("utf-16"), mtime=0), "UTF-16 with a byte order mark"),
        ("folder", None, r"it is a folder\. Name one file"),
        ("none", None, "no such file"),
    ],
)
def test_what_holds_no_lines_is_refused_first(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    with pytest.raises(LangJepaError, match=said):
        check_lines(tmp_path / name)


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
    whole = "".join(f"{line}\n" for line in ("", *TRACE)).encode()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    found = _all(whole_records(whole_lines(iter(pieces)), TRACE))
    assert [(line.text, line.number) for line in found] == [(RECORD, 2), (TRACE[-1], 6)]
    assert [line.following for line in found] == [6, 7]
    assert whole[found[0].end :].decode() == TRACE[-1] + "\n"
    assert found[1].end == len(whole)


def test_a_record_is_complete_where_a_log_pauses_or_another_begins() -> None:
    begun = "".join(f"{line}\n" for line in TRACE[:4]).encode()
    for pause in (b"", None):
        pieces: list[bytes | None] = [begun, pause, b"10:00:03 more\n"]
        batches = list(whole_records(whole_lines(iter(pieces)), TRACE))
        assert [line.text for line in _all(batches)] == [RECORD, "10:00:03 more"]
        assert batches[0] == []
        assert batches[1] == [(RECORD, 1, 0 if pause is None else len(begun), 1 if pause is None else 5)]


def test_records_of_two_small_files_are_not_joined() -> None:
    """The new file's first line ends further on than the old one's last, and looks as if it went on with it."""
    pieces = [
        b"10:00:01 a\n",
        None,
        b'  File "app.py", line 3, in a long line of the other file\n',
        None,
        b"10:00:02 b\n",
    ]
    batches = list(whole_records(whole_lines(iter(pieces)), TRACE))
    assert [(line.text[:10], line.number) for line in _all(batches)] == [
        ("10:00:01 a", 1), ('File "app.', 1), ("10:00:02 b", 1),
    ]  # fmt: skip
    assert batches.count(None) == 2


def test_a_record_that_is_not_complete_waits_for_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("10:00:00 start\n" + "\n".join(TRACE[:2]) + "\n")

    def read(start: int, number: int) -> list[Line]:
        lines = whole_lines(file_pieces(path, follow=False, start=start), start, number, unfinished=False)
        return _all(whole_records(lines, first_lines(path), start, number, unfinished=False))

    (first,) = read(0, 1)
    assert (first.text, first.following) == ("10:00:00 start", 2)
    assert read(first.end, first.following) == []  # nothing came
    with path.open("a") as file:
        file.write("\n".join(TRACE[2:]))
    assert read(first.end, first.following) == []  # the last line has no end, so that it might continue the record
    with path.open("a") as file:
        file.write(" and shut it\n10:00:03 end\n")
    found = read(first.end, first.following)
    assert [(line.text, line.number) for line in found] == [(RECORD, 2), ("10:00:02 open door and shut it", 6)]


def test_how_the_records_of_a_pipe_begin_is_learnt_as_they_come() -> None:
    """Its first read is a banner, which says nothing of the lines after it."""
    stamped = [f"10:00:{n:02} step {n}\n".encode() for n in range(20)]
    pieces = [b"welcome\n", *stamped, b"10:00:21 failed\n", b"for no reason\n", b"10:00:22 end\n"]
    found = [line.text for line in _all(whole_records(whole_lines(iter(pieces))))]
    assert found[-2:] == ["10:00:21 failed for no reason", "10:00:22 end"]
    assert found[:2] == ["welcome", "10:00:00 step 0"]
    known = [piece.decode().strip() for piece in chain(stamped, pieces[-3:])]  # a file: nothing is counted twice
    again = _all(whole_records(whole_lines(iter([b"".join([*stamped, *pieces[-3:]])])), known))
    assert [line.text for line in again][-2:] == found[-2:]


def test_a_blank_line_moves_no_place() -> None:
    """Going on from a record's place reads again all that waited for further lines, whatever blank lines stood there."""
    whole = b"INFO a\ncom.x.FooException: bad\n\n   indented text\nINFO b\n"
    first = _all(whole_records(whole_lines(iter([whole])), ("INFO a", "  b")))[0]
    assert (first.text, whole[first.end :].split(b"\n")[0], first.following) == (
        "INFO a",
        b"com.x.FooException: bad",
        2,
    )


@pytest.mark.parametrize("size", [1, 9, 1000])
def test_turns_of_a_text_with_names_are_whole_however_they_arrive(size: int) -> None:
    whole = b"\nAnna: Good\n  morning.\n\nBob: Note: it rains.\nAnna: Well\n"
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    found = _all(whole_turns(whole_lines(iter(pieces))))
    assert [(type(one), one.text, one.number) for one in found] == [
        (Spoken, "Anna: Good morning.", 2), (Spoken, "Bob: Note: it rains.", 5), (Spoken, "Anna: Well", 6),
    ]  # fmt: skip
    assert whole[found[1].end :] == b"Anna: Well\n"
    waits = whole_turns(whole_lines(iter([whole])), unfinished=False)
    assert [one.text for one in _all(waits)] == ["Anna: Good morning.", "Bob: Note: it rains."]


def test_the_first_line_says_whether_a_text_names_its_speakers() -> None:
    """Of a file that is gone on with it is known; JSON and other lines are handed out as they come."""
    later = b"Note: bring it\nAnna: well\n"
    for first in ("open door", '{"role": "user", "content": "Hm: well"}'):
        batches = whole_turns(whole_lines(iter([f"{first}\n".encode(), later])))
        assert [line.text for line in next(batches) or ()] == [first]
        assert [(type(line), line.text) for line in _all(batches)] == [(Line, "Note: bring it"), (Line, "Anna: well")]
        assert [type(line) for line in _all(whole_turns(whole_lines(iter([later])), [first]))] == [Line, Line]
    goes_on = _all(whole_turns(whole_lines(iter([b"and so on\n", later])), ["", "Anna: so"]))
    assert [type(line) for line in goes_on] == [Line, Spoken, Spoken], "the first goes on with a turn of before"


def test_speakers_without_a_letter_are_those_of_the_whole_text() -> None:
    """In a file as in training; in a pipe such a speaker is known by the second line."""
    text = "+49 170 555 12: Good\n morning.\nAnna: Hm.\n09:00: tea\n@ben: Well\n+49 170 555 12: Yes\n@ben: No\n"
    batches = [f"{line}\n".encode() for line in text.rstrip("\n").split("\n")]
    in_training = conversation_text(text)[0].split("\n")
    assert len(in_training) == 5
    found = _all(whole_turns(whole_lines(iter(batches)), text.split("\n")))
    assert [(type(line), line.text) for line in found] == [(Spoken, turn) for turn in in_training]
    piped = [line.text for line in _all(whole_turns(whole_lines(iter([b"Anna: Hm.\n", *batches]))))]
    assert piped == ["Anna: Hm. +49 170 555 12: Good morning.", "Anna: Hm. 09:00: tea @ben: Well",
                     "+49 170 555 12: Yes", "@ben: No"]  # fmt: skip
