"""Atomic files and folders: a failure anywhere leaves the old contents and nothing beside them."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lang_jepa.errors import LangJepaError, one_line, visible
from lang_jepa.files import atomic as files
from lang_jepa.files.atomic import (
    atomic_file,
    atomic_folder,
    check_only,
    check_writable,
    fingerprint,
    locked,
    make_folder,
    read_json,
    remove_temporaries,
    write_json,
    write_text,
)


class Crash(Exception):
    """Something went wrong while writing."""


def contents(folder: Path) -> dict[str, str]:
    """All files below a folder, hidden ones included."""
    found = {}
    for path in folder.rglob("*"):
        found[path.relative_to(folder).as_posix()] = path.read_text() if path.is_file() else "<folder>"
    return found


def crash_on_replace(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the n-th rename from now on fail, and no other."""
    calls, real = [0], os.replace

    def replace(source: object, target: object) -> None:
        calls[0] += 1
        if calls[0] == number:
            raise OSError(errno.EIO, "the disk is gone")
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(files.os, "replace", replace)


def test_file_appears_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent  # a rename is atomic only inside one file system
        assert not path.exists()
    assert contents(tmp_path) == {"a": "<folder>", "a/b.txt": "new"}


def test_file_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert contents(tmp_path) == {"a.txt": "new"}


