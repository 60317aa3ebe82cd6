"""From a source of documents to a folder of token shards: tokenizer, sides, duplicates, manifest.

Documents are read in the order of the source, twice: first they are compared and a tokenizer is learnt, then they are
put on a side as in a prepared corpus (same hashes, same rules) and tokenized whole: white space inside a document stays
as it is. The folder appears under its name by one rename.
"""

import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lang_jepa.data.corpus.formats import changes, document_formats
from lang_jepa.data.corpus.losses import Losses, why_nothing_held_out
from lang_jepa.data.sources.source import Document, Source, open_source
from lang_jepa.data.tokens import pieces
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces, sentencepiece_library, train_pieces
from lang_jepa.data.tokens.survey import Survey, cut_in_blocks
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
from lang_jepa.files.atomic import atomic_file, check_writable, locked, make_folder, read_json, write_json
from lang_jepa.files.hashes import hash_text, side, training_texts
from lang_jepa.settings.data import DataSettings

FORMAT = 2
"""Of a folder of shards: raise it when the same documents give other files."""
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

    stage: Literal["reused", "reading", "shards", "warning", "lost", "done"]
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
    ready = _find_ready(folder, made_from)
    if ready is not None:
        tell(ShardProgress("reused", message=f"the shards at {folder} are up to date"))
        _tell_lost(ready, tell)
        return ready
    check_writable(folder, folder=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        ready = _find_ready(folder, made_from)  # another process may have made them
        if ready is not None:
            return ready
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(partial)
        try:
            manifest = _convert(settings, source, given, partial, made_from, shard_tokens, tell)
            if folder.exists():
                folder.rmdir()  # empty, or it would not have come this far
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
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
    for name in ("rejected", "duplicates", "left_out"):
        counts = ", ".join(f"{count:,} x {reason}" for reason, count in manifest.get(name, {}).items())
        facts.append((name.replace("_", " "), counts or "none"))
    facts.append(("tokenizer", f"{manifest['tokenizer']['vocab_size']:,} ids, {TOKENIZER}"))
    if manifest["changed_by_tokenizer"]:
        facts.append(("changed by the tokenizer", f"{manifest['changed_by_tokenizer']:,} documents"))
    facts.append(("speed", f"{manifest['timing']['megabytes_per_second']} MB/s"))
    return facts


def _find_ready(folder: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a folder that needs no work; None if there is none.

    Raises:
        LangJepaError: there is something else in the folder, or a damaged shard.
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
            f"{folder} holds shards that were made otherwise (changed: {', '.join(changed)}): choose another folder, "
            "or delete this one"
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
    tell: Tell,
) -> dict[str, Any]:
    """Do all the work in `folder`, and return the manifest that was written there last."""
    began = time.monotonic()
    hashes = folder / "hashes"
    survey = Survey(settings, source, hashes, lambda read: tell(ShardProgress("reading", read)))
    if given is None:
        tell(ShardProgress("reading", message=f"learning a tokenizer of {settings.vocab_size} ids"))
        texts = (document.text for document in survey.read())
        given = train_pieces(training_texts(texts, settings.val_fraction), settings.vocab_size)
    else:
        deque(survey.read(), maxlen=0)
    with atomic_file(folder / TOKENIZER) as temporary:
        temporary.write_bytes(given.model)
    work = _Work(settings, given, folder, shard_tokens)
    for block in cut_in_blocks(survey.kept()):
        work.add(block)
        tell(ShardProgress("shards", survey.passed, survey.characters))
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
    _tell_lost(manifest, tell)
    return manifest


class _Work:
    """Documents to shards of both sides.

    Attributes:
        changed: documents of which the tokens stand for another number of bytes than the text has.
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
        """Tokenize and write some documents, in their order."""
        texts = [document.text.strip() for document in block]
        for text, ids in zip(texts, self.pieces.encode(texts, threads=self.threads), strict=True):
            name = side(hash_text(text), self.settings.val_fraction)
            self._write(name, text, np.concatenate([[BOS], ids]))

    def finish(self) -> dict[str, dict[str, Any]]:
        """End the files; what each side holds, by its short name."""
        return {
            short: {**self.sides[name], "files": self.writers[name].finish()}
            for name, short in _NAMES.items()
        }

    def _write(self, name: str, text: str, tokens: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self.writers[name].append(tokens)
        row = torch.from_numpy(tokens)
        counted = int(self.table.count(row[1:], row[:-1]).sum())
        self.changed += counted != len(text.encode())
        sizes = self.sides[name]
        sizes["documents"] += 1
        sizes["tokens"] += len(tokens)
        sizes["bytes"] += counted


def _check(sides: dict[str, dict[str, Any]], source: Source) -> None:
    """Stop when training has no documents."""
    held_out = sides["val"]["documents"]
    if not sides["train"]["documents"]:
        one = f" {why_nothing_held_out(1.0, 1, source.description)}" if held_out == 1 else ""
        raise LangJepaError(
            f"no documents of {source.description} are left for training ({held_out} held out): lower the share held "
            f"out, or give more documents.{one}"
        )


def _tell_lost(manifest: dict[str, Any], tell: Tell) -> None:
    """Tell what was lost, as a warning if it was much; and warn when nothing was held out though it was asked for."""
    fraction = manifest["made_from"]["settings"]["val_fraction"]
    sides, read = manifest["sides"], manifest["documents_read"] - sum(manifest["rejected"].values())
    if fraction and not sides["val"]["documents"]:
        description = manifest["source"]["description"]
        why = why_nothing_held_out(fraction, sides["train"]["documents"], description, read=read)
        tell(ShardProgress("warning", message=f"nothing is held out: {why}"))
    lost = Losses.of_manifest(manifest)
    if line := lost.line():
        tell(ShardProgress("warning" if lost.loud else "lost", message=line))


def _made_from(
    settings: DataSettings, source: Source, given: Pieces | None, shard_tokens: int
) -> dict[str, Any]:
    """Everything that decides the tokens, as JSON."""
    names = [
        "limit",
        "min_length",
        "splitter",
        "language",
        "max_sentence_chars",
        "deduplicate",
        "val_fraction",
    ]
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
