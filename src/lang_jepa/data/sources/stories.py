"""The built-in stories as a source: no file, no network, as many as wanted."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from lang_jepa import stories
from lang_jepa.data.sources.base import Document, Rejection, RowSource, judge
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings

SEED = 0
"""Seed of the stories that are trained on."""


@dataclass
class StorySource(RowSource):
    """Endless rows, one story each; `settings.limit` says how many are taken."""

    @classmethod
    def open(cls, settings: DataSettings) -> Self:
        """Stories under the settings' limit; without a limit they never end, which only a stream can use.

        Raises:
            LangJepaError: neither a limit nor a stream.
        """
        if settings.limit is None and not settings.streaming:
            raise LangJepaError(
                "data.train_file=stories has no end: say how many with data.limit, or set data.streaming=true."
            )
        count = "endless" if settings.limit is None else str(settings.limit)
        return cls(settings, f"built-in stories (seed {SEED}, {count})")

    def fingerprint(self) -> str:
        """Generator version, seed and count."""
        return fingerprint(["stories", stories.FORMAT, SEED, self.settings.limit])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """Story number `skip` and all after it."""
        endless = sys.maxsize - skip
        for story in stories.generate(endless, seed=SEED, start=skip):
            yield judge(story.id, story.text, story.id, self.settings.min_length)
