"""The step function: documents in, arrays out. Corpus preparation and streaming both use it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.deduplicate import hash_sentence, hash_text, side
from lang_jepa.data.corpus.hash_table import Hashes
from lang_jepa.data.sources.base import Document, first_held_out
from lang_jepa.data.sources.conversations import said_in, speakers_of
from lang_jepa.data.text.masks import masked
from lang_jepa.data.text.sentences import LineSplitter, SentenceSplitter, split_text
from lang_jepa.data.text.tokenizer import Ints, TextTokenizer
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
        return type(self)(
            tokens=self.tokens[np.repeat(kept_sentences, per_sentence)],
            sentences=_starts(per_sentence[kept_sentences]),
            documents=_starts(per_document[keep]),
            ids=self.ids[keep],
            text_hashes=self.text_hashes[keep],
            sentence_hashes=self.sentence_hashes[kept_sentences],
            countable=self.countable[kept_sentences],
            characters=self.characters[keep],
            bytes=self.bytes[keep],
            rejected=self.rejected,
            seen=self.seen,
            speakers=None if self.speakers is None else self.speakers[kept_sentences],
            held=None if self.held is None else self.held[keep],
            places=None if self.places is None else self.places[keep],
        )


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
    building = _Building(settings)
    for document in documents:
        building.add(document, splitter, tokenizer)
    size = (len(documents), sum(len(document.text) for document in documents))
    return building.finish(token_dtype(tokenizer.vocab_size), size)


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

    def part(self, first: int, stop: int) -> "_Piece":
        """Sentences first .. stop - 1 as a separate document."""
        starts, sentences = _starts(self.lengths), self.sentences[first:stop]
        tokens = self.tokens[starts[first] : starts[stop]]
        name, place = (f"{one}~{first}" if first and one else one for one in (self.id, self.place))
        lengths, speakers = self.lengths[first:stop], self.speakers[first:stop]
        return _Piece(name, "\n".join(sentences), sentences, tokens, lengths, speakers, place)


class _Building:
    """A block that grows by one document at a time; the speaker of each turn is stored apart from its text."""

    def __init__(self, settings: DataSettings) -> None:
        self.settings = settings
        self.speakers: list[NDArray[np.uint8]] | None = [] if settings.units == "turns" else None
        self.held: list[bool] | None = [] if settings.val_split == "tail" else None
        self.tokens: list[Ints] = []
        self.sentence_lengths: list[Ints] = []
        self.document_lengths: list[int] = []
        self.ids: list[bytes] = []
        self.places: list[bytes] = []
        self.text_hashes: list[int] = []
        self.sentence_hashes: list[int] = []
        self.countable: list[bool] = []
        self.sizes: list[tuple[int, int]] = []
        self.rejected: Counter[str] = Counter()

    def add(self, document: Document, splitter: SentenceSplitter, tokenizer: TextTokenizer) -> None:
        """Process one document and append it, or count the reason for dropping it."""
        sentences = split_text(document.text, splitter)
        speakers = np.zeros(len(sentences), dtype=np.uint8)
        if self.speakers is not None:
            speakers = np.array(speakers_of(sentences)[0], dtype=np.uint8)
            sentences = said_in(sentences, self.settings.speakers)
        sentences = masked(sentences, self.settings)
        learnt = _learnt(document, len(sentences), self.settings)
        tokens, starts = tokenizer.encode_document(sentences)
        lengths = np.diff(starts)
        if not lengths.all():
            self.rejected[WITHOUT_TOKENS] += int((lengths == 0).sum())
            learnt = int((lengths[:learnt] > 0).sum())
            sentences = [piece for piece, length in zip(sentences, lengths, strict=True) if length]
            speakers, lengths = speakers[lengths > 0], lengths[lengths > 0]
        least = self.settings.min_sentences
        if len(sentences) < least:
            self.rejected[f"fewer than {least} sentences"] += 1
            return
        if unknown := int((tokens == tokenizer.unk_id).sum()):
            self.rejected[UNKNOWN] += unknown
        place = f"{document.id}@{document.place}" if document.place else ""
        whole = _Piece(document.id, document.text, sentences, tokens, lengths, speakers, place)
        if self.held is None:
            self._append(whole)
            return
        # Training gets a file's first lines, however few it has; a cut set by the document is respected.
        cut = learnt if document.learnt is not None else min(max(learnt, least), len(sentences))
        for piece, held in ((whole.part(0, cut), False), (whole.part(cut, len(sentences)), True)):
            if 0 < len(piece.sentences) < least and not held:
                self.rejected[f"fewer than {least} sentences before the tail"] += 1
            elif piece.sentences:
                self._append(piece)
                self.held.append(held)

    def _append(self, piece: "_Piece") -> None:
        if self.speakers is not None:
            self.speakers.append(piece.speakers)
        self.tokens.append(piece.tokens)
        self.sentence_lengths.append(piece.lengths)
        self.document_lengths.append(len(piece.sentences))
        self.ids.append(_short_id(piece.id))
        self.places.append(_short_id(piece.place))
        self.text_hashes.append(hash_text(piece.text))
        for sentence in piece.sentences:
            value, counts = hash_sentence(sentence)
            self.sentence_hashes.append(value)
            self.countable.append(counts)
        self.sizes.append((len(piece.text), len(piece.text.encode())))

    def finish(self, dtype: type[np.uint16] | type[np.uint32], seen: tuple[int, int]) -> Block:
        sizes = np.array(self.sizes, dtype=np.int64).reshape(-1, 2)
        nothing = [np.zeros(0, dtype=np.int64)]
        return Block(
            tokens=np.concatenate(self.tokens or nothing).astype(dtype),
            sentences=_starts(np.concatenate(self.sentence_lengths or nothing)),
            documents=_starts(np.array(self.document_lengths, dtype=np.int64)),
            ids=np.array(self.ids, dtype=np.bytes_),
            text_hashes=np.array(self.text_hashes, dtype=np.uint64),
            sentence_hashes=np.array(self.sentence_hashes, dtype=np.uint64),
            countable=np.array(self.countable, dtype=bool),
            characters=np.ascontiguousarray(sizes[:, 0]),
            bytes=np.ascontiguousarray(sizes[:, 1]),
            rejected=self.rejected,
            seen=seen,
            speakers=None if self.speakers is None else np.concatenate([np.zeros(0, np.uint8), *self.speakers]),
            held=None if self.held is None else np.array(self.held, dtype=bool),
            places=np.array(self.places, dtype=np.bytes_) if any(self.places) else None,
        )


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
