"""Combine rows of a table that belong together, each a message or a line, into one document (`data.group_column`)."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lang_jepa.data.sources.base import BLANK, Row, fault
from lang_jepa.data.sources.conversations import NoConversation, NoText, joined_lines, turns
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.settings.data import DataSettings

FORMAT = 3
"""Version of the grouping rules; it enters the fingerprint of a source."""


def spelled(*names: str) -> tuple[str, ...]:
    """Column names in their usual spellings, in order of preference: `role`, `Role`, `ROLE`, `from`, ..."""
    return tuple(form for name in names for form in (name, name.capitalize(), name.upper()))


SPEAKERS = spelled("role", "from", "speaker", "author", "sender")
"""Columns that name the speaker if `data.speaker_column` is not set; the first that has a name in a row is used."""
MOST = 1 << 28
"""Maximum total number of characters in groups that wait for further rows."""
_NO_TEXT = "rows without text"


def rules(settings: DataSettings) -> list[object]:
    """The part of a source's fingerprint that depends on grouping; empty without groups."""
    return [] if settings.group_column is None else [settings.group_column, settings.speaker_column, FORMAT]


def beside(settings: DataSettings) -> list[str]:
    """The columns to read in addition to the text column."""
    if settings.group_column is None:
        return []
    speakers = SPEAKERS if settings.speaker_column is None else (settings.speaker_column,)
    return [settings.group_column, *(speakers if settings.units == "turns" else ())]


def group_of(value: object) -> str | None:
    """The name of a group (or of a speaker), or None if the value is not a name: null, white space, the float NaN of a
    missing value, a list, an object, or bytes.
    """
    if isinstance(value, float) and value.is_integer():  # in a column with nulls, integers are read as floats
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
        """The group as one row, with a fault if a message is damaged; no row if all of its rows were rejected."""
        if self.damage is not None:
            reason, place = self.damage
            yield Row(self.first.number, place, name, fault=f"{reason}: its group is left out whole")
        elif self.messages or self.empty:
            left_out = ((_NO_TEXT, self.empty),) if self.empty else ()
            text: object = self.messages
            if settings.units != "turns":
                text = ("\n" if settings.units == "lines" else "\n\n").join(map(str, self.messages))
            yield Row(self.first.number, self.first.place, name, text, left_out=left_out)


def grouped(rows: Iterable[tuple[Row, bool]], settings: DataSettings) -> Iterator[Row]:
    """Yield one row per group, at the position of the group's last row; its id is the group's value.

    The text combines the rows in their order: a list of messages for turns, one line each for lines, one paragraph each
    for sentences. Rows without text are counted; a row without a group, or a damaged one, becomes a separate row with
    its fault. For turns, a message with damaged text invalidates its whole group, which becomes one row with a fault
    saying so. Groups that have begun and not ended are held in memory.

    Args:
        rows: each with whether it is the last of its group; a group without a last row ends with the file.
        settings: of the data, with `group_column` set.

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
    for name, group in waiting.items():  # groups whose last row was not known
        yield from group.rows(name, settings)


def _fault(text: object, settings: DataSettings) -> str | None:
    """Why a row adds nothing to its group; turns are judged by the conversation reader instead."""
    return None if settings.units == "turns" else fault(text, 0)


def _damage(message: object, row: Row, settings: DataSettings) -> tuple[str, str] | None:
    """The reason why a message is invalid, which also invalidates its conversation, and its place."""
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
    """What a row adds to its group: a message for turns, otherwise a text."""
    if settings.units == "turns":
        names = map(group_of, (row.beside.get(column) for column in beside(settings)[1:]))
        return {"role": next(filter(None, names), ""), "content": row.text}
    return joined_lines(str(row.text).strip("\r\n")) if settings.units == "lines" else row.text


def adjacent(rows: Iterable[Row], column: str) -> Iterator[tuple[Row, bool]]:
    """Yield rows with whether they are the last of their group; the rows of a group must be adjacent.

    Raises:
        LangJepaError: a group continues after another one began.
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
