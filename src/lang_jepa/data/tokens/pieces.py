"""SentencePiece tokenizers for token shards: trained losslessly, or read from a file."""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.data.tokens.token_shards import BOS, MAX_VOCAB
from lang_jepa.errors import LangJepaError, optional

FORMAT = 1
"""Format of models trained here and of their encoding: raise it when either changes."""

SAMPLE_CHARACTERS = 30_000_000
"""Size of the sample on which a tokenizer is trained, which bounds memory and time."""
LINE_BYTES = 4000
"""Longer lines are cut before training, because the trainer skips lines above 4,192 bytes."""


class Pieces:
    """A SentencePiece model.

    Attributes:
        vocab_size: number of ids.
        model: the bytes of its file.
    """

    def __init__(self, model: bytes, origin: str) -> None:
        """Load from the bytes of a file; `origin` names it in errors.

        Raises:
            LangJepaError: sentencepiece is not installed, the bytes are not a model, it has too many ids, or its BOS is
                not id 1, with which documents begin in the shards.
        """
        self.model = model
        self._processor = sentencepiece_library().SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
            self.vocab_size = int(self._processor.GetPieceSize())
        except RuntimeError as error:
            raise LangJepaError(f"{origin} is not a SentencePiece model") from error
        if not 0 < self.vocab_size <= MAX_VOCAB:
            raise LangJepaError(f"{origin} has {self.vocab_size} ids; shards hold {MAX_VOCAB:,} at most")
        if self._processor.bos_id() != BOS:
            raise LangJepaError(
                f"{origin} has BOS id {self._processor.bos_id()}, but token shards begin documents with id {BOS}: "
                "learn a model with bos_id=1, or leave --tokenizer out"
            )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Load a `.model` file.

        Raises:
            LangJepaError: it cannot be read, or as in the constructor.
        """
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise LangJepaError(f"cannot read the SentencePiece model {path}: {error.strerror}") from error
        return cls(model, str(path))

    def encode(self, texts: Sequence[str], *, threads: int = 1) -> list[Ints]:
        """Token ids of each text, int64, without special tokens."""
        found = self._processor.Encode(list(texts), out_type=int, num_threads=threads)
        return [np.array(ids, dtype=np.int64) for ids in found]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; control tokens have none."""
        return str(self._processor.Decode(list(ids)))

    def fingerprint(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.model).hexdigest()[:16]

    def piece(self, index: int) -> str:
        """The piece of an id, with `▁` for a space."""
        return str(self._processor.IdToPiece(index))

    def is_byte(self, index: int) -> bool:
        """Whether an id represents a single byte."""
        return bool(self._processor.IsByte(index))

    def is_silent(self, index: int) -> bool:
        """Whether an id represents no text: control, unknown, unused."""
        tests = (self._processor.IsControl, self._processor.IsUnknown, self._processor.IsUnused)
        return any(test(index) for test in tests)


def train_pieces(texts: Iterable[str], vocab_size: int) -> Pieces:
    """Train a BPE with byte fallback that reproduces every text exactly, including white space.

    Ids 0 to 3 are padding, BOS, EOS and unknown (which byte fallback leaves unused), followed by 256 bytes. There is no
    normalisation and no dummy prefix; digits are separate pieces. The result depends only on the texts and their order.

    Args:
        texts: documents; all are read, and an even sample of their lines is used.
        vocab_size: number of ids; a text with few distinct words may yield fewer.

    Raises:
        LangJepaError: there is no text, or the vocabulary is too small for special tokens, bytes and characters.
    """
    library = sentencepiece_library()
    sample = _EvenSample(SAMPLE_CHARACTERS)
    for text in texts:
        for line in _lines(text):
            sample.add(line)
    if not sample.lines:
        raise LangJepaError("there is no text to learn a tokenizer from: the source gave no documents.")
    model = io.BytesIO()
    try:
        library.SentencePieceTrainer.Train(
            sentence_iterator=iter(sample.lines),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="bpe",
            byte_fallback=True,
            hard_vocab_limit=False,
            character_coverage=0.9995,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            pad_id=0,
            bos_id=BOS,
            eos_id=2,
            unk_id=3,
            max_sentence_length=LINE_BYTES + 192,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        if least := re.search(r"\d+ vs (\d+)", reason):
            raise LangJepaError(
                f"a tokenizer of {vocab_size} ids is too small for the characters of this text: take {least[1]} or more"
            ) from error
        raise LangJepaError(f"SentencePiece could not learn {vocab_size} ids: {reason}") from error
    return Pieces(model.getvalue(), "the tokenizer just learnt")


class _EvenSample:
    """An even sample of all lines added, in bounded memory: whenever it is full, every second line is dropped."""

    def __init__(self, max_characters: int) -> None:
        self.lines: list[str] = []
        self._limit, self._kept, self._stride, self._number = max_characters, 0, 1, 0

    def add(self, line: str) -> None:
        if self._number % self._stride == 0:
            self.lines.append(line)
            self._kept += len(line)
        self._number += 1
        while self._kept > self._limit and len(self.lines) > 1:
            self.lines = self.lines[::2]
            self._kept = sum(map(len, self.lines))
            self._stride *= 2


def _lines(text: str) -> Iterator[str]:
    """Yield lines of a text that the trainer accepts: not too long, not empty, without NUL."""
    width = LINE_BYTES // 4  # in characters, which have at most four bytes
    for line in text.split("\n"):
        clean = line.replace("\0", "")
        yield from (clean[start : start + width] for start in range(0, len(clean), width))


def sentencepiece_library() -> Any:
    """The sentencepiece package.

    Raises:
        LangJepaError: it is not installed.
    """
    return optional("sentencepiece", "gpt", "token shards need sentencepiece, which is not installed")
