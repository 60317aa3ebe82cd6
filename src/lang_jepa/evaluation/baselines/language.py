"""Baselines for a language model: general compressors and an n-gram model, in bits per byte of the scored text.

All read the same documents. Compressors read them as UTF-8 with a line break between documents, which does not count
as a byte, like the BOS of a language model. The n-gram model uses interpolated modified Kneser-Ney smoothing, with
counts in sorted arrays: Chen and Goodman 1999 ("An empirical study of smoothing techniques for language modeling"):

    p_k(w | h) = max(c_k(hw) - D(c_k(hw)), 0) / c_k(h.) + gamma_k(h) p_{k-1}(w | h'),   h' = h without its first token
    gamma_k(h) = (D_1 N_1(h.) + D_2 N_2(h.) + D_3 N_3+(h.)) / c_k(h.)

where c_n are counts in the text at the highest order, and below it the number of different tokens that an n-gram
follows; p_0 is uniform. An unseen h leaves p_{k-1} unchanged. The text is one token sequence with BOS as a plain token.
"""

import bz2
import lzma
import math
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import zstandard
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import token_dtype
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.data.tokens.byte_table import ByteTable, documents
from lang_jepa.data.tokens.token_stream import TokenSource
from lang_jepa.errors import LangJepaError

ZSTD_LEVEL = 19
XZ_DICTIONARY = 1 << 26
"""Bytes of xz's dictionary: 64 MiB, which takes about 700 MB of memory to compress."""
ZSTD_WINDOW_LOG = 27
"""Log2 of zstd's window: 128 MiB."""
READ = 1 << 24
"""Tokens read from a source at a time."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The score of one baseline.

    Attributes:
        name: name of the method.
        bits_per_byte: bits per byte of the held-out text.
        nats_per_token: nats per token if it predicts tokens, else None.
        seconds: time taken.
    """

    name: str
    bits_per_byte: float
    nats_per_token: float | None
    seconds: float


def compression_baselines(
    train: TokenSource | None,
    held_out: TokenSource,
    table: ByteTable,
    *,
    order: int = 5,
    quick: bool = False,
    on_message: Callable[[str], None] = lambda name: None,
) -> list[Baseline]:
    """Score all baselines, worst first.

    zlib, bz2, xz and zstd at (nearly) their highest levels see the held-out text alone. They are also scored after the
    training text as far as they can use it: zlib takes its last 32 KiB as the dictionary; xz is scored by the size of
    both texts minus that of the first; zstd continues after it in one stream; bz2 has no way to use it.

    Args:
        train: training tokens (None: no baselines that have seen them).
        held_out: tokens to score.
        table: bytes of each token.
        order: order of the n-gram model.
        quick: leave out xz and zstd after the training text, which take a second or more per megabyte of it.
        on_message: called with a method's name before it begins.
    """
    text, size = _text(held_out, table)
    jobs: list[tuple[str, Callable[[], tuple[float, float | None]]]] = [
        (name, partial(_squeezed, squeeze, (text,), size)) for name, squeeze in ALONE.items()
    ]
    if train is not None:
        learnt, _ = _text(train, table)
        jobs += [
            (f"{name} after the training text", partial(_squeezed, squeeze, (learnt, text), size))
            for name, squeeze in AFTER.items()
            if name == "zlib" or not quick
        ]
        jobs.append((f"{order}-gram", partial(_ngram, train, held_out, order, size)))
    rows = []
    for name, job in jobs:
        on_message(name)
        began = time.monotonic()
        bits, nats = job()
        rows.append(Baseline(name, bits, nats, time.monotonic() - began))
    return sorted(rows, key=lambda row: -row.bits_per_byte)


def read_all(source: TokenSource) -> NDArray[np.unsignedinteger]:
    """Return all tokens of a source, uint16 [N] (uint32 if the vocabulary is too large for 16 bits)."""
    parts = (
        source.read(start, min(start + READ, source.num_tokens)).astype(token_dtype(source.vocab_size))
        for start in range(0, source.num_tokens, READ)
    )
    return np.concatenate(list(parts))


