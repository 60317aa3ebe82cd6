"""The step function: documents in, arrays out. Corpus preparation and streaming both use it.

Preparation stores each block as one file.
"""

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.deduplicate import hash_sentence, hash_text, side
from lang_jepa.data.corpus.hashes import Hashes
from lang_jepa.data.sources.base import Document, first_held_out
from lang_jepa.data.sources.conversations import said_in, speakers_of
from lang_jepa.data.text.masks import masked
from lang_jepa.data.text.sentences import LineSplitter, SentenceSplitter, split_text
from lang_jepa.data.text.tokenizer import Ints, TextTokenizer
from lang_jepa.files.atomic import atomic_file
from lang_jepa.settings.data import DataSettings

WITHOUT_TOKENS = "sentences without tokens"
UNKNOWN = "words unknown to the tokenizer"
"""Each is reduced to "unknown" (WordPiece: words of more than 100 characters, letters of other scripts)."""
FORMAT = 1
"""Format of a block: raise it when the same documents would give different arrays."""

MAX_ID_BYTES = 256
"""Longer document ids are cut and get a hash appended: ids have a fixed width, so one long id would widen them all."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some documents as arrays, in the layout of a shard, with what the split and the duplicate search need.

    Attributes:
        tokens: uint16 or uint32 [T], all sentences end to end, without special tokens.
        sentences: int64 [S + 1], first token of each sentence, then T.
        documents: int64 [D + 1], first sentence of each document, then S.
        ids: bytes (fixed width) [D], UTF-8 document ids.
        text_hashes: uint64 [D], `hash_text` of the source text.
        sentence_hashes: uint64 [S].
        countable: bool [S], sentences long enough to count for near-duplicates.
        characters, bytes: int64 [D], size of each source text in characters and in UTF-8 bytes.
        rejected: counts by reason, of dropped documents, sentences without tokens and words unknown to the tokenizer.
        seen: number of documents and of characters that went in, rejected ones included.
        speakers: uint8 [S], `speaker_number` of each turn (None: a corpus without speakers).
        held: bool [D], the documents that are held out (None: a hash decides).
        places: bytes (fixed width) [D], names to use instead of ids that more than one document has, empty if an id
            cannot recur (None: all are empty).
    """

    tokens: NDArray[np.unsignedinteger]
    sentences: Ints
    documents: Ints
    ids: NDArray[np.bytes_]
    text_hashes: Hashes
    sentence_hashes: Hashes
    countable: NDArray[np.bool_]
    characters: Ints
    bytes: Ints
    rejected: Counter[str] = field(default_factory=Counter)
    seen: tuple[int, int] = (0, 0)
    speakers: NDArray[np.uint8] | None = None
    held: NDArray[np.bool_] | None = None
    places: NDArray[np.bytes_] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, keep: NDArray[np.bool_]) -> Self:
        """The block reduced to the documents for which `keep` (bool [D]) is true."""
        if keep.all():
            return self
        per_document, per_sentence = np.diff(self.documents), np.diff(self.sentences)
        kept_sentences = np.repeat(keep, per_document)
        marks = dict.fromkeys(_OF_DOCUMENTS, keep) | dict.fromkeys(_OF_SENTENCES, kept_sentences)
        arrays = {name: getattr(self, name) for name in marks}
        return replace(
            self,
            tokens=self.tokens[np.repeat(kept_sentences, per_sentence)],
            sentences=_starts(per_sentence[kept_sentences]),
            documents=_starts(per_document[keep]),
            **{name: array[marks[name]] for name, array in arrays.items() if array is not None},
        )


_OF_DOCUMENTS = ("ids", "text_hashes", "characters", "bytes", "held", "places")
_OF_SENTENCES = ("sentence_hashes", "countable", "speakers")
"""Arrays of a block with one value for each document or sentence."""


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """uint16 if every id fits, else uint32."""
    return np.uint16 if vocab_size <= 65_536 else np.uint32


