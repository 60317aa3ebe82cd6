"""Documents as plain lists of tokens, a corpus made of them, and sequences turned back into lists."""

from itertools import pairwise

import numpy as np
import torch

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.corpus.shards import Shard
from lang_jepa.data.views.batch import Sequences, Targets

PREFIX, SUFFIX = [1001], [1002, 1003]
Documents = list[list[list[int]]]
"""Documents as sentences as tokens."""


def shard(documents: Documents) -> Shard:
    sentences = [sentence for document in documents for sentence in document]
    tokens = np.array([token for sentence in sentences for token in sentence], dtype=np.uint16)
    return Shard(
        tokens,
        np.cumsum([0] + [len(sentence) for sentence in sentences]).astype(np.int64),
        np.cumsum([0] + [len(document) for document in documents]).astype(np.int64),
        np.array([f"d{i}".encode() for i in range(len(documents))]),
    )


def split_of(documents: Documents, *, parts: int = 1) -> CorpusSplit:
    """A side of a corpus in `parts` shards."""
    if parts == 1:
        one = shard(documents)
        return CorpusSplit.from_arrays(one.tokens, one.sentences, one.documents, one.ids, None)  # type: ignore[arg-type]
    cuts = np.linspace(0, len(documents), parts + 1).astype(int).tolist()
    shards = [shard(documents[a:b]) for a, b in pairwise(cuts) if b > a]
    return CorpusSplit(shards, lambda: None)  # type: ignore[arg-type, return-value]


def unpacked(sequences: Sequences) -> list[list[int]]:
    assert sequences.tokens.dtype == sequences.lengths.dtype == torch.int64
    return [part.tolist() for part in sequences.tokens.split(sequences.lengths.tolist())]


def picked(targets: Targets) -> list[list[int]]:
    """The target of each prediction as a list of tokens."""
    assert targets.count == int(targets.segments.max()) + 1
    everything = unpacked(Sequences(targets.sequences.tokens, targets.segments.bincount()))
    return [everything[segment] for segment in targets.picked.tolist()]


def made_up(seed: int, documents: int = 7, sentences: int = 9, tokens: int = 9) -> Documents:
    """Random documents, of one sentence too."""
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(0, 1000, rng.integers(1, tokens + 1)).tolist() for _ in range(rng.integers(1, sentences + 1))]
        for _ in range(documents)
    ]
