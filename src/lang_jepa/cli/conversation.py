"""Read one conversation that a user gives in a table: in a single row, or one message per row."""

from pathlib import Path
from typing import TYPE_CHECKING

from lang_jepa.errors import LangJepaError, counted

if TYPE_CHECKING:
    from lang_jepa.data.sources.formats import Kind
    from lang_jepa.settings.data import DataSettings


def table_kind(path: Path) -> "Kind | None":
    """Return the kind of a file that is a table; None if it is not one, such as the JSON of one conversation."""
    from lang_jepa.data.sources import formats
    from lang_jepa.data.sources.read_json import first_values

    kind = formats.kind_of_named(path) if path.is_file() else None
    if kind is None or kind.prose is not None:
        return None
    if kind is formats.JSON:
        shape, values = first_values(path)
        return kind if shape == "lines" and len(values) > 1 else None
    return kind


def messages_of_table(
    path: Path, kind: "Kind", settings: "DataSettings", named: dict[str, str], *, alone: bool = True
) -> tuple[list[object] | str, set[str]]:
    """Return the messages of the conversation that a table holds, and the column settings that were used.

    Args:
        path, kind: of the table.
        settings: of the model's data.
        named: column settings that the user has named.
        alone: they are meant for this table only (else also for another one, which may have other columns).

    Raises:
        LangJepaError: a column is missing, there are several conversations or none, or the model's units are not turns.
    """
    from lang_jepa.data.sources import forms

    if settings.units != "turns":
        raise LangJepaError(
            f"{path} is a table of many values, and the model was trained on {settings.units}: write them into a text "
            "file, one a line"
        )
    if not alone:
        there = kind.names(path)
        named = {name: column for name, column in named.items() if column in there}
    return forms.messages_of(path, kind, settings.model_copy(update=named), named), {*named}


def refuse_columns(named: dict[str, str], source: str) -> None:
    """Raise if columns are named for a source that has none."""
    for name in named:
        raise LangJepaError(f"--{name.replace('_', '-')} has no effect: {source} has no columns")


def no_text(count: int) -> str:
    """Say how many messages were left out, in the words used for the losses of a corpus."""
    return f"no prose, left out of the texts: {counted(count, 'message without text', 'messages without text')}"


def say_without_text(messages: object, source: str) -> None:
    """Say on standard error how many messages of a conversation have no text, if there are any."""
    from lang_jepa.cli.console import aside
    from lang_jepa.data.sources.conversations import without_text

    if count := without_text(messages):
        aside(f"{source}: {no_text(count)}")
