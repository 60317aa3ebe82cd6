"""Test whether a dialogue model uses more than the last turns, and their order.

    python benchmarks/turn_order.py runs/dialogue unseen.parquet

Prints recall@1 of the next turn among 256 from other dialogues, and within the same dialogue, for each context
unchanged, with all turns but the last shuffled or reversed, and cut to its last turns.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lang_jepa.evaluation.embedder import encode, predict
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.evaluation.questions import build_questions
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.training.load import load_any


def main() -> None:
    """Print a line for each form of the context."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("documents", type=Path, help="Parquet with a column `messages`.")
    parser.add_argument("--queries", type=int, default=800)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_any(arguments.model)
    model.sentence_cache = SentenceCache(model.room)
    rows = pd.read_parquet(arguments.documents).messages
    texts = [[" ".join(one["content"].split()) for one in messages] for messages in rows]
    window = model.settings.data.window_size
    questions = build_questions(texts, window_size=window, queries=arguments.queries, seed=0)
    units = prepare(encode(model, questions.sentences, "model"), model.statistics, "centred")
    generator = np.random.default_rng(0)
    forms = {
        "as it is": lambda context: context,
        "shuffled but for the last": lambda context: [*generator.permutation(context[:-1]), context[-1]],
        "reversed but for the last": lambda context: [*context[-2::-1], context[-1]],
        **{f"last {count} alone": lambda context, count=count: context[-count:] for count in (3, 2, 1)},
    }
    print(f"{'context':<28}{'other':>8}{'same':>8}   recall@1 of {len(questions.contexts):,} questions")
    for name, form in forms.items():
        contexts = [form(list(context)) for context in questions.contexts]
        made = prepare(predict(model, contexts, "model"), model.statistics, "centred", side="predictions")
        found = {}
        for kind, candidates in questions.candidates.items():
            scores = np.einsum("qd,qcd->qc", made, units[np.maximum(candidates, 0)])
            scores[candidates < 0] = -np.inf
            found[kind] = float((scores[:, 0] >= scores.max(1) - 1e-6).mean())
        print(f"{name:<28}{found['other']:>8.3f}{found['same']:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
