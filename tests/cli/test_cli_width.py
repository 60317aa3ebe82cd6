"""What is shown fits the terminal, and is whole in a log."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import typer.main

from lang_jepa.cli import app as cli
from lang_jepa.errors import one_line, visible
from tiny import environment
from typed import ROOT, Type, run_command
from warm import Popen

VERBS = sorted(typer.main.get_command(cli.app).commands)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_as_wide_as_the_terminal_and_cuts_no_name(
    verb: str, type_in: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = type_in(*filter(None, [verb]), "--help").out
    assert [line for line in shown.splitlines() if len(line) > 40] == []
    group = typer.main.get_command(cli.app)
    parameters = (group.commands[verb] if verb else group).params
    for name in [*VERBS] if not verb else [max(one.opts, key=len) for one in parameters]:
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown), name
    assert "..." not in shown.replace("[ARGS]...", "") or verb


def on_terminal(columns: int, *words: object) -> list[str]:
    """The lines that a command shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "lang_jepa.cli", *map(str, words)]
    env = environment({"TERM": "xterm"})
    env.pop("COLUMNS", None)
    child = Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env, cwd=ROOT)
    os.close(theirs)
    read = b""
    try:
        while part := os.read(ours, 1 << 16):
            read += part
    except OSError:  # Linux says so that the other end is closed
        pass
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", read.decode())
    assert child.wait(60) == 0, text
    return re.split(r"[\r\n]+", text)


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_and_notes_end_where_a_terminal_ends(columns: int, place: Path, trained: Path) -> None:
    text = place / "texts" / "0.txt"
    for words in (
        ("document", trained, text),
        ("infer", trained, "--file", text, "--corpus", place / "sentences.txt"),
    ):
        lines = on_terminal(columns, *words)
        assert max(map(len, lines)) <= columns, max(lines, key=len)
        assert len(lines) > 8


def test_lines_of_a_log_are_whole(place: Path, trained: Path) -> None:
    logged = run_command("lang-jepa", "document", trained, place / "texts" / "0.txt").out.splitlines()
    assert any(len(line) > 120 for line in logged)


def test_separators_are_shown_in_one_way() -> None:
    text = "a\u2028b\x1b[31m\x85c\td\r\ne\x00"
    assert one_line(f"  {text} ") == "a\\u2028b\\x1b[31m\\x85c d e\\x00"
    assert visible(text) == "a\\u2028b\\x1b[31m\\x85c\td\\r\ne\\x00"
