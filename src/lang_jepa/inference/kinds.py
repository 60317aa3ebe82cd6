"""Find units that are the first of an unknown kind, which a sum of scores may pass over but a reader must not."""

from collections.abc import Mapping, Sequence

RECENT = 1000
"""Units within which a new kind counts as new only once."""


class NewKinds:
    """Tells which units are of a new kind.

    Args:
        usual: texts of the usual units in order, None for those that cannot be of a new kind.

    Attributes:
        among_usual: which of them were of a new kind themselves when they came; later units of their kinds are not.
    """

    def __init__(self, usual: Sequence[str | None]) -> None:
        self._known: frozenset[str] = frozenset()
        self._last: dict[str, int] = {}
        self.among_usual = self.new(usual, 0)
        self._known, self._last = frozenset(filter(None, usual)), {}

    def new(self, texts: Sequence[str | None], number: int) -> list[bool]:
        """Return which units are of a kind that neither the usual units nor the `RECENT` units before them have.

        Args:
            texts: masked units in order; None for one that cannot be of a new kind.
            number: number of the first one, counted from where the monitor began.
        """
        found = []
        for at, text in enumerate(texts, start=number):
            if text is None or text in self._known:
                found.append(False)
                continue
            found.append(at - self._last.get(text, at - RECENT) >= RECENT)
            self._last[text] = at
        end = number + len(texts)
        self._last = {text: at for text, at in self._last.items() if end - at <= RECENT}
        return found

    def plain(self) -> dict[str, int]:
        """Return the new kinds of the last units, with the number of the last unit of each, for `restore`."""
        return dict(self._last)

    def restore(self, last: Mapping[str, int]) -> None:
        """Restore what `plain` returned."""
        self._last = dict(last)