def _text(source: TokenSource, table: ByteTable) -> tuple[bytes, int]:
    """Return the documents as UTF-8 with line breaks between them, and the number of bytes without these."""
    texts = [table.decode(ids).encode() for ids in documents(source)]
    return b"\n".join(texts), sum(map(len, texts))


def _squeezed(squeeze: Callable[..., int], texts: tuple[bytes, ...], size: int) -> tuple[float, None]:
    return 8 * squeeze(*texts) / size, None


def _ngram(train: TokenSource, held_out: TokenSource, order: int, size: int) -> tuple[float, float]:
    """Return bits per byte and nats per token of a model fitted on the training tokens."""
    model = NGram.fit(read_all(train), train.vocab_size, order=order)
    nats = model.nats(read_all(held_out))
    return float(nats.sum()) / math.log(2) / size, float(nats.mean())


def _zlib(data: bytes, dictionary: bytes = b"") -> int:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zdict=dictionary)
    return _length([packer.compress(data), packer.flush()])


def _xz(data: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": XZ_DICTIONARY}]
    return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))


def _zstd_after(learnt: bytes, data: bytes) -> int:
    settings = zstandard.ZstdCompressionParameters.from_level(ZSTD_LEVEL, window_log=ZSTD_WINDOW_LOG, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    _length([packer.compress(learnt), packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)])
    return _length([packer.compress(data), packer.flush()])


def _length(parts: Iterable[bytes]) -> int:
    return sum(map(len, parts))


ALONE: dict[str, Callable[[bytes], int]] = {
    "zlib": _zlib,
    "bz2": lambda data: len(bz2.compress(data, 9)),
    "xz": _xz,
    "zstd": lambda data: _zstd_after(b"", data),
}
AFTER: dict[str, Callable[[bytes, bytes], int]] = {
    "zlib": lambda learnt, data: _zlib(data, learnt[-(1 << zlib.MAX_WBITS) :]),
    "xz": lambda learnt, data: _xz(learnt + data) - _xz(learnt),
    "zstd": _zstd_after,
}

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
QUERIES = 1 << 20
"""Positions scored at a time, to bound memory."""


@dataclass(frozen=True, slots=True)
class _Order:
    """Counts of one order k.

    Attributes:
        grams: uint64 [G], sorted, k tokens packed into one number, the first in the highest bits.
        shares: float64 [G], (c - D(c)) / c(h.) of each gram.
        contexts: uint64 [H], sorted, the first k - 1 tokens of the grams.
        backoff: float64 [H], gamma of each context.
    """

    grams: Keys
    shares: Floats
    contexts: Keys
    backoff: Floats

    def apply(self, grams: Keys, contexts: Keys, lower: Floats) -> Floats:
        """Return p_k of some grams after their contexts, from p_{k-1}."""
        row, known = _find(self.contexts, contexts)
        result = np.where(known, self.backoff[row], 1.0) * lower
        row, known = _find(self.grams, grams)
        return result + np.where(known, self.shares[row], 0.0)


