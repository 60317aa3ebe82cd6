"""What people are shown: mistakes that they can mend, and texts and numbers as they are shown."""

import re
from importlib import import_module
from typing import Any


class LangJepaError(Exception):
    """Something the user can mend: says what was wrong, where, and what to do.

    The command line prints its message without a traceback and exits with `exit_code`. Everything else that
    is raised is a bug of ours and keeps its traceback.
    """

    exit_code = 2


class LostProcess(LangJepaError):
    """Another process of the run is gone or hangs, which is no mistake of the user's."""

    exit_code = 1


# Control characters but tab and line feed, surrogates that stand alone, and those that turn the direction of writing.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_SPACE = re.compile(r"[ \t\r\n]+")


def visible(text: str) -> str:
    """The text with escapes (`\\\\x1b`) in the place of characters that a terminal would obey, or could not print."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """The same on one line: spaces, tabs and line ends become one space, every other separator is shown."""
    return visible(_SPACE.sub(" ", text).strip(" "))


def shorten(text: str, width: int) -> str:
    """A text of so many letters at most, 20 at least; the end of a longer one is left out."""
    width = max(width, 20)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun.

    >>> counted(1, "row"), counted(2000, "row"), counted(0, "query", "queries")
    ('1 row', '2,000 rows', '0 queries')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def optional(module: str, without: str) -> Any:
    """A library that comes with an extra.

    Args:
        module: its name.
        without: what is said where it is not installed: who needs it, and the extra.

    Raises:
        LangJepaError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise LangJepaError(without) from error
