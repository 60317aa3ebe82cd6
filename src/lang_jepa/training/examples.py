"""examples.txt: held-out contexts in words, with what came next and what the prediction was nearest to."""

import re
from collections.abc import Sequence
from pathlib import Path

from lang_jepa.files import append_text, atomic_file

_LOOK = re.compile(r"^step (\d+)\n\n", re.MULTILINE)


class ExamplesFile:
    """One block of examples per look.

    Args:
        path: of the file.
        resume_step: None starts a new file; a step keeps the looks up to it, so that those which a killed run made
            after its last checkpoint are not there twice.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        self.path = path
        kept = ""
        if resume_step is not None and path.is_file():
            text = path.read_text(encoding="utf-8")
            later = (look.start() for look in _LOOK.finditer(text) if int(look.group(1)) > resume_step)
            kept = text[: next(later, len(text))]
        with atomic_file(path) as temporary:
            temporary.write_text(kept, encoding="utf-8")

    def write(self, step: int, examples: Sequence[str]) -> None:
        """Append the examples of one look.

        Raises:
            LangJepaError: the disk is full.
        """
        if examples:
            append_text(self.path, f"step {step}\n\n" + "\n\n".join(examples) + "\n\n")
