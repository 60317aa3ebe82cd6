"""The files of a search index: rows of vectors and what they stand for, appended block by block.

    vectors.npy      float16 or float32 [N, D], unit rows, ready to be compared by a dot product
    texts.utf8       the sentences end to end, and text_ends.npy int64 [N], where each ends
    documents.npy    int32 [N], number of each sentence's document
    positions.npy    int32 [N], position of the sentence in its document, from 0
    ids.utf8         the documents' ids end to end, and id_ends.npy int64 [M]
    predicted.npy    like vectors.npy, what is expected at each position, if the index stores it; zeros if nothing is

Numbers and vectors are plain `.npy` files that anything can map into memory. While the index grows, a journal says up
to where the files are whole; whatever lies beyond that is left from a killed build and is cut off.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import BadArray, check_finite_rows, check_rising, check_within, npy_head, open_array
from lang_jepa.files.atomic import check_writable, make_folder, read_json, remove_temporaries, write_json, writing
from lang_jepa.inference.index.surroundings import Surroundings
from lang_jepa.inference.model_folder import read_card
from lang_jepa.inference.search import APPROXIMATE

JOURNAL = "journal.json"
VECTORS, PREDICTED = "vectors.npy", "predicted.npy"
FILES = (VECTORS, "text_ends.npy", "documents.npy", "positions.npy", "id_ends.npy", "texts.utf8", "ids.utf8")
"""Files of a finished index."""
FORMAT = 3
"""2: index.json has the hashes of the files. 3: it also says where the files of the corpus lie."""
INDEX = "index.json"
_GENERATION = re.compile("[0-9a-f]{16}")
NAMES = (*FILES, PREDICTED, APPROXIMATE, JOURNAL)
"""Files that the folder of a generation may hold."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index has grown.

    Attributes:
        rows, documents: rows and documents in the index.
        text_bytes, id_bytes: bytes of their texts and ids.
        source_row: row of the source that comes next (or is not done yet).
        sentence: sentences of that row that are done.
        last_row: row of the source whose document is the last in the index.
        characters: characters read from the source, of `total_characters`.
        rejected: rows of the source that are not documents.
        without_tokens: sentences that were left out because the tokenizer keeps nothing of them.
        complete: whether the source has no more rows.
    """

    rows: int = 0
    documents: int = 0
    text_bytes: int = 0
    id_bytes: int = 0
    source_row: int = 0
    sentence: int = 0
    last_row: int = -1
    characters: int = 0
    total_characters: int = 0
    rejected: int = 0
    without_tokens: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Grown:
    """What one block adds; vectors, texts, documents and positions have one row per sentence.

    Attributes:
        vectors: [n, D].
        texts: n sentences.
        documents, positions: n indices each.
        ids: ids of the documents that begin in this block.
        predicted: [n, D], for an index that stores what is expected (None: it does not).
    """

    vectors: NDArray[Any]
    texts: Sequence[str]
    documents: Sequence[int]
    positions: Sequence[int]
    ids: Sequence[str]
    predicted: NDArray[Any] | None = None


class IndexWriter:
    """Appends blocks to the files of a folder; resumes where an earlier writer was killed.

    Args:
        folder: folder of the unfinished index; created if it does not exist.
        dim: width D of the vectors.
        dtype: `float16` or `float32`.
        predictions: whether what is expected at each position is stored too.
    """

    def __init__(self, folder: Path, dim: int, dtype: str, *, predictions: bool = False) -> None:
        make_folder(folder)
        self.folder = folder
        self._columns = {
            VECTORS: (np.dtype(dtype), (dim,)),
            "text_ends.npy": (np.dtype(np.int64), ()),
            "documents.npy": (np.dtype(np.int32), ()),
            "positions.npy": (np.dtype(np.int32), ()),
            "id_ends.npy": (np.dtype(np.int64), ()),
        }
        if predictions:
            self._columns[PREDICTED] = self._columns[VECTORS]
        journal = folder / JOURNAL
        self.progress = Progress()
        if journal.is_file():
            self.progress = _progress(journal)
        self._files = {name: self._opened(name, size) for name, size in self._sizes().items()}

    def append(self, block: Grown, progress: Progress) -> Progress:
        """Write a block through to the disk, then the journal; return the progress with the sizes filled in."""
        texts, ids = _encoded(block.texts), _encoded(block.ids)
        if not np.isfinite(block.vectors).all():
            raise LangJepaError("the model makes vectors that are not finite, among which nothing could be found")
        text_ends = _ends(texts, self.progress.text_bytes)
        id_ends = _ends(ids, self.progress.id_bytes)
        with writing(self.folder):
            self._write(VECTORS, block.vectors)
            if block.predicted is not None:
                self._write(PREDICTED, block.predicted)
            self._write("text_ends.npy", text_ends)
            self._write("documents.npy", np.array(block.documents))
            self._write("positions.npy", np.array(block.positions))
            self._write("id_ends.npy", id_ends)
            self._files["texts.utf8"].write(b"".join(texts))
            self._files["ids.utf8"].write(b"".join(ids))
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
        self.progress = replace(
            progress,
            rows=self.progress.rows + len(block.texts),
            documents=self.progress.documents + len(ids),
            text_bytes=self.progress.text_bytes + sum(map(len, texts)),
            id_bytes=self.progress.id_bytes + sum(map(len, ids)),
        )
        self.record(self.progress)
        return self.progress

    def record(self, progress: Progress) -> None:
        self.progress = progress
        write_json(self.folder / JOURNAL, asdict(progress))

    def finish(self) -> None:
        """Write the final shapes into the heads of the files, and close them."""
        with writing(self.folder):
            for name, (dtype, width) in self._columns.items():
                file = self._files[name]
                file.seek(0)
                file.write(npy_head(dtype, (self._count(name), *width)))
            self.close()

    def close(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()

    def _count(self, name: str) -> int:
        return self.progress.documents if name.startswith("id") else self.progress.rows

    def _sizes(self) -> dict[str, int]:
        """Return the bytes that each file should have according to the journal."""
        sizes = {"texts.utf8": self.progress.text_bytes, "ids.utf8": self.progress.id_bytes}
        for name, (dtype, width) in self._columns.items():
            row = dtype.itemsize * int(np.prod(width, dtype=np.int64))
            sizes[name] = len(npy_head(dtype, (0, *width))) + self._count(name) * row
        return sizes

    def _opened(self, name: str, size: int) -> IO[bytes]:
        """Open a file at its end, cut to the size in the journal."""
        path = self.folder / name
        if path.is_symlink():
            raise LangJepaError(f"{path} is a link, which no index has: remove it")
        if not path.exists():
            dtype, width = self._columns.get(name, (None, ()))
            with writing(path):
                path.write_bytes(b"" if dtype is None else npy_head(dtype, (0, *width)))
        if path.stat().st_size < size:
            raise LangJepaError(
                f"{path} is shorter than its journal says: the unfinished index is damaged. Remove {self.folder} and "
                "build again."
            )
        os.truncate(path, size)
        file = path.open("r+b")
        file.seek(size)
        return file

    def _write(self, name: str, values: NDArray[Any]) -> None:
        dtype, width = self._columns[name]
        self._files[name].write(np.ascontiguousarray(values.reshape(-1, *width), dtype=dtype).tobytes())


@dataclass(frozen=True)
class IndexArrays:
    """The files of a finished index, memory-mapped.

    Attributes:
        vectors: [N, D].
        documents, positions: int32 [N].
        predicted: [N, D], what is expected at each position (None: the index does not hold it).
    """

    vectors: NDArray[Any]
    documents: NDArray[np.int32]
    positions: NDArray[np.int32]
    _texts: "_Strings"
    _ids: "_Strings"
    predicted: NDArray[Any] | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the files of a folder.

        Raises:
            LangJepaError: one is missing or damaged.
        """
        arrays: dict[str, NDArray[Any]] = {}
        name = VECTORS
        try:
            for name in (*FILES, *([PREDICTED] if (folder / PREDICTED).is_file() else [])):
                if name.endswith(".npy"):
                    arrays[name] = open_array(folder / name, mode="c")
            rows, documents = len(arrays[VECTORS]), len(arrays["id_ends.npy"])
            for name, array in arrays.items():
                _check(name, array, rows=rows, documents=documents)
            name = "texts.utf8"
            texts = _Strings.checked(folder / name, arrays["text_ends.npy"])
            name = "ids.utf8"
            ids = _Strings.checked(folder / name, arrays["id_ends.npy"])
        except (BadArray, OSError, ValueError) as error:
            raise LangJepaError(f"the index is damaged: {folder / name}: {error}. Build it again.") from error
        numbers = (arrays[VECTORS], arrays["documents.npy"], arrays["positions.npy"])
        return cls(*numbers, texts, ids, arrays.get(PREDICTED))

    def text(self, row: int) -> str:
        return self._texts[row]

    def document(self, row: int) -> str:
        return self._ids[int(self.documents[row])]


