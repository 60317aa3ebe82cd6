"""Batches of tokens: every token a target once, ranks disjoint, positions exact."""

import tracemalloc
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import made_up, split_of

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.tokens.token_shards import CorpusTokens, TokenShards, write_shard
from lang_jepa.data.tokens.token_stream import TokenStream, document_numbers
from lang_jepa.errors import LangJepaError


@pytest.fixture
def counting(tmp_path: Path) -> TokenShards:
    """Tokens 0 .. 999 in two shards, so that a token is its own place."""
    paths = [tmp_path / f"train_{i}.bin" for i in range(2)]
    write_shard(paths[0], np.arange(333))
    write_shard(paths[1], np.arange(333, 1000))
    return TokenShards(paths)


def epoch_of(source: TokenShards, ranks: int, batch_size: int, seed: int = 3) -> list[list[torch.Tensor]]:
    """The batches of the first epoch, for each rank."""
    found = []
    for rank in range(ranks):
        stream = TokenStream(source, batch_size=batch_size, length=7, seed=seed, rank=rank, ranks=ranks)
        batches = [next(stream)]
        while True:
            batch = next(stream)
            if stream.epoch:
                break
            batches.append(batch)
        found.append(batches)
    return found


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_an_epoch_has_every_token_as_a_target_once(counting: TokenShards, ranks: int) -> None:
    batches = epoch_of(counting, ranks, batch_size=4)
    assert len({len(one) for one in batches}) == 1
    rows = torch.cat([batch for one in batches for batch in one])
    assert rows.dtype == torch.int64
    assert rows.shape[1] == 8
    assert torch.equal(rows[:, 1:], rows[:, :-1] + 1)  # text in a piece, across shards
    targets = rows[:, 1:].flatten().tolist()
    assert len(set(targets)) == len(targets)
    left_out = 1000 - len(targets)
    assert left_out < 7 + 7 + 1 + 4 * ranks * 7  # offset, last chunk, first token, last step


def test_ranks_share_the_steps_of_one_rank(counting: TokenShards) -> None:
    one = epoch_of(counting, 1, batch_size=6)[0]
    two = epoch_of(counting, 2, batch_size=3)
    joined = [torch.cat(pair) for pair in zip(*two, strict=True)]
    assert len(one) == len(joined)
    assert all(torch.equal(a, b) for a, b in zip(one, joined, strict=True))


def test_seed_and_epoch_change_order_and_offset(counting: TokenShards) -> None:
    def start(seed: int, skip: int) -> list[int]:
        stream = TokenStream(counting, batch_size=4, length=7, seed=seed)
        rows = [next(stream) for _ in range(skip + 35)][skip:]
        return torch.cat(rows)[:, 0].tolist()

    assert start(0, 0) == start(0, 0)
    assert start(0, 0) != start(1, 0)
    first, second = start(0, 0), start(0, 35)
    assert first != second
    assert {place % 7 for place in first} != {place % 7 for place in second}


@pytest.mark.parametrize("stop", [1, 17, 35, 40, 90])
def test_a_saved_position_is_taken_up_exactly(counting: TokenShards, stop: int) -> None:
    whole = TokenStream(counting, batch_size=4, length=7, seed=5)
    for _ in range(stop):
        next(whole)
    other = TokenStream(counting, batch_size=2, length=7, seed=5, rank=1, ranks=2)
    other.restart(whole.state)
    for _ in range(50):
        assert torch.equal(next(whole)[2:], next(other))
    assert whole.state == other.state


def test_a_position_of_another_stream_is_refused(counting: TokenShards) -> None:
    state = TokenStream(counting, batch_size=4, length=7, seed=5).state
    with pytest.raises(LangJepaError, match=r"another stream of tokens \(seed 5 -> 6, length 7 -> 8\)$"):
        TokenStream(counting, batch_size=4, length=8, seed=6).restart(state)
    with pytest.raises(LangJepaError, match="sequences per step 4 -> 8"):
        TokenStream(counting, batch_size=4, length=7, seed=5, ranks=2).restart(state)


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """Batches of a shard of 40 MB are made in less than one."""
    write_shard(tmp_path / "train_0.bin", np.zeros(20_000_000, dtype=np.uint16))
    stream = TokenStream(TokenShards([tmp_path / "train_0.bin"]), batch_size=8, length=1024, seed=0)
    tracemalloc.start()
    for _ in range(200):
        next(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_too_few_tokens(counting: TokenShards) -> None:
    TokenStream(counting, batch_size=10, length=90, seed=0)
    with pytest.raises(LangJepaError, match="1,000 tokens are too few for one step of 10 sequences of 100"):
        TokenStream(counting, batch_size=5, length=100, seed=0, ranks=2)


def test_document_numbers() -> None:
    tokens = torch.tensor([[1, 5, 6, 1, 7], [5, 1, 1, 6, 7]])
    assert document_numbers(tokens, 1).tolist() == [[1, 1, 1, 2, 2], [0, 1, 2, 2, 2]]


@pytest.mark.parametrize("parts", [1, 3])
def test_a_corpus_reads_like_shards(parts: int, stories_corpus: Corpus) -> None:
    documents = made_up(4, documents=9)
    split = split_of(documents, parts=parts)
    source = CorpusTokens(split, stories_corpus.tokenizer)
    bos = stories_corpus.tokenizer.bos_id
    whole = [token for document in documents for token in (bos, *chain(*document))]
    assert source.num_tokens == len(whole)
    for start in range(0, len(whole), 3):
        for stop in (start, start + 1, start + 2, start + 40):
            found = source.read(start, min(stop, len(whole)))
            assert found.tolist() == whole[start:stop]
    with pytest.raises(IndexError, match="do not lie among"):
        source.read(0, len(whole) + 1)


def test_a_prepared_corpus_as_a_stream(stories_corpus: Corpus) -> None:
    tokenizer = stories_corpus.tokenizer
    source = CorpusTokens(stories_corpus.validation, tokenizer)
    split = stories_corpus.validation
    texts = [" ".join(split.texts(range(*split.document_starts[i : i + 2]))) for i in range(split.num_documents)]
    tokens = source.read(0, source.num_tokens)
    pieces = np.split(tokens, np.flatnonzero(tokens == tokenizer.bos_id))[1:]
    assert [tokenizer.decode(piece) for piece in pieces] == texts
    batch = next(TokenStream(source, batch_size=2, length=16, seed=0))
    assert batch.shape == (2, 17)


def test_a_corpus_that_gives_no_tokens_is_refused(stories_corpus: Corpus) -> None:
    with pytest.raises(LangJepaError, match=r"empty: set data\.val_fraction"):
        CorpusTokens(split_of([], parts=2), stories_corpus.tokenizer)