def cut_in_blocks(
    documents: Iterable[Document], *, characters: int, most: int | None = None
) -> Iterator[list[Document]]:
    """Group documents in blocks; each ends with the document that brings it to `characters` or to `most` documents."""
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document.text)
        if size >= characters or len(block) == most:
            yield block
            block, size = [], 0
    if block:
        yield block


def process_documents(
    documents: Sequence[Document],
    splitter: SentenceSplitter,
    tokenizer: TextTokenizer,
    settings: DataSettings,
) -> Block:
    """Split, tokenize and hash documents.

    A document with fewer than `settings.min_sentences` sentences that have tokens is dropped and counted under that
    reason. Sentences for which the tokenizer returns no tokens are dropped and counted.
    """
    rejected: Counter[str] = Counter()
    pieces = [one for document in documents for one in _pieces(document, splitter, tokenizer, settings, rejected)]
    sizes = np.array([(len(one.text), len(one.text.encode())) for one in pieces], dtype=np.int64).reshape(-1, 2)
    hashes = [hash_sentence(sentence) for one in pieces for sentence in one.sentences]
    nothing = np.zeros(0, dtype=np.int64)
    spoken, tail = settings.units == "turns", settings.val_split == "tail"
    return Block(
        tokens=np.concatenate([nothing, *(one.tokens for one in pieces)]).astype(token_dtype(tokenizer.vocab_size)),
        sentences=_starts(np.concatenate([nothing, *(one.lengths for one in pieces)])),
        documents=_starts(np.array([len(one.sentences) for one in pieces], dtype=np.int64)),
        ids=np.array([_short_id(one.id) for one in pieces], dtype=np.bytes_),
        text_hashes=np.array([hash_text(one.text) for one in pieces], dtype=np.uint64),
        sentence_hashes=np.array([value for value, _ in hashes], dtype=np.uint64),
        countable=np.array([counts for _, counts in hashes], dtype=bool),
        characters=np.ascontiguousarray(sizes[:, 0]),
        bytes=np.ascontiguousarray(sizes[:, 1]),
        rejected=rejected,
        seen=(len(documents), sum(len(document.text) for document in documents)),
        speakers=np.concatenate([np.zeros(0, np.uint8), *(one.speakers for one in pieces)]) if spoken else None,
        held=np.array([one.held for one in pieces], dtype=bool) if tail else None,
        places=np.array([_short_id(one.place) for one in pieces]) if any(one.place for one in pieces) else None,
    )


def training_texts(documents: Iterable[Document], settings: DataSettings) -> Iterator[str]:
    """Yield the texts to train a tokenizer on: those not held out, masked as they will be read."""
    tail = settings.val_split == "tail"
    splitter = LineSplitter()
    for document in documents:
        if not tail and side(hash_text(document.text), settings.val_fraction) != "train":
            continue
        if settings.units != "lines":
            yield document.text
            continue
        lines = split_text(document.text, splitter)
        yield "\n".join(masked(lines[: _learnt(document, len(lines), settings)] if tail else lines, settings))


def _learnt(document: Document, lines: int, settings: DataSettings) -> int:
    """How many of a document's lines are not held out under `data.val_split=tail`."""
    return first_held_out(lines, settings.val_fraction) if document.learnt is None else document.learnt


@dataclass(frozen=True, slots=True)
class _Piece:
    """A document, or part of one, on its way into a block; fields as in `Block`, for one document."""

    id: str
    text: str
    sentences: list[str]
    tokens: Ints
    lengths: Ints
    speakers: NDArray[np.uint8]
    place: str = ""
    held: bool = False

    def part(self, first: int, stop: int, *, held: bool) -> "_Piece":
        """Sentences first .. stop - 1 as a separate document."""
        starts, sentences = _starts(self.lengths), self.sentences[first:stop]
        tokens = self.tokens[starts[first] : starts[stop]]
        name, place = (f"{one}~{first}" if first and one else one for one in (self.id, self.place))
        lengths, speakers = self.lengths[first:stop], self.speakers[first:stop]
        return _Piece(name, "\n".join(sentences), sentences, tokens, lengths, speakers, place, held)


