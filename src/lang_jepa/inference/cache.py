"""Vectors that are computed once: for the sentences of a corpus on disk beside it, for evaluations in memory.

    CORPUS/concepts/NAME-FINGERPRINT/vectors.f32   row s is the vector of sentence s
    CORPUS/concepts/NAME-FINGERPRINT/about.json    what they were computed from

They are computed block by block. The work folder holds whole blocks, so a killed process can be resumed; the finished
folder appears under its name by one rename.

For an encoder, the mean over the token states before the head is cached, so that one cache serves every head (a
whitened head differs from seed to seed). It is float32, 4 D bytes per sentence: a whitening head enlarges the
directions of small variance, and with them the rounding errors of float16.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.views import View, view_of
from lang_jepa.data.views.order import by_length
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.embedder import ArrayCache
from lang_jepa.files.atomic import (
    changed_file,
    check_only,
    crc32,
    fingerprint,
    locked,
    make_folder,
    read_json,
    remove_temporaries,
    write_json,
    writing,
)
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.settings.encoder import Settings

FORMAT = 1
"""Format of the files: raise it when their layout changes. Their contents have format numbers of their own."""
CONCEPTS_FORMAT = 1
"""Format of the vectors: raise it when the same encoder gives others (changed backbone.py, packing.py, pooling.py)."""

BLOCK = 4096
"""Sentences encoded and written at a time."""
PASS_TOKENS = 16_384

_VECTORS, _ABOUT, _PROGRESS = "vectors.f32", "about.json", "progress.json"
_TOTAL = "crc32"
"""Key of the checksum of the vectors."""

Vectors = NDArray[np.float32]
Tokens = NDArray[Any]
OnMessage = Callable[[str], None]


def reads_cached(settings: Settings) -> bool:
    """Whether all that a run needs of its encoder is vectors of whole sentences that never change.

    That excludes a stream, which has no folder for them and no end, and targets that another encoder makes.
    """
    return (
        settings.model.freeze_encoder
        and settings.objective.teacher_path is None
        and view_of(settings).sentences_alone
        and not settings.data.streaming
    )


@dataclass(frozen=True, slots=True)
class CachedVectors:
    """Vectors that are cached.

    Attributes:
        folder: folder that holds them.
        vectors: float32 [S, D], mapped into memory.
        reused: whether they were found rather than computed.
    """

    folder: Path
    vectors: Vectors
    reused: bool


class ConceptCache(CachedVectors):
    """The mean state before the head of each sentence of a side, encoded alone: vectors [S, D]."""

    @classmethod
    def open_or_make(cls, encoder: TextEncoder, view: View, *, on_message: OnMessage | None = None) -> Self:
        """Open or compute the vectors of all sentences of a view's side.

        Several processes may call this at once; one computes, the others wait and reuse. Finished vectors are only
        read, so they may lie in a folder that cannot be written to. Memory does not grow with the corpus.

        Args:
            encoder: runs on its device, in eval mode and float32; left in the mode it was found in.
            view: a view of one side of a prepared corpus; its special tokens and max_length count.
            on_message: called with messages on what is done; nothing is computed again silently.

        Raises:
            LangJepaError: the side is not on disk (a stream's block), its folder cannot be written to, or a vector is
                not finite.
        """
        return cls(*_concepts(encoder, view, on_message).open_or_make())

    @classmethod
    def find(cls, encoder: TextEncoder, view: View, *, on_message: OnMessage | None = None) -> Self | None:
        """Open the vectors if they are cached, else return None; nothing is computed or written."""
        found = _concepts(encoder, view, on_message).find()
        return None if found is None else cls(*found)


class SentenceCache:
    """Cache of the mean states of sentences before the head, by tokens; it serves every head on one backbone.

    Args:
        room: most tokens of a sentence that the encoder reads, special ones not counted.
        cache: cache on disk, for other processes that ask for the same sentences (None: there is none).
        identity: hash of the backbone's weights, which distinguishes it from others in that cache.
    """

    def __init__(self, room: int, *, cache: ArrayCache | None = None, identity: str = "") -> None:
        self.room = room
        self._cache, self._identity = cache or ArrayCache(None), identity
        self._rows: dict[bytes, Vectors] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def fill(self, split: CorpusSplit, vectors: Vectors) -> None:
        """Add the vectors [S, D] of a side of a corpus, from a `ConceptCache`."""
        for sentence, vector in enumerate(vectors):
            self._rows[self._key(split.tokens(sentence, sentence + 1))] = vector

    def means(
        self, tokens: Sequence[Tokens], read: Callable[[list[Tokens]], Vectors], precision: str = "fp32"
    ) -> Vectors:
        """Return mean states of tokenized sentences, float32 [n, D]; those that are not cached yet are encoded.

        Args:
            tokens: n non-empty arrays of ids without special tokens.
            read: maps such arrays to mean states [m, D].
            precision: precision that `read` computes in; vectors of another precision are not reused.
        """
        keys = [self._key(ids, precision) for ids in tokens]
        new = {key: ids for key, ids in zip(keys, tokens, strict=True) if key not in self._rows}
        if new:
            key = ["means", self._identity, self.room, [one.hex() for one in new]]
            key += [] if precision == "fp32" else [precision]
            read_now = self._cache.take(key, lambda: {"means": read(list(new.values()))})["means"]
            self._rows.update(zip(new, read_now, strict=True))
        return np.stack([self._rows[key] for key in keys])

    def _key(self, ids: Tokens, precision: str = "fp32") -> bytes:
        return np.asarray(ids[: self.room], dtype=np.int64).tobytes() + (b"" if precision == "fp32" else b"bf16")


@dataclass(frozen=True, slots=True)
class Job:
    """Vectors to be found or computed.

    Attributes:
        name: what the folder's name begins with, for the kind of vectors; the side follows.
        doing: what messages call the computation ("encoding").
        split: the side; one row for each of its sentences.
        dim: width D of a vector.
        made_from: everything that determines the vectors besides the corpus in whose folder they lie, as JSON.
        units, block: how many units (sentences, passages) are computed, and how many at a time; a killed process loses
            one block at most.
        make: maps units first .. stop - 1 to the number of the first row they fill and float32 [n, D]. Rows that no
            unit fills stay zero.
        on_message: called with messages on what is done; nothing is computed again silently.
    """

    name: str
    doing: str
    split: CorpusSplit
    dim: int
    made_from: Mapping[str, Any]
    units: int
    block: int
    make: Callable[[int, int], tuple[int, Vectors]]
    on_message: OnMessage

    def open_or_make(self) -> tuple[Path, Vectors, bool]:
        """Return the fields of `CachedVectors`: vectors that exist and are whole are reused, others are computed.

        Raises:
            LangJepaError: the side is not on disk (a stream's block), or its folder cannot be written to; what `make`
                raises.
        """
        if found := self.find():
            return found
        target = self._target()
        self._require_writable(target)
        with locked(target.with_name(f".{target.name}.lock")):
            reused = self._is_ready(target, again=True)
            if not reused:
                self._run(target)
        return target, self._mapped(target), reused

    def find(self) -> tuple[Path, Vectors, bool] | None:
        """Return the same fields, None if the vectors are not cached; nothing is computed or written."""
        target = self._target()
        return (target, self._mapped(target), True) if self._is_ready(target) else None

    def _target(self) -> Path:
        if self.split.origin is None:
            raise LangJepaError(
                "concepts are cached beside a prepared corpus, and these sentences are in memory only (a stream's?): "
                "set data.streaming=false"
            )
        folder, side = self.split.origin
        return folder / "concepts" / f"{self.name}{side}-{fingerprint(self.made_from)}"

    def _require_writable(self, target: Path) -> None:
        """Raise if the cache could not be written."""
        existing = next(folder for folder in target.parents if folder.is_dir())
        if not os.access(existing, os.W_OK, effective_ids=True):
            raise LangJepaError(
                f"vectors of sentences are cached beside their corpus in {target.parent}, but {existing} cannot be "
                "written to: copy the corpus into a folder of yours and set data.corpus_dir to that folder"
            )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.split.num_sentences, self.dim

    @property
    def _row(self) -> int:
        return 4 * self.dim

    def _is_ready(self, target: Path, *, again: bool = False) -> bool:
        """Whether the finished folder exists and is whole; if it exists but is damaged, say so (unless `again`)."""
        if not target.exists():
            return False
        try:
            about = read_json(target / _ABOUT, what="description of the cached concepts")
            total = about.pop(_TOTAL, None)  # those of earlier versions have none
            wrong = "" if about == self._about() else f"{_ABOUT} describes something else"
            found, wanted = (target / _VECTORS).stat().st_size, self._shape[0] * self._row
            wrong = wrong or ("" if found == wanted else f"{_VECTORS} has {found} bytes instead of {wanted}")
            if not wrong and total is not None and changed_file({target / _VECTORS: total}):
                wrong = f"the checksum of {_VECTORS} is not what it was when they were made"
        except (LangJepaError, OSError, AttributeError, TypeError) as error:
            wrong = str(error)
        if wrong and not again:
            self.on_message(f"the concepts at {target} are not usable and are made again: {wrong}")
        return not wrong

    def _mapped(self, target: Path) -> Vectors:
        if not self._shape[0]:  # an empty file cannot be mapped
            return np.empty(self._shape, dtype=np.float32)
        return np.asarray(np.memmap(target / _VECTORS, dtype="<f4", mode="r", shape=self._shape))

    def _run(self, target: Path) -> None:
        """Compute what is missing, block by block, and publish it."""
        partial = target.with_name(f"{target.name}.partial")
        make_folder(partial)
        remove_temporaries(partial)
        if target.exists():
            check_only(target, (_VECTORS, _ABOUT), what="the cached concepts")
        done, rows = self._done(partial)
        size = self._shape[0] * self._row / 1e6
        self.on_message(
            f"{self.doing} {counted(self._shape[0] - rows, 'text')} once, for all later runs "
            f"({size:,.0f} MB in {target})" + (f"; {rows:,} were done earlier" if rows else "")
        )
        began = reported = time.monotonic()
        start = done
        with writing(partial), (partial / _VECTORS).open("ab") as file:
            file.truncate(rows * self._row)
        with writing(partial), (partial / _VECTORS).open("r+b", buffering=0) as file:
            while done < self.units:
                stop = min(done + self.block, self.units)
                row, vectors = self.make(done, stop)
                file.seek(row * self._row)
                data = memoryview(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())  # before the progress file says so
                done, rows = stop, row + len(vectors)
                write_json(partial / _PROGRESS, {"units": done, "rows": rows})
                if time.monotonic() - reported > 10:
                    reported = time.monotonic()
                    left = (self.units - done) * (reported - began) / (done - start)
                    self.on_message(
                        f"{self.doing}: {rows:,} of {self._shape[0]:,} texts, about {left / 60:.0f} minutes left"
                    )
            file.truncate(self._shape[0] * self._row)
        self._publish(partial, target)

    def _done(self, partial: Path) -> tuple[int, int]:
        """Return the units that an earlier process finished, in whole blocks, and the rows up to their last one."""
        try:
            progress = read_json(partial / _PROGRESS, what="progress")
            units, rows = int(progress["units"]), int(progress["rows"])
            size = (partial / _VECTORS).stat().st_size
        except (LangJepaError, OSError, KeyError, TypeError, ValueError):
            return 0, 0
        return (units, rows) if size >= rows * self._row else (0, 0)

    def _about(self) -> dict[str, Any]:
        return {"format": FORMAT, "shape": list(self._shape), "made_from": self.made_from}

    def _publish(self, partial: Path, target: Path) -> None:
        """Give the work folder its final name; a damaged folder in its place is removed first."""
        write_json(partial / _ABOUT, {**self._about(), _TOTAL: crc32(partial / _VECTORS)})
        (partial / _PROGRESS).unlink(missing_ok=True)
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)


def _concepts(encoder: TextEncoder, view: View, on_message: OnMessage | None) -> Job:
    return Job(
        name="",
        doing="encoding",
        split=view.split,
        dim=encoder.dim,
        made_from=made_from(encoder, view),
        units=view.split.num_sentences,
        block=BLOCK,
        make=lambda first, stop: (first, _encoded(encoder, view, first, stop)),
        on_message=on_message or (lambda text: None),
    )


@torch.inference_mode()
def _encoded(encoder: TextEncoder, view: View, first: int, stop: int) -> Vectors:
    """Encode sentences first .. stop - 1."""
    sentences = np.arange(first, stop)
    device, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    result = np.empty((len(sentences), encoder.dim), dtype=np.float32)
    for rows in by_length(view.split.lengths(sentences), PASS_TOKENS):
        sequences = view.sentences(sentences[rows]).to(device)
        states = encoder.states(sequences)
        result[rows] = encoder.pool(states, sequences.owner(), len(sequences)).cpu().numpy()
    encoder.train(training)
    bad = np.flatnonzero(~np.isfinite(result).all(1))
    if len(bad):
        text = view.split.texts(sentences[bad[:1]])[0]
        raise LangJepaError(
            f"the encoder's vector of sentence {first + bad[0]} is not finite: {text!r}. Its weights are damaged, "
            "or do not belong to its settings."
        )
    return result


def made_from(encoder: TextEncoder, view: View) -> dict[str, Any]:
    """Return everything that determines the vectors besides the corpus in whose folder they lie, as JSON."""
    # Left out: what transformers writes down about itself, and dropout, which is off.
    config = {
        name: value
        for name, value in encoder.backbone.config.to_dict().items()
        if "drop" not in name and name not in ("_name_or_path", "transformers_version")
    }
    return {
        "formats": {"files": FORMAT, "concepts": CONCEPTS_FORMAT},
        "sentences": view.split.num_sentences,
        "tokens": view.split.num_tokens,
        "frame": [view.prefix.tolist(), view.suffix.tolist(), view.room],
        "weights": weights_hash(encoder.backbone),
        "config": fingerprint(config),
        "libraries": {"transformers": version("transformers")},
    }


def weights_hash(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
