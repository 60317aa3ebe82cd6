"""Lines, marks and damage of text files, alike for every reader."""

import gzip
from pathlib import Path

import pytest

from lang_jepa.data.sources.text_files import chunks, filled_lines, text_lines, text_of
from lang_jepa.errors import LangJepaError


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff One\u2028still one.\r\n\r\nTwo\x0c\x85 still two.\r\n Three\x1e".encode())
    expected = ["One\u2028still one.", "", "Two\x0c\x85 still two.", "Three"]
    assert list(text_lines(chunks(path), "a")) == expected
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert filled_lines(chunks(packed), "a") == [line for line in expected if line]


def test_a_mark_cut_by_a_piece_is_still_a_mark() -> None:
    pieces = [b"\xef", b"\xbb\xbfOne.\nTw", b"o.\n"]
    assert filled_lines(pieces, "a") == ["One.", "Two."]
    assert text_of(pieces, "a") == "One.\nTwo.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Fine.\ncaf\xe9\n", "x is not UTF-8 text: line 2: not UTF-8.*at byte 3"),
        ("Fine.\n".encode("utf-16"), "line 1: not UTF-8 .UTF-16"),
        (b"Fine.\n\0\0\0", "line 2: binary data"),
        (b" \n\r\n\xe3\x80\x80", "x holds no text"),
        (b"", "x holds no text"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(LangJepaError, match=message):
        filled_lines([content], "x")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match="cannot be read"):
        filled_lines(chunks(tmp_path), "x")
