"""Turn texts and conversations that Python users pass in into one file that a recipe reads."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

from lang_jepa.data.sources import groups
from lang_jepa.data.sources.base import Rejection
from lang_jepa.data.sources.conversations import CONVERSATIONS, NO_SPEAKER, NoConversation, is_message, turns
from lang_jepa.data.sources.forms import Head
from lang_jepa.data.sources.listing import listed
from lang_jepa.data.sources.source import find, open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import atomic_file
from lang_jepa.settings.data import DataSettings

PROBED = 64
"""How many items are inspected to find out what the data hold."""
DIALOGUE, DOCUMENTS = "dialogue", "documents"
_FORMS = "give each conversation as a list of {'role': ..., 'content': ...} or of strings, a turn each"


@dataclass(frozen=True)
class Given:
    """Data to train on.

    Attributes:
        path: path of the files (None: the data are in memory).
        columns: names of the columns of a table (None: the data have no columns).
        items: texts, conversations or rows of a table; they can be iterated more than once.
    """

    path: str | None = None
    columns: tuple[str, ...] | None = None
    items: Iterable[Any] = ()

    @classmethod
    def of(cls, data: object) -> "Given":
        """Wrap what a user passes in.

        Args:
            data: a path or a name that `data.train_file` may have; texts or conversations in a list, generator, array
                or table column; a `datasets.Dataset` or a pandas `DataFrame`.

        Raises:
            LangJepaError: the data are anything else, or empty.
        """
        if isinstance(data, str | PathLike):
            if "\n" in str(data):
                raise LangJepaError(
                    "train takes a path or a list of texts, and this is one text: put it into a list, [text]"
                )
            return cls(path=str(data))
        names = getattr(data, "column_names", None)
        if isinstance(names, list) and isinstance(data, Iterable):
            return cls(columns=tuple(names), items=data)  # a dataset, whose rows are mappings
        if getattr(data, "ndim", None) == 2 and hasattr(data, "columns"):
            columns = tuple(map(str, data.columns))
            return cls(columns=columns, items=_Rows(data, columns))
        single = isinstance(data, Mapping | set | frozenset | bytes) or getattr(data, "ndim", None) == 0
        if single or not isinstance(data, Iterable):
            splits = f": take one of its splits, such as data[{next(iter(names))!r}]" if isinstance(names, dict) else ""
            raise LangJepaError(
                f"train takes a list of texts or of conversations, a table or a path, not {type(data).__name__}{splits}"
            )
        if hasattr(data, "columns"):
            raise LangJepaError(
                f"train reads tables of pandas and of datasets, and this is one of {type(data).__module__}: give "
                'data.to_pandas(), or the column as a list, data["text"].to_list()'
            )
        items = list(data) if not isinstance(data, Sequence) else data
        if not len(items):
            raise LangJepaError("there is nothing to train on: the data are empty")
        if isinstance(items[0], Mapping) and is_message(dict(items[0])):
            raise LangJepaError("these are the messages of one conversation: put it into a list, [messages]")
        return cls(items=items)

    def column(self, data: DataSettings, *, chosen: bool) -> str:
        """Return the column that holds texts or conversations, or to which they are written.

        Args:
            data: settings of the recipe.
            chosen: whether the user named `data.text_column`.

        Raises:
            LangJepaError: a table has no such column, or has two of a name that is read.
        """
        column = data.text_column
        if self.columns is None:
            return column
        others = [name for name in CONVERSATIONS if name in self.columns]
        if column not in self.columns and not chosen and data.units == "turns" and others:
            column = others[0]
        for name in (column, *groups.beside(data)):
            if self.columns.count(name) > 1:
                raise LangJepaError(
                    f"the table has {self.columns.count(name)} columns '{name}', and one is read: rename the others, "
                    "or leave them out"
                )
        if column in self.columns:
            return column
        fits = f"; a column '{others[0]}' is for recipe='{DIALOGUE}'" if others and data.units != "turns" else ""
        raise LangJepaError(
            f"the table has no column '{column}'; its columns are {', '.join(self.columns) or '(none)'}{fits}. Give "
            'the column itself, table["NAME"], or settings={"data.text_column": "NAME"}'
        )

    def rows(self, data: DataSettings, column: str) -> Iterator[dict[str, Any]]:
        """Yield what is written of each item: the column and, for a table, those of groups and speakers too."""
        wanted = [column, *groups.beside(data)]
        for item in self.items:
            if self.columns is None:
                inside = isinstance(item, Mapping) and column in item
                yield {column: _value(item[column] if inside else item)}
            else:
                yield {name: _value(item[name]) for name in wanted if name in self.columns}

    def check(self, data: DataSettings, column: str) -> None:
        """Raise if a recipe is for another kind of data; files are not read.

        Raises:
            LangJepaError: conversations for a recipe of texts, or the reverse (the message names the recipe that fits);
                texts of one line each for a recipe of lines.
        """
        if self.path is not None or data.group_column is not None:
            return
        some = [row[column] for row in islice(self.rows(data, column), PROBED)]
        wrong = next((number for number, one in enumerate(some) if not isinstance(one, str | None)), None)
        if data.units == "turns" and all(faults := list(map(_fault, some))):
            if all(isinstance(one, str | None) for one in some):
                raise plain_texts("the data are plain texts")
            number = next(number for number, one in enumerate(some) if not isinstance(one, str | None))
            raise LangJepaError(
                f"this recipe learns from conversations (data.units=turns), and item {number} is none: "
                f"{faults[number]}. {_FORMS[0].upper()}{_FORMS[1:]}"
            )
        if data.units != "turns" and wrong is not None:
            found = f"item {wrong} is a {type(some[wrong]).__name__}"
            if isinstance(some[wrong], list | tuple | Mapping):
                raise conversations(found, data)
            raise LangJepaError(
                f"this recipe learns from texts (data.units={data.units}), and {found}: give strings, a document each. "
                "Bytes become one by .decode(), a number by str()"
            )
        if data.units == "lines" and not any("\n" in (one or "").strip() for one in some):
            raise LangJepaError(
                "this recipe learns which line follows which (data.units=lines), and every text has one line: give "
                'the lines of a file as one text, ["\\n".join(lines)]'
            )


class _Rows:
    """The rows of a pandas table as mappings; they can be iterated more than once."""

    def __init__(self, table: Any, names: tuple[str, ...]) -> None:
        self._table, self._names = table, names

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._table.itertuples(index=False, name=None):
            yield dict(zip(self._names, row, strict=True))


def _value(item: Any) -> Any:
    """Return an item as JSON holds it: of a conversation only the messages, None for a missing value."""
    if isinstance(item, Mapping):
        item = next((item[key] for key in CONVERSATIONS if key in item), item)
    if (isinstance(item, float) and item != item) or type(item).__name__ in ("NAType", "NaTType"):  # from pandas
        return None
    return item.tolist() if hasattr(item, "tolist") else item


def _fault(value: object) -> str:
    """Return why a value is no conversation, or an empty string if it is one."""
    try:
        turns(value)
    except NoConversation as error:
        return str(error)
    return ""


def plain_texts(found: str) -> LangJepaError:
    """Return the error for a recipe of conversations that is given plain texts."""
    return LangJepaError(
        f"this recipe learns from conversations (data.units=turns), and {found}: take recipe='{DOCUMENTS}'; or {_FORMS}"
    )


def conversations(found: str, data: DataSettings) -> LangJepaError:
    """Return the error for a recipe of texts that is given conversations, or something else."""
    return LangJepaError(
        f"this recipe learns from texts (data.units={data.units}), and {found}: take recipe='{DIALOGUE}' for "
        'conversations; a document of several sentences is one string, " ".join(sentences)'
    )


def check_files(data: DataSettings) -> None:
    """Check what `data.train_file` names as `Given.check` does; texts of stories and of the hub are not inspected.

    Raises:
        LangJepaError: files hold conversations for a recipe of texts, or the reverse; or the source cannot be opened.
    """
    place = find(data.train_file)
    if place is not None and data.units != "turns" and data.group_column is None:
        tables = (file for file in listed(data, place)[0] if file.kind.prose is None)
        for file in islice(tables, 1):
            head = Head.of(file.path, file.kind)
            if data.text_column not in head.names and (found := head.conversations()):
                raise conversations(f"{file.path} holds conversations in the column '{found[0]}'", data)
    source = open_source(data)
    if place is not None and data.units == "turns" and data.group_column is None:
        rows = list(islice(source.read(0), PROBED))
        if rows and all(isinstance(row, Rejection) and row.reason == NO_SPEAKER for row in rows):
            raise plain_texts(f"{data.train_file} holds plain texts")


def write_rows(rows: Iterable[dict[str, Any]], folder: Path, name: str) -> None:
    """Write rows to `folder/name`, one JSON object per line; a file of that name that already exists is not touched."""
    if not (folder / name).exists():
        with atomic_file(folder / name) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(map(_line, rows))


def name_of(rows: Iterable[dict[str, Any]]) -> str:
    """Return a name for the file of some rows: a hash of its content, so that equal texts have one file.

    Raises:
        LangJepaError: a row that JSON cannot hold; the message names its number.
    """
    total = hashlib.blake2b(digest_size=8)
    for number, row in enumerate(rows):
        try:
            total.update(_line(row).encode())
        except (TypeError, ValueError) as error:
            raise LangJepaError(f"item {number} is neither a text nor a conversation: {error}") from error
    return f"{total.hexdigest()}.jsonl"


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