@pytest.mark.parametrize("error", [Crash, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, "old"])
def test_crash_while_writing_a_file(tmp_path: Path, old: str | None, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_text("half of")
        raise error
    assert contents(tmp_path) == ({"a.txt": old} if old else {})


def test_crash_while_renaming_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    crash_on_replace(monkeypatch, 1)
    with pytest.raises(OSError, match="disk is gone"):
        write_text(path, "new")
    assert contents(tmp_path) == {"a.txt": "old"}


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_file(path) as first, atomic_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert contents(tmp_path) == {"a.txt": "first"}  # the outer block ends last


def test_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "made" / "folder"
    for names in (["a", "b"], ["b", "c"]):
        with atomic_folder(path) as temporary:
            before = contents(path) if path.exists() else None
            for name in names:
                (temporary / name).write_text(f"{name} of {names}")
            (temporary / "deep").mkdir()
            (temporary / "deep" / "x").write_text("x")
            assert (contents(path) if path.exists() else None) == before
    assert contents(tmp_path / "made") == {
        "folder": "<folder>",
        "folder/b": "b of ['b', 'c']",
        "folder/c": "c of ['b', 'c']",
        "folder/deep": "<folder>",
        "folder/deep/x": "x",
    }


@pytest.mark.parametrize("error", [Crash, KeyboardInterrupt])
@pytest.mark.parametrize("old", [False, True])
def test_crash_while_filling_a_folder(tmp_path: Path, old: bool, error: type[BaseException]) -> None:
    path = tmp_path / "folder"
    if old:
        path.mkdir()
        (path / "a").write_text("old")
    before = contents(tmp_path)
    with pytest.raises(error), atomic_folder(path) as temporary:
        (temporary / "a").write_text("half of")
        raise error
    assert contents(tmp_path) == before


@pytest.mark.parametrize("rename", [1, 2])
def test_crash_between_the_renames_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rename: int) -> None:
    """Neither the move of the old folder nor that of the new one may lose the old contents."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "a").write_text("old")
    before = contents(tmp_path)
    crash_on_replace(monkeypatch, rename)
    with pytest.raises(OSError, match="disk is gone"), atomic_folder(path) as temporary:
        (temporary / "a").write_text("new")
    assert contents(tmp_path) == before


def test_everything_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real_flush, real_replace = files.flush, os.replace
    monkeypatch.setattr(files, "flush", lambda path: (flushed.append(path.name), real_flush(path))[1])
    monkeypatch.setattr(
        files.os, "replace", lambda a, b: (flushed.append(f"rename to {Path(b).name}"), real_replace(a, b))[1]
    )
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "a").write_text("a")
    assert set(flushed[:2]) == {"a", temporary.name}
    assert flushed[2:] == ["rename to folder", tmp_path.name]
    flushed.clear()
    with atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("a")
    assert flushed == [temporary.name, "rename to file", tmp_path.name]


def test_json_survives_and_numbers_that_json_lacks_do_not_harm_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"b": [1, 2.5, None], "a": "ü海"}
    write_json(path, value)
    assert read_json(path, what="it") == value
    assert list(json.loads(path.read_text("utf-8"))) == ["b", "a"]
    assert "ü海" in path.read_text("utf-8")
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path, what="it") == value


@pytest.mark.parametrize(
    ("content", "said"), [(None, "not found"), (b"{", "damaged"), (b"\xff", "damaged"), (b"", "damaged")]
)
def test_unreadable_json_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LangJepaError, match=f"manifest.*{said}"):
        read_json(path, what="manifest")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(max_examples=50, deadline=None)
@given(JSON, JSON)
def test_fingerprint_tells_values_apart_and_ignores_key_order(first: object, second: object) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (fingerprint(first) == fingerprint(second)) == same
    if isinstance(first, dict):
        assert fingerprint(dict(reversed(first.items()))) == fingerprint(first)


def test_fingerprint_never_changes() -> None:
    assert fingerprint({"b": 1, "a": "ü"}) == fingerprint({"a": "ü", "b": 1}) == "ad8fbfe93e9dabd6"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="the system has no device that is always full")
@pytest.mark.parametrize("size", [10, 10_000_000])
def test_a_full_disk_is_an_error_in_words_though_torch_wraps_it(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fill() -> None:
        with atomic_file(path), Path("/dev/full").open("wb") as file:
            torch.save({"a": torch.zeros(size)}, file)

    with pytest.raises(LangJepaError, match=r"the disk is full: .*file was not written.*--resume"):
        fill()
    assert contents(tmp_path) == {"file": "old"}


def test_an_error_that_is_none_of_a_full_disk_stays_as_it_is(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_folder(tmp_path / "folder"):
            raise OSError(errno.EIO, "the disk is gone") from Crash("before")

    with pytest.raises(OSError, match="the disk is gone"):
        fail()


def test_a_lock_follows_no_link_and_empties_no_file(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(LangJepaError, match=r"\.lock is a link, or not a file"), locked(tmp_path / ".lock"):
        pass
    with locked(tmp_path / "mine.txt"):  # by mistake
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(LangJepaError, match=r"not a file|cannot write"), locked(tmp_path / name):
            pass


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_followed(dangling: bool, tmp_path: Path) -> None:
    """The link stays, and what it names is replaced, atomically and in its own folder."""
    place, link = tmp_path / "disk" / "real", tmp_path / "link"
    place.parent.mkdir()
    if not dangling:
        place.write_text("old")
    link.symlink_to(place)
    write_text(link, "new")
    assert link.is_symlink()
    assert contents(place.parent) == {"real": "new"}
    place.unlink()
    with atomic_folder(link) as temporary:
        (temporary / "a").write_text("a")
    assert link.is_symlink()
    assert contents(place.parent) == {"real": "<folder>", "real/a": "a"}


def test_only_a_known_folder_is_replaced_and_what_others_put_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    for name in ("card", "ours"):
        with atomic_folder(path, known_by="card", ours=["ours"]) as temporary:
            (temporary / "card").touch()
            (temporary / name).write_text("1")
        (path / "notes").write_text("mine")
    with atomic_folder(path, known_by="card", ours=["ours"]) as temporary:
        (temporary / "card").write_text("2")
    assert contents(tmp_path) == {"folder": "<folder>", "folder/card": "2", "folder/notes": "mine"}
    with (
        pytest.raises(LangJepaError, match="holds something else"),
        atomic_folder(path, known_by="other card"),
    ):
        pass
    with pytest.raises(LangJepaError, match="is a file"), atomic_folder(path / "notes", known_by="card"):
        pass
    with pytest.raises(LangJepaError, match="notes in it is not part of a test: move it away"):
        check_only(path, ("car?",), what="a test")
    check_only(path, ("car?", "notes"), what="a test")


def test_temporaries_of_the_dead_go_and_those_in_use_stay(tmp_path: Path) -> None:
    (tmp_path / ".a.0123abcd.tmp").touch()
    (tmp_path / ".folder.0123abcd.tmp").mkdir()
    (tmp_path / ".kept.0123abcd.old").mkdir()  # moved aside when the power went
    (tmp_path / ".mine.tmp").touch()
    with atomic_file(tmp_path / "b") as file, atomic_folder(tmp_path / "c") as folder:
        file.write_text("b")
        remove_temporaries(tmp_path)
        assert sorted(contents(tmp_path)) == sorted([".mine.tmp", "kept", file.name, folder.name])
    assert sorted(contents(tmp_path)) == [".mine.tmp", "b", "c", "kept"]


@pytest.mark.parametrize(
    ("place", "folder", "said"),
    [
        ("a-file", True, "is a file, and a folder is to be written there"),
        ("a-folder", False, "is a folder, and a file is to be written there"),
        ("a-file/below/it", False, "Not a directory"),
        ("a-file/below/it", True, "Not a directory"),
        ("/proc/run", True, "cannot write /proc/run: No such file"),
        ("/proc/run/x.png", False, "cannot write /proc/run/x.png: No such file"),
        ("/dev/null", False, "is a device or a pipe, not a file"),
        ("x" * 300, False, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_before_and_while_it_is(
    place: str, folder: bool, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "a-folder").mkdir()
    before = contents(tmp_path)
    with pytest.raises(LangJepaError, match=said):
        check_writable(tmp_path / place, folder=folder)
    with pytest.raises(LangJepaError):
        if folder:
            make_folder(tmp_path / place)
        else:
            write_text(tmp_path / place, "text")
    assert contents(tmp_path) == before
    check_writable(tmp_path / "new" / "folder", folder=True)
    check_writable(tmp_path / "a-file")
    assert contents(tmp_path) == before


def test_a_limit_on_files_is_an_error_and_nothing_is_half_appended(tmp_path: Path) -> None:
    """As a full disk is: the same code, and no rights are needed to try it."""
    code = """
import resource, sys
from pathlib import Path
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import append_text, write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
path = Path(sys.argv[1])
for write in (lambda: append_text(path, "y" * 9000), lambda: write_text(path, "y" * 9000)):
    try:
        write()
    except LangJepaError as error:
        print(error)
"""
    path = tmp_path / "file"
    path.write_text("x" * 1000)
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.count(f"the disk is full: {path} was not written") == 2, done.stderr
    assert contents(tmp_path) == {"file": "x" * 1000}


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert visible("a\x1b[31mb\x00\x9b\u202e\ud800\n\tc\r") == "a\\x1b[31mb\\x00\\x9b\\u202e\\ud800\n\tc\\r"
    assert one_line(" a\n\tb\u2028 \x1b]0;title\x07") == "a b\\u2028 \\x1b]0;title\\x07"
    assert visible("Zoë – 日本語 🙂 שלום") == "Zoë – 日本語 🙂 שלום"
