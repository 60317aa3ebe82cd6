"""Stages of a trial: each finished one is on disk with what it was made from, and is taken up when asked for again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lang_jepa.files.atomic import fingerprint, read_json, write_json
from lang_jepa.files.version import __version__

FORMAT = 1
"""Goes up whenever a stage gives something else of the same text."""
FILE = "trial.json"


class OnStage(Protocol):
    """What shows the stages as they go."""

    def begin(self, name: str) -> None:
        """A stage begins."""

    def done(self, name: str, said: str, seconds: float | None) -> None:
        """It is done; no seconds where it was taken up from before. `said`: the outcome, in words."""


class Silent:
    """Shows nothing."""

    def begin(self, name: str) -> None:
        return

    def done(self, name: str, said: str, seconds: float | None) -> None:
        return


class Stages:
    """The stages of a trial in its folder.

    Args:
        folder: of the trial.
        on_stage: shows them.
    """

    def __init__(self, folder: Path, on_stage: OnStage) -> None:
        self._path, self._on_stage = folder / FILE, on_stage
        known = read_json(self._path, what="stages of the trial") if self._path.is_file() else {}
        self._known: dict[str, Any] = known if known.get("format") == FORMAT else {}
        self.seconds: dict[str, float] = {}

    def run(
        self,
        name: str,
        key: object,
        make: Callable[[], Any],
        say: Callable[[Any], str] = lambda made: "",
        *,
        keep: bool = True,
    ) -> Any:
        """The result of a stage: what is on disk of the same key, or what `make` gives.

        Args:
            name: of it, for people.
            key: everything that the result depends on, as JSON has it.
            make: gives plain data.
            say: the outcome in words.
            keep: write it to disk.
        """
        made_from = fingerprint([__version__, key])
        before = self._known.get(name)
        if keep and before is not None and before["made_from"] == made_from:
            self.seconds[name] = before["seconds"]
            self._on_stage.done(name, say(before["made"]), None)
            return before["made"]
        self._on_stage.begin(name)
        began = time.perf_counter()
        made = make()
        self.seconds[name] = time.perf_counter() - began
        if keep:
            self._known = {**self._known, "format": FORMAT}
            self._known[name] = {"made_from": made_from, "seconds": self.seconds[name], "made": made}
            write_json(self._path, self._known)
        self._on_stage.done(name, say(made), self.seconds[name])
        return made
