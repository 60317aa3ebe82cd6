"""Texts of others on a terminal, which obeys some characters: they are shown instead."""

import re

# Control characters but tab and line feed, surrogates that stand alone, and those that turn the direction of writing.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_SPACE = re.compile(r"[ \t\r\n]+")


def visible(text: str) -> str:
    """The text with escapes (`\\\\x1b`) in the place of characters that a terminal would obey, or could not print."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """The same on one line: spaces, tabs and line ends become one space, every other separator is shown."""
    return visible(_SPACE.sub(" ", text).strip(" "))
