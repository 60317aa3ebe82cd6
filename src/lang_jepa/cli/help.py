"""How the command line helps and refuses: help as wide as the terminal, and one line for every mistake in typing."""

import shutil
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lang_jepa.errors import LangJepaError

_Context: Any = TyperCommand.context_class
_Mistake: type[Exception] = typer.BadParameter.__mro__[1]
"""What is raised for any mistake in typing; typer has no public name for it."""
_WIDEST = 100
"""Letters in a line of help at most."""


class _Formatter(_Context.formatter_class):  # type: ignore[misc]
    """Lines end where the terminal ends; names are never cut, and have a line of their own where they are long."""

    def __init__(self, *options: Any, **more: Any) -> None:
        super().__init__(*options, **more)
        self.width = max(24, min(_WIDEST, shutil.get_terminal_size().columns))

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class _Helping(_Context):  # type: ignore[misc]
    formatter_class = _Formatter


class Verb(TyperCommand):
    """A verb."""

    context_class = _Helping

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first line of its help, whole."""
        return (self.help or "").strip().partition("\n")[0]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Raise LangJepaError for a mistake in typing, such as an unknown option or a number out of range."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except _Mistake as error:
            raise LangJepaError(_said(error, f"lang-jepa {info_name} --help")) from error


class Verbs(TyperGroup):
    """All verbs."""

    context_class = _Helping

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Raise LangJepaError for a verb that there is not."""
        try:
            return super().resolve_command(ctx, args)
        except _Mistake as error:
            raise LangJepaError(_said(error, "lang-jepa --help")) from error

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raise LangJepaError for an option before the verb that there is not."""
        if not args:
            return super().parse_args(ctx, args)  # which shows the help
        try:
            return super().parse_args(ctx, args)
        except _Mistake as error:
            raise LangJepaError(_said(error, "lang-jepa --help")) from error


def _said(error: Any, help_: str) -> str:
    said = str(error.format_message())
    return f"{said if said.endswith('?') else said.rstrip('.') + '.'} See {help_}"
