"""Rows of a table that belong together, a message or a line each, as rows of one document (`data.group_column`)."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lang_jepa.data.sources.base import BLANK, Row, fault
from lang_jepa.data.sources.conversations import NoConversation, NoText, joined_lines, turns
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.settings.data import DataSettings

FORMAT = 3
"""Number of the rules by which rows are grouped; it enters the fingerprint of a source."""


def spelled(*names: str) -> tuple[str, ...]:
    """Names of columns as files write them, in the order of preference: `role`, `Role`, `ROLE`, `from`, ..."""
    return tuple(form for name in names for form in (name, name.capitalize(), name.upper()))


SPEAKERS = spelled("role", "from", "speaker", "author", "sender")
"""Columns that say who speaks, where `data.speaker_column` names none: the first that a row has."""
MOST = 1 << 28
"""Characters of groups that wait for further rows, at most."""
_NO_TEXT = "rows without text"


def rules(settings: DataSettings) -> list[object]:
    """What a source's fingerprint holds of the groups: nothing where there are none."""
    return [] if settings.group_column is None else [settings.group_column, settings.speaker_column, FORMAT]


def beside(settings: DataSettings) -> list[str]:
    """The columns that have to be read beside that of the text."""
    if settings.group_column is None:
        return []
    speakers = SPEAKERS if settings.speaker_column is None else (settings.speaker_column,)
    return [settings.group_column, *(speakers if settings.units == "turns" else ())]


def group_of(value: object) -> str | None:
    """The name of a group (or of a speaker), or None where the value is none: nothing, white space, the float NaN of a
    missing value, a list, bytes.
    """
    if isinstance(value, float) and value.is_integer():  # whole numbers beside nulls are read as floats
        value = int(value)
    if value is None or isinstance(value, list | dict | bytes) or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).encode("utf-8", "backslashreplace").decode() if str(value).strip() else None


@dataclass(slots=True)
class _Group:
    first: Row
    messages: list[object] = field(default_factory=list)
    characters: int = 0
    empty: int = 0
    damage: tuple[str, str] | None = None

    def rows(self, name: str, settings: DataSettings) -> Iterator[Row]:
        """All of it as one row, with a fault where a message is damaged; none where its rows were all rejected."""
        if self.damage is not None:
            reason, place = self.damage
            yield Row(self.first.number, place, name, fault=f"{reason}: its group is left out whole")
        elif self.messages or self.empty:
            yield self._row(name, settings)

    def _row(self, name: str, settings: DataSettings) -> Row:
        left_out = ((_NO_TEXT, self.empty),) if self.empty else ()
        text: object = self.messages
        if settings.units != "turns":
            text = ("\n" if settings.units == "lines" else "\n\n").join(map(str, self.messages))
        return Row(self.first.number, self.first.place, name, text, left_out=left_out)


def grouped(rows: Iterable[tuple[Row, bool]], settings: DataSettings) -> Iterator[Row]:
    """A row for each group, where its last row stands; its id is the group's value.

    The text is that of the rows in their order: a list of messages for turns, a line each for lines, a paragraph each
    for sentences. A row without text is counted; one without a group, or a damaged one, is a row of its own with its
    fault. A message of turns whose text is damaged takes its whole group with it, which is then one row with a fault
    that says so. Memory holds the groups that have begun and not ended.

    Args:
        rows: each with whether it is the last one of its group; without such a row a group ends with the file.
        settings: of the data; `group_column` is set.

    Raises:
        LangJepaError: the groups that wait for their last row have more than `MOST` characters.
    """
    column, waiting, characters = str(settings.group_column), dict[str, _Group](), 0
    for row, is_last in rows:
        name = group_of(row.beside.get(column))
        reason = row.fault or (f"no group in '{column}'" if name is None else _fault(row.text, settings))
        if reason not in BLANK and reason is not None:
            yield Row(row.number, row.place, fault=reason)
        if name is None:
            continue
        group = waiting.setdefault(name, _Group(row))
        if reason is None:
            message = message_in(row, settings)
            group.damage = group.damage or _damage(message, row, settings)
            group.messages.append(message)
            size = len(row.text) if isinstance(row.text, str) else 0
            group.characters, characters = group.characters + size, characters + size
        group.empty += reason in BLANK
        if is_last:
            characters -= group.characters
            yield from waiting.pop(name).rows(name, settings)
        elif characters > MOST:
            raise LangJepaError(
                f"data.group_column={column}: more than {MOST:,} characters, of {counted(len(waiting), 'group')}, wait "
                f"for rows that stand further on. Sort the rows by '{column}', or cut the file."
            )
    for name, group in waiting.items():  # whose last row was not known
        yield from group.rows(name, settings)


def _fault(text: object, settings: DataSettings) -> str | None:
    """Why a row adds nothing to its group; of turns the reader of conversations judges."""
    return None if settings.units == "turns" else fault(text, 0)


def _damage(message: object, row: Row, settings: DataSettings) -> tuple[str, str] | None:
    """What makes a message none, of which the others then are no conversation either, and its place."""
    if settings.units != "turns" or isinstance(row.text, str | None):
        return None
    try:
        turns([message])
    except NoText:
        return None
    except NoConversation as error:
        return str(error), row.place
    return None


def message_in(row: Row, settings: DataSettings) -> object:
    """What a row adds to its group: of turns a message, else a text."""
    if settings.units == "turns":
        names = map(group_of, (row.beside.get(column) for column in beside(settings)[1:]))
        return {"role": next(filter(None, names), ""), "content": row.text}
    return joined_lines(str(row.text).strip("\r\n")) if settings.units == "lines" else row.text


def adjacent(rows: Iterable[Row], column: str) -> Iterator[tuple[Row, bool]]:
    """Rows with whether they are the last of their group, where those of a group have to follow each other.

    Raises:
        LangJepaError: a group goes on after another one began.
    """
    closed = set[int]()
    before, ours = None, None
    for row in rows:
        theirs = group_of(row.beside.get(column))
        if theirs is None:
            yield row, False
            continue
        if before is not None:
            yield before, ours != theirs
            if ours != theirs:
                closed.add(hash(ours))
            if hash(theirs) in closed:
                raise LangJepaError(
                    f"data.group_column={column}: the rows of {theirs!r} do not follow each other ({row.place}), and "
                    "a hub data set is read only once. Save it as a file (parquet or jsonl) and name that."
                )
        before, ours = row, theirs
    if before is not None:
        yield before, True
