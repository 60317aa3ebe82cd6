"""The padded path, for any encoder, against the packed one of six families: the same BERT (MiniLM) and batches.

    python benchmarks/padded_path.py

Each batch goes forward and backward through both in turn, in fp32 without dropout; times are processor seconds.
Batches are 32 contexts of 8 sentences, or 128 single sentences, drawn at random, as in training without pools.
"""

import argparse
import copy
import time

import numpy as np
import torch

from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.batch import Sequences
from lang_jepa.models.backbone import build_backbone
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.settings.encoder import ModelSettings
from speed import minilm, split_documents

MAX_LENGTH = 256


def paths(weights: str, vocab_size: int) -> dict[str, TextEncoder]:
    """Return the same encoder with both paths."""
    settings = ModelSettings(embed_dim=384, pred_dim=384, max_length=MAX_LENGTH, dropout=0.0)
    backbone = build_backbone(settings, vocab_size=vocab_size, weights=weights)
    padded = TextEncoder(copy.deepcopy(backbone))
    padded.backbone.set_attn_implementation("sdpa")
    padded.packed = False
    return {"packed": TextEncoder(backbone), "padded": padded}


def batches(texts: list[str], tokenizer: TextTokenizer, count: int, many: int) -> list[Sequences]:
    """Return batches of `many` texts in random order, between the special tokens and cut on the right."""
    order = np.random.default_rng(0).permutation(len(texts))[: count * many]
    encoded = tokenizer.encode_sentences([texts[i] for i in order])
    before, after = tokenizer.prefix_ids, tokenizer.suffix_ids
    room = MAX_LENGTH - len(before) - len(after)
    full = [np.concatenate([before, ids[:room], after]).astype(np.int64) for ids in encoded]
    parts = [full[at : at + many] for at in range(0, len(full) - many + 1, many)]
    return [
        Sequences(torch.from_numpy(np.concatenate(part)), torch.tensor([len(ids) for ids in part])) for part in parts
    ]


def measure(encoders: dict[str, TextEncoder], some: list[Sequences]) -> dict[str, float]:
    """Return the median processor seconds of a batch, forward and backward, for each path."""
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for sequences in some:
        for name, encoder in encoders.items():
            began = time.process_time()
            encoder.embed(sequences).square().sum().backward()
            seconds[name].append(time.process_time() - began)
            encoder.zero_grad()
    return {name: float(np.median(taken[1:])) for name, taken in seconds.items()}


def main() -> None:
    """Print a line for contexts and one for sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="stories", help="what data.train_file may name")
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    documents, weights = split_documents(options.data), minilm()
    tokenizer = TextTokenizer.load(weights)
    encoders = paths(weights, tokenizer.vocab_size)
    sentences = [sentence for document in documents for sentence in document]
    contexts = [" ".join(one[at : at + 8]) for one in documents for at in range(0, len(one) - 7, 8)]
    for name, texts, many in (("contexts", contexts, 32), ("sentences", sentences, 128)):
        some = batches(texts, tokenizer, options.batches, many)
        found = measure(encoders, some)
        slots = {path: sum(map(encoder.slots, some)) for path, encoder in encoders.items()}
        tokens = sum(int(one.lengths.sum()) for one in some)
        print(
            f"{name:10} packed {found['packed']:.3f} s, padded {found['padded']:.3f} s a batch: "
            f"{found['padded'] / found['packed']:.2f} times; padding {100 * (1 - tokens / slots['padded']):.1f} % of "
            f"slots"
        )


if __name__ == "__main__":
    main()
