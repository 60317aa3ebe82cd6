"""Which units are the first of a kind that nobody knew: what a sum of scores may pass over, and a reader must not."""

from collections.abc import Mapping, Sequence

RECENT = 1000
"""Units within which a new kind is new once."""


class NewKinds:
    """Tells which units are of a new kind.

    Args:
        usual: texts of the usual units in their order, None for those that cannot be of a new kind.

    Attributes:
        among_usual: which of them were of a new kind themselves when they came; later units of their kinds are not.
    """

    def __init__(self, usual: Sequence[str | None]) -> None:
        self._known: frozenset[str] = frozenset()
        self._last: dict[str, int] = {}
        self.among_usual = self.new(usual, 0)
        self._known, self._last = frozenset(filter(None, usual)), {}

    def new(self, texts: Sequence[str | None], number: int) -> list[bool]:
        """Whether each of some units is of a kind that neither the usual ones have nor the `RECENT` before it.

        Args:
            texts: masked units in their order; None for one that cannot be of a new kind.
            number: of the first one, counted from where the monitor began.
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
        """The new kinds of the last units, with the number of the last unit of each, to be taken up by `restore`."""
        return dict(self._last)

    def restore(self, last: Mapping[str, int]) -> None:
        """Take up what `plain` returned."""
        self._last = dict(last)
