"""What a run tells the outside while it goes on. The command line draws it; a library user may stay silent."""

from collections.abc import Mapping
from typing import Protocol

Figures = Mapping[str, float]


class Reporter(Protocol):
    """Listener of a run. All calls come from rank 0."""

    def begin(self, *, total: int, start: int, every: int, facts: list[tuple[str, str]]) -> None:
        """Training starts: steps in all, step it starts from, steps between lines of a log, what is worth knowing."""

    def step(self, step: int, figures: Figures) -> None:
        """A training step is done."""

    def look(self, step: int, figures: Figures) -> None:
        """Held-out data was looked at."""

    def message(self, text: str) -> None:
        """Something to know."""

    def warning(self, text: str) -> None:
        """Something to act on."""

    def end(self) -> None:
        """Training is over, well or not."""


class Silent:
    """A reporter that says nothing."""

    def begin(self, *, total: int, start: int, every: int, facts: list[tuple[str, str]]) -> None:
        """Nothing."""

    def step(self, step: int, figures: Figures) -> None:
        """Nothing."""

    def look(self, step: int, figures: Figures) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def warning(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
