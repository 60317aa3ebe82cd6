"""Errors that users can fix, and helpers that format text and numbers for display."""

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

Extra = Literal["evaluate", "export", "hub", "onnx", "serve"]
_EXTRAS: dict[Extra, dict[str, str]] = {
    "evaluate": {
        "sklearn": "scikit-learn",
        "scipy": "SciPy",
        "matplotlib": "Matplotlib",
        "sacrebleu": "sacreBLEU",
        "rouge_score": "rouge-score",
    },
    "export": {"sentence_transformers": "sentence-transformers"},
    "hub": {"datasets": "datasets", "pyarrow": "PyArrow"},
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
    "serve": {"fastapi": "FastAPI", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"},
}
"""Extras that many modules need: their modules and what these are called."""


class LangJepaError(Exception):
    """An error that the user can fix; its message says what was wrong, where, and what to do.

    The command line prints the message without a traceback and exits with `exit_code`. Every other exception is a bug
    in lang-jepa and keeps its traceback.
    """

    exit_code = 2


class LostProcess(LangJepaError):
    """Another process of the run has died or hangs, through no mistake of the user."""

    exit_code = 1


# Control characters except tab and line feed, lone surrogates, line and paragraph separators, and bidi controls.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_SPACE = re.compile(r"[ \t\r\n]+")


def visible(text: str) -> str:
    """Return the text with escapes (`\\\\x1b`) for characters that a terminal would obey or could not print."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Like `visible`, on one line: runs of spaces, tabs and line ends become a space; other separators are escaped."""
    return visible(_SPACE.sub(" ", text).strip(" "))


def shorten(text: str, width: int) -> str:
    """Truncate a text to `width` characters (at least 20), ending in `...`."""
    width = max(width, 20)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def counted(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun.

    >>> counted(1, "row"), counted(2000, "row"), counted(0, "query", "queries")
    ('1 row', '2,000 rows', '0 queries')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def how_to_install(extra: str) -> str:
    """The command that installs an extra of lang-jepa, and the one in a clone."""
    return f'pip install "lang-jepa[{extra}]" (in a clone: pip install -e ".[{extra}]")'


def missing_modules(extra: Extra) -> list[str]:
    """The names of those libraries of an extra that are not installed."""
    return [name for module, name in _EXTRAS[extra].items() if find_spec(module) is None]


def missing_extra(extra: Extra, what: str) -> str | None:
    """Say which libraries of an extra `what` needs and are not installed, and how to install them; None: all are."""
    missing = missing_modules(extra)
    if not missing:
        return None
    return f"{what} needs what is not installed ({', '.join(missing)}): {how_to_install(extra)}"


def check_extra(extra: Extra, what: str) -> None:
    """Raise unless the libraries of an extra are installed, before `what` needs them.

    Raises:
        LangJepaError: as `missing_extra` says.
    """
    if missing := missing_extra(extra, what):
        raise LangJepaError(missing)


def optional(module: str, extra: str, need: str) -> Any:
    """Import a library that comes with an extra.

    Args:
        module: name of the module.
        extra: that installs it.
        need: what needs it, a clause for the error message.

    Raises:
        LangJepaError: the library is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise LangJepaError(f"{need}: {how_to_install(extra)}") from error