@dataclass(frozen=True)
class _Strings:
    """Many strings in one file."""

    content: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def __getitem__(self, number: int) -> str:
        begin = int(self.ends[number - 1]) if number else 0
        return self.content[begin : int(self.ends[number])].tobytes().decode("utf-8", "replace")

    @classmethod
    def checked(cls, path: Path, ends: NDArray[np.int64]) -> Self:
        """Map the strings of a file; raise BadArray unless they follow each other and end where the file ends."""
        empty = path.stat().st_size == 0  # such a file cannot be mapped
        content = np.zeros(0, dtype=np.uint8) if empty else np.memmap(path, dtype=np.uint8, mode="r")
        if len(ends) and ends[0] < 0:
            raise BadArray(f"its first string ends at {ends[0]}")
        check_rising(ends, strictly=False)
        if len(content) != (int(ends[-1]) if len(ends) else 0):
            raise BadArray(f"it has {len(content)} bytes, and its last string ends elsewhere")
        return cls(content, ends)


def _check(name: str, array: NDArray[Any], *, rows: int, documents: int) -> None:
    """Raise BadArray unless an array of an index is what its name says."""
    rows_of_numbers = name in (VECTORS, PREDICTED)
    dtypes = ("float16", "float32") if rows_of_numbers else ("int64",) if "ends" in name else ("int32",)
    if array.dtype.name not in dtypes or array.ndim != (2 if rows_of_numbers else 1):
        raise BadArray(f"it is {array.dtype} {list(array.shape)}")
    if len(array) != (documents if name == "id_ends.npy" else rows):
        raise BadArray(f"it has {len(array)} entries, and there are {rows} sentences")
    if rows_of_numbers:
        check_finite_rows(array)
    elif name == "documents.npy":
        check_within(array, documents)
    elif name == "positions.npy":
        check_within(array, 2**31)


