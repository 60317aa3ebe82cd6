"""What caching concepts saves: a step of `concept_sequence` with its encoder running, and with vectors from disk.

    python benchmarks/cached_concepts.py --data ../shared/data/openstax.parquet --weights MINILM_FOLDER

Both variants train the same predictor on the same batches in turn, in this process, in fp32 with one thread; the
difference of their losses is printed. Times are processor seconds of whole steps, medians over the rounds. Making the
cache is timed as well; the last line says after how many steps it pays off.
"""

import argparse
import os
import sys
import tempfile
import time

from costs import Variant, ratio


def main() -> None:
    """Measure both variants in turn and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True, help="folder of a pretrained encoder of width 384")
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1, help="batches, each once in a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    from lang_jepa.inference.cache import ConceptCache
    from lang_jepa.settings.load import load_settings

    with tempfile.TemporaryDirectory() as corpora:
        overrides = (
            f"data.train_file={arguments.data}",
            f"data.limit={arguments.documents}",
            f"data.corpus_dir={corpora}",
            "data.val_fraction=0.0",
            f"data.tokenizer_path={arguments.weights}",
            "model.embed_dim=384",
            "model.pred_dim=384",
            "model.head_sample=100",
        )
        settings = load_settings("concept_sequence", overrides)
        plain, cached = (Variant(settings, arguments.steps) for _ in range(2))
        began = time.process_time()
        cache = ConceptCache.open_or_make(cached.jepa.encoder, cached.view)
        making = time.process_time() - began
        cached.view.pooled = cache.vectors
        for _ in range(arguments.rounds + 1):
            plain.round()
            cached.round()
        difference = max(abs(a - b) for a, b in zip(plain.losses, cached.losses, strict=True))
        sentences = len(cache.vectors)
        context, target, predictions = plain.sizes()
        saved = plain.median() - cached.median()
        sys.stdout.write(
            f"a step: {context:.0f} + {target:.0f} tokens, {predictions:.0f} predictions\n"
            f"losses of the first round: at most {difference:.1e} apart (the first is {plain.losses[0]:.5f})\n"
            f"with the encoder {plain.median():.3f} s a step, from the cache {cached.median():.4f} s; median of the "
            f"ratios {ratio(plain, cached):.0f}\n"
            f"making it: {sentences:,} sentences in {making:.1f} s, {1000 * making / sentences:.2f} ms each, "
            f"{cache.vectors.nbytes / sentences:.0f} bytes each; pays after {making / saved:.0f} steps\n"
        )


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    main()
