"""The files of one side of a corpus: flat .npy arrays, written incrementally and read through memory maps.

See docs/corpus.md for the layout.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import Block
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import BadArray, check_rising, npy_head, open_array
from lang_jepa.files.atomic import writing

SHARD_TOKENS = 2**28
"""Tokens after which a new shard begins: half a gigabyte of uint16, so a web-scale corpus needs few open files."""

KINDS = ("tokens", "sentences", "documents", "ids")
"""Arrays of every shard; shards of turns with known speakers also have `speakers`."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Arrays of one shard; see `Block` for shapes and dtypes. Starts count from the beginning of the shard."""

    tokens: NDArray[np.unsignedinteger]
    sentences: Ints
    documents: Ints
    ids: NDArray[np.bytes_]
    speakers: NDArray[np.uint8] | None = None


def shard_file(folder: Path, side: str, number: int, kind: str) -> Path:
    """Path of one array of one shard."""
    return Path(folder) / f"{side}-{number:05d}.{kind}.npy"


class _ArrayFile:
    """A growing one-dimensional .npy file. Its header, which has the same size for any length, is written last."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path, self.dtype, self.length = path, dtype, 0
        with writing(path):
            self._file = path.open("wb")
            self._header_size = self._file.write(self._header())

    def _header(self) -> bytes:
        return npy_head(self.dtype, (self.length,))

    def append(self, values: NDArray[Any]) -> None:
        with writing(self.path):
            self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def close(self) -> None:
        with writing(self.path):
            self._file.seek(0)
            # NumPy pads headers for growing arrays; without that, the header would overwrite the first values.
            if self._file.write(self._header()) != self._header_size:
                raise RuntimeError(f"the .npy header of {self.path} changed its size")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


class ShardWriter:
    """Write one shard block by block, with one block and the document ids in memory.

    Args:
        folder: an existing folder.
        side: `train` or `validation`, the prefix of the file names.
        number: of the shard among those of its side.
        dtype: of the tokens.
    """

    def __init__(self, folder: Path, side: str, number: int, dtype: type[Any]) -> None:
        self._path = partial(shard_file, folder, side, number)
        self._types: dict[str, Any] = dict.fromkeys(KINDS, np.int64) | {"tokens": dtype, "speakers": np.uint8}
        self._files: dict[str, _ArrayFile] = {}
        self._ids: list[NDArray[np.bytes_]] = []

    def append(self, block: Block) -> None:
        """Add a block's documents; an empty block has no effect."""
        if not len(block):
            return
        tokens, sentences, documents = (self._file(kind) for kind in KINDS[:3])
        # All starts but the last, which is the next block's first and is written when the shard ends.
        sentences.append(block.sentences[:-1] + tokens.length)
        documents.append(block.documents[:-1] + sentences.length - (len(block.sentences) - 1))
        tokens.append(block.tokens)
        if block.speakers is not None:
            self._file("speakers").append(block.speakers)
        self._ids.append(block.ids)

    def finish(self) -> dict[str, int]:
        """Finish the shard, which must have a document, and return its sizes: documents, sentences, tokens."""
        tokens, sentences, documents = (self._file(kind) for kind in KINDS[:3])
        sizes = {"documents": documents.length, "sentences": sentences.length, "tokens": tokens.length}
        documents.append(np.array([sentences.length]))
        sentences.append(np.array([tokens.length]))
        ids = np.concatenate(self._ids)
        ids = ids.astype(f"S{max(1, int(np.strings.str_len(ids).max()))}")  # narrower than in the blocks
        self._types["ids"] = ids.dtype
        self._file("ids").append(ids)
        for file in self._files.values():
            file.close()
        return sizes

    def _file(self, kind: str) -> _ArrayFile:
        """The file of an array, begun if necessary."""
        if kind not in self._files:
            self._files[kind] = _ArrayFile(self._path(kind), np.dtype(self._types[kind]))
        return self._files[kind]


def open_shards(folder: Path, side: str, sizes: list[dict[str, int]], dtype: type[Any]) -> Iterator[Shard]:
    """Memory-map the shards of one side and check them against the sizes in the manifest.

    Raises:
        LangJepaError: a file is missing or damaged, its length or dtype is not that of the manifest, or its starts of
            sentences or documents are invalid.
    """
    for number, size in enumerate(sizes):
        wanted: dict[str, tuple[Any, int]] = {
            "tokens": (np.dtype(dtype), size["tokens"]),
            "sentences": (np.dtype(np.int64), size["sentences"] + 1),
            "documents": (np.dtype(np.int64), size["documents"] + 1),
            "ids": (None, size["documents"]),
        }
        files = {kind: shard_file(folder, side, number, kind) for kind in KINDS}
        arrays = {kind: _open_array(files[kind], *wanted[kind]) for kind in KINDS}
        for kind, last in (("sentences", size["tokens"]), ("documents", size["sentences"])):
            starts = arrays[kind]
            if starts[0] != 0 or starts[-1] != last:
                raise damaged(files[kind], f"it ends at {starts[-1]} instead of {last}")
            try:
                check_rising(starts, strictly=True)
            except BadArray as error:
                raise damaged(files[kind], str(error)) from error
        speakers = shard_file(folder, side, number, "speakers")
        if speakers.is_file():
            arrays["speakers"] = _open_array(speakers, np.dtype(np.uint8), size["sentences"])
        yield Shard(**arrays)


def _open_array(path: Path, dtype: np.dtype[Any] | None, length: int) -> NDArray[Any]:
    """Memory-map one array read-only. `dtype` None: fixed-width bytes."""
    if not path.is_file():
        raise LangJepaError(f"a file of the corpus is missing: {path}. Delete the folder and prepare again.")
    try:
        array = open_array(path)
    except BadArray as error:
        raise damaged(path, str(error)) from error
    right_type = array.dtype.kind == "S" if dtype is None else array.dtype == dtype
    if not right_type or array.shape != (length,):
        expected = f"{dtype or 'bytes'} [{length}]"
        raise damaged(path, f"found {array.dtype} {list(array.shape)}, the manifest says {expected}")
    # A plain view, because every slice of a np.memmap builds a Python object with attributes.
    return np.asarray(array)


def damaged(path: Path, why: str) -> LangJepaError:
    """The error to raise for a damaged corpus file."""
    return LangJepaError(f"a file of the corpus is damaged: {path} ({why}). Delete the folder and prepare again.")
