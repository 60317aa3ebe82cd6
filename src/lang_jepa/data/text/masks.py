"""Mask variable parts of log lines that carry no meaning, such as numbers, times and addresses, as one word each.

The masks are applied in the order below, so that a time is not read as numbers. The set is deliberately small: on
twelve loghub systems it merges no two event templates that annotators distinguish (cases in tests/data/test_masks.py).

A hexadecimal id that happens to have only digits becomes `<number>` while its neighbours become `<hex>`: nothing in the
line identifies it, and counts, bytes and seconds since 1970 can have eight digits too. This affects 2.3 % of ids of 8
digits ((10 / 16) ** 8) and one in 1,800 of 16. A custom pattern (`data.mask_patterns`) can say where ids occur.
"""

import re
from collections.abc import Sequence

from lang_jepa.data.sources.patterns import own_pattern
from lang_jepa.data.sources.records import TIME
from lang_jepa.settings.data import DataSettings

FORMAT = 2
"""Raise it whenever a text would be masked differently."""

MASKS: dict[str, str] = {
    "uuid": r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
    "time": TIME,
    "ip": (
        r"(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?::\d{1,5})?(?![\w.])"
        r"|\b(?:[0-9a-fA-F]{1,4}:){6,7}[0-9a-fA-F]{1,4}\b"
    ),
    "mac": r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b",
    "path": r"(?<![\w<])(?:[A-Za-z]:\\(?:[\w.\- ]+\\)*[\w.\-]+|(?:/[\w.\-@+~]+){2,}/?)",
    "hex": r"\b0[xX][0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b",
    "number": r"[-+]?\d+(?:[.,]\d+)*",
}
"""Names and patterns; each match becomes the name in angle brackets."""


_COMPILED = tuple((re.compile(pattern), f"<{name}>") for name, pattern in MASKS.items())


def mask(text: str, own: Sequence[str] = ()) -> str:
    """Return a text with masks such as `<time>` and `<ip>` in place of what they match.

    Args:
        text: of one line.
        own: custom patterns, which are applied first and become `<own>`.

    Raises:
        LangJepaError: a custom pattern takes longer than a second.
    """
    for expression in own:
        text = own_pattern(expression, "data.mask_patterns").sub("<own>", text)
    for pattern, name in _COMPILED:
        text = pattern.sub(name, text)
    return text


def masked(units: Sequence[str], settings: DataSettings) -> list[str]:
    """Units as the tokenizer reads them: masked if the settings say so."""
    return [mask(unit, settings.mask_patterns) for unit in units] if settings.mask else list(units)


def patterns_of(own: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Patterns and their replacements, in the order in which they are applied; `own` as in `mask`."""
    return [*((pattern, "<own>") for pattern in own), *((pattern, f"<{name}>") for name, pattern in MASKS.items())]
