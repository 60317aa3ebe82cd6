"""Vectors of all sentences of a corpus, from an encoder that never changes: each sentence is read once.

    CORPUS/concepts/SIDE-FINGERPRINT/vectors.f32   row s is sentence s
    CORPUS/concepts/SIDE-FINGERPRINT/about.json    what they were made of

What is kept is the mean over the token states before the head, so that one cache serves every head (a whitened one
differs from seed to seed), computed in float32 as `ConceptModel.encode` does. It is kept in float32 too, 4 D bytes a
sentence: a whitening head enlarges the directions of small variance, and with them the rounding of a half.

The work folder holds whole blocks, so a killed process is gone on with; a cache appears under its name by one rename.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

import lang_jepa.models
from lang_jepa.config import Settings
from lang_jepa.data.order import by_length
from lang_jepa.data.views import View
from lang_jepa.errors import LangJepaError
from lang_jepa.files import fingerprint, locked, read_json, write_json
from lang_jepa.models.encoder import TextEncoder

FORMAT = 1
BLOCK = 4096
"""Sentences that are encoded and written at a time; a killed process loses one block at most."""

_PASS_TOKENS = 16_384
_VECTORS, _ABOUT, _PROGRESS = "vectors.f32", "about.json", "progress.json"
_CODE = ("backbone.py", "encoder.py", "packing.py", "pooling.py")

Vectors = NDArray[np.float32]
Tell = Callable[[str], None]


def reads_cached(settings: Settings) -> bool:
    """Whether a run needs nothing of its encoder but vectors of whole sentences that never change.

    Not so for a stream, which has no place to keep them and no end, nor where another encoder makes the targets.
    """
    data = settings.data
    return (
        settings.model.freeze_encoder
        and settings.objective.teacher_path is None
        and (data.view == "masked_concepts" or (data.view, data.context) == ("next_sentence", "concepts"))
        and not data.streaming
    )


@dataclass(frozen=True, slots=True)
class ConceptCache:
    """Vectors of one side of a corpus.

    Attributes:
        folder: where they are.
        vectors: float32 [S, D], mapped into memory: the mean state of each sentence encoded alone, before the head.
        reused: they were found ready made.
    """

    folder: Path
    vectors: Vectors
    reused: bool

    @classmethod
    def open_or_make(cls, encoder: TextEncoder, view: View, *, tell: Tell | None = None) -> Self:
        """The vectors of all sentences of a view's side: reused if they are there and whole, else made.

        Several processes may call this at once; one encodes, the others wait and reuse. Memory does not grow with the
        corpus.

        Args:
            encoder: run where it is, in eval mode and float32; left in the mode it was found in.
            view: over one side of a prepared corpus; its special tokens and max_length count.
            tell: told in words what is done; nothing is rebuilt in silence.

        Raises:
            LangJepaError: the side is not on disk (a stream's block), or a vector is not finite.
        """
        job = _Job.plan(encoder, view, tell or (lambda text: None))
        with locked(job.target.with_name(f".{job.target.name}.lock")):
            reused = job.is_ready()
            if not reused:
                job.run()
        return cls(job.target, job.mapped(), reused)


@dataclass(frozen=True, slots=True)
class _Job:
    """One cache: what it is made of and where it goes."""

    encoder: TextEncoder
    view: View
    made_from: dict[str, Any]
    target: Path
    tell: Tell

    @classmethod
    def plan(cls, encoder: TextEncoder, view: View, tell: Tell) -> "_Job":
        """Hash everything that decides the vectors."""
        if view.split.origin is None:
            raise LangJepaError(
                "concepts are kept beside a prepared corpus, and these sentences are in memory only (a stream's?): set "
                "data.streaming=false"
            )
        folder, side = view.split.origin
        made_from = _made_from(encoder, view)
        target = folder / "concepts" / f"{side}-{fingerprint(made_from)}"
        return cls(encoder, view, made_from, target, tell)

    @property
    def partial(self) -> Path:
        """The work folder."""
        return self.target.with_name(f"{self.target.name}.partial")

    @property
    def shape(self) -> tuple[int, int]:
        return self.view.split.num_sentences, self.encoder.dim

    @property
    def row(self) -> int:
        """Bytes of one vector."""
        return 4 * self.encoder.dim

    def is_ready(self) -> bool:
        """Whether the finished cache is there and whole; says so where it is there and not."""
        if not self.target.exists():
            return False
        try:
            about = read_json(self.target / _ABOUT, what="description of the cached concepts")
            wrong = "" if about == self._about() else f"{_ABOUT} describes something else"
            found, wanted = (self.target / _VECTORS).stat().st_size, self.shape[0] * self.row
            wrong = wrong or ("" if found == wanted else f"{_VECTORS} has {found} bytes instead of {wanted}")
        except (LangJepaError, OSError) as error:
            wrong = str(error)
        if wrong:
            self.tell(f"the concepts at {self.target} are not usable and are made again: {wrong}")
        return not wrong

    def mapped(self) -> Vectors:
        if not self.shape[0]:  # an empty file cannot be mapped
            return np.empty(self.shape, dtype=np.float32)
        return np.asarray(np.memmap(self.target / _VECTORS, dtype="<f4", mode="r", shape=self.shape))

    def run(self) -> None:
        """Encode what is not done yet, block by block, and publish."""
        self.partial.mkdir(parents=True, exist_ok=True)
        count, done = self.shape[0], self._done()
        self.tell(
            f"encoding {count - done:,} sentences once, for all later runs ({count * self.row / 1e6:,.0f} MB in "
            f"{self.target})" + (f"; {done:,} were done earlier" if done else "")
        )
        began = told = time.monotonic()
        with (self.partial / _VECTORS).open("ab") as file:
            file.truncate(done * self.row)
            for first in range(done, count, BLOCK):
                stop = min(first + BLOCK, count)
                file.write(self._encoded(first, stop).data)
                file.flush()
                os.fsync(file.fileno())  # before it is said to be there
                write_json(self.partial / _PROGRESS, {"sentences": stop})
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    left = (count - stop) * (told - began) / (stop - done)
                    self.tell(f"encoded {stop:,} of {count:,} sentences, about {left / 60:.0f} minutes left")
        self._publish()

    def _done(self) -> int:
        """Sentences that an earlier process finished, in whole blocks."""
        try:
            stop = int(read_json(self.partial / _PROGRESS, what="progress")["sentences"])
            size = (self.partial / _VECTORS).stat().st_size
        except (LangJepaError, OSError, KeyError, TypeError, ValueError):
            return 0
        return stop if size >= stop * self.row else 0

    @torch.inference_mode()
    def _encoded(self, first: int, stop: int) -> Vectors:
        """Vectors of sentences first .. stop - 1."""
        encoder, numbers = self.encoder, np.arange(first, stop)
        device, training = next(encoder.parameters()).device, encoder.training
        encoder.eval()
        result = np.empty((len(numbers), encoder.dim), dtype=np.dtype("<f4"))
        for rows in by_length(self.view.split.lengths(numbers), _PASS_TOKENS):
            sequences = self.view.sentences(numbers[rows]).to(device)
            states = encoder.states(sequences)
            result[rows] = encoder.pool(states, sequences.owner(), len(sequences)).cpu().numpy()
        encoder.train(training)
        bad = np.flatnonzero(~np.isfinite(result).all(1))
        if len(bad):
            text = self.view.split.texts(numbers[bad[:1]])[0]
            raise LangJepaError(
                f"the encoder's vector of sentence {first + bad[0]} is not finite: {text!r}. Its weights are damaged, "
                "or do not belong to its settings."
            )
        return result

    def _about(self) -> dict[str, Any]:
        return {"format": FORMAT, "shape": list(self.shape), "made_from": self.made_from}

    def _publish(self) -> None:
        """Give the work folder its final name; a damaged cache in its place is removed first."""
        write_json(self.partial / _ABOUT, self._about())
        (self.partial / _PROGRESS).unlink(missing_ok=True)
        if self.target.exists():
            shutil.rmtree(self.target)
        self.partial.replace(self.target)


def _made_from(encoder: TextEncoder, view: View) -> dict[str, Any]:
    """Everything that decides the vectors besides the corpus in whose folder they lie, as JSON."""
    # What transformers writes down about itself, and dropout, which is off.
    config = {
        name: value
        for name, value in encoder.backbone.config.to_dict().items()
        if "drop" not in name and name not in ("_name_or_path", "transformers_version")
    }
    folder = Path(next(iter(lang_jepa.models.__path__)))
    return {
        "format": FORMAT,
        "sentences": view.split.num_sentences,
        "tokens": view.split.num_tokens,
        "frame": [view.prefix.tolist(), view.suffix.tolist(), view.room],
        "weights": _weights_hash(encoder),
        "config": fingerprint(config),
        "code": fingerprint({name: (folder / name).read_text(encoding="utf-8") for name in _CODE}),
        "libraries": {"transformers": version("transformers")},
    }


def _weights_hash(encoder: TextEncoder) -> str:
    """SHA-256 of the backbone's tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.backbone.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
