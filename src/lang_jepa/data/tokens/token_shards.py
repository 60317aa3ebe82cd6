"""Token shards, the public file format from which small language models are trained.

A shard is 256 little-endian int32 (magic number, version, number of tokens, zeros) followed by the tokens as
little-endian uint16. A document begins with id 1. See docs/gpt-data.md for the layout of their folder.
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import Ints, TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import atomic_file, changed_file, crc32, read_json, writing

MAGIC, VERSION = 20240520, 1
HEADER = np.dtype(("<i4", 256))
HEADER_BYTES = HEADER.itemsize
TOKEN = np.dtype("<u2")
MAX_VOCAB = 2**16
BOS = 1
"""The id with which every document begins."""
SHARD_TOKENS = 100_000_000
"""Tokens after which a new shard begins, as in the public datasets (200 MB)."""
MANIFEST, TOKENIZER = "shards.json", "tokenizer.model"
"""What a folder written here contains besides its shards; public datasets have neither."""

Side = Literal["train", "val"]


def header_bytes(tokens: int) -> bytes:
    """The header of a shard with the given number of tokens."""
    if not 0 <= tokens < 2**31:
        raise ValueError(f"a shard cannot hold {tokens} tokens: the header counts them in an int32")
    header = np.zeros(1, dtype=HEADER)
    header[0, :3] = MAGIC, VERSION, tokens
    return header.tobytes()


def token_bytes(tokens: NDArray[np.integer]) -> bytes:
    """Token ids as stored in a shard.

    Raises:
        LangJepaError: an id does not fit into two bytes.
    """
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < MAX_VOCAB:
        worst = int(tokens.max()) if int(tokens.min()) >= 0 else int(tokens.min())
        raise LangJepaError(
            f"token id {worst} does not fit into a 16-bit token shard: use a vocabulary of at most {MAX_VOCAB:,} ids"
        )
    return tokens.astype(TOKEN).tobytes()


def write_shard(path: Path, tokens: NDArray[np.integer]) -> None:
    """Write one shard, atomically.

    Args:
        path: of the file.
        tokens: integers [N] below 65,536, in which each document begins with BOS.

    Raises:
        LangJepaError: an id does not fit into two bytes.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(header_bytes(len(tokens)) + token_bytes(tokens))


class TokenShardWriter:
    """Write the shards of one side document by document, without holding any in memory.

    A file gets its header last: until then it begins with zeros, which no reader accepts as a shard.
    """

    def __init__(self, folder: Path, side: Side, *, shard_tokens: int = SHARD_TOKENS) -> None:
        """`folder` must exist; a shard ends with the document that brings it to `shard_tokens`."""
        self.folder, self.side, self.shard_tokens = folder, side, shard_tokens
        self.files: list[dict[str, str | int]] = []
        self._file: BinaryIO | None = None
        self._tokens = 0

    def append(self, document: NDArray[np.integer]) -> None:
        """Add one document, including its BOS."""
        data = token_bytes(document)
        with writing(self.folder):
            if self._file is None:
                self._file = (self.folder / f"{self.side}_{len(self.files):06d}.bin").open("wb")
                self._file.write(bytes(HEADER_BYTES))
            self._file.write(data)
        self._tokens += len(document)
        if self._tokens >= self.shard_tokens:
            self._close(self._file)

    def finish(self) -> list[dict[str, str | int]]:
        """Finish the last shard and return name, token count and CRC-32 of all shards."""
        if self._file is not None:
            self._close(self._file)
        return self.files

    def _close(self, file: BinaryIO) -> None:
        with writing(self.folder):
            file.seek(0)
            file.write(header_bytes(self._tokens))
            file.flush()
            os.fsync(file.fileno())
            file.close()
        path = Path(file.name)
        self.files.append({"name": path.name, "tokens": self._tokens, "crc32": crc32(path)})
        self._file, self._tokens = None, 0


