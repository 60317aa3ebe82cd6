"""What a run tells the outside while it goes on. The command line draws it; a library user may stay silent."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from lang_jepa.data.corpus.prepare import PrepareEvent

Metrics = Mapping[str, float]


class Reporter(Protocol):
    """Listener of a run. All calls come from rank 0."""

    def begin(self, *, total: int, start: int, every: int, facts: list[tuple[str, str]]) -> None:
        """Training starts: steps in all, step it starts from, steps between lines of a log, what is worth knowing."""

    def step(self, step: int, metrics: Metrics) -> None:
        """A training step is done."""

    def validation(self, step: int, metrics: Metrics) -> None:
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

    def step(self, step: int, metrics: Metrics) -> None:
        """Nothing."""

    def validation(self, step: int, metrics: Metrics) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def warning(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def telling(reporter: Reporter) -> Callable[[PrepareEvent], None]:
    """Passes on what preparing has to say: warnings as such, finished blocks every ten seconds at most."""
    told = time.monotonic()

    def tell(event: PrepareEvent) -> None:
        nonlocal told
        if event.stage in {"warning", "stale"}:
            reporter.warning(event.message)
        elif event.stage != "block":
            reporter.message(event.message)
        elif time.monotonic() - told > 10:
            told = time.monotonic()
            reporter.message(f"prepared {event.documents:,} documents so far")

    return tell