def _progress(journal: Path) -> Progress:
    found = read_json(journal, what="journal of an unfinished index")
    numbers = found.values() if isinstance(found, dict) else ()
    if not numbers or found.keys() != asdict(Progress()).keys() or not all(type(n) in (int, bool) for n in numbers):
        raise LangJepaError(f"the journal {journal} is damaged: remove {journal.parent} and build again")
    return Progress(**found)


def _encoded(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("utf-8", "replace") for text in texts]


def _ends(parts: Sequence[bytes], begin: int) -> NDArray[np.int64]:
    return begin + np.cumsum([len(part) for part in parts], dtype=np.int64)


def open_files(folder: Path) -> tuple[dict[str, Any], IndexArrays]:
    """Return what `index.json` says, and the files, checked against it.

    If a new index replaces the one that is being opened, the new one is opened instead, once.
    """
    if not (folder / INDEX).is_file():
        raise LangJepaError(f"there is no finished index at {folder}: build it with lang-jepa index")
    before = _generation(folder)
    try:
        return _read_index(folder)
    except LangJepaError:
        if _generation(folder) == before:
            raise
        return _read_index(folder)


def _generation(folder: Path) -> Any:
    found = read_json(folder / INDEX, what="index")
    return found.get("generation") if isinstance(found, dict) else None


def _read_index(folder: Path) -> tuple[dict[str, Any], IndexArrays]:
    info = read_card(folder / INDEX, what="index", formats=(FORMAT,))
    predicted = Surroundings.read(info.get("surroundings", {})).predictions
    generation = info.get("generation")
    also = [name for name, there in ((APPROXIMATE, info.get("approximate")), (PREDICTED, predicted)) if there]
    wanted = {f"{generation}/{name}" for name in (*FILES, *also)}
    model, approximate = info.get("model"), info.get("approximate")
    if (
        not isinstance(generation, str)
        or not _GENERATION.fullmatch(generation)
        or wanted - info["sha256"].keys()
        or not (isinstance(model, dict) and all(isinstance(model.get(key), str) for key in ("path", "identity")))
        or not (approximate is None or (isinstance(approximate, dict) and isinstance(approximate.get("probes"), int)))
    ):
        raise LangJepaError(f"the index {folder / INDEX} is damaged: it does not say what belongs to it")
    return info, IndexArrays.open(folder / generation)


def is_generation(folder: Path) -> bool:
    """Whether a folder is one that `build` made and holds nothing else."""
    if folder.is_symlink() or not folder.is_dir() or not _GENERATION.fullmatch(folder.name):
        return False
    remove_temporaries(folder)
    return all(entry.name in NAMES and entry.is_file() for entry in folder.iterdir())


def check_folder(folder: Path) -> None:
    """Raise if a folder holds anything but a finished or begun index; beside a finished one, other things may stay."""
    check_writable(folder, folder=True)
    if not folder.is_dir():
        return
    if (folder / INDEX).exists():
        generation = _generation(folder)
        ours = isinstance(generation, str) and _GENERATION.fullmatch(generation) is not None
    else:
        ours = all(entry.name == ".lock" or is_generation(entry) for entry in folder.iterdir())
    if not ours:
        raise LangJepaError(f"{folder} is not empty and is not an index: choose another folder for the index")