class TokenShards:
    """Shards as one long token sequence, read through memory maps.

    Attributes:
        paths: of the shards, in order.
        num_tokens: in all shards.
        vocab_size: all ids must be below it.
        bos_id: begins a document.
    """

    bos_id = BOS

    def __init__(self, paths: Sequence[Path | str], *, vocab_size: int = MAX_VOCAB) -> None:
        """Open the files, and check headers and sizes.

        Raises:
            LangJepaError: there are no files, or a file is missing, truncated, not a shard, of another version or
                empty, or its first tokens are outside the vocabulary; the message names the file.
        """
        if not paths:
            raise LangJepaError("no token shards were given")
        if not 0 < vocab_size <= MAX_VOCAB:
            raise LangJepaError(
                f"a vocabulary of {vocab_size:,} ids does not fit into shards of 16-bit tokens (at most {MAX_VOCAB:,})"
            )
        self.paths, self.vocab_size = [Path(path) for path in paths], vocab_size
        self._shards = [open_shard(path) for path in self.paths]
        self._bases = np.concatenate([[0], np.cumsum([len(shard) for shard in self._shards])])
        self.num_tokens = int(self._bases[-1])
        for base in self._bases[:-1].tolist():  # the rest is checked when it is read
            self.read(base, min(base + 4096, self.num_tokens))

    @classmethod
    def find(cls, folder: Path | str, side: Side, *, vocab_size: int = MAX_VOCAB) -> Self:
        """Open the shards of one side in a folder: `*train_*.bin` or `*val_*.bin`, in the order of their names.

        If the folder has a manifest, the shards must be those that it names, with the checksums that it contains (an
        earlier version wrote none).

        Raises:
            LangJepaError: there are no shards, or not those of the manifest; or as in the constructor.
        """
        folder = Path(folder)
        paths = sorted(folder.glob(f"*{side}_*.bin"))
        if not paths:
            what = "has no" if folder.is_dir() else "is not a folder with"
            raise LangJepaError(
                f"{folder} {what} token shards named *{side}_*.bin; `lang-jepa shards SOURCE FOLDER` makes them"
            )
        found = cls(paths, vocab_size=vocab_size)
        if (folder / MANIFEST).is_file():
            manifest = read_json(folder / MANIFEST, what="manifest of the shards")
            try:
                files = manifest["sides"][side]["files"]
                wanted = {str(one["name"]): int(one["tokens"]) for one in files}
                totals = {one["name"]: one["crc32"] for one in files if "crc32" in one}
            except (LookupError, TypeError, ValueError) as error:
                raise LangJepaError(f"manifest of the shards is damaged ({folder / MANIFEST}): {error!r}") from error
            found._compare(wanted)
            if changed := changed_file({path: totals[path.name] for path in paths if path.name in totals}):
                raise LangJepaError(
                    f"the token shard {changed} is damaged: its checksum is not what it was when it was written. "
                    "Delete the folder and make it again."
                )
        return found

    def read(self, start: int, stop: int) -> Ints:
        """Tokens start .. stop - 1 of all shards end to end, int64.

        Raises:
            LangJepaError: an id is outside the vocabulary; the message names the file.
        """
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens {start}..{stop} do not lie among {self.num_tokens}")
        number = int(np.searchsorted(self._bases, start, side="right")) - 1
        parts: list[NDArray[np.uint16]] = []
        while start < stop:
            base, end = int(self._bases[number]), min(stop, int(self._bases[number + 1]))
            part = self._shards[number][start - base : end - base]
            if int(part.max()) >= self.vocab_size:
                raise LangJepaError(
                    f"{self.paths[number]} holds token id {int(part.max())}, but the vocabulary has {self.vocab_size} "
                    "ids: these shards were made with another tokenizer"
                )
            parts.append(part)
            start, number = end, number + 1
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)

    def _compare(self, wanted: dict[str, int]) -> None:
        """Raise unless the shards are those named in the manifest."""
        sizes = [upper - lower for lower, upper in pairwise(self._bases.tolist())]
        found = {path.name: size for path, size in zip(self.paths, sizes, strict=True)}
        if found != wanted:
            odd = sorted(dict(found.items() ^ wanted.items()))
            raise LangJepaError(
                f"{self.paths[0].parent} does not hold the shards that its {MANIFEST} names (look at "
                f"{', '.join(odd)}): make the folder again"
            )