class NGram:
    """The n-gram model. The probabilities of all tokens after any context sum to 1."""

    def __init__(self, orders: list[_Order], vocab_size: int) -> None:
        """Use `fit`."""
        self._orders, self.vocab_size = orders, vocab_size
        self._bits = _bits(vocab_size)

    @property
    def order(self) -> int:
        """Tokens in the longest n-gram."""
        return len(self._orders)

    @classmethod
    def fit(cls, tokens: NDArray[np.integer], vocab_size: int, *, order: int = 5) -> Self:
        """Count the n-grams of a text.

        Args:
            tokens: [N], below `vocab_size`. Memory is about 50 bytes per token at the highest order.
            vocab_size: number of token ids.
            order: tokens in the longest n-gram.

        Raises:
            LangJepaError: n-grams of this order and vocabulary do not fit into 64 bits, or there are too few tokens.
        """
        bits = _bits(vocab_size)
        if not 1 <= order <= 64 // bits:
            raise LangJepaError(
                f"an order of {order} does not work with {vocab_size} ids: n-grams are held in 64 bits, enough for "
                f"orders 1 to {64 // bits}"
            )
        if len(tokens) < order:
            raise LangJepaError(f"{len(tokens)} tokens are too few for n-grams of order {order}")
        grams, counts = _count(_pack(np.asarray(tokens), order, bits))
        orders = [_smooth(grams, counts, bits)]
        for k in range(order - 1, 0, -1):
            # Each longer n-gram is a different token before its last k tokens: continuation counts.
            grams, counts = _count(grams & np.uint64((1 << k * bits) - 1))
            orders.append(_smooth(grams, counts, bits))
        return cls(orders[::-1], vocab_size)

    def nats(self, tokens: NDArray[np.integer]) -> Floats:
        """Return -ln p of each token but the first, given those before it, float64 [N - 1]."""
        row, back = np.asarray(tokens), max(1, self.order - 1)
        parts = [np.zeros(0)]
        for start in range(1, len(row), QUERIES):
            first = max(0, start - back)
            parts.append(self._nats(row[first : start + QUERIES], start - first))
        return np.concatenate(parts)

    def _nats(self, row: NDArray[np.integer], skip: int) -> Floats:
        """Return -ln p of the tokens of `row` from index `skip` (at least 1) on; those before are context."""
        result = np.full(len(row) - 1, 1 / self.vocab_size)
        for k, order in enumerate(self._orders, start=1):
            if k == 1:
                grams = row[1:].astype(np.uint64)
                result = order.apply(grams, np.zeros_like(grams), result)
            elif len(row) >= k:
                grams = _pack(row, k, self._bits)
                result[k - 2 :] = order.apply(grams, grams >> np.uint64(self._bits), result[k - 2 :])
        found: Floats = -np.log(result[skip - 1 :])
        return found


def _bits(vocab_size: int) -> int:
    return max(1, (vocab_size - 1).bit_length())


def _pack(tokens: NDArray[np.integer], order: int, bits: int) -> Keys:
    """Pack every run of `order` tokens into one number, uint64 [N - order + 1]."""
    count = len(tokens) - order + 1
    keys = np.zeros(count, dtype=np.uint64)
    for shift in range(order):
        keys <<= np.uint64(bits)
        keys |= tokens[shift : shift + count].astype(np.uint64)
    return keys


def _count(keys: Keys) -> tuple[Keys, Ints]:
    """Return the distinct keys in order, and how often each occurs; `keys` is sorted in place."""
    keys.sort()
    first = _firsts(keys)
    return keys[first], np.diff(np.append(first, len(keys)))


def _firsts(keys: Keys) -> Ints:
    """Return the rows at which each distinct key begins in sorted keys."""
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def _discounts(counts: Ints) -> Floats:
    """Return the discounts of counts 0, 1, 2, and 3 or more, float64 [4] (equation 26 of Chen and Goodman).

    If there are too few n-grams for the estimate, or a discount would not be positive (some probability would then be
    0), each discount is 0.75.
    """
    plain = np.array([0.0, 0.75, 0.75, 0.75])
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return plain
    y = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    fits = (found[1:] > 0).all() and (found <= np.arange(4)).all()
    return found if fits else plain


def _smooth(grams: Keys, counts: Ints, bits: int) -> _Order:
    """Compute the discounted shares and the weights of the lower order."""
    taken = _discounts(counts)[np.minimum(counts, 3)]
    contexts = grams >> np.uint64(bits)
    first = _firsts(contexts)
    totals = np.add.reduceat(counts, first).astype(np.float64)
    backoff = np.add.reduceat(taken, first) / totals
    shares = (counts - taken) / np.repeat(totals, np.diff(np.append(first, len(grams))))
    return _Order(grams, shares, contexts[first], backoff)


def _find(table: Keys, wanted: Keys) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the row of each wanted key in a sorted table (any row if it is absent), and whether it is present."""
    row = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return row, table[row] == wanted
