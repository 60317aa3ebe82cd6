"""Two gloo processes score held-out tokens as one process does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces, train_pieces
from lang_jepa.data.tokens.token_shards import TokenShards, write_shard
from lang_jepa.evaluation.metrics.bits_per_byte import BitsPerByte, Validation

TEXTS = [f"Day {number}: the sea was calm, Anna left {number * 7} times." for number in range(9)]
CASES = [
    {"length": 16, "batch_size": 2},
    {"length": 16, "batch_size": 2, "stride": 5},
    {"length": 500, "batch_size": 1},
]
"""The last has one window, so that one of the ranks has nothing to score."""


def logits(tokens: Tensor) -> Tensor:
    table = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    return table[tokens]


def scores(folder: Path) -> list[BitsPerByte]:
    pieces = Pieces.load(folder / "tokenizer.model")
    shards = TokenShards.find(folder, "val", vocab_size=pieces.vocab_size)
    found = []
    for case in CASES:
        sizes = {name: value for name, value in case.items() if name != "stride"}
        validation = Validation(shards, ByteTable.of_pieces(pieces), **sizes)
        found.append(validation.score(logits, stride=case.get("stride")))
    return found


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(scores(Path(folder)), f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    pieces = train_pieces(TEXTS, 300)
    (tmp_path / "tokenizer.model").write_bytes(pieces.model)
    write_shard(tmp_path / "val_0.bin", np.concatenate([[1, *ids] for ids in pieces.encode(TEXTS)]))
    alone = scores(tmp_path)
    multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        for one, other in zip(alone, torch.load(tmp_path / f"rank{rank}.pt", weights_only=False), strict=True):
            assert (one.tokens, one.bytes) == (other.tokens, other.bytes)
            assert one.nats == pytest.approx(other.nats, rel=1e-13)
