"""Corpora in an object store (`data.corpus_dir=s3://bucket/corpora`), each read from a local copy.

A corpus is uploaded file by file with its manifest last, so a manifest in the store proves that the corpus is complete.
It is downloaded once, into a folder that gets its final name only after every checksum has been verified.
"""

import json
import os
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Self

from lang_jepa.data.corpus.corpus import FORMAT, MANIFEST
from lang_jepa.data.sources import remote, stores
from lang_jepa.data.sources.remote import RemoteFile
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import LARGEST_JSON, atomic_folder, locked
from lang_jepa.settings.addresses import ADDRESS

CACHE = "LANG_JEPA_CACHE"
"""Environment variable: the folder of the local copies (default: ~/.cache/lang-jepa)."""
_WRITABLE = ("s3", "gs", "memory")
_SETTING = "data.corpus_dir"
_MARK, _MARK_TEXT = ".lang-jepa", b"Corpora of lang-jepa lie here.\n"


@dataclass(frozen=True, slots=True)
class CorpusStore:
    """A location of corpora in a store.

    Attributes:
        scheme, rest: of the address.
        folder: of their local copies.
    """

    scheme: str
    rest: str
    folder: Path

    @classmethod
    def of(cls, corpus_dir: str) -> Self | None:
        """The store that the setting names, or None if it is a folder.

        Raises:
            LangJepaError: the address cannot be written to, or its library is not installed.
        """
        if ADDRESS.fullmatch(corpus_dir) is None:
            return None
        scheme, rest = remote.split(corpus_dir, _SETTING) or ("", "")
        if scheme not in _WRITABLE:
            raise LangJepaError(f"{_SETTING}: {corpus_dir}: corpora are kept in a folder, or behind s3:// or gs://.")
        kept = Path(os.environ.get(CACHE) or "~/.cache/lang-jepa").expanduser() / "corpora"
        name = sha256(f"{scheme}://{rest}".encode()).hexdigest()[:16]
        return cls(scheme, rest, kept / name)

    def address(self, name: str) -> str:
        """The address of a corpus, for messages."""
        return f"{self.scheme}://{self.rest}/{name}"

    def has(self, name: str) -> bool:
        """Whether the store has a complete corpus of that name."""
        return self._find(name, MANIFEST) is not None

    def fetch(self, name: str, *, again: bool = False) -> bool:
        """Copy a corpus to this machine unless it is already here (or always, with `again`); returns whether it exists.

        One process per machine copies; the others wait for it.

        Raises:
            LangJepaError: the corpus there is damaged, or the disk is full.
            Unreachable: the store cannot be read.
        """
        target = self.folder / name
        if not again and (target / MANIFEST).is_file():
            return True
        with locked(self.folder / f".{name}.fetch.lock"):
            return (not again and (target / MANIFEST).is_file()) or self._copy(name, target)

    def check_writable(self) -> None:
        """Write a marker file, so that problems with the store show up before a corpus is prepared.

        Raises:
            Unreachable: the store cannot be written to.
        """
        stores.put(self.scheme, _MARK_TEXT, f"{self.rest}/{_MARK}")

    def publish(self, name: str) -> None:
        """Upload the local copy, its manifest last.

        Raises:
            Unreachable: the store cannot be written to.
        """
        files = sorted(file for file in (self.folder / name).rglob("*") if file.is_file())
        manifest = json.loads((self.folder / name / MANIFEST).read_text(encoding="utf-8"))
        ours = [file for file in files if file.relative_to(self.folder / name).as_posix() in manifest["checksums"]]
        for file in sorted(ours, key=lambda file: file.name == MANIFEST):
            stores.put(self.scheme, file, f"{self.rest}/{name}/{file.relative_to(self.folder / name).as_posix()}")

    def _copy(self, name: str, target: Path) -> bool:
        found = self._find(name, MANIFEST)
        if found is None:
            return False
        wanted = self._checksums(found)
        with atomic_folder(target) as temporary:
            for file, total in sorted(wanted.items()):
                there = self._find(name, file)
                if there is None:
                    raise LangJepaError(f"{self.address(name)}/{file} is missing: {_again(self.address(name))}")
                if _copied(there, temporary / file) != total and file != MANIFEST:
                    raise LangJepaError(f"{there} is not what was written: {_again(self.address(name))}")
        return True

    def _checksums(self, manifest: RemoteFile) -> dict[str, str]:
        """CRC-32 of each file of a corpus; the manifest is included, with an empty checksum."""
        try:
            with manifest.open("rb") as stream:
                content: Any = json.loads(stream.read(LARGEST_JSON))
            names = {str(name): str(total) for name, total in content["checksums"].items()}
            outside = [name for name in names if ".." in PurePosixPath(name).parts or name.startswith("/")]
            if content["format"] != FORMAT or outside:
                raise ValueError("another format")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise LangJepaError(f"{manifest} is not a manifest that this version reads ({error!r}).") from error
        return {**names, MANIFEST: ""}

    def _find(self, name: str, file: str) -> RemoteFile | None:
        try:
            found = remote.look_up(self.scheme, f"{self.rest}/{name}/{file}")
        except stores.Missing:
            return None
        return found if isinstance(found, RemoteFile) else None


def local_folder(corpus_dir: str) -> Path:
    """The local folder that corpora are read from: the setting itself, or the folder of the copies."""
    store = CorpusStore.of(corpus_dir)
    return store.folder if store is not None else Path(corpus_dir).expanduser()


def _copied(there: RemoteFile, here: Path) -> str:
    """Copy a file and return its CRC-32, formatted as by `files.atomic.crc32`."""
    here.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    with there.open("rb") as source, here.open("wb") as copy:
        while piece := source.read(1 << 20):
            total = zlib.crc32(piece, total)
            copy.write(piece)
    return f"{total:08x}"


def _again(address: str) -> str:
    return f"the corpus there is damaged. Delete {address} and prepare it again."
