"""Concepts of a corpus' sentences, computed once and kept on disk."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.concepts.model import BATCH_TOKENS, ConceptModel
from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.files import atomic_file, fingerprint

CHUNK = 8192
"""Sentences encoded at a time, so that memory stays flat."""


def sentence_concepts(model: ConceptModel, split: CorpusSplit, folder: Path) -> NDArray[np.float32]:
    """Concepts of all sentences of a side, each encoded alone, read from disk where they are there already.

    Args:
        model: the encoder; its weights name the file, so another encoder's concepts are never taken.
        split: S sentences.
        folder: of the files.

    Returns:
        float32 [S, D], memory-mapped read-only, unit rows, as `ConceptModel.encode` gives them.
    """
    name = fingerprint([encoder_fingerprint(model), split_fingerprint(split)])
    path = Path(folder) / f"{name}.npy"
    if not path.is_file():
        with atomic_file(path) as temporary:
            shape = (split.num_sentences, model.dim)
            rows = np.lib.format.open_memmap(temporary, "w+", dtype=np.float32, shape=shape)
            for start in range(0, len(rows), CHUNK):
                stop = min(start + CHUNK, len(rows))
                rows[start:stop] = model.encode_tokens(_tokens(split, start, stop), batch_tokens=BATCH_TOKENS)
            rows.flush()
            del rows
    loaded: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return loaded


def encoder_fingerprint(model: ConceptModel) -> str:
    """Hash of the weights that concepts are made with."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.jepa.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def split_fingerprint(split: CorpusSplit) -> str:
    """Hash of a side's tokens and of where its sentences begin."""
    digest = hashlib.sha256()
    for start in range(0, split.num_sentences, CHUNK):
        rows = np.arange(start, min(start + CHUNK, split.num_sentences))
        lengths = split.lengths(rows)
        digest.update(lengths.tobytes())
        digest.update(split.gather(split.token_starts(rows), lengths).tobytes())
    return digest.hexdigest()[:16]


def _tokens(split: CorpusSplit, start: int, stop: int) -> list[NDArray[Any]]:
    """Token ids of sentences start .. stop - 1."""
    rows = np.arange(start, stop)
    lengths = split.lengths(rows)
    return np.split(split.gather(split.token_starts(rows), lengths), np.cumsum(lengths)[:-1])
