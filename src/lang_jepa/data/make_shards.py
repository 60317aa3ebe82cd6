"""From a source of documents to a folder of token shards: tokenizer, sides, duplicates, manifest.

Documents are read in the order of the source, compared with earlier ones and put on a side as in a prepared corpus
(same hashes, same rules), and tokenized whole: white space inside a document stays as it is. The folder appears under
its name by one rename.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lang_jepa.config import DataSettings
from lang_jepa.data.byte_table import ByteTable
from lang_jepa.data.deduplicate import Deduplicator
from lang_jepa.data.documents import Document, Source, open_source, require_documents
from lang_jepa.data.hashes import hash_sentence, hash_text, side
from lang_jepa.data.pieces import Pieces, sentencepiece_library, train_pieces
from lang_jepa.data.sentences import make_splitter
from lang_jepa.data.token_shards import BOS, MANIFEST, SHARD_TOKENS, TOKENIZER, Side, TokenShardWriter
from lang_jepa.errors import LangJepaError
from lang_jepa.files import atomic_file, fingerprint, locked, read_json, write_json

FORMAT = 1
BLOCK_CHARACTERS = 4_000_000
"""Text that is held and tokenized at a time."""
LEARNT = "trained"
"""The `data.tokenizer_path` that asks for a tokenizer learnt on the text."""
_NAMES: dict[str, Side] = {"train": "train", "validation": "val"}


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a conversion is.

    Attributes:
        stage: what is going on.
        characters: of the source read in this stage.
        total: characters of the whole source, where they are known.
        message: one sentence for people, empty where there is nothing new.
    """

    stage: Literal["reused", "tokenizer", "shards", "warning", "done"]
    characters: int = 0
    total: int | None = None
    message: str = ""


Tell = Callable[[ShardProgress], None]


def make_shards(
    settings: DataSettings,
    folder: Path | str,
    *,
    shard_tokens: int = SHARD_TOKENS,
    tell: Tell = lambda progress: None,
) -> dict[str, Any]:
    """Convert a source; a folder that the same source and settings made is used as it is.

    Args:
        settings: `train_file`, `text_column`, `limit`, `min_length`, `deduplicate`, `near_duplicate_share`,
            `val_fraction`; `tokenizer_path` is `trained` (with `vocab_size` ids, on training documents only) or a
            SentencePiece `.model` file with BOS id 1.
        folder: of the shards, the tokenizer and the manifest.
        shard_tokens: size of a shard.
        tell: told how far it is.

    Returns:
        The manifest (docs/gpt-data.md).

    Raises:
        LangJepaError: an unusable source or tokenizer, no documents left for training, or a folder with something
            else in it.
    """
    sentencepiece_library()  # what is not installed is said before anything is read
    folder = Path(folder).expanduser().absolute()
    source = open_source(settings)
    given = None if settings.tokenizer_path == LEARNT else Pieces.load(settings.tokenizer_path)
    made_from = _made_from(settings, source, given, shard_tokens)
    with locked(folder.with_name(f".{folder.name}.lock")):
        ready = _find_ready(folder, made_from)
        if ready is not None:
            tell(ShardProgress("reused", message=f"the shards at {folder} are up to date"))
            return ready
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        manifest = _convert(settings, source, given, partial, made_from, shard_tokens, tell)
        if folder.exists():
            folder.rmdir()  # empty, or it would not have come this far
        partial.replace(folder)
    seconds = manifest["timing"]["seconds"]
    tell(ShardProgress("done", message=f"made {folder} in {seconds:.1f} s"))
    return manifest


