"""Token shards against the format's own rule, read back, and refused when they are damaged."""

import struct
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.tokens.token_shards import TokenShards, TokenShardWriter, write_shard
from lang_jepa.errors import LangJepaError


def by_rule(tokens: list[int], *, magic: int = 20240520, version: int = 1, count: int | None = None) -> bytes:
    """A shard written number by number, as the format says."""
    header = [magic, version, len(tokens) if count is None else count] + [0] * 253
    return struct.pack("<256i", *header) + struct.pack(f"<{len(tokens)}H", *tokens)


def made_up(count: int, seed: int = 0) -> list[int]:
    return [1, *np.random.default_rng(seed).integers(3, 1024, count - 1).tolist()]


def test_written_byte_for_byte(tmp_path: Path) -> None:
    tokens = [*made_up(300), 65_535, 0]
    write_shard(tmp_path / "a.bin", np.array(tokens))
    assert (tmp_path / "a.bin").read_bytes() == by_rule(tokens)
    writer = TokenShardWriter(tmp_path, "val", shard_tokens=5)
    documents = [made_up(3, 1), made_up(4, 2), made_up(7, 3), made_up(2, 4)]
    for document in documents:
        writer.append(np.array(document))
    assert [{key: one[key] for key in ("name", "tokens")} for one in writer.finish()] == [
        {"name": "val_000000.bin", "tokens": 7},
        {"name": "val_000001.bin", "tokens": 7},
        {"name": "val_000002.bin", "tokens": 2},
    ]
    found = [path.read_bytes() for path in sorted(tmp_path.glob("val_*.bin"))]
    assert found == [by_rule(documents[0] + documents[1]), by_rule(documents[2]), by_rule(documents[3])]


def test_what_the_rule_wrote_is_read_across_shards(tmp_path: Path) -> None:
    parts = [made_up(50, seed) for seed in range(3)]
    for number, part in enumerate(parts):
        (tmp_path / f"fineweb_train_{number:06d}.bin").write_bytes(by_rule(part))
    (tmp_path / "fineweb_val_000000.bin").write_bytes(by_rule([1, 2]))
    shards = TokenShards.find(tmp_path, "train", vocab_size=1024)
    whole = [token for part in parts for token in part]
    assert shards.num_tokens == 150
    for start, stop in [(0, 150), (49, 51), (0, 0), (150, 150), (50, 100), (20, 130), (100, 101)]:
        found = shards.read(start, stop)
        assert found.dtype == np.int64
        assert found.tolist() == whole[start:stop]
    with pytest.raises(IndexError, match="do not lie among 150"):
        shards.read(100, 151)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (by_rule([1, 2, 3])[:-1], "cut short: 1029 bytes, and 3 tokens take 1030"),
        (by_rule([1, 2, 3]) + b"\0", "too long: 1031 bytes"),
        (by_rule([1, 2, 3], magic=20240801), "begins with 20240801 instead of 20240520"),
        (by_rule([1, 2, 3], version=2), "version 2, this program reads 1"),
        (by_rule([1, 2, 3], count=4), "cut short"),
        (by_rule([1, 2, 3], count=-1), "too long"),
        (by_rule([]), "holds no tokens"),
        (bytes(1024) + by_rule([1])[1024:], "never finished"),
        (b"PAR1", "4 bytes are shorter than a header"),
        (b"", "0 bytes are shorter"),
        (by_rule([1, 2, 1024]), "token id 1024, but the vocabulary has 1024 ids"),
    ],
)
def test_a_damaged_or_foreign_file_is_named_and_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "train_000000.bin", tmp_path / "train_000001.bin"
    good.write_bytes(by_rule([1, 5]))
    bad.write_bytes(content)
    with pytest.raises(LangJepaError, match=reason) as error:
        TokenShards([good, bad], vocab_size=1024)
    assert str(bad) in str(error.value)
    assert str(good) not in str(error.value)


def test_an_id_outside_the_vocabulary_is_found_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train_000000.bin"
    path.write_bytes(by_rule([*made_up(6000), 1024, 5]))
    shards = TokenShards([path], vocab_size=1024)
    shards.read(0, 6000)
    with pytest.raises(LangJepaError, match=f"{path} holds token id 1024"):
        shards.read(5999, 6001)


@pytest.mark.parametrize("ids", [[1, 65_536], [1, -1]])
def test_ids_beyond_two_bytes_are_not_written(ids: list[int], tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=f"token id {ids[1]} does not fit"):
        write_shard(tmp_path / "a.bin", np.array(ids))
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"has no token shards named \*val_\*.bin"):
        TokenShards.find(tmp_path, "val")
    with pytest.raises(LangJepaError, match="is not a folder with token shards"):
        TokenShards.find(tmp_path / "none", "val")
    with pytest.raises(LangJepaError, match="No such file"):
        TokenShards([tmp_path / "none.bin"])
    with pytest.raises(LangJepaError, match="vocabulary of 65,537 ids does not fit"):
        TokenShards([tmp_path / "none.bin"], vocab_size=65_537)
