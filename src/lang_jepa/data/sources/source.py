"""From `data.train_file` to a stream of documents: built-in stories, files, or a hub dataset, with rows joined."""

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from lang_jepa.data.sources import forms, remote
from lang_jepa.data.sources.base import BLANK, Document, Rejection, Source, judge
from lang_jepa.data.sources.formats import PARQUET, kind_of
from lang_jepa.data.sources.hub import FINEWEB_CONFIGS, HubSource, parse_hub_name
from lang_jepa.data.sources.listing import Folder, listed, refuse_patterns
from lang_jepa.data.sources.local import LocalSource
from lang_jepa.data.sources.parts import EqualParts, Part
from lang_jepa.data.sources.remote import AnyPath, RemoteFile
from lang_jepa.data.sources.sessions import Sessions
from lang_jepa.data.sources.stores import Missing
from lang_jepa.errors import LangJepaError, check_extra
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings
from lang_jepa.stories import FORMAT as STORIES_FORMAT
from lang_jepa.stories import generate as generate_stories

_CHOICES = (
    "Give a file (.parquet, .jsonl, .csv, .txt, .md, .html, ...), a folder of files, an address (s3://, gs://, hf://, "
    "https://) of one, a pattern of names, 'stories', one of "
    f"{', '.join(FINEWEB_CONFIGS)}, or a hub data set as owner/name[:config][@split]."
)
_PATTERN = re.compile(r"[*?\[]")


def open_source(settings: DataSettings) -> Source:
    """Open the source named by `settings.train_file`; nothing large is read yet.

    Names of built-in sources take precedence (write `./stories` for a folder of that name), then what exists
    on disk, then `owner/name[:config][@split]` on the hub.

    Raises:
        LangJepaError: no such file (the message suggests the closest name), an unknown kind of file, a folder
            without usable files, a damaged parquet file, a missing column, no such hub dataset, an address
            that cannot be read (see `remote.split`), a pattern that matches nothing, or no network.
    """
    every: dict[str, object] = {"min_length": 0, "limit": None}
    if settings.session is not None:
        return Sessions.of(settings, open_source(settings.model_copy(update={**every, "session": None})))
    if settings.join_rows is not None:
        every = {**every, "join_rows": None, "records": False}
        return JoinedRows.of(settings, open_source(settings.model_copy(update=every)))
    name = settings.train_file
    if name == "stories":
        refuse_patterns(settings, "stories")
        return StorySource.open(settings)
    if name in FINEWEB_CONFIGS:
        refuse_patterns(settings, f"the hub data set {name}")
        return HubSource.open(settings, "HuggingFaceFW/fineweb-edu", name, "train")
    if not name.strip():
        raise LangJepaError(f"data.train_file is empty. {_CHOICES}")
    place, path, hub = find(name), Path(name).expanduser(), parse_hub_name(name)
    if place is not None:
        return LocalSource.open(settings, place)
    # A name with a data suffix, or inside an existing folder, was meant as a path.
    if hub is None or kind_of(path) is not None or path.parent.is_dir():
        raise LangJepaError(_no_such_path(name, path))
    refuse_patterns(settings, f"the hub data set {name}")
    return HubSource.open(settings, *hub)


def elsewhere(settings: DataSettings, documents: str, **changes: object) -> DataSettings:
    """Settings that read other documents in the way a run's were read, without its limit and its choice of files.

    Conversations are read in the form that the files have (`forms.fitted`), whatever form the training data had. Rows
    are grouped (`data.group_column`) only in tables.

    Args:
        settings: of the run.
        documents: anything that `data.train_file` may name.
        changes: other settings.

    Raises:
        LangJepaError: there are no readable files, or there is no column of conversations; or a speaker column is
            given but would not be read.
    """
    found = _elsewhere(settings, documents, **changes)
    if "speaker_column" in changes and found.group_column is None:
        raise LangJepaError(
            "--speaker-column has no effect without --group-column: only rows of a group are read by it"
        )
    if "speaker_column" in changes and found.units != "turns":
        raise LangJepaError(f"--speaker-column has no effect: the model was trained on {found.units}, and not on turns")
    return found


