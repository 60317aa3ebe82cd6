"""The number of text bytes each token represents, which converts nats per token to bits per byte.

In SentencePiece and byte-level BPE alike, a token is some bytes with an optional space before them; the space is text
unless the token begins a document. Documents spread evenly over a token sequence serve as a sample of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lang_jepa.data.text.tokenizer import Ints, TextTokenizer
from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_stream import TokenSource
from lang_jepa.errors import LangJepaError

SPACE = "▁"
"""SentencePiece's symbol for a space (U+2581)."""
BYTE_SPACE = "Ġ"
"""The space in the byte-level BPE alphabet, in which every byte is one character."""


@dataclass(frozen=True, slots=True)
class ByteTable:
    """Byte counts of every token.

    Attributes:
        base: int64 [V], UTF-8 bytes of each token without one leading space; 0 if it represents no text.
        space: bool [V], whether it begins with a space.
        boundary: bool [V], whether it represents no text (BOS and the like), so a space after it is not counted.
        decode: returns the text of token ids, against which the counts are checked.
        encode: returns the token ids of each of some texts, int64, without special tokens.
    """

    base: Tensor
    space: Tensor
    boundary: Tensor
    decode: Callable[[Sequence[int]], str]
    encode: Callable[[Sequence[str]], list[Ints]]

    def same_tokens(self, other: "ByteTable") -> bool:
        """Whether every id represents the same text in both tables."""
        size = len(self.base)
        return size == len(other.base) and all(self.decode([id_]) == other.decode([id_]) for id_ in range(size))

    @classmethod
    def of_pieces(cls, pieces: Pieces) -> Self:
        """The table of a SentencePiece model: byte pieces count 1; control, unknown and unused pieces count 0."""
        rows = []
        for index in range(pieces.vocab_size):
            if pieces.is_silent(index):
                rows.append((0, False, True))
            elif pieces.is_byte(index):
                rows.append((1, False, False))
            else:
                piece = pieces.piece(index)
                text = piece.removeprefix(SPACE).replace(SPACE, " ")
                rows.append((len(text.encode()), piece.startswith(SPACE), False))
        return cls(*_columns(rows), pieces.decode, pieces.encode)

    @classmethod
    def of_tokenizer(cls, tokenizer: TextTokenizer) -> Self:
        """The table of a prepared corpus' tokenizer.

        Raises:
            LangJepaError: it is not a byte-level BPE. Others (such as WordPiece) lose capitals or white space, so their
                tokens have no byte count.
        """
        backend = tokenizer.backend
        if "ByteLevel" not in repr(backend.decoder):
            raise LangJepaError(
                "bits per byte need a tokenizer that loses nothing of the text: byte-level BPE (such as "
                "data.tokenizer_path=trained), or token shards with SentencePiece"
            )
        added = backend.get_added_tokens_decoder()
        pieces = {index: piece for piece, index in backend.get_vocab(with_added_tokens=True).items()}
        rows = []
        for index in range(tokenizer.vocab_size):
            piece = pieces.get(index)
            if piece is None or (index in added and added[index].special):
                rows.append((0, False, True))
            elif index in added:  # plain text, not in the byte-level alphabet
                rows.append((len(piece.removeprefix(" ").encode()), piece.startswith(" "), False))
            else:
                rows.append((len(piece.removeprefix(BYTE_SPACE)), piece.startswith(BYTE_SPACE), False))
        return cls(*_columns(rows), tokenizer.decode, tokenizer.encode_sentences)

    def to(self, device: torch.device | str) -> Self:
        """The table on another device."""
        base, space, boundary = (part.to(device) for part in (self.base, self.space, self.boundary))
        return replace(self, base=base, space=space, boundary=boundary)

    def count(self, tokens: Tensor, previous: Tensor) -> Tensor:
        """Return the bytes of tokens, int64.

        Args:
            tokens: int64 of any shape.
            previous: the token before each, of the same shape.
        """
        return self.base[tokens] + (self.space[tokens] & ~self.boundary[previous])


