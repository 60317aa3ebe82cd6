"""User-supplied regular expressions, with a time limit per text, since some never finish on some texts."""

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
        try:
            found: str = self.compiled.sub(replacement, text, timeout=SECONDS)
        except TimeoutError as error:
            raise self._too_slow(text) from error
        return found

    def group(self, text: str) -> str | None:
        """The first group of the first match, or None if nothing matches.

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
    """Compile an expression already checked by the settings; the result is cached."""
    import regex  # unlike `re`, it supports a time limit

    return OwnPattern(expression, setting, regex.compile(expression))
