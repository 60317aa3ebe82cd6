"""Turn lines into units for the verb `monitor`: a line of a log as it is, or a message or conversation in JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lang_jepa.cli.conversation import no_text
from lang_jepa.cli.lines import Line, Spoken, file_pieces, whole_lines
from lang_jepa.data.sources.base import VISIBLE, Row
from lang_jepa.data.sources.conversations import (
    CONVERSATIONS,
    NoConversation,
    NoText,
    as_read,
    conversation_text,
    spoken_line,
    without_text,
)
from lang_jepa.data.sources.groups import group_of, message_in
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.inference.courses import Name
from lang_jepa.settings.data import DataSettings

_OPEN = ("{", "[", "[{")


class Unit(NamedTuple):
    """A unit, the course that it names (None: none), and the line that it is from."""

    text: str
    course: Name
    line: Line


class UnitReader:
    """Turns lines into units like those a model was trained on.

    For a model of turns, a line may be a message in JSON, whose course is its group (`data.group_column`), or a whole
    conversation, which is a course of its own. Any other line is a message as it is; a name in front of it (`Spoken`)
    is kept only if the model knows speakers.

    Args:
        settings: of the model's data.

    Attributes:
        unread: how many lines of JSON hold neither; they are left out.
        first: line number of the first of them.
        silent: how many messages have no text; they are left out too.
    """

    def __init__(self, settings: DataSettings) -> None:
        self.settings = settings
        self.unread = self.first = self.silent = 0

    def read(self, lines: Iterable[Line]) -> list[Unit]:
        """Return the units of lines; a line with nothing visible, or a message without text, has none."""
        return [Unit(text, course, line) for line in lines for text, course in self._units(line)]

    def left_out(self) -> str:
        """Say what was left out, for people; empty if nothing was."""
        unread = f"{counted(self.unread, 'line')} left out, JSON without a message (first: line {self.first})"
        said = (unread if self.unread else "", no_text(self.silent) if self.silent else "")
        return "; ".join(filter(None, said))

    def courses(self, units: Sequence[Unit]) -> list[Name] | None:
        """The course of each unit, if units name it themselves; None for logs, whose lines tell it."""
        return [unit.course for unit in units] if self.settings.units == "turns" else None

    def _units(self, line: Line) -> Iterator[tuple[str, Name]]:
        text = line.text.strip() if VISIBLE.search(line.text) else ""
        if isinstance(line, Spoken):
            spoken = spoken_line(text)
            if spoken.endswith(": "):  # a name alone
                self.silent += 1
                return
            yield from ((one, None) for one in as_read([spoken], self.settings))
            return
        value = _json(text) if self.settings.units == "turns" else None
        if value is None:
            if text in _OPEN and line.number == 1 and self.settings.units == "turns":
                raise LangJepaError(
                    "line 1 begins a JSON value of several lines, but each line must be a message or a conversation: "
                    "pipe it through `jq -c .`"
                )
            yield from [(text, None)] if text else []
            return
        try:
            messages, course = self._messages(value, line.number)
            self.silent += without_text(messages)
            said = conversation_text(messages)[0].split("\n")
            yield from ((one, course) for one in as_read(said, self.settings))
        except NoText:
            return
        except NoConversation:
            self.unread += 1
            self.first = self.first or line.number

    def _messages(self, value: Any, number: int) -> tuple[list[Any], Name]:
        """Return the messages of a line, and their course."""
        data = self.settings
        if isinstance(value, list):
            return value, number
        column = data.text_column if data.group_column is None else ""  # with groups it holds one message
        for key in filter(None, (column, *CONVERSATIONS)):
            if isinstance(value.get(key), list):
                return value[key], number
        if data.group_column is None:
            return [value], None
        row = Row(0, "", text=value.get(data.text_column), beside=value)
        message = message_in(row, data) if data.text_column in value else value
        return [message], group_of(value.get(data.group_column))


def _json(text: str) -> Any:
    """Return the object or list that a line holds in JSON; None if it holds neither."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def check_kind(path: Path, settings: DataSettings) -> None:
    """Refuse a file whose lines are not units of a model.

    Raises:
        LangJepaError: by its name it is a table or a document of another kind, or it is JSON whose first line holds no
            message; says what to do.
    """
    from lang_jepa.data.sources.formats import kind_of  # which imports numpy

    kind, turns = kind_of(path), settings.units == "turns"
    name = kind.name if kind is not None else ""
    if name in _A or (name == "JSON" and not turns):
        cure = "write a message or a conversation in JSON a line" if turns else "write its text as a file of lines"
        if name == "JSON":
            cure = f"pipe the text in, `jq -r .{settings.text_column} {path} | lang-jepa monitor RUN -` (or its key)"
        raise LangJepaError(f"{path} is {_A.get(name, name)}, and lines are read here: {cure}")
    if not turns or not path.is_file():  # what is read from a named pipe is gone
        return
    lines = (line for some in whole_lines(file_pieces(path, follow=False)) for line in some or () if line.text.strip())
    reader = UnitReader(settings)
    for line in islice(lines, 1):
        whole = name != "JSON" or _json(line.text.strip()) is not None
        if whole:
            reader.read([line])
        if reader.unread or not whole:
            raise LangJepaError(
                f"{path}, line {line.number}, is neither a message (role and content) nor a conversation (`messages`) "
                f"in JSON, {line.text.strip()[:60]!r}: write one a line, for example by `jq -c '.[]'`"
            )


_A = {
    "table": "a table",
    "parquet": "a table (parquet)",
    "PDF": "a PDF",
    "Word": "a Word document",
    "subtitles": "a file of subtitles",
}