def _elsewhere(settings: DataSettings, documents: str, **changes: object) -> DataSettings:
    """`elsewhere` without the checks of `speaker_column`."""
    every = {"train_file": documents, "limit": None, "include": (), "exclude": (), **changes}
    changed = settings.model_copy(update=every)
    place = find(documents) if documents.strip() else None
    if place is None:
        return changed  # on the hub, built in, or missing
    files, _ = listed(changed, place)
    tables = [file for file in files if file.kind.prose is None]
    if tables and settings.units == "turns":
        return forms.fitted(changed, tables[0].path, tables[0].kind, changes)
    if tables or "group_column" in changes:
        return changed
    return changed.model_copy(update={"group_column": None, "speaker_column": None})


def find(name: str) -> AnyPath | Folder | None:
    """The file or folder that a name refers to, or the files that a pattern matches; None if it is neither.

    A file or folder of exactly that name takes precedence over matches of the name as a pattern.

    Raises:
        LangJepaError: see `remote.split`; or an address has nothing, or a pattern matches nothing.
    """
    address = remote.split(name)
    if address is not None and address[0] != "file":
        return _remote(*address)
    name = unquote(address[1]) if address is not None else name
    path = Path(name).expanduser()
    if _exists(path, name):
        return path
    if _PATTERN.search(name) and "\0" not in name and parse_hub_name(name) is None:
        above, pattern = _divided(name)
        below = Path(above or ".").expanduser()
        return Folder.local(below).matching(pattern) if below.is_dir() else None
    if address is not None:
        raise LangJepaError(_no_such_path(name, path))
    return None


def _remote(scheme: str, rest: str) -> AnyPath | Folder:
    """The file, the folder, or the files matching a pattern at an address.

    Raises:
        LangJepaError: as `find`; or parquet files are asked for without the extra `hub`, before the store is.
    """
    address = f"{scheme}://{rest}"
    if kind_of(Path(rest)) is PARQUET:
        check_extra("hub", f"{address} is a parquet file, which")
    try:
        found = remote.look_up(scheme, rest)
    except Missing as error:
        above, pattern = _divided(rest)
        if not (pattern and above) or scheme in ("http", "https"):
            raise LangJepaError(f"data.train_file: {error}") from error
        literal = _PATTERN.split(pattern)[0]
        return Folder.remote(f"{scheme}://{above}", remote.folder(scheme, above, literal)).matching(pattern)
    return found if isinstance(found, RemoteFile) else Folder.remote(address, found)


def _divided(name: str) -> tuple[str, str]:
    """Split a name into the folder above the first part with a pattern, and the rest."""
    parts = name.split("/")
    first = next((index for index, part in enumerate(parts) if _PATTERN.search(part)), len(parts))
    return "/".join(parts[:first]) or ("/" if name.startswith("/") else ""), "/".join(parts[first:])


def _exists(path: Path, name: str) -> bool:
    """Whether the path exists (a broken link counts, so it is reported as one)."""
    if "\0" in name:
        return False
    try:
        return path.exists() or path.is_symlink()
    except OSError as error:
        raise LangJepaError(f"data.train_file: cannot look at {name}: {error.strerror}.") from error


def _no_such_path(name: str, path: Path) -> str:
    """The message for a path that does not exist, with the closest existing name."""
    folder = path.parent
    hint = ""
    if "\0" not in name:
        while not folder.is_dir():
            folder = folder.parent
        there = [entry.name for entry in islice(folder.iterdir(), 10_000)]
        missing = path.relative_to(folder).parts[0] if path.is_relative_to(folder) else path.name
        known = [*there, *(["stories", *FINEWEB_CONFIGS] if re.fullmatch(r"[\w-]*", name) else [])]
        close = difflib.get_close_matches(missing, known, n=1, cutoff=0.5)
        if close:
            near = folder / close[0] if close[0] in there else close[0]
            hint = f" Did you mean {near}?"
    return f"data.train_file: there is no file or folder {name!r}.{hint} {_CHOICES}"


