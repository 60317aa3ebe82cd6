"""Columns that files have besides their texts: labels of turns, and questions with the units that answer them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lang_jepa.data.sources.base import option
from lang_jepa.data.sources.conversations import NoConversation, turns
from lang_jepa.data.sources.local import LocalSource
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

QUERIES = "queries"
"""The column of questions."""


def turn_labels(settings: DataSettings, column: str) -> dict[str, list[str]]:
    """A label for each turn with text, by document id; an empty string for turns without a label.

    Args:
        settings: `train_file` names local files of conversations, in `text_column`.
        column: a key of the messages, or else a column that lists one label per message; for a table with one message
            per row (`data.group_column`), the column of the message's label. A label is a string, or a list of strings
            whose order does not matter.

    Raises:
        LangJepaError: there is no such key or column, or a list is not as long as its conversation; names the document.
    """
    source, what = _local(settings, f"labels ({column})"), f"labels: {column}"
    if settings.group_column is not None:
        return _some_label(_labels_of_rows(source, column, what), what, settings)
    texts = (text for _, text, _ in source.columns(settings.text_column, option("text_column")))
    inside = any(column in one for text in texts for one in _objects(text))
    found: dict[str, list[str]] = {}
    for identity, text, beside in _read(source.columns(settings.text_column if inside else column, "--labels"), what):
        try:
            said = turns(text)
        except NoConversation:
            continue
        labels = [one.get(column) for one in _objects(text)] if inside else _list(beside)
        if len(labels) != len(said):
            raise LangJepaError(
                f"{what}: {identity} of {settings.train_file} has {len(labels)} labels for {len(said)} messages; give "
                "one for each, null where there is none"
            )
        found[identity] = [_label(label) for label, turn in zip(labels, said, strict=True) if turn.text]
    return _some_label(found, what, settings)


def _labels_of_rows(source: LocalSource, column: str, what: str) -> dict[str, list[str]]:
    """The labels of a table with one message per row."""
    found = dict[str, list[str]]()
    for identity, text, label in _read(source.messages(column, "--labels"), what):
        try:
            said = turns([{"content": text}])
        except NoConversation:  # no text, hence no turn
            continue
        found.setdefault(identity, []).extend(_label(label) for _ in said)
    return found


def _some_label(found: dict[str, list[str]], what: str, settings: DataSettings) -> dict[str, list[str]]:
    if not any(map(any, found.values())):
        raise LangJepaError(f"{what}: no turn of {settings.train_file} has one")
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a document.

    Attributes:
        query: the question.
        spans: first and last number of the units that answer it.
    """

    query: str
    spans: tuple[tuple[int, int], ...]

    def units(self, numbers: Sequence[int]) -> list[int]:
        """Positions in `numbers` of the units that lie in a span."""
        return [row for row, number in enumerate(numbers) if any(first <= number <= last for first, last in self.spans)]


@dataclass(frozen=True, slots=True)
class Questioned:
    """The questions about a document.

    Attributes:
        questions: in the order of the file.
        numbers: message number of each turn with text of a conversation (None: units are numbered as they are split).
    """

    questions: tuple[Asked, ...]
    numbers: tuple[int, ...] | None


def questions(settings: DataSettings) -> dict[str, Questioned]:
    """The column `queries` of local files, by document id: a list of {query, spans}, or the JSON of such a list.

    A span is [first, last], both included: message numbers from 0 for conversations, otherwise numbers of units as
    they are split.

    Raises:
        LangJepaError: there is no such column, or it holds something else; names the document.
    """
    what = f"the column '{QUERIES}'"
    if settings.group_column is not None:
        raise LangJepaError(
            f"{what} asks about a conversation in one row, and {settings.train_file} has a message a row (grouped by "
            f"'{settings.group_column}'): write each conversation into one row, as a list of messages"
        )
    found = {}
    rows = _local(settings, what).columns(QUERIES, "--documents to data that have one")
    for identity, text, value in _read(rows, what):
        numbers = None
        if settings.units == "turns":
            try:
                numbers = tuple(number for number, turn in enumerate(turns(text)) if turn.text)
            except NoConversation:
                continue
        try:
            asked = tuple(_asked(one) for one in _list(value))
        except (KeyError, TypeError, ValueError):
            raise LangJepaError(
                f"{what}: {identity} of {settings.train_file} holds something else than a list of "
                '{"query": "...", "spans": [[first, last], ...]}'
            ) from None
        found[identity] = Questioned(asked, numbers)
    return found


def _local(settings: DataSettings, what: str) -> LocalSource:
    source = open_source(settings)
    if not isinstance(source, LocalSource):
        raise LangJepaError(f"{what} can only be read from local files, and {source.description} is none")
    return source


_Values = Iterator[tuple[str, object, object]]


def _read(rows: _Values, what: str) -> _Values:
    try:
        yield from rows
    except LangJepaError as error:
        raise LangJepaError(f"{what} cannot be read: {error}") from error


def _list(value: object) -> list[Any]:
    """The value as a list, also if written as JSON; an empty list for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in _list(value) if isinstance(one, dict)]


def _label(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(sorted({str(one) for one in value if one is not None}))
    return "" if value is None else str(value).strip()


def _asked(value: Any) -> Asked:
    spans = tuple((int(first), int(last)) for first, last in value["spans"])
    if not isinstance(value["query"], str) or not value["query"].strip():
        raise ValueError(value)
    return Asked(value["query"].strip(), spans)
