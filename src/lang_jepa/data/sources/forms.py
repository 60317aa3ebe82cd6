"""Detect the form of conversations in files: one as JSON messages, one per table row, or one message per row."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from lang_jepa.data.sources import formats, groups
from lang_jepa.data.sources import read_json as json_files
from lang_jepa.data.sources.base import SHOWN_KEYS, Row, identity_of
from lang_jepa.data.sources.conversations import CONVERSATIONS, NoConversation, conversation_text, is_message, turns
from lang_jepa.data.sources.remote import AnyPath
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

PROBED = 64
"""Number of rows by which a table is judged."""
_TEXTS = groups.spelled("content", "text", "message", "value", "utterance")
"""Columns of what is said, in tables that do not have the text column of the settings."""
_GROUP = re.compile(r"conv|dialog|thread|chat|session|ticket|episode|group", re.IGNORECASE)
_SENDER = re.compile(r"sender|speaker|author|from|role|participant", re.IGNORECASE)
_PERSON = re.compile(r"user|customer|client|agent|member|employee|operator", re.IGNORECASE)
_IDENTITY = re.compile(r"(?:^|[_ -])id$|[a-z]I[dD]$|^id(?:$|[_ -])", re.IGNORECASE)


def _one_row(path: AnyPath, column: str, skip: int, beside: Sequence[str] = ()) -> Iterator[Row]:
    """The single row of a file that is one conversation."""
    if skip:
        return
    value, identity = json_files.one_value(path), None
    if isinstance(value, dict):
        identity = identity_of(value.get("id"))
        value = next((value[key] for key in CONVERSATIONS if key in value), None)
    yield Row(0, "start", fault="damaged JSON") if value is None else Row(0, "start", identity, value)


CONVERSATION = formats.Kind(
    "conversation",
    (".json",),
    1,
    _one_row,
    prose=lambda path: (conversation_text(next(_one_row(path, "", 0)).text)[0], Counter()),
)
"""A JSON file that is one conversation: a list of messages, or an object with such a list."""


def is_conversation(path: AnyPath, settings: DataSettings) -> bool:
    """Whether a JSON file is one conversation under these settings, rather than a list of conversations or rows."""
    if settings.units != "turns" or ".json" not in [suffix.lower() for suffix in path.suffixes[-2:]]:
        return False
    shape, found = json_files.first_values(path)
    first = found[0] if found else None
    if not isinstance(first, dict) or settings.group_column in first:
        return False
    if shape != "array":
        alone = len(found) == 1 and settings.text_column not in first
        return alone and any(isinstance(first.get(key), list) for key in CONVERSATIONS)
    return is_message(first) and not _turns(first.get(settings.text_column)) and not any(map(_GROUP.search, first))


@dataclass(frozen=True, slots=True)
class Head:
    """The first rows of a table.

    Attributes:
        path: of the file.
        names: of the columns.
        rows: values by column, for at most `PROBED` rows.
    """

    path: AnyPath
    names: list[str]
    rows: list[Mapping[str, object]]

    @classmethod
    def of(cls, path: AnyPath, kind: formats.Kind) -> "Head":
        """Read the first rows of a file.

        Raises:
            LangJepaError: the file is damaged.
        """
        names = kind.names(path)
        rows = islice(kind.rows(path, names[0], 0, names), PROBED) if names else ()
        return cls(path, names, [row.beside for row in rows])

    @property
    def listed(self) -> str:
        """The column names, for messages."""
        more = ", ..." if len(self.names) > SHOWN_KEYS else ""
        return f"{', '.join(name[:40] for name in self.names[:SHOWN_KEYS])}{more}"

    def values(self, name: str) -> list[object]:
        """The values of a column that are not empty."""
        return [row[name] for row in self.rows if row.get(name) not in (None, "", [])]

    def conversations(self) -> list[str]:
        """Columns that hold conversations; lists of strings, which may be anything, only if there are no others."""
        found = [name for name in self.names if self.holds_turns(name)]
        certain = [name for name in found if any(not _strings(value) and _turns(value) for value in self.values(name))]
        return certain or found

    def holds_turns(self, name: str) -> bool:
        """Whether most values of a column are conversations. Single messages may look like one (`Name: Anna`)."""
        values = self.values(name)
        return 2 * sum(map(bool, map(_turns, values))) > len(values)

    def has_messages(self, name: str) -> bool:
        """Whether a column holds one message per row: texts, most of which are not conversations."""
        values = self.values(name)
        counts = [_turns(value, least=1) for value in values]
        if not values or self.holds_turns(name) or not all(isinstance(value, str) for value in values):
            return False
        return min(counts) == 0 or self.group() is not None

    def group(self) -> str | None:
        """The column that looks like a conversation id rather than a speaker: never `sender_id`, and `user_id` only if
        there is a speaker column.
        """
        spoken = not {*groups.SPEAKERS}.isdisjoint(self.names)
        for pattern in (_GROUP, _IDENTITY):
            for name in filter(pattern.search, self.names):
                if _SENDER.search(name) or (_PERSON.search(name) and not spoken):
                    continue
                values = list(filter(None, map(groups.group_of, self.values(name))))
                if len(set(values)) < len(values):
                    return name
        return None

    def refused(self, column: str, how: tuple[str, str]) -> LangJepaError:
        """The error to raise if a column holds no conversations.

        Args:
            column: that was tried.
            how: how to set the text column, and how to set the group column.
        """
        found, group = self.conversations(), self.group()
        if column not in self.names:
            has = f"has no column '{column}'"
        else:
            has = f"has a message a row in '{column}', and no conversations"
        looks = f" ('{', '.join(found)}' does)" if found else ""
        shared = f" ('{group}' looks like it)" if group else ""
        return LangJepaError(
            f"{self.path} {has}; its columns are {self.listed}. Name the column that holds conversations, lists of "
            f'messages or texts with "Anna: ..."{looks}, by {how[0]}. Where each row is a message, '
            f"name the column of what is said so, and the one that the rows of a conversation share{shared} by "
            f"{how[1]}."
        )


def _turns(value: object, least: int = 2) -> int:
    """How many turns a value has; 0 if it is not a conversation, or has fewer than `least`."""
    try:
        count = len(turns(value)) if isinstance(value, str | list) else 0
    except NoConversation:
        return 0
    return count if count >= least else 0


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def check(path: AnyPath, kind: formats.Kind, column: str) -> None:
    """Raise if a table that is read without groups lacks this column, or has one message per row in it.

    Raises:
        LangJepaError: lists the columns, and says how to select the right ones.
    """
    head = Head.of(path, kind)
    if head.rows and (column not in head.names or head.has_messages(column)):
        raise head.refused(
            column, ("data.text_column=NAME (--text-column NAME)", "data.group_column=NAME (--group-column NAME)")
        )


def fitted(settings: DataSettings, path: AnyPath, kind: formats.Kind, given: Collection[str]) -> DataSettings:
    """Adapt the settings of a model of turns to the form of a table.

    A table with the training columns is read as in training; otherwise the only column that holds conversations is
    used.

    Args:
        settings: of the training, with the user's settings for this table.
        path, kind: of the table.
        given: names of the settings given by the user.

    Raises:
        LangJepaError: there is no such column, or several; the message says which options select one.
    """
    head, column, alone = Head.of(path, kind), settings.text_column, {"group_column": None, "speaker_column": None}
    if not head.rows:  # no columns: each value is a conversation by itself
        return settings if "group_column" in given else settings.model_copy(update=alone)
    of_training = settings.group_column in head.names and column in head.names
    if "group_column" in given or (of_training and not head.holds_turns(column)):
        return _with_speakers(settings, head, given)
    if column in head.names and ("text_column" in given or not head.has_messages(column)):
        return settings.model_copy(update=alone)
    found = head.conversations()
    if "text_column" not in given and len(found) == 1:
        return settings.model_copy(update={**alone, "text_column": found[0]})
    raise head.refused(column, ("--text-column NAME", "--group-column NAME"))


def _with_speakers(settings: DataSettings, head: Head, given: Collection[str]) -> DataSettings:
    """The settings, falling back on the usual names of speaker columns if that of the training is missing."""
    named = settings.speaker_column
    if named is None or named in head.names or "speaker_column" in given:
        return settings
    if settings.speakers != "none" and not {*groups.SPEAKERS} & {*head.names}:
        raise LangJepaError(
            f"{head.path} has no column '{named}', which says who speaks; its columns are {head.listed}. Name it with "
            "--speaker-column."
        )
    return settings.model_copy(update={"speaker_column": None})


def messages_of(
    path: AnyPath, kind: formats.Kind, settings: DataSettings, given: Collection[str]
) -> str | list[object]:
    """Return the one conversation that a table holds, in a single row or with one message per row.

    Args:
        path, kind: of the table.
        settings: of the model, with the user's settings for this table.
        given: names of the settings given by the user.

    Returns:
        A conversation in a form that `turns` reads.

    Raises:
        LangJepaError: a given column is missing, a message is damaged, or the table holds several conversations or
            none that can be found; the message says what to do.
    """
    head = Head.of(path, kind)
    for name in given:
        if (column := getattr(settings, name)) not in head.names:
            raise LangJepaError(
                f"{path} has no column '{column}'; its columns are {head.listed or '(none)'}. Fix "
                f"--{name.replace('_', '-')}"
            )
    named = {settings.text_column} if "text_column" in given else set[str]()
    found = [*named] or head.conversations()
    by_rows = not {"group_column", "speaker_column"}.isdisjoint(given)
    whole = list(kind.rows(path, found[0], 0)) if len(found) == 1 and not by_rows else []
    values = [row.text for row in whole if not row.fault and row.text]
    if values and head.holds_turns(found[0]):
        if len(values) == 1 and isinstance(values[0], str | list):
            return values[0]
        raise LangJepaError(
            f"{path} holds {len(values)} conversations, but exactly one is expected: write one into a file"
        )
    text = next((name for name in (*named, settings.text_column, *_TEXTS) if name in head.names), None)
    if text is None:
        raise LangJepaError(
            f"{path} is not a conversation: it has no column of messages or of what is said, and its columns are "
            f"{head.listed or '(none)'}. Name one with --text-column."
        )
    group = next((one for one in (settings.group_column, head.group()) if one in head.names), None)
    speaker = next((one for one in (settings.speaker_column, *groups.SPEAKERS) if one in head.names), None)
    said = list(kind.rows(path, text, 0, list(filter(None, (group, speaker)))))
    if damaged := next((row for row in said if row.fault), None):
        raise LangJepaError(f"{path}: {damaged.place} is not a message ({damaged.fault}): fix it, or leave it out")
    if group:
        said = [row for row in said if groups.group_of(row.beside.get(group)) is not None]
        if not said:
            raise LangJepaError(f"{path}: no row has a value in the column '{group}', which says whose each message is")
    owners = {groups.group_of(row.beside.get(str(group))) for row in said} if group else set()
    if len(owners) > 1:
        raise LangJepaError(
            f"{path} holds the messages of {len(owners)} conversations (column '{group}'), but exactly one is "
            "expected: keep the rows of one"
        )
    return [{"role": groups.group_of(row.beside.get(str(speaker))) or "", "content": row.text} for row in said]
