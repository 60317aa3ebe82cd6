"""What differs from line to line in logs and means nothing there: numbers, times, addresses; written as one word each.

Applied in the order below, so that a time is not read as numbers. The set is small on purpose: on twelve of loghub's
systems it merges no two event templates that annotators tell apart (tests/data/test_masks.py holds it to cases).

A hexadecimal id that happens to be digits alone becomes `<number>` where its neighbours become `<hex>`: nothing in the
line shows that it is one, and counts, bytes and seconds since 1970 have eight digits too. Of ids of 8 letters 2.3 % are
such ((10 / 16) ** 8), of 16 letters one in 1,800. A pattern of one's own (`data.mask_patterns`) tells where ids stand.
"""

import re
from collections.abc import Sequence

from lang_jepa.data.sources.patterns import own_pattern
from lang_jepa.data.sources.records import TIME
from lang_jepa.settings.data import DataSettings

FORMAT = 2
"""Goes up whenever a text is masked differently than before."""

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
    """A text with what is masked in it as `<time>`, `<ip>` and so on.

    Args:
        text: of one line.
        own: patterns of one's own, which come first and become `<own>`.

    Raises:
        LangJepaError: an own pattern takes longer than a second.
    """
    for expression in own:
        text = own_pattern(expression, "data.mask_patterns").sub("<own>", text)
    for pattern, name in _COMPILED:
        text = pattern.sub(name, text)
    return text


def masked(units: Sequence[str], settings: DataSettings) -> list[str]:
    """Units as the tokenizer reads them: masked where the settings say so."""
    return [mask(unit, settings.mask_patterns) for unit in units] if settings.mask else list(units)


def patterns_of(own: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Patterns and what their matches become, in the order in which they are applied; `own` as of `mask`."""
    return [*((pattern, "<own>") for pattern in own), *((pattern, f"<{name}>") for name, pattern in MASKS.items())]
