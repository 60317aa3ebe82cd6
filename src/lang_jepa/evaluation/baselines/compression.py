"""What general compressors and an n-gram model need for the text that a language model is scored on, in bits per byte.

All read the same documents: compressors as UTF-8 with a line break between two, which is not counted among the bytes,
like the BOS of a language model.
"""

import bz2
import lzma
import math
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import zstandard
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import token_dtype
from lang_jepa.data.tokens.byte_table import ByteTable, documents
from lang_jepa.data.tokens.token_stream import TokenSource
from lang_jepa.evaluation.baselines.ngram import NGram

ZSTD_LEVEL = 19
XZ_DICTIONARY = 1 << 26
"""Bytes that xz looks back: 64 MiB, which takes about 700 MB to compress."""
ZSTD_WINDOW_LOG = 27
"""zstd looks back 128 MiB."""
READ = 1 << 24
"""Tokens taken from a source at a time."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """One baseline's score.

    Attributes:
        name: of the method.
        bits_per_byte: of the held-out text.
        nats_per_token: where it predicts tokens, else None.
        seconds: that it took.
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
    tell: Callable[[str], None] = lambda name: None,
) -> list[Baseline]:
    """Scores of all of them, worst first.

    zlib, bz2, xz and zstd at (nearly) their highest levels see the held-out text alone. After the training text they
    are scored as far as they can use it: zlib's dictionary is its last 32 KiB, xz is the size of both texts less that
    of the first, zstd goes on after it in one stream; bz2 has no such way.

    Args:
        train: tokens of the training side (None: no baseline that has seen it).
        held_out: tokens that are scored.
        table: bytes of each token.
        order: of the n-gram model.
        quick: leave out xz and zstd after the training text, which take a second or more for each megabyte of it.
        tell: called with a method's name before it begins.
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
        tell(name)
        began = time.monotonic()
        bits, nats = job()
        rows.append(Baseline(name, bits, nats, time.monotonic() - began))
    return sorted(rows, key=lambda row: -row.bits_per_byte)


def read_all(source: TokenSource) -> NDArray[np.unsignedinteger]:
    """All tokens of a source, uint16 [N] (uint32 where the vocabulary is too large)."""
    parts = (
        source.read(start, min(start + READ, source.num_tokens)).astype(token_dtype(source.vocab_size))
        for start in range(0, source.num_tokens, READ)
    )
    return np.concatenate(list(parts))


def _text(source: TokenSource, table: ByteTable) -> tuple[bytes, int]:
    """The documents as UTF-8 with line breaks between them, and their bytes without those."""
    texts = [table.decode(ids).encode() for ids in documents(source)]
    return b"\n".join(texts), sum(map(len, texts))


def _squeezed(squeeze: Callable[..., int], texts: tuple[bytes, ...], size: int) -> tuple[float, None]:
    """Bits per byte of a compressor."""
    return 8 * squeeze(*texts) / size, None


def _ngram(train: TokenSource, held_out: TokenSource, order: int, size: int) -> tuple[float, float]:
    """Bits per byte and nats per token of a model that was counted on the training side."""
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
