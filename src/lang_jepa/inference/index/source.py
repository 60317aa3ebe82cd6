"""What an index is made from: a corpus read as a stream of sentences that can be entered at any row."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lang_jepa.data.corpus.identity import sentence_formats
from lang_jepa.data.corpus.statistics import Losses
from lang_jepa.data.sources import text_files
from lang_jepa.data.sources.base import Document, Source, require_documents
from lang_jepa.data.sources.conversations import as_read
from lang_jepa.data.sources.local import LocalSource
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.sentences import make_splitter, split_text
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings


class Row(NamedTuple):
    """One row of a source: its document's id and sentences; None and no sentences if it is rejected."""

    id: str | None
    sentences: list[str]
    characters: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of a document.

    Attributes:
        row: row of its document in the source.
        document: id of its document.
        position: position in its document, from 0.
        units: all units of its document.
    """

    row: int
    document: str
    position: int
    units: Sequence[str]

    @property
    def text(self) -> str:
        return self.units[self.position]


@dataclass
class SplitDocuments:
    """Documents of any source that `data.train_file` may name, split as in training.

    Attributes:
        losses: what did not become a sentence, once `characters` has read everything.
    """

    source: Source
    settings: DataSettings
    losses: Losses | None = field(default=None, compare=False)

    @classmethod
    def open(cls, settings: DataSettings) -> "SplitDocuments":
        """Open what `settings.train_file` names; short documents are included.

        Raises:
            LangJepaError: as `open_source`.
        """
        settings = settings.model_copy(update={"min_length": 0})
        return cls(open_source(settings), settings)

    alone = False
    """Whether each of its units is a document of its own."""

    @property
    def description(self) -> str:
        """One line for people."""
        return self.source.description

    @property
    def root(self) -> Path | None:
        """The folder on this machine that the names in the ids are relative to; None if there is none."""
        files = self.source.files if isinstance(self.source, LocalSource) else []
        if not files or not isinstance(files[0].path, Path):
            return None
        return files[0].path.absolute().parents[len(Path(files[0].name).parts) - 1]

    @property
    def named(self) -> bool:
        """Whether its units are turns with their speaker in front."""
        return self.settings.units == "turns" and self.settings.speakers == "embedding"

    def fingerprint(self) -> str:
        """Return a hash of content, splitter and limits."""
        names = ("units", "splitter", "language", "max_sentence_chars", "text_column", "limit")
        chosen = [getattr(self.settings, name) for name in names]
        return fingerprint([self.source.fingerprint(), *chosen, sentence_formats()])

    def rows(self, skip: int = 0) -> Iterator[Row]:
        """Yield documents from row `skip` on."""
        splitter = make_splitter(self.settings)
        for document in self.source.rows(skip):
            if not isinstance(document, Document):
                yield Row(None, [], 0)
                continue
            units = as_read(split_text(document.text, splitter), self.settings)
            yield Row(document.id, units, len(document.text))

    def characters(self) -> int:
        """Return the number of characters of all documents, which takes one full read.

        Raises:
            LangJepaError: there is no document; the message says why.
        """
        rejected, left_out = Counter[str](), Counter[str]()
        documents = characters = 0
        for document in self.source.documents(rejected):
            documents, characters = documents + 1, characters + len(document.text)
            left_out.update(dict(document.left_out))
        require_documents(documents, rejected, self.source)
        self.losses = Losses(documents + rejected.total(), rejected, {}, left_out)
        return characters


@dataclass(frozen=True)
class Lines:
    """A UTF-8 text file with one sentence per line, each of which is a document; empty lines are skipped."""

    path: Path
    named, alone, losses = False, True, None

    @property
    def description(self) -> str:
        return f"lines of {self.path}"

    @property
    def root(self) -> Path:
        return self.path.absolute().parent

    def fingerprint(self) -> str:
        digest = hashlib.blake2b()
        for chunk in text_files.chunks(self.path):
            digest.update(chunk)
        return fingerprint(["lines", text_files.FORMAT, digest.hexdigest()])

    def rows(self, skip: int = 0) -> Iterator[Row]:
        """Yield line by line; the id is the file's name and the line's number, counted from 1 as editors do."""
        lines = text_files.text_lines(text_files.chunks(self.path), str(self.path))
        for number, text in enumerate(lines):
            if number >= skip:
                name = f"{self.path.name}:{number + 1}" if text else None
                yield Row(name, [text] if text else [], len(text))

    def characters(self) -> int:
        return sum(row.characters for row in self.rows())


SentenceSource = SplitDocuments | Lines
"""Where sentences come from; yields the same rows every time it is read."""
