"""Regular expressions that a user gives: each text has a bounded time, since some never end on some texts."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from lang_jepa.errors import LangJepaError, one_line

SECONDS = 1.0
"""For one expression on one text."""


@dataclass(frozen=True, slots=True)
class OwnPattern:
    """A compiled expression, with the setting that it is of."""

    expression: str
    setting: str
    compiled: Any

    def sub(self, replacement: str, text: str) -> str:
        """The text with the replacement for each match.

        Raises:
            LangJepaError: it took longer than `SECONDS`.
        """
        try:
            found: str = self.compiled.sub(replacement, text, timeout=SECONDS)
        except TimeoutError as error:
            raise self._too_slow(text) from error
        return found

    def group(self, text: str) -> str | None:
        """What the first group of the first match holds; None where nothing matches.

        Raises:
            LangJepaError: it took longer than `SECONDS`.
        """
        try:
            match = self.compiled.search(text, timeout=SECONDS)
        except TimeoutError as error:
            raise self._too_slow(text) from error
        found: str | None = match[1] if match else None
        return found

    def _too_slow(self, text: str) -> LangJepaError:
        return LangJepaError(
            f"{self.setting}: {self.expression!r} takes more than {SECONDS:g} s on one text, for it matches in too "
            f"many ways: {one_line(text)[:80]!r}. Write it without a repetition inside a repetition, such as `(a+)+`."
        )


@cache
def own_pattern(expression: str, setting: str) -> OwnPattern:
    """Compile an expression that the settings have checked; made once."""
    import regex  # its matching can be bounded in time, that of `re` cannot

    return OwnPattern(expression, setting, regex.compile(expression))
