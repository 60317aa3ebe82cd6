"""Convert a source of documents to a folder of token shards: tokenizer, sides, duplicates, manifest.

Documents are read twice, in the order of the source: first to hash them and train a tokenizer, then to assign them to a
side as in a prepared corpus (same hashes, same rules) and tokenize them whole, with white space inside a document
unchanged. The folder appears under its name by one rename.
"""

import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lang_jepa.data.corpus.blocks import cut_in_blocks, training_texts
from lang_jepa.data.corpus.deduplicate import hash_sentence, hash_text, judge_files, side
from lang_jepa.data.corpus.identity import changes, document_formats
from lang_jepa.data.corpus.statistics import Losses, why_nothing_held_out
from lang_jepa.data.corpus.workers import Tally
from lang_jepa.data.sources.base import Document, Source, require_documents
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.data.tokens import pieces
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces, sentencepiece_library, train_pieces
from lang_jepa.data.tokens.token_shards import (
    BOS,
    MANIFEST,
    SHARD_TOKENS,
    TOKENIZER,
    Side,
    TokenShards,
    TokenShardWriter,
)
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import (
    atomic_file,
    check_writable,
    locked,
    make_folder,
    read_json,
    write_json,
    writing,
)
from lang_jepa.settings.data import DataSettings

BLOCK_CHARACTERS = 4_000_000
"""Number of characters of text held in memory at a time."""


class Survey(Tally):
    """Hashes of a source's documents and sentences, kept on disk while needed.

    Attributes:
        passed: characters read so far in the second reading.
        duplicates: documents left out by the second reading, by kind.
    """

    def __init__(self, settings: DataSettings, source: Source, folder: Path, on_event: Callable[[int], None]) -> None:
        """`folder` is created for the hashes; `on_event` is called with the number of characters read so far."""
        super().__init__()
        self._settings, self._source, self._folder, self._on_event = settings, source, folder, on_event
        self._splitter = make_splitter(settings)
        self._files: list[Path] = []
        self.passed = 0
        self.duplicates: Counter[str] = Counter()
        make_folder(folder)

    def read(self) -> Iterator[Document]:
        """Yield all documents; once the last one has been consumed, their hashes are on disk.

        Raises:
            LangJepaError: there are no documents.
        """
        for block in cut_in_blocks(self._source.documents(self.rejected), characters=BLOCK_CHARACTERS):
            self._note(block)
            yield from block
            self._on_event(self.characters)
        require_documents(self.documents, self.rejected, self._source)

    def unique(self) -> Iterator[Document]:
        """Yield the documents that do not repeat an earlier one, from a second reading.

        Raises:
            LangJepaError: the second reading yields other documents than the first.
        """
        documents = self._source.documents(Counter())
        judged = judge_files(self._files, self._settings.deduplicate, self._settings.near_duplicate_share)
        for verdicts, arrays in judged:
            for verdict, expected in zip(verdicts, arrays["text_hashes"].tolist(), strict=True):
                document = next(documents, None)
                if document is None or hash_text(document.text) != expected:
                    raise LangJepaError(
                        f"{self._source.description} changed while it was read: run the command again when nothing "
                        "is writing there"
                    )
                self.passed += len(document.text)
                if verdict.kind == "kept":
                    yield document
                else:
                    self.duplicates[verdict.kind] += 1

    def _note(self, block: list[Document]) -> None:
        texts = [document.text for document in block]
        sentences = [self._sentences(text) for text in texts]
        every = [one for document in sentences for one in document]
        path = self._folder / f"{len(self._files):06d}.npz"
        with writing(path):
            np.savez(
                path,
                text_hashes=np.array([hash_text(text) for text in texts], dtype=np.uint64),
                documents=np.cumsum([0, *map(len, sentences)]),
                sentence_hashes=np.array([value for value, _ in every], dtype=np.uint64),
                countable=np.array([counts for _, counts in every], dtype=bool),
            )
        self._files.append(path)
        self.count(block)

    def _sentences(self, text: str) -> list[tuple[int, bool]]:
        """Hash of each sentence, and whether it counts; empty if only whole texts are compared."""
        if self._settings.deduplicate != "near":
            return []
        return [hash_sentence(text[begin:end]) for begin, end in self._splitter.spans(text)]


FORMAT = 2
"""Format of a folder of shards: raise it when the same documents would give different files."""
LEARNT = "trained"
"""The value of `data.tokenizer_path` that requests a tokenizer trained on the text."""
_NAMES: dict[str, Side] = {"train": "train", "validation": "val"}


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """Progress of a conversion.

    Attributes:
        stage: what is happening.
        characters: characters of the source read in this stage.
        total: characters of the whole source, if known.
        message: one sentence for people, empty if there is nothing to say.
    """

    stage: Literal["reused", "reading", "shards", "warning", "lost", "done"]
    characters: int = 0
    total: int | None = None
    message: str = ""


