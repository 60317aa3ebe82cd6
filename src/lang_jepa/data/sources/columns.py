"""What files hold beside their texts: a label for each turn, and questions with the units that answer them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lang_jepa.data.sources.conversations import NoConversation, turns
from lang_jepa.data.sources.local import LocalSource
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

QUERIES = "queries"
"""The column of questions."""


def turn_labels(settings: DataSettings, column: str) -> dict[str, list[str]]:
    """A label for each turn with text, by the document's id; empty where a turn has none.

    Args:
        settings: `train_file` names local files of conversations, in `text_column`.
        column: a key of the messages; else a column with a list that has a label for each message. A label is a
            string, or a list of strings, of which the order does not matter.

    Raises:
        LangJepaError: no such key or column, or a list of another length than the conversation; names the document.
    """
    source, what = _local(settings, f"labels ({column})"), f"labels: {column}"
    inside = any(column in one for _, text, _ in source.columns(settings.text_column) for one in _objects(text))
    found: dict[str, list[str]] = {}
    for identity, text, beside in _rows(source, settings.text_column if inside else column, what):
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
        """The positions in `numbers` of those that lie in a span."""
        return [row for row, number in enumerate(numbers) if any(first <= number <= last for first, last in self.spans)]


@dataclass(frozen=True, slots=True)
class Questioned:
    """The questions about a document.

    Attributes:
        questions: in the order of the file.
        numbers: of a conversation, for each turn with text the number of its message (None: units are counted as they
            are split).
    """

    questions: tuple[Asked, ...]
    numbers: tuple[int, ...] | None


def questions(settings: DataSettings) -> dict[str, Questioned]:
    """The column `queries` of local files by the document's id: a list of {query, spans}, or the JSON of one.

    A span is [first, last], both included: of conversations numbers of messages from 0, else of units as they are
    split.

    Raises:
        LangJepaError: no such column, or something else in it; names the document.
    """
    what = f"the column '{QUERIES}'"
    found = {}
    for identity, text, value in _rows(_local(settings, what), QUERIES, what):
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


def _rows(source: LocalSource, column: str, what: str) -> Iterator[tuple[str, object, object]]:
    try:
        yield from source.columns(column)
    except LangJepaError as error:
        raise LangJepaError(f"{what} cannot be read: {error}") from error


def _list(value: object) -> list[Any]:
    """A list, or one that is written as JSON; nothing where it is something else."""
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
