"""Stages of a command: each finished one is saved with what it was made from, and reused when asked for again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lang_jepa.files.atomic import fingerprint, read_json, write_json
from lang_jepa.files.version import __version__

FORMAT = 1
"""Goes up whenever a stage gives another result for the same text."""
FILE = "trial.json"


class OnStage(Protocol):
    """Shows the stages as they run."""

    def begin(self, name: str) -> None:
        """A stage begins."""
        return

    def done(self, name: str, said: str, seconds: float | None) -> None:
        """A stage is done. `said`: the outcome, in words; `seconds`: None if an earlier result was reused."""
        return


class Silent(OnStage):
    """Shows nothing."""


class Stages:
    """The stages of a command in its folder.

    Args:
        folder: of the trial, or of the run.
        on_stage: shows them.
        file: name of the file that keeps them.
    """

    def __init__(self, folder: Path, on_stage: OnStage, file: str = FILE) -> None:
        self._path, self._on_stage = folder / file, on_stage
        known = read_json(self._path, what="the stages that are done") if self._path.is_file() else {}
        self._known: dict[str, Any] = known if known.get("format") == FORMAT else {}
        self.seconds: dict[str, float] = {}

    def has(self, name: str, key: object) -> bool:
        """Whether there is a result of a stage with this key, made by this version of the package."""
        before = self._known.get(name)
        return before is not None and before["made_from"] == fingerprint([__version__, key])

    def replace(self, name: str, key: object, made: object) -> None:
        """Save the result of a stage, plain data, in place of any that it had."""
        kept = {"made_from": fingerprint([__version__, key]), "seconds": self.seconds[name], "made": made}
        self._known = {**self._known, "format": FORMAT, name: kept}
        write_json(self._path, self._known)

    def run(self, name: str, key: object, make: Callable[[], Any], say: Callable[[Any], str] = lambda made: "") -> Any:
        """Return the result of a stage: the one on disk with the same key, or what `make` returns.

        Args:
            name: of the stage, for people.
            key: everything that the result depends on, as plain data (None: the result is not saved).
            make: returns plain data if there is a key, else anything.
            say: puts the outcome into words.
        """
        if key is not None and self.has(name, key):
            before = self._known[name]
            self.seconds[name] = before["seconds"]
            self._on_stage.done(name, say(before["made"]), None)
            return before["made"]
        self._on_stage.begin(name)
        began = time.perf_counter()
        made = make()
        self.seconds[name] = time.perf_counter() - began
        if key is not None:
            self.replace(name, key, made)
        self._on_stage.done(name, say(made), self.seconds[name])
        return made
