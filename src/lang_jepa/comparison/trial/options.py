"""What a trial is asked to do, and the command that asks for it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lang_jepa.comparison.trial.recognise import Kind

MINUTES = 4.0
"""Of training, by default."""


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """What to try.

    Attributes:
        path: a file or a folder.
        output: folder of the trial.
        wanted: what to take the text for (None: what it looks like).
        beside: a pretrained encoder by folder or hub name.
        minutes: that training steps may take, including those over the pretrained encoder.
        changes: overrides of the recipes, applied last.
    """

    path: Path
    output: Path
    wanted: Kind | None = None
    beside: str | None = None
    minutes: float = MINUTES
    changes: Sequence[str] = ()

    @property
    def command(self) -> str:
        """The shell command with these options; without `changes`, for which it has no option."""
        words = ["lang-jepa", "try", str(self.path), "--output", str(self.output), "--minutes", f"{self.minutes:g}"]
        words += ["--as", self.wanted] if self.wanted else []
        words += ["--beside", self.beside] if self.beside else []
        return shlex.join(words)
