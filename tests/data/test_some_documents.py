"""A part of the documents stands for all: spread evenly, cut between words, and read like any source."""

from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.tokens.byte_table import (
    ByteTable,
    check_bytes,
    documents,
    some_documents,
    spread_documents,
)
from lang_jepa.data.tokens.pieces import Pieces, train_pieces
from lang_jepa.data.tokens.token_shards import TokenShards, write_shard

pytest.importorskip("sentencepiece")
TEXTS = [f"Über day {number}: " + "the 海 was calm. " * (number % 5 + 1) for number in range(20)]


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return train_pieces(TEXTS, 330)


@pytest.fixture
def source(pieces: Pieces, tmp_path: Path) -> TokenShards:
    """Two files, an empty document among the twenty."""
    rows = [np.array([1, *ids]) for ids in pieces.encode(TEXTS)]
    rows.insert(3, np.array([1]))
    write_shard(tmp_path / "val_0.bin", np.concatenate(rows[:9]))
    write_shard(tmp_path / "val_1.bin", np.concatenate(rows[9:]))
    return TokenShards([tmp_path / f"val_{n}.bin" for n in (0, 1)], vocab_size=pieces.vocab_size)


def test_whole_documents_are_all_that_hold_text(pieces: Pieces, source: TokenShards) -> None:
    table = ByteTable.of_pieces(pieces)
    every = some_documents(source, table, count=1000, tokens=10_000)
    assert [table.decode(ids) for ids in documents(every)] == TEXTS
    assert every.num_tokens == source.num_tokens - 1


def test_they_are_spread_from_the_first_to_the_last(source: TokenShards) -> None:
    every, some = spread_documents(source, 20), spread_documents(source, 5)
    assert some == [every[row] for row in (0, 4, 9, 14, 19)]
    assert all(source.read(start, start + 1)[0] == 1 for start, _ in some)


@pytest.mark.parametrize("tokens", [6, 9, 14, 30])
def test_a_cut_is_before_a_space_and_the_bytes_are_right(tokens: int, pieces: Pieces, source: TokenShards) -> None:
    table = ByteTable.of_pieces(pieces)
    cut = some_documents(source, table, count=20, tokens=tokens)
    check_bytes(table, cut)  # no character is cut in two
    for ids, text in zip(documents(cut), TEXTS, strict=True):
        got = table.decode(ids)
        assert text.startswith(got)
        assert got == text or (text[len(got)] == " " and len(ids) < tokens)


def test_a_text_that_is_one_word_stays_whole(pieces: Pieces, tmp_path: Path) -> None:
    (ids,) = pieces.encode(["x" * 50])
    write_shard(tmp_path / "val_0.bin", np.array([1, *ids]))
    source = TokenShards([tmp_path / "val_0.bin"], vocab_size=pieces.vocab_size)
    some = some_documents(source, ByteTable.of_pieces(pieces), count=1, tokens=8)
    assert some.read(0, some.num_tokens).tolist() == [1, *ids.tolist()]
