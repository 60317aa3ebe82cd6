"""Severity levels of log lines: whether a line reports a failure."""

import re

_SEVERE = "FATAL|ERROR|ERR|CRITICAL|CRIT|SEVERE|PANIC|EMERGENCY|EMERG|ALERT"
_OTHER = "WARNING|WARN|NOTICE|INFORMATION|INFO|CONFIG|DEBUG|VERBOSE|TRACE|FINE(?:R|ST)?"
_WORD = rf"(?:(?P<{{0}}>{_SEVERE})|{_OTHER})"
_WITHIN = 200
"""Number of characters at the start of a line that are searched for its level."""
_NUMBER = r"(?:\d+|<number>|<time>)"

_LEVEL = re.compile(
    "|".join(
        (
            rf"\b{_WORD.format('upper')}\b",
            rf"(?i:[\[(<]\s*{_WORD.format('bracketed')}\s*[\])>])",
            rf"(?i:\b(?:level|lvl|severity)[\"']?\s*[=:]\s*[\"']?{_WORD.format('named')}\b)",
            rf"(?i:(?<![\w.-]){_WORD.format('before_colon')}:)",
            rf"^(?:(?P<glog>[EF])|[IW]){_NUMBER}\s",
            rf"{_NUMBER}\s(?:(?P<android>[EF])|[VDIW])\s\S",
        )
    )
)


def is_severe(line: str) -> bool:
    """Whether the first level in a line is that of an error or worse.

    Levels are words in capitals (`ERROR`), words in any case in brackets, before a colon or after a key (`[error]`,
    `panic:`, `level=fatal`), and the letters used by glog and Android. A line without a level is not severe.

    Args:
        line: as in the log, or masked.
    """
    found = _LEVEL.search(line[:_WITHIN])
    return found is not None and any(found.groupdict().values())


def has_level(line: str) -> bool:
    """Whether a line has any level."""
    return _LEVEL.search(line[:_WITHIN]) is not None
