"""Documents of a file or a folder, split into units, each with its place in its file."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import islice
from pathlib import Path

from lang_jepa.data.corpus.statistics import Losses
from lang_jepa.data.sources.base import Document, require_documents
from lang_jepa.data.sources.conversations import as_read
from lang_jepa.data.sources.listing import File
from lang_jepa.data.sources.local import LocalSource
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.sentences import make_splitter, split_text
from lang_jepa.inference.folders.places import Lines, lines_in_order, lines_of, raw_text, row_lines
from lang_jepa.settings.data import DataSettings


@dataclass(frozen=True)
class Placed:
    """A document with its units and where they stand.

    Attributes:
        name: id of the document; for a file that is one document, its path.
        path: path of its file; empty if it is in no file on this machine.
        text: text of the document.
        units: sentences, lines or turns, in order; there may be none.
        find: finds the line of each unit.
    """

    name: str
    path: str
    text: str
    units: list[str]
    find: Callable[[], Lines] = field(repr=False, compare=False)

    @cached_property
    def lines(self) -> Lines:
        """For each unit, its line in the file; found when first asked for, which takes long in long texts."""
        return self.find()

    def only(self, these: Sequence[int]) -> "Placed":
        """Return the document with only some of its units, given by position."""
        return replace(self, units=[self.units[i] for i in these], find=lambda: [self.lines[i] for i in these])

    def where(self, position: int) -> str:
        """Return `path:line` of a unit, or the document's name if the line is not known."""
        line = self.lines[position]
        return self.name if line is None else f"{self.path}:{line}"


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents that were read.

    Attributes:
        source: what was read, in words.
        documents: in the order of the source.
        losses: what did not become a document or a unit.
    """

    source: str
    documents: list[Placed]
    losses: Losses

    @property
    def units(self) -> list[str]:
        """The units of all documents."""
        return [unit for one in self.documents for unit in one.units]

    def places(self) -> Iterator[tuple[Placed, int]]:
        """Yield document and position of each unit."""
        return ((one, position) for one in self.documents for position in range(len(one.units)))


def read_collection(settings: DataSettings, most: int | None = None) -> Collection:
    """Read all documents that `settings.train_file` names into memory; short ones are included.

    Args:
        settings: where they are. With `limit`, rows that have an id have no line.
        most: most documents to read (None: all).

    Raises:
        LangJepaError: as `open_source`; there is no document (the message gives the reasons).
    """
    settings = settings.model_copy(update={"min_length": 0})
    source, splitter = open_source(settings), make_splitter(settings)
    files = {file.name: file for file in source.files} if isinstance(source, LocalSource) else {}
    numbers = cache(row_lines)
    rejected, left_out = Counter[str](), Counter[str]()
    found = []
    for document in islice(source.documents(rejected), most):
        left_out.update(dict(document.left_out))
        units = as_read(split_text(document.text, splitter), settings)
        found.append(
            _placed(document, files, numbers, units, lines_in_order if settings.units == "lines" else lines_of)
        )
    require_documents(len(found), rejected, source)
    losses = Losses(len(found) + rejected.total(), rejected, {}, left_out)
    return Collection(source.description, found, losses)


def _placed(
    document: Document,
    files: Mapping[str, File],
    numbers: Callable[[Path], list[int]],
    units: list[str],
    find: Callable[[str, Sequence[str]], Lines],
) -> Placed:
    name, _, row = (document.place or document.id).rpartition(":")
    file = files.get(name)
    if file is None or not isinstance(file.path, Path) or not row.isdecimal():
        return Placed(document.id, "", document.text, units, lambda: [None] * len(units))
    own, path = file.path, str(file.path)
    if file.kind.prose is not None:

        def in_text() -> Lines:
            raw = raw_text(own)
            return [None] * len(units) if raw is None else find(raw, units)

        return Placed(path, path, document.text, units, in_text)

    def of_row() -> Lines:
        known = numbers(own)
        return [known[int(row)] if known else None] * len(units)

    return Placed(document.id, path, document.text, units, of_row)
