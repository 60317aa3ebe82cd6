"""User-supplied regular expressions, with a time limit per text, since some never finish on some texts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from lang_jepa.errors import LangJepaError, one_line

SECONDS = 1.0
"""Time limit of one expression on one text."""


@dataclass(frozen=True, slots=True)
class OwnPattern:
    """A compiled expression and the setting it comes from."""

    expression: str
    setting: str
    compiled: Any

    def sub(self, replacement: str, text: str) -> str:
        """Replace each match in the text.

        Raises:
            LangJepaError: it took longer than `SECONDS`.
        """
        return str(self._in_time(self.compiled.sub, replacement, text))

    def group(self, text: str) -> str | None:
        """The first group of the first match, or None if nothing matches.

        Raises:
            LangJepaError: it took longer than `SECONDS`.
        """
        match = self._in_time(self.compiled.search, text)
        found: str | None = match[1] if match else None
        return found

    def _in_time(self, call: Callable[..., Any], *given: str) -> Any:
        try:
            return call(*given, timeout=SECONDS)
        except TimeoutError as error:
            raise LangJepaError(
                f"{self.setting}: {self.expression!r} takes more than {SECONDS:g} s on one text, for it matches in too "
                f"many ways: {one_line(given[-1])[:80]!r}. Write it without a repetition inside a repetition, such as "
                "`(a+)+`."
            ) from error


@cache
def own_pattern(expression: str, setting: str) -> OwnPattern:
    """Compile an expression already checked by the settings; the result is cached."""
    import regex  # unlike `re`, it supports a time limit

    return OwnPattern(expression, setting, regex.compile(expression))
