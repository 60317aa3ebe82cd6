"""Speed of encoding sentences: `ConceptModel` in fp32 and bf16 against sentence-transformers, with the same weights.

    python benchmarks/encode.py                                          # MiniLM, sentences of the built-in stories
    python benchmarks/encode.py --data ../shared/data/openstax.parquet --weights FOLDER

All three take turns on the same sentences in one process. Times are CPU seconds of one thread; ratios are medians over
the rounds. The vectors of all three are compared.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from metrics import metric
from speed import minilm, split_documents


def main() -> None:
    """Encode with all three in turn and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="stories")
    parser.add_argument("--weights", help="folder of an encoder (default: MiniLM)")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from lang_jepa.evaluation.metrics.similarity import unit_rows
    from lang_jepa.inference.model import ConceptModel

    weights = arguments.weights or minilm()
    sentences = [one for document in split_documents(arguments.data) for one in document][: arguments.sentences]
    peer = SentenceTransformer(weights, device="cpu", trust_remote_code=False)
    forms: dict[str, Callable[[list[str]], Any]] = {"sentence-transformers, fp32": peer.encode}
    for precision in ("fp32", "bf16"):
        forms[f"lang-jepa, {precision}"] = ConceptModel.load(weights, precision=precision).encode
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    vectors = {}
    for number in range(arguments.rounds + 1):
        for name, encode in forms.items():
            began = time.process_time()
            vectors[name] = encode(sentences)
            if number:  # the first round is warm-up
                seconds[name].append(time.process_time() - began)
    first, *ours = forms
    for name, times in seconds.items():
        cosine = (unit_rows(np.asarray(vectors[name])) * unit_rows(np.asarray(vectors[first]))).sum(1).min()
        rate = len(sentences) / statistics.median(times)
        print(f"{name:<28} {rate:7.1f} sentences a CPU second, lowest cosine to the first {cosine:.5f}")
    for name in ours:
        ratio = statistics.median(a / b for a, b in zip(seconds[first], seconds[name], strict=True))
        metric(f"encoding, {name.split()[-1]}: speed against sentence-transformers in fp32", ratio)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    main()