def open_shard(path: Path) -> NDArray[np.uint16]:
    """The tokens of one shard, uint16 [N], memory-mapped, after checking header and size.

    Raises:
        LangJepaError: the file cannot be read, is not a shard, has another version, no tokens, or a size that does not
            match its header.
    """
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise LangJepaError(f"cannot read the token shard {path}: {error.strerror}") from error
    if len(start) < HEADER_BYTES:
        raise LangJepaError(f"{path} is not a token shard: its {size} bytes are shorter than a header")
    magic, version, tokens = np.frombuffer(start, dtype="<i4")[:3].tolist()
    if magic != MAGIC:
        raise LangJepaError(
            f"{path} is not a token shard: it begins with {magic} instead of {MAGIC} (another format, or never "
            "finished)"
        )
    if version != VERSION:
        raise LangJepaError(f"the token shard {path} has version {version}, this program reads {VERSION}")
    wanted = HEADER_BYTES + TOKEN.itemsize * tokens
    if size != wanted:
        what = "cut short" if size < wanted else "too long"
        raise LangJepaError(
            f"the token shard {path} is {what}: {size} bytes, and {tokens} tokens take {wanted}; fetch or make it again"
        )
    if not tokens:
        raise LangJepaError(f"the token shard {path} holds no tokens")
    # A plain view, because every slice of a np.memmap builds a Python object with attributes.
    return np.asarray(np.memmap(path, dtype=TOKEN, mode="r", offset=HEADER_BYTES, shape=(tokens,)))


class CorpusTokens:
    """A split of a prepared corpus as tokens, by index arithmetic: no copies; memory holds two int64 per document.

    Attributes:
        num_tokens: of the side, plus one BOS per document.
        vocab_size, bos_id: of the tokenizer.
    """

    def __init__(self, split: CorpusSplit, tokenizer: TextTokenizer) -> None:
        """Read from a side of a corpus.

        Raises:
            LangJepaError: the side is empty, or the tokenizer has no token that begins a text.
        """
        if tokenizer.bos_id is None:
            raise LangJepaError(
                "the corpus' tokenizer has no token that begins a text (bos or cls), which a language model needs to "
                "tell documents apart: prepare the corpus with data.tokenizer_path=trained"
            )
        if not split.num_documents:
            raise LangJepaError("this split of the corpus is empty: set data.val_fraction, or take more documents")
        self._split = split
        self.vocab_size, self.bos_id = tokenizer.vocab_size, tokenizer.bos_id
        self._text_starts = split.token_starts(split.document_starts)
        self._starts: Ints = self._text_starts + np.arange(split.num_documents + 1)
        self.num_tokens = int(self._starts[-1])

    def read(self, start: int, stop: int) -> Ints:
        """Tokens start .. stop - 1, int64."""
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens {start}..{stop} do not lie among {self.num_tokens}")
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        documents = np.arange(first, last)
        begin = np.maximum(self._starts[documents] + 1, start)  # after the BOS
        end = np.minimum(self._starts[documents + 1], stop)
        lengths = np.maximum(end - begin, 0)
        offsets = self._text_starts[documents] + begin - self._starts[documents] - 1
        tokens = np.full(stop - start, self.bos_id, dtype=np.int64)
        is_text = np.ones(stop - start, dtype=bool)
        is_text[self._starts[documents][self._starts[documents] >= start] - start] = False
        tokens[is_text] = self._split.gather(offsets, lengths)
        return tokens