def describe_shards(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """What is in a folder of shards, for people."""
    facts = [("source", str(manifest["source"]["description"]))]
    for name, sizes in manifest["sides"].items():
        tokens, size = int(sizes["tokens"]), int(sizes["bytes"])
        each = f", {size / (tokens - sizes['documents']):.2f} bytes a token" if size else ""
        text = f"{sizes['documents']:,} documents, {tokens:,} tokens, {size / 1e6:.1f} MB of text{each}"
        facts.append((name, text))
    for name in ("rejected", "duplicates"):
        counts = ", ".join(f"{count:,} x {reason}" for reason, count in manifest[name].items())
        facts.append((name, counts or "none"))
    facts.append(("tokenizer", f"{manifest['tokenizer']['vocab_size']:,} ids, {TOKENIZER}"))
    if manifest["changed_by_tokenizer"]:
        facts.append(("changed by the tokenizer", f"{manifest['changed_by_tokenizer']:,} documents"))
    facts.append(("speed", f"{manifest['timing']['megabytes_per_second']} MB/s"))
    return facts


def _find_ready(folder: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a folder that needs no work; None if there is none.

    Raises:
        LangJepaError: there is something else in the folder.
    """
    if folder.is_file():
        raise LangJepaError(f"{folder} is a file; token shards are a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if not (folder / MANIFEST).is_file():
        raise LangJepaError(f"{folder} is not empty and holds no shards made here: choose another folder")
    manifest: dict[str, Any] = read_json(folder / MANIFEST, what="manifest of the shards")
    before = manifest.get("made_from", {})
    changed = [name for name, value in made_from.items() if before.get(name) != value]
    if changed:
        raise LangJepaError(
            f"{folder} holds shards that were made otherwise (changed: {', '.join(changed)}): choose another folder, "
            "or delete this one"
        )
    return manifest


def _convert(
    settings: DataSettings,
    source: Source,
    given: Pieces | None,
    folder: Path,
    made_from: dict[str, Any],
    shard_tokens: int,
    tell: Tell,
) -> dict[str, Any]:
    """Do all the work in `folder`, and return the manifest that was written there last."""
    began = time.monotonic()
    total: int | None = None
    if given is None:
        given, total = _learn(settings, source, tell)
    with atomic_file(folder / TOKENIZER) as temporary:
        temporary.write_bytes(given.model)
    work = _Work(settings, given, folder, shard_tokens)
    rejected: Counter[str] = Counter()
    characters = 0
    for block in _blocks(source.documents(rejected)):
        work.add(block)
        characters += sum(len(document.text) for document in block)
        tell(ShardProgress("shards", characters, total))
    require_documents(work.documents, rejected, source)
    sides = work.finish()
    _check(sides, settings, source, tell)
    seconds = time.monotonic() - began
    manifest = {
        "format": FORMAT,
        "made_from": made_from,
        "source": {"name": settings.train_file, "description": source.description},
        "tokenizer": {"file": TOKENIZER, "vocab_size": given.vocab_size, "fingerprint": given.fingerprint()},
        "sides": sides,
        "documents_read": work.documents + rejected.total(),
        "rejected": dict(sorted(rejected.items())),
        "duplicates": dict(sorted(work.duplicates.items())),
        "changed_by_tokenizer": work.changed,
        "timing": {
            "seconds": round(seconds, 1),
            "megabytes_per_second": round(work.bytes / 1e6 / seconds, 2),
        },
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


class _Work:
    """Documents to shards of both sides.

    Attributes:
        documents, bytes: read so far (bytes: of their texts in UTF-8).
        duplicates: documents left out, by kind.
        changed: documents of which the tokens stand for another number of bytes than the text has.
    """

    def __init__(self, settings: DataSettings, pieces: Pieces, folder: Path, shard_tokens: int) -> None:
        self.settings, self.pieces, self.table = settings, pieces, ByteTable.of_pieces(pieces)
        self.splitter = make_splitter(settings)
        self.judge = Deduplicator(settings.deduplicate, settings.near_duplicate_share)
        self.writers = {
            name: TokenShardWriter(folder, short, shard_tokens=shard_tokens) for name, short in _NAMES.items()
        }
        self.sides = {name: {"documents": 0, "tokens": 0, "bytes": 0} for name in _NAMES}
        self.documents = self.bytes = self.changed = 0
        self.duplicates: Counter[str] = Counter()
        self.threads = settings.prepare_workers or os.cpu_count() or 1

    def add(self, block: list[Document]) -> None:
        """Judge, tokenize and write some documents, in their order."""
        texts: list[tuple[str, str]] = []
        for document in block:
            size = len(document.text.encode())
            self.documents, self.bytes = self.documents + 1, self.bytes + size
            hashed = hash_text(document.text)
            if self._is_new(hashed, document.text):
                texts.append((side(hashed, self.settings.val_fraction), document.text.strip()))
        encoded = self.pieces.encode([text for _, text in texts], threads=self.threads)
        for (name, text), ids in zip(texts, encoded, strict=True):
            self._write(name, text, np.concatenate([[BOS], ids]))

    def finish(self) -> dict[str, dict[str, Any]]:
        """End the files; what each side holds, by its short name."""
        return {
            short: {**self.sides[name], "files": self.writers[name].finish()}
            for name, short in _NAMES.items()
        }

    def _is_new(self, hashed: int, text: str) -> bool:
        sentences: list[tuple[int, bool]] = []
        if self.settings.deduplicate == "near":
            sentences = [hash_sentence(text[begin:end]) for begin, end in self.splitter.spans(text)]
        hashes = np.array([value for value, _ in sentences], dtype=np.uint64)
        countable = np.array([counts for _, counts in sentences], dtype=bool)
        verdict = self.judge.judge(hashed, hashes, countable)
        if verdict != "kept":
            self.duplicates[verdict] += 1
        return verdict == "kept"

    def _write(self, name: str, text: str, tokens: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self.writers[name].append(tokens)
        row = torch.from_numpy(tokens)
        counted = int(self.table.count(row[1:], row[:-1]).sum())
        self.changed += counted != len(text.encode())
        sizes = self.sides[name]
        sizes["documents"] += 1
        sizes["tokens"] += len(tokens)
        sizes["bytes"] += counted


def _learn(settings: DataSettings, source: Source, tell: Tell) -> tuple[Pieces, int]:
    """A tokenizer learnt on the training documents, and the characters of the whole source."""
    characters = 0

    def texts() -> Iterator[str]:
        nonlocal characters
        for document in source.documents(Counter()):
            characters += len(document.text)
            if side(hash_text(document.text), settings.val_fraction) == "train":
                yield document.text

    tell(ShardProgress("tokenizer", message=f"learning a tokenizer of {settings.vocab_size} ids"))
    pieces = train_pieces(
        texts(), settings.vocab_size, tell=lambda _: tell(ShardProgress("tokenizer", characters))
    )
    return pieces, characters


def _blocks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Documents in blocks of about BLOCK_CHARACTERS."""
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document.text)
        if size >= BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _check(sides: dict[str, dict[str, Any]], settings: DataSettings, source: Source, tell: Tell) -> None:
    """Stop when training has no documents; warn when nothing was held out though it was asked for."""
    if not sides["train"]["documents"]:
        raise LangJepaError(
            f"no documents of {source.description} are left for training ({sides['val']['documents']} held out): lower "
            "the share held out, or give more documents"
        )
    if settings.val_fraction and not sides["val"]["documents"]:
        text = f"a share of {settings.val_fraction} of {sides['train']['documents']} documents held none out"
        tell(ShardProgress("warning", message=text))


def _made_from(
    settings: DataSettings, source: Source, given: Pieces | None, shard_tokens: int
) -> dict[str, Any]:
    """Everything that decides the tokens, as JSON."""
    names = ["limit", "min_length", "splitter", "max_sentence_chars", "deduplicate", "val_fraction"]
    if settings.deduplicate == "near":
        names.append("near_duplicate_share")
    return {
        "format": FORMAT,
        "source": source.fingerprint(),
        "tokenizer": {LEARNT: settings.vocab_size} if given is None else given.fingerprint(),
        "shard_tokens": shard_tokens,
        "settings": {name: getattr(settings, name) for name in names},
        "code": _code_fingerprint(),
        "libraries": {"sentencepiece": version("sentencepiece")},
    }


def _code_fingerprint() -> str:
    """Hash of our own code between a document and its tokens."""
    folder = Path(__file__).parent
    names = ("deduplicate.py", "hashes.py", "pieces.py", "token_shards.py", Path(__file__).name)
    files = sorted([*folder.glob("sentences*.py"), *(folder / name for name in names)])
    return fingerprint({file.name: file.read_text(encoding="utf-8") for file in files})
