"""Nats and bytes against sums written out, windows against each other, and refusals."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces, train_pieces
from lang_jepa.data.tokens.token_shards import TokenShards, write_shard
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.bits_per_byte import Validation

VOCAB = 300
TEXTS = [f"Day {number}: the sea  was calm,\nÄnna left {number * 7} times." for number in range(12)]


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return train_pieces(TEXTS, VOCAB)


@pytest.fixture
def shards(pieces: Pieces, tmp_path: Path) -> TokenShards:
    tokens = np.concatenate([[1, *ids] for ids in pieces.encode(TEXTS)])
    write_shard(tmp_path / "val_0.bin", tokens)
    return TokenShards([tmp_path / "val_0.bin"], vocab_size=pieces.vocab_size)


def bigram(vocab_size: int) -> Tensor:
    """float64 [V, V]: scores of the next token after each."""
    return torch.randn(vocab_size, vocab_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Remembering:
    """A causal model whose scores depend on the last token and on how many tokens it was shown."""

    def __init__(self, vocab_size: int, forgetting: float = 0.0) -> None:
        self.scores, self.forgetting = bigram(vocab_size), forgetting
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, tokens: Tensor) -> Tensor:
        self.shapes.add(tuple(tokens.shape))
        places = torch.arange(1, tokens.shape[1] + 1)[None, :, None]
        return (self.scores[tokens] * (1 - self.forgetting / places)).float()


def test_sums_written_out(pieces: Pieces, shards: TokenShards) -> None:
    model = Remembering(pieces.vocab_size)
    found = Validation(shards, ByteTable.of_pieces(pieces), length=16, batch_size=3).score(model)
    row = shards.read(0, shards.num_tokens).tolist()
    p = torch.log_softmax(model.scores, dim=-1)
    nats = -math.fsum(float(p[a, b]) for a, b in pairwise(row))
    assert found.tokens == len(row) - 1
    assert found.bytes == sum(len(text.encode()) for text in TEXTS)
    assert found.nats == pytest.approx(nats, rel=1e-7)
    assert found.val_loss == found.nats / found.tokens
    assert found.val_bpb == found.nats / math.log(2) / found.bytes


@pytest.mark.parametrize(("length", "batch_size"), [(16, 1), (7, 4), (64, 8), (1000, 2), (1, 50)])
@pytest.mark.parametrize("stride", [None, 1, 5])
def test_every_token_once_for_any_windows(
    length: int, batch_size: int, stride: int | None, pieces: Pieces, shards: TokenShards
) -> None:
    """A model of the last token alone gives the same sum whatever the windows, in one shape of batch."""
    if stride is not None and stride > length:
        return
    model, table = Remembering(pieces.vocab_size), ByteTable.of_pieces(pieces)
    found = Validation(shards, table, length=length, batch_size=batch_size).score(model, stride=stride)
    whole = Validation(shards, table, length=shards.num_tokens, batch_size=1).score(model)
    assert found.nats == pytest.approx(whole.nats, rel=1e-6)
    assert (found.tokens, found.bytes) == (whole.tokens, whole.bytes)
    assert model.shapes == {(batch_size, length), (1, shards.num_tokens)}


def test_a_stride_predicts_from_more_context(pieces: Pieces, shards: TokenShards) -> None:
    """Context of each token by windows written out: at least length - stride, except in the first window."""
    model, table = Remembering(pieces.vocab_size, forgetting=1.0), ByteTable.of_pieces(pieces)
    found = Validation(shards, table, length=10, batch_size=4).score(model, stride=3)
    row = shards.read(0, shards.num_tokens)
    nats = 0.0
    for target in range(1, len(row)):
        window = max(0, math.ceil((target - 10) / 3))  # the first that reaches this target
        context = target - 3 * window
        assert context >= min(target, 10 - 3 + 1)
        scores = model.scores[row[target - 1]] * (1 - 1.0 / context)
        nats -= float(torch.log_softmax(scores, dim=-1)[row[target]])
    assert found.nats == pytest.approx(nats, rel=1e-6)


def test_only_the_first_tokens(pieces: Pieces, shards: TokenShards) -> None:
    model, table = Remembering(pieces.vocab_size), ByteTable.of_pieces(pieces)
    found = Validation(shards, table, length=16, batch_size=3, max_tokens=37).score(model)
    assert found.tokens == 37
    row = torch.from_numpy(shards.read(0, 38))
    assert found.bytes == int(table.count(row[1:], row[:-1]).sum())
    everything = Validation(shards, table, length=16, batch_size=3, max_tokens=10**9).score(model)
    assert everything.tokens == shards.num_tokens - 1


def test_what_is_refused(pieces: Pieces, shards: TokenShards, tmp_path: Path) -> None:
    table = ByteTable.of_pieces(pieces)
    validation = Validation(shards, table, length=16, batch_size=3)
    for stride in (17, -1):
        with pytest.raises(LangJepaError, match=f"a stride of {stride} tokens does not fit windows of 16"):
            validation.score(Remembering(pieces.vocab_size), stride=stride)
    with pytest.raises(LangJepaError, match="not finite"):
        validation.score(lambda tokens: torch.full((*tokens.shape, VOCAB), math.nan))
    twice = ByteTable(table.base + table.space, table.space, table.boundary, table.decode, table.encode)
    with pytest.raises(LangJepaError, match="bits per byte would be wrong"):
        Validation(shards, twice, length=16, batch_size=3)
    write_shard(tmp_path / "one.bin", np.array([1]))
    with pytest.raises(LangJepaError, match="nothing to predict"):
        Validation(TokenShards([tmp_path / "one.bin"]), table, length=16, batch_size=3)


@pytest.mark.parametrize("max_tokens", [None, 100])
def test_documents_add_up_to_the_whole(pieces: Pieces, shards: TokenShards, max_tokens: int | None) -> None:
    """Nats of each document from the row's own probabilities, its BOS included; bytes are those of its text."""
    model = Remembering(pieces.vocab_size)
    validation = Validation(shards, ByteTable.of_pieces(pieces), length=16, batch_size=3, max_tokens=max_tokens)
    found, whole = validation.by_document(model), validation.score(model)
    assert found.bits.sum() * math.log(2) == pytest.approx(whole.nats, rel=1e-12)
    assert found.bytes.sum() == whole.bytes
    assert found.bits_per_byte == pytest.approx(whole.val_bpb, rel=1e-12)
    if max_tokens is None:
        assert found.bytes.tolist() == [len(text.encode()) for text in TEXTS]
        p = torch.log_softmax(model.scores, dim=-1)
        rows = [[1, *ids.tolist()] for ids in pieces.encode(TEXTS)]
        ends = [None, *(row[-1] for row in rows[:-1])]
        for bits, row, before in zip(found.bits, rows, ends, strict=True):
            seen = [*([] if before is None else [before]), *row]
            nats = -math.fsum(float(p[a, b]) for a, b in pairwise(seen))
            assert bits * math.log(2) == pytest.approx(nats, rel=1e-5)