def _pieces(
    document: Document,
    splitter: SentenceSplitter,
    tokenizer: TextTokenizer,
    settings: DataSettings,
    rejected: Counter[str],
) -> Iterator[_Piece]:
    """Yield a document, or its training lines and its held-out ones apart; reasons for dropping any are counted.

    The speaker of each turn is stored apart from its text.
    """
    sentences = split_text(document.text, splitter)
    speakers = np.zeros(len(sentences), dtype=np.uint8)
    if settings.units == "turns":
        speakers = np.array(speakers_of(sentences)[0], dtype=np.uint8)
        sentences = said_in(sentences, settings.speakers)
    sentences = masked(sentences, settings)
    learnt = _learnt(document, len(sentences), settings)
    tokens, starts = tokenizer.encode_document(sentences)
    lengths = np.diff(starts)
    if not lengths.all():
        rejected[WITHOUT_TOKENS] += int((lengths == 0).sum())
        learnt = int((lengths[:learnt] > 0).sum())
        sentences = [piece for piece, length in zip(sentences, lengths, strict=True) if length]
        speakers, lengths = speakers[lengths > 0], lengths[lengths > 0]
    least = settings.min_sentences
    if len(sentences) < least:
        rejected[f"fewer than {least} sentences"] += 1
        return
    if unknown := int((tokens == tokenizer.unk_id).sum()):
        rejected[UNKNOWN] += unknown
    place = f"{document.id}@{document.place}" if document.place else ""
    whole = _Piece(document.id, document.text, sentences, tokens, lengths, speakers, place)
    if settings.val_split != "tail":
        yield whole
        return
    # Training gets a file's first lines, however few it has; a cut set by the document is respected.
    cut = learnt if document.learnt is not None else min(max(learnt, least), len(sentences))
    for piece in (whole.part(0, cut, held=False), whole.part(cut, len(sentences), held=True)):
        if 0 < len(piece.sentences) < least and not piece.held:
            rejected[f"fewer than {least} sentences before the tail"] += 1
        elif piece.sentences:
            yield piece


def _starts(lengths: Ints) -> Ints:
    """int64 [N + 1]: 0, then the running sums."""
    result = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=result[1:])
    return result


def _short_id(name: str) -> bytes:
    """A document id as at most MAX_ID_BYTES of UTF-8, without trailing NULs, which a fixed width cannot preserve."""
    encoded = name.encode("utf-8", errors="replace").rstrip(b"\0")
    if len(encoded) <= MAX_ID_BYTES:
        return encoded
    head = encoded[: MAX_ID_BYTES - 17].decode("utf-8", errors="ignore").encode()
    return head + b"~" + f"{hash_text(name):016x}".encode()


_MAYBE = ("speakers", "held", "places")
_ARRAYS = [item.name for item in fields(Block) if item.name not in ("rejected", "seen")]


def block_file(folder: Path, number: int, part: int | None = None) -> Path:
    """Path of a processed block, of the whole source or of one part of it."""
    return Path(folder) / (f"block-{number:06d}.npz" if part is None else f"block-{part:06d}-{number:06d}.npz")


def write_block(path: Path, block: Block) -> None:
    """Write a block to one file, atomically: the file is complete or does not exist."""
    about = json.dumps({"rejected": block.rejected, "seen": block.seen}).encode()
    every = {name: getattr(block, name) for name in _ARRAYS}
    arrays: dict[str, NDArray[Any]] = {name: array for name, array in every.items() if array is not None}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.frombuffer(about, dtype=np.uint8), **arrays)  # type: ignore[arg-type]


def read_block(path: Path) -> Block:
    """Read what `write_block` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        about = read_about(stored)
        arrays = {name: stored[name] for name in _ARRAYS if name in stored or name not in _MAYBE}
    return Block(**arrays, rejected=Counter(about["rejected"]), seen=(about["seen"][0], about["seen"][1]))


def read_about(stored: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Read `rejected` and `seen` from the arrays of a block's file."""
    about: dict[str, Any] = json.loads(stored["about"].tobytes())
    return about


def block_seen(path: Path) -> tuple[int, int] | None:
    """Documents and characters that went into a stored block, or None if it is missing or incomplete."""
    try:
        return read_block(path).seen
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