def documents(source: TokenSource, *, block: int = 1 << 20) -> Iterator[list[int]]:
    """Yield the token ids of each document without its BOS, in order; those before the first BOS are one too."""
    rest: list[int] = []
    begun = False
    for start in range(0, source.num_tokens, block):
        tokens = source.read(start, min(start + block, source.num_tokens))
        parts = np.split(tokens, np.flatnonzero(tokens == source.bos_id))
        rest.extend(parts[0].tolist())
        for part in parts[1:]:
            if begun or rest:
                yield rest
            rest, begun = part[1:].tolist(), True
    if begun or rest:
        yield rest


def check_bytes(table: ByteTable, source: TokenSource, *, tokens: int = 200_000) -> int:
    """Compare the table with decoded text, on whole documents from the beginning on.

    Args:
        table: of the source's tokenizer.
        source: the tokens that will be scored.
        tokens: the check ends with the document that reaches this many tokens.

    Returns:
        Number of bytes compared.

    Raises:
        LangJepaError: the vocabularies differ, or a document's bytes do not match the counts of its tokens.
    """
    total = seen = 0
    for number, ids in enumerate(documents(source)):
        row = torch.tensor([source.bos_id, *ids])
        if int(row.max()) >= len(table.base):
            raise LangJepaError(
                f"the text to be scored holds token id {int(row.max())}, and the tokenizer has {len(table.base)} ids: "
                "it is not the one that the text was made with"
            )
        counted = int(table.count(row[1:], row[:-1]).sum())
        decoded = len(table.decode(ids).encode())
        if counted != decoded:
            raise LangJepaError(
                f"document {number} of the text to be scored has {decoded} bytes when decoded, but its {len(ids)} "
                f"tokens are counted as {counted}: bits per byte would be wrong. Is this the tokenizer of that text?"
            )
        total, seen = total + decoded, seen + len(ids) + 1
        if seen >= tokens:
            break
    return total


def _columns(rows: list[tuple[int, bool, bool]]) -> tuple[Tensor, Tensor, Tensor]:
    base, space, boundary = zip(*rows, strict=True)
    return torch.tensor(base, dtype=torch.int64), torch.tensor(space), torch.tensor(boundary)


_BLOCK = 1 << 22
Stretch = tuple[int, int]
"""The first token of a document (its BOS), and the one after its last."""


class ArrayTokens:
    """A token source in memory.

    Args:
        tokens: int64 [N], in which each document begins with BOS.
        vocab_size, bos_id: of the tokenizer.
    """

    def __init__(self, tokens: Ints, *, vocab_size: int, bos_id: int) -> None:
        self.tokens, self.vocab_size, self.bos_id = tokens, vocab_size, bos_id
        self.num_tokens = len(tokens)

    def read(self, start: int, stop: int) -> Ints:
        """Tokens start .. stop - 1, int64."""
        if not 0 <= start <= stop <= len(self.tokens):
            raise IndexError(f"tokens {start}..{stop} do not lie among {len(self.tokens)}")
        return self.tokens[start:stop]


def spread_documents(source: TokenSource, count: int) -> list[Stretch]:
    """Up to `count` documents with at least one token besides BOS, spread evenly over a source, in order."""
    parts = (
        start + np.flatnonzero(source.read(start, min(start + _BLOCK, source.num_tokens)) == source.bos_id)
        for start in range(0, source.num_tokens, _BLOCK)
    )
    starts = np.concatenate([*parts, [source.num_tokens]])
    filled = np.flatnonzero(np.diff(starts) > 1)
    chosen = np.unique(np.linspace(0, len(filled) - 1, min(count, len(filled))).astype(np.int64))
    return [(int(starts[row]), int(starts[row + 1])) for row in filled[chosen]]


def some_documents(source: TokenSource, table: ByteTable, *, count: int, tokens: int) -> ArrayTokens:
    """The beginnings of up to `count` documents, each of at most `tokens` tokens.

    Documents are cut before a token that begins with a space, so no character is cut; without one they are kept whole.

    Args:
        source: of all documents.
        table: bytes of each token.
        count: maximum number of documents.
        tokens: of each, its BOS included.
    """
    parts = []
    for start, stop in spread_documents(source, count):
        ids = source.read(start, min(stop, start + tokens + 1))
        if len(ids) > tokens:
            positions = np.flatnonzero(table.space.numpy()[ids[2:]]) + 2
            ids = ids[: positions[-1]] if len(positions) else source.read(start, stop)
        parts.append(ids)
    joined = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return ArrayTokens(joined, vocab_size=source.vocab_size, bos_id=source.bos_id)
