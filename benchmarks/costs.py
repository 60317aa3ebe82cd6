"""Cost of a step for each view, context mode and regularizer, with the same encoder and batches of about equal size.

    python benchmarks/costs.py --data stories --rounds 5

Every variant trains the same encoder from scratch (ModernBERT, 2 layers x 128, EMA target) in this process, a few steps
in turn, always on the same batches, filled up to the same number of context tokens. A step includes everything: batch,
forward, loss, backward, clipping, AdamW, EMA. Times are processor seconds of one thread, medians over the rounds. The
regularizers train on the same batches; their share of a step is timed separately, forward and backward on the step's
embeddings, because the difference between two steps would be lost in the noise of a busy machine.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from itertools import islice
from typing import Any

COMMON = (
    "model.dropout=0.0",
    "data.window_size=8",
    "data.passage_size=8",
    "data.span_min_length=8",
    "data.chunk_size=128",
    "model.head=linear",
    "model.max_length=128",
)
VIEWS = {
    "next_sentence, window": ("model.predictor=attention_query",),
    "next_sentence, causal": ("data.context=causal", "model.predictor=attention_query"),
    "next_sentence, concepts": ("data.context=concepts", "model.predictor=concept_transformer"),
    "masked_sentences": ("data.view=masked_sentences", "model.predictor=mask_mlp"),
    "spans": ("data.view=spans", "model.predictor=linear"),
    "same_sentence": ("data.view=same_sentence", "data.crop=0.6", "model.predictor=linear"),
}
WINDOW, REGULARIZED = "next_sentence, window", "next_sentence, concepts"
REGULARIZERS = {
    "concepts + vicreg": ("objective.regularizer=vicreg",),
    "concepts + sigreg": ("objective.regularizer=sigreg",),
    "concepts + sigreg, 1024 directions": (
        "objective.regularizer=sigreg",
        "objective.sigreg_directions=1024",
    ),
}


class Variant:
    """A model in training on a few batches that are used over and over.

    Attributes:
        seconds: processor seconds per step, one value for each round.
        alone: the same for the regularizer alone.
        losses: losses of the first round.
    """

    def __init__(self, settings: Any, steps: int) -> None:
        from lang_jepa.data.corpus.prepare import prepare
        from lang_jepa.data.views import make_view
        from lang_jepa.objectives.objective import Objective
        from lang_jepa.training.optim import adamw
        from lang_jepa.training.start import start_model, start_target

        corpus = prepare(settings.data)
        self.view = make_view(settings, corpus.train, corpus.tokenizer)
        groups = islice(self.view.order(settings.data, world=1).groups(0), steps)
        self.examples = [group[0] for _, group in groups]
        self.jepa = start_model(settings, corpus.tokenizer, self.view)
        self.target = start_target(settings, self.jepa, corpus.tokenizer)
        self.objective = Objective(settings)
        self.optimizer = adamw(self.jepa, self.jepa.encoder, settings.optimization)
        self.seconds: list[float] = []
        self.alone: list[float] = []
        self.losses: list[float] = []

    def sizes(self) -> tuple[float, float, float]:
        """Return the average numbers of context tokens, target tokens and predictions in a batch."""
        batches = [self.view.batch(examples) for examples in self.examples]
        sums = [
            (len(batch.contexts.sequences.tokens), len(batch.targets.sequences.tokens), batch.predictions)
            for batch in batches
        ]
        context, target, predictions = (statistics.fmean(column) for column in zip(*sums, strict=True))
        return context, target, predictions

    def round(self) -> None:
        """Train on every batch once."""
        import torch

        seconds = alone = 0.0
        for number, examples in enumerate(self.examples):
            began = time.process_time()
            batch = self.view.batch(examples)
            output, targets = self.target.both_sides(self.jepa, batch)
            loss = self.objective(output, targets, count=batch.predictions, step=number)
            loss.total.backward()
            torch.nn.utils.clip_grad_norm_(self.jepa.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.target.update(self.jepa.encoder, 0.99)
            seconds += time.process_time() - began
            if self.objective.regularizer is not None:
                embeddings = output.embeddings.detach().requires_grad_()
                began = time.process_time()
                self.objective.regularizer(embeddings, number).backward()
                alone += time.process_time() - began
            if not self.seconds:
                self.losses.append(float(loss.distance) / batch.predictions)
        self.seconds.append(seconds / len(self.examples))
        self.alone.append(alone / len(self.examples))

    def median(self) -> float:
        """Return the median processor seconds per step, without the first round, which is warm-up."""
        return statistics.median(self.seconds[1:])


def ratio(ours: Variant, theirs: Variant) -> float:
    """Return the median over the rounds of the ratio of two variants' steps, both run under the same conditions."""
    return statistics.median(a / b for a, b in zip(ours.seconds[1:], theirs.seconds[1:], strict=True))


def rows(variants: dict[str, Variant]) -> list[tuple[str, ...]]:
    """Return a table with one row for each variant."""
    table: list[tuple[str, ...]] = [
        ("variant", "tokens: context + target", "predictions", "s a step", "ms a prediction", "cost")
    ]
    for name, variant in variants.items():
        context, target, predictions = variant.sizes()
        seconds = variant.median()
        cost = f"{ratio(variant, variants[WINDOW]):.2f} x window"
        if name in REGULARIZERS:
            alone = statistics.median(variant.alone[1:])
            cost = f"regularizer {1000 * alone:.1f} ms, {100 * alone / seconds:.1f} % of the step"
        numbers = (f"{context:.0f} + {target:.0f}", f"{predictions:.0f}", f"{seconds:.3f}")
        table.append((name, *numbers, f"{1000 * seconds / predictions:.2f}", cost))
    return table


def main() -> None:
    """Measure all variants in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="stories")
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=2048, help="context tokens of a batch at most")
    parser.add_argument("--steps", type=int, default=3, help="batches, each once in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    from lang_jepa.settings.load import load_settings

    plans = {**VIEWS, **{name: (*VIEWS[REGULARIZED], *more) for name, more in REGULARIZERS.items()}}
    with tempfile.TemporaryDirectory() as corpora:
        common = (
            f"data.train_file={arguments.data}",
            f"data.limit={arguments.documents}",
            f"data.corpus_dir={corpora}",
            f"data.batch_tokens={arguments.tokens}",
            "objective.regularizer=none",
            *COMMON,
        )
        variants = {
            name: Variant(load_settings("next_sentence_sigreg", overrides, usual=common), arguments.steps)
            for name, overrides in plans.items()
        }
        for _ in range(arguments.rounds + 1):
            for variant in variants.values():
                variant.round()
        for row in rows(variants):
            sys.stdout.write("| " + " | ".join(row) + " |\n")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    main()