FORMAT = 1
"""Version of the rules for joining rows; it enters the fingerprint."""
_TITLE = re.compile(r"\s*= [^=\s](.*[^=\s])? =\s*")


@dataclass
class JoinedRows(Source):
    """Another source's rows, one line each, joined into documents of up to `data.join_rows`; a title begins a new one.

    Empty rows are blank lines. A row rejected for another reason is passed on. `settings.limit` and
    `settings.min_length` apply to the joined documents.
    """

    rows_of: Source = field(kw_only=True)

    @classmethod
    def of(cls, settings: DataSettings, rows: Source) -> Self:
        """Join the rows of a source, which must yield all of them, however short."""
        return cls(settings, f"{rows.description}, rows joined", rows_of=rows)

    def fingerprint(self, *, quick: bool = False) -> str:
        return fingerprint([self.rows_of.fingerprint(quick=quick), self.settings.join_rows, FORMAT])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        return islice(self._joined(), skip, None)

    def _joined(self) -> Iterator[Document | Rejection]:
        identity, lines = "", list[str]()
        for row in self.rows_of.read(0):
            if isinstance(row, Rejection) and row.reason not in BLANK:
                yield row
                continue
            text = row.text if isinstance(row, Document) else ""
            if lines and (len(lines) == self.settings.join_rows or _TITLE.fullmatch(text)):
                yield self._document(identity, lines)
                lines = []
            if isinstance(row, Document) and not lines:
                identity = row.id
            if text or lines:
                lines.append(text.strip("\r\n"))
        if lines:
            yield self._document(identity, lines)

    def _document(self, identity: str, lines: list[str]) -> Document | Rejection:
        return judge(identity, "\n".join(lines), identity, self.settings)


STORY_SEED = 0
"""Seed of the training stories."""
STORIES = 1000
"""Number of stories in a part."""


@dataclass
class StorySource(Source):
    """Endless rows, one story each; `settings.limit` sets how many are used."""

    @classmethod
    def open(cls, settings: DataSettings) -> Self:
        """Stories up to the limit in the settings; without one they never end, which only streaming supports.

        Raises:
            LangJepaError: neither a limit nor streaming is set, or the settings do not fit stories.
        """
        if settings.group_column is not None:
            raise LangJepaError("data.group_column: the built-in stories are not a table; leave it out.")
        if settings.units != "sentences":
            raise LangJepaError(f"data.units={settings.units}: the built-in stories have sentences; leave it out.")
        if settings.limit is None and not settings.streaming:
            raise LangJepaError(
                "data.train_file=stories has no end: say how many with data.limit, or set data.streaming=true."
            )
        count = "endless" if settings.limit is None else str(settings.limit)
        return cls(settings, f"built-in stories (seed {STORY_SEED}, {count})")

    def fingerprint(self, *, quick: bool = False) -> str:
        """Fingerprint of the generator version, seed and count."""
        return fingerprint(["stories", STORIES_FORMAT, STORY_SEED, self.settings.limit])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """Story number `skip` and all that follow."""
        return self._stories(skip, sys.maxsize)

    def parts(self, size: int) -> Sequence[Part]:
        """The parts of one epoch, which without a limit is longer than any training run."""
        return EqualParts(self.settings.limit or sys.maxsize // 2, STORIES)

    def read_part(self, part: Part) -> Iterator[Document | Rejection]:
        return chain.from_iterable(self._stories(piece.first, piece.stop) for piece in part)

    def _stories(self, first: int, stop: int) -> Iterator[Document | Rejection]:
        for story in generate_stories(stop - first, seed=STORY_SEED, start=first):
            yield judge(story.id, story.text, story.id, self.settings)
