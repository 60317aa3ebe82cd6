"""How far a file was read: it is found again under whatever name, and no other file is taken for it."""

import os
from pathlib import Path

from lang_jepa.cli.places import found_place, left_over, moved_file, place_in


def test_a_place_is_found_again_in_the_same_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\n")
    place = place_in(path, 4, 2)
    assert found_place(path, place) == (4, 2)
    path.write_text("one\nmore\nthree\n")
    assert found_place(path, place) == (4, 2)
    changes: tuple[dict[str, object], ...] = (
        {"offset": -1},
        {"offset": 99},
        {"offset": "4"},
        {"line": 0},
        {"line": None},
        {"inode": place["inode"] + 1},
        {"device": None},
        {"marks": None},
    )
    for other in (None, {}, "a", *(place | change for change in changes)):
        assert found_place(path, other) is None
    path.write_text("new\nmore\nthree\n")
    assert found_place(path, place) is None
    (tmp_path / "b.log").write_text("one\ntwo\n")
    assert found_place(tmp_path / "b.log", place) is None
    assert place_in(tmp_path / "gone", 3, 1) == place_in(path, 99, 3) == {}


def test_a_new_file_that_begins_like_the_old_one_is_another(tmp_path: Path) -> None:
    """By its inode; where that is the same, by what stands before the place."""
    path, head = tmp_path / "a.log", "banner\n" * 300
    path.write_text(f"{head}one\ntwo\n")
    place = place_in(path, len(head) + 4, 302)
    path.rename(tmp_path / "a.log.1")
    path.write_text(f"{head}one\nthree\n")
    assert found_place(path, place) is None
    assert moved_file(path, place) == tmp_path / "a.log.1"
    path.unlink()
    (tmp_path / "a.log.1").rename(path)
    path.write_text(f"{head}six\nseven\n")  # emptied, and written anew
    assert os.stat(path).st_ino == place["inode"]
    assert found_place(path, place) is None
    assert moved_file(path, place) is None
    assert left_over(path, place) == (b"two\n", 302)


def test_what_stood_after_a_place_is_kept_for_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\n  more")
    place = place_in(path, 4, 2)
    path.write_text("new\n")
    assert left_over(path, place) == (b"two\n  more", 2)
    assert left_over(tmp_path / "b.log", place) is moved_file(tmp_path / "b.log", place) is None
    assert (
        left_over(path, place | {"rest": 3}) is left_over(path, place | {"rest": ""}) is left_over(path, None) is None
    )
    assert moved_file(path, None) is moved_file(path, place | {"file": 3}) is None


def test_a_link_that_leads_elsewhere_by_now(tmp_path: Path) -> None:
    """What it led to is known, whatever folder that is in, and what waited there where it was removed."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "1.log").write_text("one\ntwo\n")
    (tmp_path / "2.log").write_text("three\n")
    link = tmp_path / "now.log"
    link.symlink_to(tmp_path / "old" / "1.log")
    place = place_in(link, 4, 2)
    link.unlink()
    link.symlink_to(tmp_path / "2.log")
    assert found_place(link, place) is None
    assert moved_file(link, place) == tmp_path / "old" / "1.log"
    (tmp_path / "old" / "1.log").unlink()
    (tmp_path / "old").rmdir()
    assert moved_file(link, place) is None
    assert left_over(link, place) == (b"two\n", 2)
