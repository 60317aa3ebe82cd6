"""What a reader of files hands on: one row after the other."""

from dataclasses import dataclass

SHOWN_KEYS = 8
"""Keys or columns that a message names."""


@dataclass(frozen=True, slots=True)
class Row:
    """One raw row.

    Attributes:
        number: in its file, from 0.
        place: of it, for people.
        id: what the file itself calls it.
        text: of the document, or whatever stands in its place.
        fault: why there is no text.
        left_out: what is in the file and not in the text (code blocks, tables), with its count.
    """

    number: int
    place: str
    id: str | None = None
    text: object = None
    fault: str | None = None
    left_out: tuple[tuple[str, int], ...] = ()


class Unreadable(ValueError):
    """A file of which the text cannot be had; the reason is one of few, so that they can be counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def identity_of(value: object) -> str | None:
    """The id column's value as an identity, or None when it is no use as one."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value).encode("utf-8", "backslashreplace").decode()