OnEvent = Callable[[ShardProgress], None]


def make_shards(
    settings: DataSettings,
    folder: Path | str,
    *,
    shard_tokens: int = SHARD_TOKENS,
    on_event: OnEvent = lambda progress: None,
) -> dict[str, Any]:
    """Convert a source to token shards; a folder made from the same source and settings is reused.

    Args:
        settings: `train_file`, `text_column`, `limit`, `min_length`, `deduplicate`, `near_duplicate_share`,
            `val_fraction`; `tokenizer_path` is `trained` (with `vocab_size` ids, on training documents only) or a
            SentencePiece `.model` file with BOS id 1.
        folder: of the shards, the tokenizer and the manifest.
        shard_tokens: size of a shard.
        on_event: called with the progress.

    Returns:
        The manifest (docs/gpt-data.md).

    Raises:
        LangJepaError: the source or the tokenizer is unusable, no documents are left for training, or the folder
            contains something else.
    """
    sentencepiece_library()  # a missing package is reported before anything is read
    folder = Path(folder).expanduser().absolute()
    source = open_source(settings)
    given = None if settings.tokenizer_path == LEARNT else Pieces.load(settings.tokenizer_path)
    made_from = _made_from(settings, source, given, shard_tokens)
    ready = _find_ready(folder, made_from)
    if ready is not None:
        on_event(ShardProgress("reused", message=f"the shards at {folder} are up to date"))
        _report_lost(ready, on_event)
        return ready
    check_writable(folder, folder=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        ready = _find_ready(folder, made_from)  # another process may have made it meanwhile
        if ready is not None:
            return ready
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(partial)
        try:
            manifest = _convert(settings, source, given, partial, made_from, shard_tokens, on_event)
            if folder.exists():
                folder.rmdir()  # it is empty: `_find_ready` raises for any other
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    seconds = manifest["timing"]["seconds"]
    on_event(ShardProgress("done", message=f"made {folder} in {seconds:.1f} s"))
    return manifest


def describe_shards(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, value) rows that describe a folder of shards, for people."""
    info = [("source", str(manifest["source"]["description"]))]
    for name, sizes in manifest["sides"].items():
        tokens, size = int(sizes["tokens"]), int(sizes["bytes"])
        each = f", {size / (tokens - sizes['documents']):.2f} bytes a token" if size else ""
        text = f"{sizes['documents']:,} documents, {tokens:,} tokens, {size / 1e6:.1f} MB of text{each}"
        info.append((name, text))
    for name in ("rejected", "duplicates", "left_out"):
        counts = ", ".join(f"{count:,} x {reason}" for reason, count in manifest.get(name, {}).items())
        info.append((name.replace("_", " "), counts or "none"))
    info.append(("tokenizer", f"{manifest['tokenizer']['vocab_size']:,} ids, {TOKENIZER}"))
    if manifest["changed_by_tokenizer"]:
        info.append(("changed by the tokenizer", f"{manifest['changed_by_tokenizer']:,} documents"))
    info.append(("speed", f"{manifest['timing']['megabytes_per_second']} MB/s"))
    return info


def _find_ready(folder: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a folder that is already up to date; None if the folder is missing or empty.

    Raises:
        LangJepaError: the folder contains something else, or a damaged shard.
    """
    if folder.is_file():
        raise LangJepaError(f"{folder} is a file; token shards are a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if not (folder / MANIFEST).is_file():
        raise LangJepaError(f"{folder} is not empty and holds no shards made here: choose another folder")
    manifest: dict[str, Any] = read_json(folder / MANIFEST, what="manifest of the shards")
    changed = changes(manifest.get("made_from", {}), made_from)
    if changed:
        raise LangJepaError(
            f"{folder} holds shards made from other inputs (changed: {', '.join(changed)}): choose another folder, or "
            "delete this one"
        )
    for short in _NAMES.values():
        if manifest["sides"][short]["files"]:
            TokenShards.find(folder, short)
    return manifest


def _convert(
    settings: DataSettings,
    source: Source,
    given: Pieces | None,
    folder: Path,
    made_from: dict[str, Any],
    shard_tokens: int,
    on_event: OnEvent,
) -> dict[str, Any]:
    """Do all the work in `folder`, and return the manifest, which is written last."""
    began = time.monotonic()
    hashes = folder / "hashes"
    survey = Survey(settings, source, hashes, lambda read: on_event(ShardProgress("reading", read)))
    if given is None:
        on_event(ShardProgress("reading", message=f"learning a tokenizer of {settings.vocab_size} ids"))
        given = train_pieces(training_texts(survey.read(), settings), settings.vocab_size)
    else:
        deque(survey.read(), maxlen=0)
    with atomic_file(folder / TOKENIZER) as temporary:
        temporary.write_bytes(given.model)
    work = _Work(settings, given, folder, shard_tokens)
    for block in cut_in_blocks(survey.unique(), characters=BLOCK_CHARACTERS):
        work.add(block)
        on_event(ShardProgress("shards", survey.passed, survey.characters))
    shutil.rmtree(hashes)
    sides = work.finish()
    _check(sides, source)
    seconds = time.monotonic() - began
    manifest = {
        "format": FORMAT,
        "made_from": made_from,
        "source": {"name": settings.train_file, "description": source.description},
        "tokenizer": {"file": TOKENIZER, "vocab_size": given.vocab_size, "fingerprint": given.fingerprint()},
        "sides": sides,
        "documents_read": survey.documents + survey.rejected.total(),
        "rejected": dict(sorted(survey.rejected.items())),
        "duplicates": dict(sorted(survey.duplicates.items())),
        "left_out": dict(sorted(survey.left_out.items())),
        "changed_by_tokenizer": work.changed,
        "timing": {
            "seconds": round(seconds, 1),
            "megabytes_per_second": round(survey.bytes / 1e6 / seconds, 2),
        },
    }
    write_json(folder / MANIFEST, manifest)
    _report_lost(manifest, on_event)
    return manifest


class _Work:
    """Convert documents to shards of both sides.

    Attributes:
        changed: number of documents whose tokens represent a different number of bytes than their text.
    """

    def __init__(self, settings: DataSettings, pieces: Pieces, folder: Path, shard_tokens: int) -> None:
        self.settings, self.pieces, self.table = settings, pieces, ByteTable.of_pieces(pieces)
        self.writers = {
            name: TokenShardWriter(folder, short, shard_tokens=shard_tokens) for name, short in _NAMES.items()
        }
        self.sides = {name: {"documents": 0, "tokens": 0, "bytes": 0} for name in _NAMES}
        self.changed = 0
        self.threads = settings.prepare_workers or os.cpu_count() or 1

    def add(self, block: list[Document]) -> None:
        """Tokenize and write some documents in order."""
        texts = [document.text.strip() for document in block]
        for text, ids in zip(texts, self.pieces.encode(texts, threads=self.threads), strict=True):
            name = side(hash_text(text), self.settings.val_fraction)
            tokens = np.concatenate([[BOS], ids])
            self.writers[name].append(tokens)
            row = torch.from_numpy(tokens)
            counted = int(self.table.count(row[1:], row[:-1]).sum())
            self.changed += counted != len(text.encode())
            for size, more in (("documents", 1), ("tokens", len(tokens)), ("bytes", counted)):
                self.sides[name][size] += more

    def finish(self) -> dict[str, dict[str, Any]]:
        """Finish the files and return what each side contains, by its short name."""
        return {short: {**self.sides[name], "files": self.writers[name].finish()} for name, short in _NAMES.items()}


def _check(sides: dict[str, dict[str, Any]], source: Source) -> None:
    held_out = sides["val"]["documents"]
    if not sides["train"]["documents"]:
        one = f" {why_nothing_held_out(1.0, 1, source.description)}" if held_out == 1 else ""
        raise LangJepaError(
            f"no documents of {source.description} are left for training ({held_out} held out): lower the share held "
            f"out, or give more documents.{one}"
        )


def _report_lost(manifest: dict[str, Any], on_event: OnEvent) -> None:
    """Report losses, as a warning if they are large, and warn if nothing was held out although it was requested."""
    fraction = manifest["made_from"]["settings"]["val_fraction"]
    sides, read = manifest["sides"], manifest["documents_read"] - sum(manifest["rejected"].values())
    if fraction and not sides["val"]["documents"]:
        description = manifest["source"]["description"]
        why = why_nothing_held_out(fraction, sides["train"]["documents"], description, read=read)
        on_event(ShardProgress("warning", message=f"nothing is held out: {why}"))
    lost = Losses.of_manifest(manifest)
    if line := lost.line():
        on_event(ShardProgress("warning" if lost.loud else "lost", message=line))


def _made_from(settings: DataSettings, source: Source, given: Pieces | None, shard_tokens: int) -> dict[str, Any]:
    """Everything that determines the tokens, as JSON."""
    names = [
        "limit", "min_length", "splitter", "language", "max_sentence_chars", "deduplicate", "val_fraction",
    ]  # fmt: skip
    if settings.deduplicate == "near":
        names.append("near_duplicate_share")
    return {
        "format": FORMAT,
        "source": source.fingerprint(),
        "tokenizer": {LEARNT: settings.vocab_size} if given is None else given.fingerprint(),
        "shard_tokens": shard_tokens,
        "settings": {name: getattr(settings, name) for name in names},
        "formats": {**document_formats(), "pieces": pieces.FORMAT},
        "libraries": {name: version(name) for name in ("sentencepiece", "sentencex")},
    }
