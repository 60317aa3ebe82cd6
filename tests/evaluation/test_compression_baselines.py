"""Compressors and the n-gram model on the same documents, against sizes counted another way."""

import bz2
import lzma
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard

from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces, train_pieces
from lang_jepa.data.tokens.token_shards import TokenShards, write_shard
from lang_jepa.evaluation.baselines.language import Baseline, NGram, compression_baselines

NAMES = ["Anna", "Ben", "Çelik", "Dana"]
TEXTS = [
    f"{NAMES[i % 4]} went to the {('sea', 'town', 'hill')[i % 3]} on day {i * 37 % 100}.\nIt rained."
    for i in range(400)
]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pieces, TokenShards, TokenShards]:
    folder, pieces = tmp_path_factory.mktemp("sides"), train_pieces(TEXTS, 340)
    for name, texts in (("train", TEXTS[:300]), ("val", TEXTS[300:])):
        tokens = np.concatenate([[1, *ids] for ids in pieces.encode(texts)])
        write_shard(folder / f"{name}_0.bin", tokens)
    size = pieces.vocab_size
    return pieces, *(TokenShards.find(folder, side, vocab_size=size) for side in ("train", "val"))  # type: ignore[return-value, arg-type]


@pytest.fixture(scope="module")
def rows(sides: tuple[Pieces, TokenShards, TokenShards]) -> dict[str, Baseline]:
    pieces, train, held_out = sides
    return {row.name: row for row in compression_baselines(train, held_out, ByteTable.of_pieces(pieces))}


def test_sizes_counted_by_unpacking(rows: dict[str, Baseline]) -> None:
    """The joined documents, over the bytes of the documents alone."""
    text = "\n".join(TEXTS[300:]).encode()
    size = len(text) - 99
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    wanted = {
        "zlib": len(deflated.compress(text) + deflated.flush()),
        "bz2": len(bz2.compress(text)),
        "xz": len(lzma.compress(text, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}])),
    }
    for name, count in wanted.items():
        assert rows[name].bits_per_byte == pytest.approx(8 * count / size, rel=1e-9), name
    plain = 8 * len(zstandard.ZstdCompressor(level=19).compress(text)) / size
    assert rows["zstd"].bits_per_byte == pytest.approx(plain, rel=0.03)


def test_the_training_text_helps(rows: dict[str, Baseline]) -> None:
    for name in ("zlib", "xz", "zstd"):
        alone, after = rows[name].bits_per_byte, rows[f"{name} after the training text"].bits_per_byte
        assert after < 0.9 * alone
    assert list(rows) == sorted(rows, key=lambda name: -rows[name].bits_per_byte)


def test_the_ngram_model_in_both_units(
    rows: dict[str, Baseline], sides: tuple[Pieces, TokenShards, TokenShards]
) -> None:
    pieces, train, held_out = sides
    model = NGram.fit(train.read(0, train.num_tokens), pieces.vocab_size)
    nats = model.nats(held_out.read(0, held_out.num_tokens))
    size = sum(len(text.encode()) for text in TEXTS[300:])
    assert rows["5-gram"].nats_per_token == pytest.approx(nats.mean())
    assert rows["5-gram"].bits_per_byte == pytest.approx(nats.sum() / math.log(2) / size)


def test_without_training_text(sides: tuple[Pieces, TokenShards, TokenShards], tmp_path: Path) -> None:
    pieces, _, held_out = sides
    messages: list[str] = []
    rows = compression_baselines(None, held_out, ByteTable.of_pieces(pieces), on_message=messages.append)
    assert messages == ["zlib", "bz2", "xz", "zstd"]
    assert {row.name for row in rows} == set(messages)
