"""Some documents of a row of tokens, spread evenly over it, so that scores of a part stand for the whole."""

import numpy as np

from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.token_stream import TokenSource

_BLOCK = 1 << 22
Stretch = tuple[int, int]
"""First token of a document, its BOS, and the one after its last."""


class ArrayTokens:
    """A token source in memory.

    Args:
        tokens: int64 [N], each document with its BOS.
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
    """Up to `count` documents that hold a token at least, spread evenly over a source, in order."""
    parts = (
        start + np.flatnonzero(source.read(start, min(start + _BLOCK, source.num_tokens)) == source.bos_id)
        for start in range(0, source.num_tokens, _BLOCK)
    )
    starts = np.concatenate([*parts, [source.num_tokens]])
    filled = np.flatnonzero(np.diff(starts) > 1)
    chosen = np.unique(np.linspace(0, len(filled) - 1, min(count, len(filled))).astype(np.int64))
    return [(int(starts[row]), int(starts[row + 1])) for row in filled[chosen]]


def some_documents(source: TokenSource, table: ByteTable, *, count: int, tokens: int) -> ArrayTokens:
    """Up to `count` documents, each of `tokens` at most from its beginning.

    A document is cut before a token that begins with a space, so that no character is cut.

    Args:
        source: of all documents.
        table: bytes of each token.
        count: of documents.
        tokens: of each, its BOS included.
    """
    parts = []
    for start, stop in spread_documents(source, count):
        ids = source.read(start, min(stop, start + tokens + 1))
        if len(ids) > tokens:
            places = np.flatnonzero(table.space.numpy()[ids[2:]]) + 2
            ids = ids[: places[-1]] if len(places) else source.read(start, stop)
        parts.append(ids)
    joined = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return ArrayTokens(joined, vocab_size=source.vocab_size, bos_id=source.bos_id)
